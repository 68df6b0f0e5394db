//! Bad input to the command line: one line on standard error, the right exit status, the same in the log, nothing left behind.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir_all(scene.path("bundle/rootfs")).unwrap();
        scene
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn config(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let mut value: serde_json::Value = serde_json::from_str(rsc_oci::defaults::SPEC).unwrap();
        value["process"]["terminal"] = false.into();
        change(&mut value);
        fs::write(self.path("bundle/config.json"), value.to_string()).unwrap();
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rsc-runtime"));
        command.args(["--root", self.path("state").to_str().unwrap()]);
        command.args(["--log", self.path("log").to_str().unwrap(), "--log-format", "json"]);
        command.args(args).env_clear().current_dir(self.path("bundle")).output().unwrap()
    }

    /// Fails with `code` and one line that has `words`, and leaves nothing.
    #[track_caller]
    fn fails(&self, args: &[&str], code: i32, words: &str) {
        let output = self.run(args);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        assert!(text.contains(words), "{args:?}: {text}");
        assert_eq!(text.lines().count(), 1, "{args:?}: {text}");
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        if let Some(last) = log.lines().last() {
            let last: serde_json::Value = serde_json::from_str(last).unwrap();
            assert_eq!(last["level"], "error");
            assert!(text.contains(last["msg"].as_str().unwrap()), "{last} is not {text}");
        }
        let left = fs::read_dir(self.path("state")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{args:?} left something behind");
    }
}

#[test]
fn command_line() {
    let scene = Scene::new();
    scene.fails(&["run", "--fly"], 1, "--fly");
    scene.fails(&["fly"], 1, "fly");
    scene.fails(&[], 1, "no command");
    scene.fails(&["--platform", "kvm", "list"], 1, "kvm");
    scene.fails(&["--systemd-cgroup", "list"], 1, "systemd cgroup flag passed");
    scene.fails(&["create", "--preserve-fds", "many", "c"], 1, "preserve-fds");
}

#[test]
fn bundles() {
    let scene = Scene::new();
    scene.fails(&["create", "c"], 1, "config.json");
    scene.fails(&["run", "--bundle", "/nonexistent", "c"], 1, "/nonexistent");
    fs::write(scene.path("bundle/config.json"), "{ not json").unwrap();
    scene.fails(&["create", "c"], 1, "config.json");
    scene.config(|v| v["process"]["args"] = "sh".into());
    scene.fails(&["run", "c"], 1, "process.args");
    scene.config(|v| v["root"]["path"] = "nowhere".into());
    scene.fails(&["run", "c"], 1, "root.path");
    scene.config(|v| v["annotations"] = serde_json::json!({"dev.rsc.sentry": "unix:///x"}));
    scene.fails(&["run", "c"], 1, "--allow-annotations");
    scene.config(|v| v["annotations"] = serde_json::json!({"dev.rsc.sentri": "unix:///x"}));
    scene.fails(&["run", "c"], 1, "dev.rsc.sentri");
}

#[test]
fn ids() {
    let scene = Scene::new();
    scene.config(|_| {});
    for id in ["a/b", "..", "a b", ""] {
        scene.fails(&["create", id], 1, "container id");
    }
    scene.fails(&["create", &"x".repeat(300)], 1, "container id");
    for command in ["start", "state", "kill", "delete"] {
        scene.fails(&[command, "nobody"], 1, "does not exist");
        scene.fails(&[command, "../etc"], 1, "does not exist");
    }
    scene.fails(&["kill", "nobody", "SIGFOO"], 1, "SIGFOO");
}

#[test]
fn harmless_repetition() {
    let scene = Scene::new();
    assert!(scene.run(&["delete", "--force", "nobody"]).status.success());
    assert!(scene.run(&["list"]).stdout.starts_with(b"ID "));
    assert_eq!(scene.run(&["list", "-q"]).stdout, b"");
    assert_eq!(scene.run(&["list", "--format", "json"]).stdout, b"[]\n");
    assert_eq!(scene.run(&["--version"]).stdout.iter().filter(|byte| **byte == b'\n').count(), 3);
    let features: serde_json::Value = serde_json::from_slice(&scene.run(&["features"]).stdout).unwrap();
    assert_eq!(features["ociVersionMin"], "1.0.0");
}

#[test]
fn spec_is_a_bundle() {
    let scene = Scene::new();
    assert!(scene.run(&["spec"]).status.success());
    rsc_oci::Bundle::load(&scene.path("bundle"), &rsc_oci::Permissions::default()).unwrap();
    scene.fails(&["spec"], 1, "exists");
    fs::remove_file(scene.path("bundle/config.json")).unwrap();
    assert!(scene.run(&["spec", "--rootless"]).status.success());
    rsc_oci::Bundle::load(&scene.path("bundle"), &rsc_oci::Permissions::default()).unwrap();
    assert!(Path::new(&scene.path("bundle/config.json")).exists());
}

#[test]
fn an_unwritable_log_is_told() {
    let scene = Scene::new();
    let output =
        Command::new(env!("CARGO_BIN_EXE_rsc-runtime")).args(["--log", "/nonexistent/log", "list"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("/nonexistent/log"));
    drop(scene);
}

#[test]
fn a_half_made_container_can_be_deleted() {
    let scene = Scene::new();
    fs::create_dir_all(scene.path("state/half")).unwrap();
    fs::create_dir_all(scene.path("state/broken")).unwrap();
    fs::write(scene.path("state/broken/state.json"), "{\"id\":").unwrap();
    assert!(scene.run(&["list", "-q"]).status.success());
    assert_eq!(scene.run(&["start", "half"]).status.code(), Some(1));
    assert_eq!(scene.run(&["delete", "broken"]).status.code(), Some(1));
    for id in ["half", "broken"] {
        assert!(scene.run(&["delete", "--force", id]).status.success());
        assert!(!scene.path("state").join(id).exists());
    }
}
