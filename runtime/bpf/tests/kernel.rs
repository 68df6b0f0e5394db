//! The programs in a real kernel. Where it lets nobody load any, nothing is tested, and that is said.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rsc_bpf::selection::{Event, File, Literal, Selection, Shape, Target};
use rsc_bpf::{Held, LoadError, Sieve};

fn load(selection: &Selection) -> Option<Sieve> {
    match Sieve::load(selection) {
        Ok(sieve) => Some(sieve),
        Err(LoadError::Refused(missing)) => {
            eprintln!("skipped: {missing}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn wait(sieve: &mut Sieve, of: &Child) -> Event {
    let pid = i32::try_from(of.id()).unwrap();
    loop {
        while let Some(event) = sieve.next_event() {
            if event.pid == pid {
                return event;
            }
            // Of another test, or of somebody else on this machine.
            pass(sieve, event.pid);
        }
        let mut fds = [PollFd::new(sieve.as_fd(), PollFlags::POLLIN)];
        assert!(poll(&mut fds, 10_000u16).unwrap() > 0, "nothing was found");
    }
}

fn pass(sieve: &Sieve, pid: i32) -> Held {
    let held = sieve.pass(pid, 0);
    if held == Held::BySignal {
        let pending = |status: &str| {
            let word =
                |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").trim().to_owned();
            word("State:").starts_with('T') || u64::from_str_radix(&word("ShdPnd:"), 16).unwrap_or(0) >> 18 & 1 == 1
        };
        while std::fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| !pending(&status)) {
            std::thread::yield_now();
        }
        let _ = kill(Pid::from_raw(pid), Signal::SIGCONT);
    }
    held
}

fn stopped(child: &Child) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    stat.rsplit_once(") ").unwrap().1.starts_with('T')
}

fn release(sieve: &Sieve, child: &mut Child) -> i32 {
    pass(sieve, i32::try_from(child.id()).unwrap());
    child.wait().unwrap().code().unwrap()
}

fn whole(name: &str) -> Literal {
    Literal { bytes: name.into(), whole: true }
}

/// A copy of a program under a name that nobody else has.
struct Copy(tempdir::Dir, std::path::PathBuf);

mod tempdir {
    pub(crate) struct Dir(pub(crate) std::path::PathBuf);
    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

fn copy(program: &str, name: &str) -> Copy {
    let dir = std::env::temp_dir().join(format!("rsc-bpf-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let to = dir.join(name);
    std::fs::copy(program, &to).unwrap();
    Copy(tempdir::Dir(dir), to)
}

#[test]
fn a_program_is_stopped_before_its_first_call() {
    let program = copy("/bin/touch", "rsc-first-call");
    let target = Target { names: vec![whole("rsc-first-call")], ..Target::default() };
    let Some(mut sieve) = load(&Selection { targets: vec![target], ..Selection::default() }) else { return };
    let made = program.0.0.join("made");
    let mut child = Command::new(&program.1).arg(&made).spawn().unwrap();
    let event = wait(&mut sieve, &child);
    assert_eq!((event.mask, event.call, event.tid), (1, None, event.pid));
    while !stopped(&child) {
        std::thread::yield_now();
    }
    let calls = std::fs::read_to_string(format!("/proc/{}/syscall", child.id())).unwrap();
    assert!(calls.starts_with(&format!("{} ", libc::SYS_execve)), "not just out of execve: {calls}");
    assert!(!made.exists());
    assert_eq!(release(&sieve, &mut child), 0);
    assert!(made.exists());
    assert_eq!(sieve.lost(), 0);
}

#[test]
fn names_below_a_directory() {
    let Some(inside) = Sieve::can_walk().then(|| copy("/bin/true", "rsc-inside-x")) else { return };
    let outside = copy("/bin/true", "rsc-inside-y");
    let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&inside.0.0).unwrap());
    let name = Literal { bytes: b"rsc-ins".into(), whole: false };
    let target = Target { names: vec![name], below: vec![inode], ..Target::default() };
    let Some(mut sieve) = load(&Selection { targets: vec![target], ..Selection::default() }) else { return };
    assert_eq!(Command::new(&outside.1).status().unwrap().code(), Some(0));
    let mut child = Command::new(&inside.1).spawn().unwrap();
    assert_eq!(wait(&mut sieve, &child).mask, 1);
    assert_eq!(release(&sieve, &mut child), 0);
}

#[test]
fn users_and_processes_of_ours() {
    let program = copy("/bin/true", "rsc-user");
    let target =
        |uid| Target { names: vec![whole("other"), whole("rsc-user")], uids: vec![1, uid], ..Target::default() };
    let targets = vec![target(4_000_000_000), target(54_321)];
    let Some(mut sieve) = load(&Selection { targets, ..Selection::default() }) else { return };
    assert_eq!(Command::new(&program.1).status().unwrap().code(), Some(0));
    let mut child = Command::new(&program.1).uid(54_321).spawn().unwrap();
    let event = wait(&mut sieve, &child);
    assert_eq!((event.mask, event.uid), (2, 54_321));
    assert_eq!(release(&sieve, &mut child), 0);
    let mut child = Command::new("/bin/sh")
        .args(["-c", "read line; exec \"$0\""])
        .arg(&program.1)
        .uid(54_321)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    sieve.keep(i32::try_from(child.id()).unwrap());
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn calls_by_path_and_port() {
    let openat = u32::try_from(libc::SYS_openat).unwrap();
    let connect = u32::try_from(libc::SYS_connect).unwrap();
    let dir = std::env::temp_dir().join(format!("rsc-bpf-{}-calls", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let _end = tempdir::Dir(dir.clone());
    let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&dir).unwrap());
    let below = Literal { bytes: dir.as_os_str().as_encoded_bytes().to_vec(), whole: false };
    let file = File { names: vec![whole("/x"), below], below: vec![inode], from: vec![] };
    let targets = vec![
        Target { calls: vec![openat], file: Some(file), ..Target::default() },
        Target { calls: vec![connect], ports: vec![1..=2, 54_398..=54_400], ..Target::default() },
    ];
    let shapes = [
        (openat, Shape { path: Some(1), dirfd: Some(0), address: None }),
        (connect, Shape { address: Some(1), ..Shape::default() }),
    ];
    let Some(mut sieve) = load(&Selection { targets, shapes: shapes.into_iter().collect() }) else { return };
    let absolute = format!("cat /etc/hostname {}/missing", dir.display());
    let mut child =
        Command::new("/bin/sh").args(["-c", &absolute]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // It is the shell's child that is found.
    let call = loop {
        if let Some(event) = sieve.next_event() {
            pass(&sieve, event.pid);
            if event.call.as_ref().is_some_and(|call| call.path.ends_with(b"/missing")) {
                break event.call.unwrap();
            }
        }
        std::thread::yield_now();
    };
    assert_eq!((call.nr, call.result), (openat, -2));
    assert_ne!(child.wait().unwrap().code(), None);
    if Sieve::can_walk() {
        let mut child = Command::new("/bin/cat").arg("gone").current_dir(&dir).stderr(Stdio::null()).spawn().unwrap();
        let call = wait(&mut sieve, &child).call.unwrap();
        assert_eq!((call.path.as_slice(), call.dirfd), (&b"gone"[..], libc::AT_FDCWD));
        assert_eq!(release(&sieve, &mut child), 1);
    }
    let connecting = "exec 3<>/dev/tcp/127.0.0.1/54399";
    let mut child = Command::new("/bin/bash").args(["-c", connecting]).stderr(Stdio::null()).spawn().unwrap();
    let event = wait(&mut sieve, &child);
    assert_eq!((event.mask, event.call.unwrap().port), (2, 54_399));
    assert_eq!(release(&sieve, &mut child), 1);
}

#[test]
fn as_much_as_can_be_asked() {
    let openat = u32::try_from(libc::SYS_openat).unwrap();
    let connect = u32::try_from(libc::SYS_connect).unwrap();
    let target = |index: u32| Target {
        names: (0..4).map(|at| whole(&format!("rsc-program-{index}-{at}"))).collect(),
        below: vec![1, index.into()],
        uids: vec![index, index + 1],
        cgroup: true,
        calls: if index.is_multiple_of(3) { vec![] } else { vec![openat, connect, index] },
        file: (index % 3 == 1).then(|| File {
            names: (0..4).map(|at| whole(&format!("/{index}/{}{at}", "x".repeat(200)))).collect(),
            below: vec![2],
            from: (0..16).map(|at| (at, whole(&format!("{index}/{}", "x".repeat(100))))).collect(),
        }),
        ports: if index % 3 == 2 { vec![1..=2, 54_398..=54_400] } else { vec![] },
    };
    let shapes = [
        (openat, Shape { path: Some(1), dirfd: Some(0), address: None }),
        (connect, Shape { address: Some(1), ..Shape::default() }),
    ];
    let selection = Selection { targets: (0..63).map(target).collect(), shapes: shapes.into_iter().collect() };
    let begun = std::time::Instant::now();
    load(&selection);
    eprintln!("loaded in {:?}", begun.elapsed());
}

/// One that is answered for at once is not stopped, for anybody to see.
#[test]
fn its_parent_sees_nothing() {
    let program = copy("/bin/true", "rsc-unseen");
    let target = Target { names: vec![whole("rsc-unseen")], ..Target::default() };
    let Some(mut sieve) = load(&Selection { targets: vec![target], ..Selection::default() }) else { return };
    let running = std::thread::spawn(move || {
        for _ in 0..20 {
            assert_eq!(Command::new(&program.1).status().unwrap().code(), Some(0));
        }
    });
    let mut held = Vec::new();
    while held.len() < 20 {
        let mut fds = [PollFd::new(sieve.as_fd(), PollFlags::POLLIN)];
        assert!(poll(&mut fds, 10_000u16).unwrap() > 0, "nothing was found");
        while let Some(event) = sieve.next_event() {
            held.push(pass(&sieve, event.pid));
        }
    }
    running.join().unwrap();
    // On one processor, or on a busy machine, there is not always time.
    eprintln!("{} of 20 in the kernel", held.iter().filter(|held| **held == Held::InKernel).count());
}
