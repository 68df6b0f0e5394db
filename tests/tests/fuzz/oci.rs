//! What files and clients of the container tools say: config.json, state.json, annotations, ids, signals.

use crate::random::Random;
use crate::{fuzz, within};
use rsc_oci::annotations::{PREFIX, Permitted};
use rsc_oci::{Annotations, Bundle, ContainerId, Permissions, Record, RootSource, Store, defaults, signal};
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// Names that mean something somewhere in a config.json.
const KEYS: &[&str] = &[
    "process",
    "args",
    "env",
    "cwd",
    "user",
    "uid",
    "gid",
    "umask",
    "additionalGids",
    "rlimits",
    "type",
    "soft",
    "hard",
    "root",
    "path",
    "readonly",
    "mounts",
    "destination",
    "source",
    "options",
    "linux",
    "namespaces",
    "devices",
    "resources",
    "memory",
    "limit",
    "pids",
    "cpu",
    "shares",
    "quota",
    "period",
    "cgroupsPath",
    "maskedPaths",
    "readonlyPaths",
    "sysctl",
    "seccomp",
    "hostname",
    "hooks",
    "prestart",
    "annotations",
    "ociVersion",
    "capabilities",
    "bounding",
    "uidMappings",
    "containerID",
    "hostID",
    "size",
    "major",
    "minor",
    "fileMode",
    "access",
    "allow",
    "personality",
    "domain",
    "timeOffsets",
    "boottime",
    "consoleSize",
    "height",
    "width",
    "terminal",
    "oomScoreAdj",
    "rootfsPropagation",
    "blockIO",
    "weight",
    "unified",
    "dev.rsc.sentry",
    "dev.rsc.rootfs",
    "dev.rsc.on-loss",
    "windows",
    "vm",
    "solaris",
    "",
];

/// Texts that mean something as a value.
const TEXTS: &[&str] = &[
    "",
    "/",
    ".",
    "..",
    "/a/../b",
    "rootfs",
    "/proc",
    "sh",
    "A=1",
    "=",
    "=1",
    "a\0b",
    "1.0.2",
    "1.x",
    "bind",
    "tmpfs",
    "ro",
    "rbind",
    "size=1",
    "mode=",
    "pid",
    "network",
    "RLIMIT_NOFILE",
    "CAP_KILL",
    "sentry:x",
    "kill",
    "private",
    "LINUX",
    "c",
    "rwm",
    "/dev/null",
];

fn value(r: &mut Random, depth: usize) -> Value {
    match r.below(if depth == 0 { 7 } else { 10 }) {
        0 => Value::Null,
        1 => json!(r.one_in(2)),
        2 => json!(r.number()),
        3 => json!(r.number() as i64),
        4 => json!(r.number() as f64 / 3.0),
        5 | 6 => text(r),
        7 => Value::Array((0..r.below(4)).map(|_| value(r, depth - 1)).collect()),
        _ => (0..r.below(4)).map(|_| (r.pick(KEYS).to_string(), value(r, depth - 1))).collect::<Map<_, _>>().into(),
    }
}

fn text(r: &mut Random) -> Value {
    if r.one_in(3) { r.text("abc/=.:-0", 20).into() } else { (*r.pick(TEXTS)).into() }
}

/// Changes one place somewhere in `json`.
fn change(r: &mut Random, json: &mut Value) {
    match json {
        Value::Object(map) if !map.is_empty() && !r.one_in(6) => {
            let at = r.below(map.len());
            let key = map.keys().nth(at).unwrap().clone();
            match r.below(10) {
                0 => drop(map.remove(&key)),
                1 => drop(map.insert((*r.pick(KEYS)).to_owned(), value(r, 3))),
                _ => change(r, &mut map[&key]),
            }
        }
        Value::Array(list) if !list.is_empty() && !r.one_in(6) => {
            let at = r.below(list.len());
            match r.below(8) {
                0 => drop(list.remove(at)),
                1 => list.push(list[at].clone()),
                _ => change(r, &mut list[at]),
            }
        }
        Value::Number(_) if !r.one_in(3) => *json = json!(r.number()),
        Value::String(_) if !r.one_in(3) => *json = text(r),
        _ => *json = value(r, 3),
    }
}

/// What holds of a bundle that was let in.
fn check(bundle: &Bundle) {
    assert!(bundle.dir.is_absolute());
    if let RootSource::Directory(path) = &bundle.root {
        assert!(path.is_absolute() && path.is_dir());
    }
    let process = bundle.spec.process().as_ref().unwrap();
    assert!(process.cwd().is_absolute());
    let args = process.args().as_ref().unwrap();
    assert!(!args.is_empty() && !args[0].is_empty());
    for text in args.iter().chain(process.env().iter().flatten()) {
        assert!(!text.contains('\0'));
    }
    for mount in bundle.spec.mounts().iter().flatten() {
        assert!(mount.destination().is_absolute());
        assert!(!mount.destination().components().any(|part| part.as_os_str() == ".."));
    }
    assert!(bundle.spec.hostname().as_ref().is_none_or(|name| name.len() <= 64 && !name.contains('\0')));
    assert!(bundle.spec.linux().as_ref().is_none_or(|linux| linux.seccomp().is_none()));
}

#[test]
fn config_json() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("rootfs")).unwrap();
    let path = dir.path().join("config.json");
    let mut spec: Value = serde_json::from_str(defaults::SPEC).unwrap();
    spec["annotations"] = json!({"dev.rsc.platform": "auto", "org.example": "x"});
    spec["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "0"});
    spec["linux"]["resources"] = json!({"memory": {"limit": 1 << 20}, "pids": {"limit": 10}, "cpu": {"shares": 10}});
    let (mut good, mut bad) = (0, 0);
    fuzz("oci::config_json", 1500, |r| {
        let mut json = spec.clone();
        for _ in 0..1 + r.below(3) {
            change(r, &mut json);
        }
        let mut text = json.to_string().into_bytes();
        if r.one_in(4) {
            r.damage(&mut text);
        }
        std::fs::write(&path, &text).unwrap();
        let permissions = Permissions { annotations: permitted(r.one_in(2)) };
        // Each property may be a structure of the specification's, all of whose fields are there.
        match within((256 << 10) + 64 * text.len(), || Bundle::load(dir.path(), &permissions)) {
            Ok(bundle) => {
                good += 1;
                check(&bundle);
                let again = serde_json::to_vec(&bundle.spec).unwrap();
                std::fs::write(&path, again).unwrap();
                let again = Bundle::load(dir.path(), &permissions).unwrap_or_else(|error| {
                    panic!("{error} of {} which came from {}", json!(bundle.spec), String::from_utf8_lossy(&text))
                });
                assert_eq!(again.spec, bundle.spec);
                assert_eq!((again.root, again.annotations), (bundle.root, bundle.annotations));
            }
            Err(error) => {
                bad += 1;
                assert!(!error.to_string().contains('\n'), "{error:?}");
            }
        }
    });
    println!("{good} accepted, {bad} refused");
}

fn record() -> Record {
    serde_json::from_value(json!({
        "ociVersion": "1.2.1", "id": "c1", "bundle": "/b", "rootfs": "/b/rootfs", "created": "2024-01-01T00:00:00Z", "owner": 0,
        "annotations": {"a": "b"}, "stage": "created", "creator": {"pid": 1, "start_time": 2}, "init": null, "supervisor": null,
        "helpers": [{"pid": 3, "start_time": 4}], "cgroups": ["/sys/fs/cgroup/x"],
        "settings": {"sentry": null, "token_file": "/t", "tls_ca": null, "tls_cert": null, "tls_key": null, "platform": "auto",
            "placement": "strict", "on_loss": "kill", "loss_grace": 30, "strace": null},
    }))
    .unwrap()
}

#[test]
fn state_json() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    let container = store.create(&ContainerId::parse("c1").unwrap()).unwrap();
    container.save(&record()).unwrap();
    let path = container.dir().join("state.json");
    let saved = std::fs::read(&path).unwrap();
    fuzz("oci::state_json", 1500, |r| {
        let mut text = saved.clone();
        if r.one_in(2) {
            let mut json: Value = serde_json::from_slice(&saved).unwrap();
            change(r, &mut json);
            text = json.to_string().into_bytes();
        } else {
            r.damage(&mut text);
        }
        std::fs::write(&path, &text).unwrap();
        match within((64 << 10) + 32 * text.len(), || container.load()) {
            Ok(loaded) => {
                let loaded = loaded.unwrap();
                let _ = loaded.status();
                container.save(&loaded).unwrap();
                assert_eq!(container.load().unwrap(), Some(loaded));
            }
            Err(error) => assert!(!error.to_string().contains('\n'), "{error:?}"),
        }
    });
}

/// All annotations or, as without a word from the host, those that choose neither a sentry nor a root.
fn permitted(every: bool) -> Permitted {
    if every { Permitted::all() } else { Permitted::default() }
}

#[test]
fn annotations() {
    let names = ["sentry", "rootfs", "platform", "placement", "on-loss", "", "sentri"];
    let values = ["", "auto", "ptrace", "strict", "kill", "eio", "sentry:debian", "sentry:", "sentry:a/b", "tcp://h:1"];
    fuzz("oci::annotations", 5000, |r| {
        let mut all = HashMap::new();
        for _ in 0..r.below(5) {
            let prefix = if r.one_in(4) { "org." } else { PREFIX };
            let value = *r.pick(&values);
            let value = if r.one_in(4) { r.damage_text(value) } else { value.to_owned() };
            all.insert(format!("{prefix}{}", r.pick(&names)), value);
        }
        let every = r.one_in(2);
        match Annotations::parse(&all, &permitted(every)) {
            Ok(parsed) => {
                let ours = all.keys().filter(|key| key.starts_with(PREFIX)).count();
                let set = [
                    parsed.sentry.is_some(),
                    parsed.rootfs.is_some(),
                    parsed.platform.is_some(),
                    parsed.placement.is_some(),
                    parsed.on_loss.is_some(),
                ];
                assert_eq!(ours, set.iter().filter(|set| **set).count(), "none of ours is without effect");
                assert!(every || (parsed.sentry.is_none() && parsed.rootfs.is_none()));
                assert!(parsed.rootfs.is_none_or(|name| !name.is_empty() && !name.contains(['/', '\0', '\n'])));
            }
            Err(error) => assert!(!error.to_string().contains('\n'), "{error:?}"),
        }
    });
}

#[test]
fn container_ids() {
    fuzz("oci::container_ids", 20_000, |r| {
        let long = if r.one_in(10) { 300 } else { 8 };
        let text = r.text("abcXYZ019_+-.,/", long);
        match ContainerId::parse(&text) {
            Ok(id) => {
                assert_eq!(id.as_str(), text);
                assert!(text.len() <= 255 && text != "." && text != ".." && !text.starts_with('-'));
                assert!(text.bytes().all(|b| b.is_ascii_graphic() && b != b'/'));
                let json = serde_json::to_string(&id).unwrap();
                assert_eq!(serde_json::from_str::<ContainerId>(&json).unwrap(), id);
            }
            Err(error) => {
                assert!(!error.to_string().contains('\n'), "{error:?}");
                assert!(serde_json::from_value::<ContainerId>(json!(text)).is_err());
                // An id which can't have been given names no container: it is no path either.
                let missing = Store::new("/").entry(&text).unwrap_err().to_string();
                assert!(missing.contains("does not exist") && !missing.contains('\n'), "{missing}");
            }
        }
    });
}

#[test]
fn signals() {
    let valid = ["15", "TERM", "SIGKILL", "sighup", "RTMIN+1", "SIGRTMAX-3", "RTMIN", "CLD", "0", "64"];
    fuzz("oci::signals", 20_000, |r| {
        let base = *r.pick(&valid);
        let text = if r.one_in(3) { r.text("SIGRTMINAX+-0123456789", 14) } else { r.damage_text(base) };
        match signal::parse(&text) {
            Ok(number) => assert!((0..=64).contains(&number), "{text:?}"),
            Err(error) => assert!(!error.to_string().contains('\n'), "{error:?}"),
        }
    });
}
