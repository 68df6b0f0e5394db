//! Calls of files over a real gofer and over tmpfs: the same program, the same answers.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::rc::Rc;

use rsc_proto::abi::{AT_FDCWD, Errno, OpenFlags, Stat};
use rsc_proto::v1::{answer::Outcome, file_source::From};

use super::nr;
use crate::kernel::testing::{BASE, TestBox};

const A: u64 = BASE;
const B: u64 = BASE + 0x1000;
const OUT: u64 = BASE + 0x2000;
const CWD: u64 = AT_FDCWD as i64 as u64;

fn both(test: impl AsyncFn(Rc<TestBox>) + Copy) {
    TestBox::run(async |t| test(t).await);
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    TestBox::run_on_gofer(dir.path(), async |t| test(t).await);
}

fn err(e: Errno) -> i64 {
    e.to_result()
}

struct P(Rc<TestBox>);

impl P {
    async fn open(&self, path: &str, flags: OpenFlags) -> i64 {
        let p = self.0.path(A, path);
        self.0.call(nr::OPENAT, &[CWD, p, u64::from(flags.bits()), 0o644]).await
    }

    async fn path1(&self, nr: u32, path: &str, arg: u64) -> i64 {
        let p = self.0.path(A, path);
        self.0.call(nr, &[p, arg]).await
    }

    async fn path2(&self, nr: u32, a: &str, b: &str) -> i64 {
        let (a, b) = (self.0.path(A, a), self.0.path(B, b));
        self.0.call(nr, &[a, b]).await
    }

    async fn write(&self, path: &str, data: &[u8]) {
        let fd = self.open(path, OpenFlags::O_CREAT | OpenFlags::O_TRUNC | OpenFlags::O_WRONLY).await;
        assert!(fd >= 0, "{path}: {fd}");
        self.0.host.poke(OUT, data);
        assert_eq!(self.0.call(nr::WRITE, &[fd as u64, OUT, data.len() as u64]).await, data.len() as i64);
        assert_eq!(self.0.call(nr::CLOSE, &[fd as u64]).await, 0);
    }

    async fn read(&self, path: &str) -> Vec<u8> {
        let fd = self.open(path, OpenFlags::empty()).await;
        assert!(fd >= 0, "{path}: {fd}");
        let n = self.0.call(nr::READ, &[fd as u64, OUT, 4096]).await;
        assert!(n >= 0);
        assert_eq!(self.0.call(nr::CLOSE, &[fd as u64]).await, 0);
        self.0.host.peek(OUT, n as usize)
    }

    async fn stat(&self, path: &str) -> Result<Stat, i64> {
        match self.path1(nr::LSTAT, path, OUT).await {
            0 => Ok(self.0.get(OUT)),
            e => Err(e),
        }
    }

    async fn list(&self, path: &str) -> Vec<String> {
        let fd = self.open(path, OpenFlags::O_DIRECTORY).await;
        assert!(fd >= 0, "{path}: {fd}");
        let mut names = Vec::new();
        loop {
            let n = self.0.call(nr::GETDENTS64, &[fd as u64, OUT, 128]).await;
            assert!(n >= 0, "{n}");
            if n == 0 {
                break;
            }
            let data = self.0.host.peek(OUT, n as usize);
            let mut at = 0;
            while at < data.len() {
                let len = u16::from_le_bytes([data[at + 16], data[at + 17]]) as usize;
                let name = &data[at + 19..at + len];
                let end = name.iter().position(|b| *b == 0).unwrap();
                names.push(String::from_utf8(name[..end].to_vec()).unwrap());
                at += len;
            }
        }
        self.0.call(nr::CLOSE, &[fd as u64]).await;
        names.sort();
        names
    }
}

#[test]
fn files_and_directories() {
    both(async |t| {
        let p = P(t);
        assert_eq!(p.path1(nr::MKDIR, "/d", 0o777).await, 0);
        assert_eq!(p.stat("/d").await.unwrap().st_mode, 0o040_755);
        p.write("/d/f", b"hello").await;
        assert_eq!(p.read("d/f").await, b"hello");
        assert_eq!(p.stat("/d/f").await.unwrap().st_size, 5);
        assert_eq!(p.path2(nr::SYMLINK, "f", "/d/l").await, 0);
        assert_eq!(p.read("/d/l").await, b"hello");
        let l = p.0.path(A, "/d/l");
        assert_eq!(p.0.call(nr::READLINK, &[l, OUT, 100]).await, 1);
        assert_eq!(p.open("/d/l", OpenFlags::O_NOFOLLOW).await, err(Errno::ELOOP));
        assert_eq!(p.path2(nr::LINK, "/d/f", "/d/g").await, 0);
        let (f, g) = (p.stat("/d/f").await.unwrap(), p.stat("/d/g").await.unwrap());
        assert_eq!((f.st_ino, f.st_nlink), (g.st_ino, 2));
        for i in 0..20 {
            p.write(&format!("/d/many-files-{i}"), b"").await;
        }
        assert_eq!(p.list("/d").await.len(), 25);
        assert_eq!(p.path1(nr::CHDIR, "d", 0).await, 0);
        assert_eq!(p.0.call(nr::GETCWD, &[OUT, 100]).await, 3);
        assert_eq!(p.0.host.peek(OUT, 3), b"/d\0");
        assert_eq!(p.path2(nr::RENAME, "f", "../r").await, 0);
        assert_eq!(p.read("/r").await, b"hello");
        assert_eq!(p.stat("f").await, Err(err(Errno::ENOENT)));
        assert_eq!(p.path1(nr::UNLINK, "g", 0).await, 0);
        assert_eq!(p.path1(nr::RMDIR, "/d", 0).await, err(Errno::ENOTEMPTY));
        assert_eq!(p.path1(nr::UNLINK, "/d", 0).await, err(Errno::EISDIR));
    });
}

#[test]
fn an_unlinked_file_lives_until_it_is_closed() {
    both(async |t| {
        let p = P(t);
        p.write("/f", b"0123456789").await;
        let fd = p.open("/f", OpenFlags::O_RDWR).await as u64;
        assert_eq!(p.path1(nr::UNLINK, "/f", 0).await, 0);
        p.0.host.poke(OUT, b"xy");
        assert_eq!(p.0.call(nr::PWRITE64, &[fd, OUT, 2, 4]).await, 2);
        assert_eq!(p.0.call(nr::PREAD64, &[fd, OUT, 100, 0]).await, 10);
        assert_eq!(p.0.host.peek(OUT, 10), b"0123xy6789");
        assert_eq!(p.0.call(nr::FSTAT, &[fd, OUT]).await, 0);
        assert_eq!(p.0.get::<Stat>(OUT).st_nlink, 0);
        assert_eq!(p.0.call(nr::FTRUNCATE, &[fd, 3]).await, 0);
        assert_eq!(p.0.call(nr::LSEEK, &[fd, 0, 2]).await, 3);
    });
}

#[test]
fn appending() {
    both(async |t| {
        let p = P(t);
        p.write("/f", b"abc").await;
        let fd = p.open("/f", OpenFlags::O_WRONLY | OpenFlags::O_APPEND).await as u64;
        p.0.host.poke(OUT, b"de");
        assert_eq!(p.0.call(nr::WRITE, &[fd, OUT, 2]).await, 2);
        assert_eq!(p.0.call(nr::WRITE, &[fd, OUT, 1]).await, 1);
        assert_eq!(p.0.call(nr::LSEEK, &[fd, 0, 1]).await, 6);
        assert_eq!(p.read("/f").await, b"abcded");
    });
}

#[test]
fn attributes() {
    both(async |t| {
        let p = P(t);
        p.write("/f", b"abc").await;
        assert_eq!(p.path1(nr::CHMOD, "/f", 0o600).await, 0);
        assert_eq!(p.stat("/f").await.unwrap().st_mode, 0o100_600);
        let f = p.0.path(A, "/f");
        assert_eq!(p.0.call(nr::CHOWN, &[f, 12, 34]).await, 0);
        let s = p.stat("/f").await.unwrap();
        assert_eq!((s.st_uid, s.st_gid), (12, 34));
        assert_eq!(p.path1(nr::TRUNCATE, "/f", 1).await, 0);
        assert_eq!(p.stat("/f").await.unwrap().st_size, 1);
        p.0.put(B, &[5u64, 6, 7, 8]);
        assert_eq!(p.0.call(nr::UTIMENSAT, &[CWD, f, B, 0]).await, 0);
        let s = p.stat("/f").await.unwrap();
        assert_eq!((s.st_atim.tv_sec, s.st_atim.tv_nsec, s.st_mtim.tv_sec, s.st_mtim.tv_nsec), (5, 6, 7, 8));
        assert_eq!(p.path1(nr::ACCESS, "/f", 1).await, err(Errno::EACCES));
        assert_eq!(p.path1(nr::ACCESS, "/f", 6).await, 0);
        let (name, value) = (p.0.path(B, "user.x"), p.0.path(OUT, "value"));
        assert_eq!(p.0.call(nr::SETXATTR, &[f, name, value, 5, 0]).await, 0);
        assert_eq!(p.0.call(nr::GETXATTR, &[f, name, OUT + 64, 100]).await, 5);
        assert_eq!(p.0.host.peek(OUT + 64, 5), b"value");
        assert_eq!(p.0.call(nr::LISTXATTR, &[f, OUT, 100]).await, 7);
        assert_eq!(p.0.call(nr::REMOVEXATTR, &[f, name]).await, 0);
        assert_eq!(p.0.call(nr::GETXATTR, &[f, name, OUT, 100]).await, err(Errno::ENODATA));
    });
}

#[test]
fn a_mapping_sees_what_is_written_and_the_other_way_round() {
    both(async |t| {
        let p = P(t);
        p.write("/f", b"0123456789").await;
        let fd = p.open("/f", OpenFlags::O_RDWR).await as u64;
        let (_, call) = p.0.start(nr::MMAP, &[0, 4096, 3, 1, fd, 0]);
        let Some(Outcome::Map(map)) = call.await.unwrap().outcome else { panic!("not mapped") };
        assert!(map.writable);
        let source = map.source.unwrap();
        assert_eq!((source.size, source.from), (10, Some(From::Arena(true))));
        let arena = |t: &TestBox| t.host.arena.borrow()[&source.file].clone();
        assert_eq!(arena(&p.0), b"0123456789");
        p.0.host.poke(OUT, b"abc");
        assert_eq!(p.0.call(nr::PWRITE64, &[fd, OUT, 3, 8]).await, 3);
        assert_eq!(arena(&p.0), b"01234567abc");
        p.0.host.arena.borrow_mut().get_mut(&source.file).unwrap()[0] = b'X';
        assert_eq!(p.0.call(nr::PREAD64, &[fd, OUT, 100, 0]).await, 11);
        assert_eq!(p.0.host.peek(OUT, 11), b"X1234567abc");
        assert_eq!(p.0.call(nr::FSYNC, &[fd]).await, 0);
        assert_eq!(p.read("/f").await, b"X1234567abc");
        let ro = p.open("/f", OpenFlags::empty()).await as u64;
        assert_eq!(p.0.call(nr::MMAP, &[0, 4096, 3, 1, ro, 0]).await, err(Errno::EACCES));
        assert_eq!(p.0.call(nr::MMAP, &[0, 4096, 1, 2, 99, 0]).await, err(Errno::EBADF));
        assert_eq!(p.0.call(nr::MMAP, &[0, 4096, 1, 2, ro, 1]).await, err(Errno::EINVAL));
        assert_eq!(p.0.call(nr::MMAP, &[0, 0, 1, 2, ro, 0]).await, err(Errno::EINVAL));
    });
}

#[test]
fn executing() {
    let program = std::fs::read("/proc/self/exe").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let elf = rsc_proto::abi::elf::Elf::parse(&program[..4096]).unwrap();
    let interp = String::from_utf8(elf.interp.unwrap()).unwrap();
    std::fs::create_dir_all(at(interp.trim_start_matches('/')).parent().unwrap()).unwrap();
    std::fs::copy(&interp, at(interp.trim_start_matches('/'))).unwrap();
    let put = |name: &str, data: &[u8], mode: u32| {
        std::fs::write(at(name), data).unwrap();
        std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    put("prog", &program[..8192], 0o755);
    put("script", b"#! /prog -x y\nbody", 0o755);
    put("nested", b"#!script\n", 0o755);
    put("text", b"hello", 0o755);
    put("plain", &program[..8192], 0o644);
    put("orphan", b"#!/missing\n", 0o755);
    assert_eq!(std::fs::metadata(at("prog")).unwrap().size(), 8192);
    TestBox::run_on_gofer(dir.path(), async |t| {
        let arg0 = t.path(B, "argv0");
        let arg1 = t.path(B + 16, "one");
        t.put(B + 64, &[arg0, arg1, 0]);
        t.put(B + 96, &[0u64]);
        let exec = async |path: &str| {
            let p = t.path(A, path);
            let (_, call) = t.start(nr::EXECVE, &[p, B + 64, B + 96]);
            match call.await.unwrap().outcome {
                Some(Outcome::Exec(e)) => Ok(e),
                Some(Outcome::Result(e)) => Err(e),
                other => panic!("{other:?}"),
            }
        };
        let e = exec("/prog").await.unwrap();
        assert_eq!(e.program.unwrap().size, 8192);
        assert!(e.interpreter.is_some() && e.argv_prefix.is_empty() && !e.secure);
        assert_eq!(&e.comm[..], b"prog");
        let e = exec("/nested").await.unwrap();
        let prefix: Vec<&[u8]> = e.argv_prefix.iter().map(|a| &a[..]).collect();
        assert_eq!(prefix, [&b"/prog"[..], b"-x y", b"script", b"/nested"]);
        let task = t.kernel.tasks.get(1).unwrap();
        let pending = task.pending_exec.take().unwrap();
        assert_eq!(pending.cmdline, b"/prog\0-x y\0script\0/nested\0one\0");
        assert_eq!(exec("/text").await.err(), Some(err(Errno::ENOEXEC)));
        assert_eq!(exec("/plain").await.err(), Some(err(Errno::EACCES)));
        assert_eq!(exec("/").await.err(), Some(err(Errno::EACCES)));
        assert_eq!(exec("/missing").await.err(), Some(err(Errno::ENOENT)));
        assert_eq!(exec("/orphan").await.err(), Some(err(Errno::ENOENT)));
        assert_eq!(exec("/text/x").await.err(), Some(err(Errno::ENOTDIR)));
        *t.kernel.path.borrow_mut() = Some(b"/none:/".to_vec());
        assert_eq!(&exec("prog").await.unwrap().execfn[..], b"//prog");
        assert_eq!(exec("nothing").await.err(), Some(err(Errno::ENOENT)));
    });
}

#[test]
fn copying_from_file_to_file() {
    both(async |t| {
        let p = P(t);
        p.write("/a", b"0123456789").await;
        p.write("/b", b"").await;
        let a = p.open("/a", OpenFlags::empty()).await as u64;
        let b = p.open("/b", OpenFlags::O_RDWR).await as u64;
        assert_eq!(p.0.call(nr::COPY_FILE_RANGE, &[a, 0, b, 0, 4, 0]).await, 4);
        p.0.put(OUT, &6i64);
        assert_eq!(p.0.call(nr::SENDFILE, &[b, a, OUT, 100]).await, 4);
        assert_eq!(p.0.get::<i64>(OUT), 10);
        assert_eq!(p.0.call(nr::SENDFILE, &[b, a, 0, 100]).await, 6);
        assert_eq!(p.read("/b").await, b"01236789456789");
        assert_eq!(p.0.call(nr::PIPE2, &[OUT, 0]).await, 0);
        let [r, w] = p.0.get::<[u32; 2]>(OUT).map(u64::from);
        p.0.put(OUT, &2i64);
        assert_eq!(p.0.call(nr::SPLICE, &[a, OUT, w, 0, 3, 0]).await, 3);
        assert_eq!(p.0.call(nr::SPLICE, &[r, 0, b, 0, 100, 0]).await, 3);
        assert_eq!(p.read("/b").await, b"01236789456789234");
        assert_eq!(p.0.call(nr::SPLICE, &[a, 0, b, 0, 3, 0]).await, err(Errno::EINVAL));
        let end = OpenFlags::O_WRONLY | OpenFlags::O_APPEND;
        let append = p.open("/b", end).await as u64;
        assert_eq!(p.0.call(nr::SENDFILE, &[append, a, 0, 1]).await, err(Errno::EINVAL));
    });
}

#[test]
fn locks_wait_and_are_given_back() {
    both(async |t| {
        let p = P(t);
        p.write("/f", b"0123456789").await;
        let a = p.open("/f", OpenFlags::O_RDWR).await as u64;
        let b = p.open("/f", OpenFlags::O_RDWR).await as u64;
        assert_eq!(p.0.call(nr::FLOCK, &[a, 2]).await, 0);
        assert_eq!(p.0.call(nr::FLOCK, &[b, 2 | 4]).await, err(Errno::EAGAIN));
        let (_, waiting) = p.0.start(nr::FLOCK, &[b, 2]);
        p.0.settle().await;
        assert!(!waiting.is_finished());
        assert_eq!(p.0.call(nr::CLOSE, &[a]).await, 0);
        assert_eq!(TestBox::rax(&waiting.await.unwrap()), 0);
        let c = p.open("/f", OpenFlags::O_RDWR).await as u64;
        let (id, waiting) = p.0.start(nr::FLOCK, &[c, 2]);
        p.0.settle().await;
        p.0.kernel.interrupt(id);
        assert_eq!(TestBox::rax(&waiting.await.unwrap()), -512);
        let lock = rsc_proto::abi::Flock { l_type: 1, l_start: 2, l_len: 3, ..Default::default() };
        p.0.put(OUT, &lock);
        assert_eq!(p.0.call(nr::FCNTL, &[b, 37, OUT]).await, 0);
        assert_eq!(p.0.call(nr::FCNTL, &[c, 37, OUT]).await, err(Errno::EAGAIN));
        p.0.put(OUT, &rsc_proto::abi::Flock { l_type: 0, ..lock });
        assert_eq!(p.0.call(nr::FCNTL, &[c, 5, OUT]).await, 0);
        let got = p.0.get::<rsc_proto::abi::Flock>(OUT);
        assert_eq!((got.l_type, got.l_start, got.l_len, got.l_pid), (1, 2, 3, -1));
        assert_eq!(p.0.call(nr::CLOSE, &[b]).await, 0);
        assert_eq!(p.0.call(nr::FCNTL, &[c, 6, OUT]).await, 0);
    });
}

#[test]
fn fifos() {
    both(async |t| {
        let p = P(t);
        let path = p.0.path(A, "/p");
        assert_eq!(p.0.call(nr::MKNOD, &[path, 0o010_666, 0]).await, 0);
        let nonblock = OpenFlags::O_WRONLY | OpenFlags::O_NONBLOCK;
        assert_eq!(p.open("/p", nonblock).await, err(Errno::ENXIO));
        let (_, reader) = p.0.start(nr::OPEN, &[path, 0, 0]);
        p.0.settle().await;
        let w = p.open("/p", OpenFlags::O_WRONLY).await as u64;
        let r = TestBox::rax(&reader.await.unwrap()) as u64;
        p.0.host.poke(OUT, b"abc");
        assert_eq!(p.0.call(nr::WRITE, &[w, OUT, 3]).await, 3);
        assert_eq!(p.0.call(nr::READ, &[r, OUT + 16, 100]).await, 3);
        assert_eq!(p.0.call(nr::FSTAT, &[r, OUT]).await, 0);
        assert_eq!(p.0.get::<Stat>(OUT).st_mode & 0o170_000, 0o010_000);
    });
}
