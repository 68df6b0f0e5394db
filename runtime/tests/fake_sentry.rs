//! The life cycle against a sentry of a few lines: what the runtime does itself, without a kernel behind it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

mod fake;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use fake::{FakeSentry, Lie};
use rsc_proto::v1::{Native, answer};

const BUSYBOX: &str = "/bin/busybox";

struct Scene {
    dir: tempfile::TempDir,
    sentry: FakeSentry,
}

impl Scene {
    fn new(lie: Lie) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("bundle/rootfs")).unwrap();
        let sentry = FakeSentry::start(dir.path(), Path::new(BUSYBOX), lie);
        Self { dir, sentry }
    }

    fn cgroup(&self) -> String {
        format!("rsc-test{}", self.dir.path().file_name().unwrap().to_string_lossy())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn config(&self, args: &[&str]) {
        let mut value: serde_json::Value = serde_json::from_str(rsc_oci::defaults::SPEC).unwrap();
        value["process"]["terminal"] = false.into();
        value["process"]["args"] = args.into();
        // Tests run beside each other with the same ids.
        value["linux"]["cgroupsPath"] = format!("/{}", self.cgroup()).into();
        fs::write(self.path("bundle/config.json"), value.to_string()).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.args(["-k", "5", "30", env!("CARGO_BIN_EXE_rsc-runtime"), "--root"]).arg(self.path("state"));
        command.args(["--sentry", &self.sentry.url]).args(args);
        command.current_dir(self.path("bundle")).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// `create`, whose standard output and error become the container's.
    #[track_caller]
    fn create(&self, args: &[&str]) -> i32 {
        let status = self.command(args).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        status.code().unwrap()
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits until the status is `wanted`.
    #[track_caller]
    fn becomes(&self, id: &str, wanted: &str) {
        for _ in 0..500 {
            let output = self.run(&["state", id]);
            if String::from_utf8_lossy(&output.stdout).contains(&format!("\"{wanted}\"")) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("{id} does not become {wanted}");
    }

    fn status(&self, id: &str) -> String {
        let state: serde_json::Value = serde_json::from_str(&self.ok(&["state", id])).unwrap();
        state["status"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn nothing_left(&self) {
        assert_eq!(fs::read_dir(self.path("state")).unwrap().count(), 0);
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            assert!(!hierarchy.path().join(self.cgroup()).exists(), "{hierarchy:?}");
        }
    }
}

#[test]
fn run_passes_output_and_status_on() {
    let scene = Scene::new(|_| None);
    for platform in ["ptrace", "seccomp"] {
        for placement in ["strict", "auto"] {
            scene.config(&["/bin/busybox", "echo", "hello"]);
            let output = scene.run(&["--platform", platform, "--placement", placement, "run", "fake-1"]);
            assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{platform} {placement}");
            assert_eq!(output.stdout, b"hello\n");
            assert_eq!(output.status.code(), Some(0));
            scene.config(&["/bin/busybox", "false"]);
            assert_eq!(scene.run(&["--platform", platform, "--placement", placement, "run"]).status.code(), Some(1));
        }
    }
    scene.nothing_left();
}

#[test]
fn programs_that_can_not_be_executed() {
    let scene = Scene::new(|_| None);
    for (program, code, words) in [
        ("nosuch", 127, "executable file not found in $PATH"),
        ("/nosuch", 127, "no such file or directory"),
        ("/noexec", 126, "permission denied"),
    ] {
        scene.config(&[program]);
        let output = scene.run(&["run", "fake-1"]);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(words) && text.lines().count() == 1, "{text}");
    }
    scene.nothing_left();
}

/// A line of `/proc/PID/status`.
fn status_line(pid: &str, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t")).unwrap().trim().to_owned()
}

#[test]
fn a_supervisor_holds_what_the_documentation_says() {
    let scene =
        Scene::new(|call| (call.nr == 35 || call.nr == 230).then_some(answer::Outcome::Native(Native::default())));
    scene.config(&["busybox", "sleep", "1000"]);
    for platform in ["ptrace", "seccomp"] {
        assert_eq!(scene.create(&["--platform", platform, "create", "--pid-file", "pid", "fake-1"]), 0);
        let init = fs::read_to_string(scene.path("bundle/pid")).unwrap();
        let supervisor = status_line(&init, "TracerPid");
        for started in [false, true] {
            if started {
                scene.ok(&["start", "fake-1"]);
            }
            for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
                assert_eq!(status_line(&supervisor, set), "0000000000000000", "{set}");
            }
            if nix::unistd::geteuid().is_root() {
                assert_eq!(status_line(&supervisor, "CapBnd"), "0000000000000000");
            }
            assert_eq!(status_line(&supervisor, "NoNewPrivs"), "1");
            assert_eq!(status_line(&supervisor, "Seccomp"), "2");
            assert_eq!(status_line(&supervisor, "Threads"), "1");
        }
        // What it has open besides 0, 1 and 2: nothing of the host's files, and of whoever started it the workload's 0, 1 and 2.
        for entry in fs::read_dir(format!("/proc/{supervisor}/fd")).unwrap().flatten() {
            // It goes on working: what was for a moment only may be gone.
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            let target = target.display().to_string();
            let number: u32 = entry.file_name().to_str().unwrap().parse().unwrap();
            let known = [
                "socket:",
                "anon_inode:seccomp notify",
                "anon_inode:[eventpoll]",
                "anon_inode:[eventfd]",
                "anon_inode:[pidfd]",
                "anon_inode:[signalfd]",
                "/memfd:",
                "/dev/null",
            ];
            assert!(number < 3 || known.iter().any(|kind| target.starts_with(kind)), "{number}: {target}");
        }
        scene.ok(&["delete", "--force", "fake-1"]);
    }
    scene.nothing_left();
}

#[test]
fn steps_of_a_life() {
    let scene =
        Scene::new(|call| (call.nr == 35 || call.nr == 230).then_some(answer::Outcome::Native(Native::default())));
    scene.config(&["busybox", "sleep", "1000"]);
    assert_eq!(scene.create(&["create", "--pid-file", "pid", "fake-1"]), 0);
    let pid = fs::read_to_string(scene.path("bundle/pid")).unwrap();
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    assert_eq!(scene.status("fake-1"), "created");
    assert_eq!(scene.run(&["create", "fake-1"]).status.code(), Some(1));
    scene.ok(&["start", "fake-1"]);
    assert_eq!(scene.status("fake-1"), "running");
    assert_eq!(scene.run(&["start", "fake-1"]).status.code(), Some(1));
    assert_eq!(scene.run(&["delete", "fake-1"]).status.code(), Some(1));
    assert_eq!(scene.ok(&["list", "-q"]), "fake-1\n");
    scene.ok(&["kill", "fake-1", "KILL"]);
    scene.becomes("fake-1", "stopped");
    let dead = scene.run(&["kill", "fake-1", "TERM"]);
    assert!(String::from_utf8(dead.stderr).unwrap().contains("container not running"));
    scene.ok(&["delete", "fake-1"]);
    scene.ok(&["delete", "--force", "fake-1"]);
    // Not started, and with force.
    for (start, delete) in [(false, &["delete", "fake-1"][..]), (true, &["delete", "--force", "fake-1"])] {
        assert_eq!(scene.create(&["create", "fake-1"]), 0);
        if start {
            scene.ok(&["start", "fake-1"]);
        }
        scene.ok(delete);
    }
    scene.nothing_left();
}

#[test]
fn signals_reach_the_workload() {
    let scene =
        Scene::new(|call| (call.nr == 35 || call.nr == 230).then_some(answer::Outcome::Native(Native::default())));
    scene.config(&["busybox", "sleep", "1000"]);
    let mut child = scene.command(&["run", "fake-1"]).spawn().unwrap();
    scene.becomes("fake-1", "running");
    scene.ok(&["kill", "fake-1", "9"]);
    assert_eq!(child.wait().unwrap().code(), Some(137));
    scene.nothing_left();
}

#[test]
fn a_lying_sentry_can_not_reach_the_host() {
    // "Run openat natively": refused, and the workload sees an error instead.
    let scene = Scene::new(|call| (call.nr == 257).then_some(answer::Outcome::Native(Native::default())));
    scene.config(&["busybox", "cat", "/etc/hostname"]);
    let output = scene.run(&["run", "fake-1"]);
    assert_ne!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"");
    scene.nothing_left();
}
