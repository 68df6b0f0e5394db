//! What is expected of each program.

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
    let wanted = r#"["execed", "cloned", "result", "exited", "execed", "exited"]"#;
    same("events", &format!("{:?}", kinds(&report)), wanted)
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
