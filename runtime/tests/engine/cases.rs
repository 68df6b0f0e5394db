//! What is expected of each program.

use rsc_proto::{
    table,
    v1::{self, answer::Outcome},
};
use rsc_runtime::sys::process;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    Case, Setup,
    fake::{self, kinds, run},
    programs::path,
};

pub(crate) const ALL: &[Case] = &[
    ("jail", jail),
    ("hello", hello),
    ("missing", missing),
    ("memory", memory),
    ("dynamic", dynamic),
    ("script", script),
    ("forks", forks),
    ("threads", threads),
    ("eintr", eintr),
    ("restart", restart),
    ("ignored", ignored),
    ("stopped", stopped),
    ("masked", masked),
    ("files", files),
    ("exec", exec),
    ("exec_thread", exec_thread),
    ("exec_vfork", exec_vfork),
    ("fatal", fatal),
    ("entries", entries),
    ("storm", storm),
    ("busybox", busybox),
    ("frozen", frozen),
    ("lies", lies),
    ("mixed", mixed),
    ("restarts", restarts),
    ("killed", killed),
    ("epoll", epoll),
    ("costs", costs),
];

fn same(what: &str, got: &str, wanted: &str) -> Result<(), String> {
    if got == wanted { Ok(()) } else { Err(format!("{what}:\n--- got\n{got}\n--- wanted\n{wanted}")) }
}

fn prints(setup: Setup, args: &[&str], wanted: &str) -> Result<(), String> {
    let report = run(setup, args, None)?;
    same("output", &report.output, wanted)?;
    same("refused", &format!("{:?}", report.refused), "[]")?;
    same("status", &format!("{:#x}", report.status), "0x0")
}

fn hello(setup: Setup) -> Result<(), String> {
    for program in ["static", "fixed", "dynamic"] {
        let report = run(setup, &[&path(program), "hello", "world"], None)?;
        let wanted = format!("hello 3 world b {program}\nuid 7 execfn /{program}\n");
        same("output", &report.output, &wanted)?;
        same("status", &format!("{:#x}", report.status), "0x700")?;
        // The dynamic one maps files as well.
        let events: Vec<_> = kinds(&report).into_iter().filter(|kind| *kind != "result").collect();
        same("events", &format!("{events:?}"), r#"["execed", "exited"]"#)?;
    }
    Ok(())
}

fn missing(setup: Setup) -> Result<(), String> {
    let report = run(setup, &["not-there"], None)?;
    same("status", &format!("{:#x}", report.status), "0x7f00")?;
    same("errno", &format!("{:?}", report.start_failed), "Some(2)")?;
    let report = run(setup, &[&path("data")], None)?;
    same("status", &format!("{:#x}", report.status), "0x7e00")?;
    same("errno", &format!("{:?}", report.start_failed), "Some(8)")
}

fn memory(setup: Setup) -> Result<(), String> {
    for program in ["static", "fixed", "dynamic"] {
        prints(setup, &[&path(program), "memory"], "brk 1\n")?;
    }
    Ok(())
}

fn dynamic(setup: Setup) -> Result<(), String> {
    prints(setup, &[&path("dynamic"), "threads"], "thread\nthread\nthread\nthread\nsum 10000\n")
}

fn script(setup: Setup) -> Result<(), String> {
    let report = run(setup, &[&path("script"), "one"], None)?;
    same("output", &report.output, "hello 3 one b script\nuid 7 execfn /script\n")
}

fn forks(setup: Setup) -> Result<(), String> {
    let wanted: String = (0..5).map(|i| format!("child {i}\nwaited 1 {i}\n")).collect();
    prints(setup, &[&path("static"), "forks"], &wanted)
}

fn threads(setup: Setup) -> Result<(), String> {
    prints(setup, &[&path("static"), "threads"], "thread\nthread\nthread\nthread\nsum 10000\n")
}

fn eintr(setup: Setup) -> Result<(), String> {
    prints(setup, &[&path("static"), "eintr"], "read -1 Interrupted system call  handled 1\nagain 4\n")
}

fn restart(setup: Setup) -> Result<(), String> {
    prints(setup, &[&path("static"), "restart"], "read 4 - data handled 1\n")
}

fn ignored(setup: Setup) -> Result<(), String> {
    prints(setup, &[&path("static"), "ignored"], "ppoll 1\nread 1\n")
}

fn stopped(setup: Setup) -> Result<(), String> {
    let wanted = "stopped 1\ncontinued 1\nread 4 efgh\nstopped 1\ncontinued 1\nread 4 abcd\nstopped 1\ncontinued 1\n\
                  read 4 efgh\nexit 3\n";
    let report = run(setup, &[&path("static"), "stopped"], None)?;
    // The read of what was written during the stop may come before the line about its end.
    let mut lines: Vec<&str> = report.output.lines().collect();
    let mut wanted: Vec<&str> = wanted.lines().collect();
    lines.sort_unstable();
    wanted.sort_unstable();
    same("output", &lines.join("\n"), &wanted.join("\n"))
}

fn masked(setup: Setup) -> Result<(), String> {
    let wanted = "ppoll -1 1 handled 1 blocked 1\nppoll 1 handled 0\npending 1\nsigsuspend handled 1\n";
    prints(setup, &[&path("static"), "masked"], wanted)
}

fn files(setup: Setup) -> Result<(), String> {
    let wanted = "mmap 1 1 Permission denied\nx123 1234 2345\nprotect -1\n";
    prints(setup, &[&path("static"), "files", &path("data")], wanted)
}

fn exec(setup: Setup) -> Result<(), String> {
    let wanted = "exec: No such file or directory\nexec: Bad address\nhello 3 again b static\nuid 7 execfn /static\n";
    let report = run(setup, &[&path("static"), "execs", "plain"], None)?;
    same("output", &report.output, wanted)?;
    same("status", &format!("{:#x}", report.status), "0x700")?;
    same("events", &format!("{:?}", kinds(&report)), r#"["execed", "exec failed", "execed", "exited"]"#)
}

fn exec_thread(setup: Setup) -> Result<(), String> {
    let report = run(setup, &[&path("static"), "execs", "thread"], None)?;
    same("output", &report.output, "hello 3 again b static\nuid 7 execfn /static\n")?;
    same("status", &format!("{:#x}", report.status), "0x700")?;
    // The result of a call that the leader was in is told only when it got that far before the exec ended it.
    let told: Vec<&str> = kinds(&report).into_iter().filter(|kind| *kind != "result").collect();
    same("events", &format!("{told:?}"), r#"["execed", "cloned", "exited", "execed", "exited"]"#)
}

fn exec_vfork(setup: Setup) -> Result<(), String> {
    let report = run(setup, &[&path("static"), "execs", "vfork"], None)?;
    same("output", &report.output, "hello 3 again b static\nuid 7 execfn /static\nwaited 7\n")
}

fn fatal(setup: Setup) -> Result<(), String> {
    prints(setup, &[&path("static"), "fatal"], "signal 15\nsignal 11\nsignal 9\n")
}

fn entries(setup: Setup) -> Result<(), String> {
    let wanted = "int 0x80 -38\nx32 -1 38\nmagic -1 38\nuntraced -1 38\n";
    prints(setup, &[&path("static"), "entries"], wanted)
}

fn storm(setup: Setup) -> Result<(), String> {
    prints(setup, &[&path("static"), "storm"], "bad 0 handled 1\n")
}

fn busybox(setup: Setup) -> Result<(), String> {
    let script = "for i in 1 2 3; do echo $i; done; (exit 5); echo $?";
    prints(setup, &["busybox", "sh", "-c", script], "1\n2\n3\n5\n")
}

fn jail(setup: Setup) -> Result<(), String> {
    fake::look_at_jail(setup)
}

fn restarts(setup: Setup) -> Result<(), String> {
    prints(setup, &[&path("static"), "restarts"], "poll -1 1 handled 1\npoll 1 sleep 0 1\n")
}

fn epoll(setup: Setup) -> Result<(), String> {
    prints(setup, &[&path("static"), "epoll"], &"-1 1 handled 1 blocked 1\n".repeat(3))
}

fn killed(setup: Setup) -> Result<(), String> {
    let report = fake::run_with(setup, &[&path("static"), "killed"], None, |init, report| {
        if report.output == "ready\n" {
            let _ = process::kill(init, libc::SIGKILL);
        }
    })?;
    same("status", &format!("{:#x}", report.status), "0x9")?;
    let exited = kinds(&report).into_iter().filter(|kind| *kind == "exited").count();
    same("exits", &exited.to_string(), "7")
}

/// Prints what things cost; `RSC_TEST_COSTS` asks for it.
fn costs(setup: Setup) -> Result<(), String> {
    if std::env::var_os("RSC_TEST_COSTS").is_some() {
        print!("{}", run(setup, &[&path("static"), "costs", &path("data")], None)?.output);
    }
    Ok(())
}

fn mixed(setup: Setup) -> Result<(), String> {
    prints(setup, &[&path("static"), "mixed", &path("data")], "bad 0\n")
}

/// A kernel that says what it must not: everything is refused, nothing is written, and the workload goes on.
fn lies(setup: Setup) -> Result<(), String> {
    let hook = |call: &v1::Syscall| {
        let mut answer = match table::name(call.nr).as_ref() {
            "getcwd" => fake::answer(call.call, Outcome::Result(4)),
            "openat" => fake::answer(call.call, Outcome::Native(v1::Native { report: false })),
            "fchdir" => fake::answer(call.call, Outcome::Result(-512)),
            "umask" => fake::answer(call.call, Outcome::Exec(v1::Exec::default())),
            "sync" => fake::answer(call.call, Outcome::Map(v1::MapFile::default())),
            _ => return None,
        };
        if call.nr == 79 {
            answer.out.push(v1::Segment { addr: call.args[0], data: vec![b'x'; 64].into() });
        }
        Some(answer)
    };
    let report = run(setup, &[&path("static"), "lies"], Some(hook))?;
    let wanted = "getcwd -1 5 before after\nopen -1 1\nfchdir -1 5\numask -1 1\nsync -1 1\n";
    same("output", &report.output, wanted)?;
    same("refused", &report.refused.len().to_string(), "5")
}

/// The freezer breaks waits off without any signal: nothing is lost, nothing comes twice.
fn frozen(setup: Setup) -> Result<(), String> {
    let Some(freezer) = Freezer::new() else {
        eprintln!("    no freezer here: skipped");
        return Ok(());
    };
    let report = fake::run_with(setup, &[&path("static"), "frozen"], None, |init, _| {
        // Children are born into the group.
        let _ = std::fs::write(Freezer::folder().join("cgroup.procs"), init.to_string());
    });
    drop(freezer);
    same("output", &report?.output, "bad 0 0\n")
}

/// A cgroup v1 freezer, or a cgroup2, that a helper process freezes and thaws without pause.
struct Freezer {
    helper: i32,
}

impl Freezer {
    fn folder() -> PathBuf {
        let name = format!("rsc-engine-{}", nix::unistd::getpgrp());
        let v1 = Path::new("/sys/fs/cgroup/freezer");
        if v1.is_dir() { v1.join(name) } else { Path::new("/sys/fs/cgroup").join(name) }
    }

    fn new() -> Option<Freezer> {
        let folder = Freezer::folder();
        std::fs::create_dir_all(&folder).ok()?;
        let switch = [("freezer.state", "FROZEN", "THAWED"), ("cgroup.freeze", "1", "0")]
            .into_iter()
            .find(|(file, ..)| folder.join(file).exists());
        let Some((file, frozen, thawed)) = switch else {
            let _ = std::fs::remove_dir(&folder);
            return None;
        };
        let file = folder.join(file);
        match process::fork_into(0).ok()? {
            process::Forked::Parent(helper) => Some(Freezer { helper }),
            process::Forked::Child => {
                let parent = nix::unistd::getppid();
                while nix::unistd::getppid() == parent {
                    for state in [frozen, thawed] {
                        let _ = std::fs::write(&file, state);
                        std::thread::sleep(Duration::from_micros(1700));
                    }
                }
                process::exit_now(0)
            }
        }
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        let _ = process::kill(self.helper, libc::SIGKILL);
        let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(self.helper), None);
        let folder = Freezer::folder();
        for _ in 0..100 {
            if std::fs::remove_dir(&folder).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
