//! execve(2), execveat(2): resolves the program, its `#!` line and interpreter, and computes the credentials. The host's kernel
//! executes the loader; `TaskEvent.execed` commits what is prepared here. Linux: fs/exec.c, fs/binfmt_script.c, fs/binfmt_elf.c.

use std::rc::Rc;

use bytes::Bytes;
use rsc_proto::abi::{AT_FDCWD, AtFlags, Errno, MAX_ARG_STRLEN, MountFlags, OpenFlags, ResolveFlags, elf};
use rsc_proto::v1::{Exec, FileSource};

use super::Outcome;
use super::lookup::{Place, of_fd, walker};
use crate::error::SysResult;
use crate::kernel::Kernel;
use crate::kernel::cx::Cx;
use crate::kernel::fd::Fd;
use crate::kernel::file::{File, MapRequest};
use crate::kernel::memory::UserPtr;
use crate::kernel::task::{PendingExec, Task, rlimit};
use crate::vfs::permission::{Access, check};
use crate::vfs::{Asker, Location, Walker};

mod creds;

/// Bytes of a program that are looked at for `#!`. Linux: `BINPRM_BUF_SIZE`.
const HEAD: usize = 256;
/// `#!` programs in a row. Linux: exec_binprm().
const MAX_DEPTH: usize = 5;
/// Bytes of arguments and environment at most, whatever the stack's limit. Linux: `_STK_LIM / 4 * 3`.
const ARG_BYTES_MAX: u64 = 6 << 20;
/// Bytes that are always allowed. Linux: `ARG_MAX`.
const ARG_BYTES_MIN: u64 = 128 << 10;

/// execve(2).
pub async fn execve(cx: &Cx, path: UserPtr<u8>, argv: UserPtr<u64>, envp: UserPtr<u64>) -> SysResult<Outcome> {
    execveat(cx, Fd(AT_FDCWD), path, argv, envp, 0).await
}

/// execveat(2).
pub async fn execveat(
    cx: &Cx,
    dir: Fd,
    path: UserPtr<u8>,
    argv: UserPtr<u64>,
    envp: UserPtr<u64>,
    flags: u32,
) -> SysResult<Outcome> {
    let path = cx.mem.read_path(path).await?;
    let known = AtFlags::AT_EMPTY_PATH | AtFlags::AT_SYMLINK_NOFOLLOW;
    let flags = AtFlags::from_bits(flags).filter(|f| known.contains(*f)).ok_or(Errno::EINVAL)?;
    if path.is_empty() && !flags.contains(AtFlags::AT_EMPTY_PATH) {
        return Err(Errno::ENOENT.into());
    }
    let first = cx.task.tid == 1 && !cx.task.group().execed.get();
    let (program, path) = if first && !path.contains(&b'/') {
        search(cx, &path).await?
    } else {
        (open_program(cx, dir, &path, flags).await?, path)
    };
    let shown = match (path.first(), dir.0) {
        (Some(b'/'), _) | (_, AT_FDCWD) => path,
        (None, fd) => format!("/dev/fd/{fd}").into_bytes(),
        (_, fd) => [format!("/dev/fd/{fd}/").as_bytes(), &path].concat(),
    };
    let args = read_args(cx, argv, envp).await?;
    let loaded = load(cx, program, &shown).await?;
    let secure = loaded.creds.secure;
    let comm = shown.rsplit(|b| *b == b'/').next().unwrap_or_default();
    let comm = comm.get(..comm.len().min(15)).unwrap_or_default().to_vec();
    let new = loaded.creds.creds;
    let exec = Exec {
        program: Some(loaded.program),
        interpreter: loaded.interpreter,
        argv_prefix: loaded.prefix.iter().map(|a| Bytes::copy_from_slice(a)).collect(),
        execfn: shown.into(),
        comm: comm.clone().into(),
        uid: new.uid,
        euid: new.euid,
        gid: new.gid,
        egid: new.egid,
        secure,
    };
    let mut cmdline = Vec::new();
    for arg in &loaded.prefix {
        cmdline.extend_from_slice(arg);
        cmdline.push(0);
    }
    let own = if loaded.prefix.is_empty() { 0 } else { args.first_len };
    cmdline.extend_from_slice(args.argv.get(own..).unwrap_or_default());
    cx.task.pending_exec.replace(Some(PendingExec {
        creds: Rc::new(new),
        exe: Some(loaded.at),
        comm,
        cmdline,
        environ: args.envp,
    }));
    Ok(Outcome::Exec(Box::new(exec)))
}

/// The first program of a container is looked up in PATH, as runc does it.
async fn search(cx: &Cx, name: &[u8]) -> Result<(Program, Vec<u8>), Errno> {
    let path = cx.kernel.path.borrow().clone().unwrap_or_default();
    let mut result = Errno::ENOENT;
    for dir in path.split(|b| *b == b':') {
        let dir = if dir.is_empty() { &b"."[..] } else { dir };
        let candidate = [dir, b"/", name].concat();
        match open_program(cx, Fd(AT_FDCWD), &candidate, AtFlags::empty()).await {
            Ok(program) => return Ok((program, candidate)),
            Err(Errno::EACCES) => result = Errno::EACCES,
            Err(_) => {}
        }
    }
    Err(result)
}

/// Looks for the first program of a process as runc does before it says that the container is created: whether it is there and may be
/// executed, not whether it can be.
pub async fn look_up(kernel: &Rc<Kernel>, task: &Rc<Task>, name: &[u8], path: Option<&[u8]>) -> Result<(), Errno> {
    let fs = task.fs.borrow().clone();
    let walker = Walker {
        vfs: &kernel.vfs,
        creds: task.creds(),
        root: fs.root(),
        start: fs.cwd(),
        follow: true,
        resolve: ResolveFlags::empty(),
        asker: Asker { task: Some(task), kernel: Some(kernel) },
    };
    let usable = async |path: &[u8]| {
        let at = walker.resolve(path).await?.0;
        let attr = at.inode().refresh().await?;
        if attr.is_dir() {
            return Err(Errno::EISDIR);
        }
        check(&attr, &task.creds(), Access::EXEC)
    };
    if name.contains(&b'/') {
        return usable(name).await;
    }
    let mut result = Errno::ENOENT;
    // Without a PATH the supervisor looks here.
    let path = path.unwrap_or(b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    for dir in path.split(|b| *b == b':') {
        let dir = if dir.is_empty() { &b"."[..] } else { dir };
        match usable(&[dir, b"/", name].concat()).await {
            Ok(()) => return Ok(()),
            Err(Errno::EACCES) => result = Errno::EACCES,
            Err(_) => {}
        }
    }
    Err(result)
}

/// A file that may be executed.
struct Program {
    at: Location,
    file: Rc<File>,
}

/// Linux: do_open_execat().
async fn open_program(cx: &Cx, dir: Fd, path: &[u8], flags: AtFlags) -> Result<Program, Errno> {
    let walker = walker(cx, dir, path, !flags.contains(AtFlags::AT_SYMLINK_NOFOLLOW))?;
    let at = if path.is_empty() {
        let file = cx.task.fds.borrow().get_path(dir)?;
        match of_fd(file) {
            Place::At(at, _) => {
                at.inode().refresh().await?;
                at
            }
            Place::File(_) => return Err(Errno::EACCES),
        }
    } else {
        walker.resolve(path).await?.0
    };
    let attr = at.inode().attr();
    if attr.is_symlink() {
        return Err(Errno::ELOOP);
    }
    if !attr.is_regular() || at.mount.flags().contains(MountFlags::MS_NOEXEC) {
        return Err(Errno::EACCES);
    }
    check(&attr, &cx.task.creds(), Access::EXEC)?;
    let file = open_for_exec(&walker, &at).await?;
    Ok(Program { at, file })
}

/// Reading needs no permission: who may execute a file may have it executed.
async fn open_for_exec(walker: &Walker<'_>, at: &Location) -> Result<Rc<File>, Errno> {
    let ops = walker.open_inode(at, OpenFlags::empty(), false).await?;
    Ok(File::with_location(ops, OpenFlags::empty(), Some(at.clone())))
}

/// A program that can run.
struct Loaded {
    at: Location,
    program: FileSource,
    interpreter: Option<FileSource>,
    /// What takes the place of argv[0].
    prefix: Vec<Vec<u8>>,
    creds: creds::NewCreds,
}

async fn head(program: &Program, len: usize) -> Result<Bytes, Errno> {
    program.file.ops().read(&program.file, 0, len).await
}

async fn source(program: &Program) -> Result<FileSource, Errno> {
    let whole = MapRequest { offset: 0, len: i64::MAX as u64, shared_writable: false };
    program.file.ops().map(&program.file, whole).await.map_err(|e| if e == Errno::ENODEV { Errno::ENOEXEC } else { e })
}

/// Follows `#!` to an ELF file, and finds its interpreter.
async fn load(cx: &Cx, mut program: Program, path: &[u8]) -> Result<Loaded, Errno> {
    let mut prefix: Vec<Vec<u8>> = Vec::new();
    let mut name = path.to_vec();
    for depth in 0.. {
        if depth > MAX_DEPTH {
            return Err(Errno::ELOOP);
        }
        let first = head(&program, 4096).await?;
        if !first.starts_with(b"#!") {
            let (elf, interp) = elf_of(&program, first, Errno::ENOEXEC).await?;
            let interpreter = match interp {
                Some(path) => {
                    let interpreter = open_program(cx, Fd(AT_FDCWD), &path, AtFlags::empty()).await?;
                    let first = head(&interpreter, 4096).await?;
                    if first.len() < elf::EHDR_SIZE {
                        return Err(Errno::EIO);
                    }
                    elf_of(&interpreter, first, Errno::ELIBBAD).await?;
                    Some(source(&interpreter).await?)
                }
                None => None,
            };
            drop(elf);
            let creds = creds::compute(&cx.task, &program.at);
            let source = source(&program).await?;
            return Ok(Loaded { at: program.at, program: source, interpreter, prefix, creds });
        }
        let line = Script::parse(first.get(..first.len().min(HEAD)).unwrap_or_default()).ok_or(Errno::ENOEXEC)?;
        let mut new = vec![line.interpreter.clone()];
        new.extend(line.argument);
        new.push(name);
        new.extend(prefix.into_iter().skip(1));
        prefix = new;
        program = open_program(cx, Fd(AT_FDCWD), &line.interpreter, AtFlags::empty()).await?;
        name = line.interpreter;
    }
    Err(Errno::ELOOP)
}

/// The headers of an ELF file and its interpreter's path; `bad` when it is none.
async fn elf_of(program: &Program, mut bytes: Bytes, bad: Errno) -> Result<(elf::Elf, Option<Vec<u8>>), Errno> {
    // The program headers may need a second look, the interpreter's path a third.
    for _ in 0..3 {
        let needed = elf::needed(&bytes).map_err(|_| bad)? as usize;
        if needed <= bytes.len() {
            break;
        }
        let more = head(program, needed).await?;
        if more.len() <= bytes.len() {
            break;
        }
        bytes = more;
    }
    let elf = elf::Elf::parse(&bytes).map_err(|e| if bad == Errno::ENOEXEC { e.errno() } else { bad })?;
    let interp = elf.interp.clone();
    Ok((elf, interp))
}

/// A `#!` line.
#[derive(Debug, PartialEq, Eq)]
struct Script {
    interpreter: Vec<u8>,
    argument: Option<Vec<u8>>,
}

impl Script {
    /// Linux: load_script(). `None`: ENOEXEC.
    fn parse(head: &[u8]) -> Option<Self> {
        let blank = |b: &u8| matches!(b, b' ' | b'\t');
        let rest = head.get(2..)?;
        let line = match rest.iter().position(|b| *b == b'\n') {
            Some(end) => rest.get(..end)?,
            None => {
                // A line longer than the buffer is one only if the interpreter's name ends within.
                let start = rest.iter().position(|b| !blank(b))?;
                let whole = head.len() < HEAD || rest.get(start..)?.iter().any(|b| blank(b) || *b == 0);
                whole.then_some(rest)?
            }
        };
        let line = line.split(|b| *b == 0).next()?;
        let start = line.iter().position(|b| !blank(b))?;
        let end = line.iter().rposition(|b| !blank(b))?;
        let line = line.get(start..=end)?;
        let name_end = line.iter().position(blank).unwrap_or(line.len());
        let (name, argument) = line.split_at(name_end);
        let argument = argument.iter().position(|b| !blank(b)).and_then(|at| argument.get(at..));
        Some(Self { interpreter: name.to_vec(), argument: argument.map(<[u8]>::to_vec) })
    }
}

/// Arguments and environment as /proc shows them.
struct Args {
    argv: Vec<u8>,
    /// Bytes of argv[0] with its NUL.
    first_len: usize,
    envp: Vec<u8>,
}

async fn read_args(cx: &Cx, argv: UserPtr<u64>, envp: UserPtr<u64>) -> Result<Args, Errno> {
    let stack = cx.task.group().limit(rlimit::STACK).rlim_cur;
    let mut room = (stack / 4).clamp(ARG_BYTES_MIN, ARG_BYTES_MAX) as usize;
    let (argv, first_len) = read_strings(cx, argv, &mut room).await?;
    let (envp, _) = read_strings(cx, envp, &mut room).await?;
    Ok(Args { argv, first_len, envp })
}

/// A NULL-terminated array of strings, joined, and the first one's length. NULL itself is an empty array, as in Linux.
async fn read_strings(cx: &Cx, list: UserPtr<u64>, room: &mut usize) -> Result<(Vec<u8>, usize), Errno> {
    let mut out = Vec::new();
    let mut first = 0;
    if list.is_null() {
        return Ok((out, 0));
    }
    let mut at = list.addr();
    'pages: loop {
        // To the end of the page: the next one may not be mapped.
        let here = (4096 - at % 4096).max(8) as usize / 8 * 8;
        let pointers = cx.mem.read_upto(at, here).await?;
        if pointers.len() < 8 {
            return Err(Errno::EFAULT);
        }
        for p in pointers.chunks_exact(8) {
            let addr = u64::from_le_bytes(p.try_into().map_err(|_| Errno::EFAULT)?);
            if addr == 0 {
                break 'pages;
            }
            let s = cx.mem.read_cstr(addr, MAX_ARG_STRLEN).await?.ok_or(Errno::E2BIG)?;
            *room = room.checked_sub(s.len() + 1 + 8).ok_or(Errno::E2BIG)?;
            out.extend_from_slice(&s);
            out.push(0);
            if first == 0 {
                first = out.len();
            }
            at += 8;
        }
    }
    Ok((out, first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(interpreter: &str, argument: Option<&str>) -> Option<Script> {
        Some(Script { interpreter: interpreter.into(), argument: argument.map(|a| a.as_bytes().to_vec()) })
    }

    #[test]
    fn script_lines() {
        assert_eq!(Script::parse(b"#!/bin/sh\necho"), script("/bin/sh", None));
        assert_eq!(Script::parse(b"#! /bin/sh \t-x  y \n"), script("/bin/sh", Some("-x  y")));
        assert_eq!(Script::parse(b"#!/bin/sh"), script("/bin/sh", None));
        assert_eq!(Script::parse(b"#!\n"), None);
        assert_eq!(Script::parse(b"#!   \n/bin/sh"), None);
        let long = [b"#!/".to_vec(), vec![b'x'; 300]].concat();
        assert_eq!(Script::parse(&long[..HEAD]), None);
        let argument = [b"#!/i ".to_vec(), vec![b'x'; 300]].concat();
        assert!(Script::parse(&argument[..HEAD]).is_some());
    }
}
