//! Writing OCI bundles: a config.json with what nearly every container has, and settings for what tests change.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

/// The capabilities that container engines give by default.
pub const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// The host name of all test containers.
pub const HOSTNAME: &str = "conformance";

/// A bundle about to be written.
#[derive(Debug, Clone)]
pub struct Bundle {
    dir: PathBuf,
    config: Value,
}

impl Bundle {
    /// A bundle in `dir` whose root is `root` (absolute, or relative to `dir`) and which runs `args`.
    #[must_use]
    pub fn new(dir: &Path, root: &Path, args: &[&str]) -> Self {
        let mount = |to: &str, kind: &str, options: &[&str]| json!({"destination": to, "type": kind, "source": kind, "options": options});
        let config = json!({
            "ociVersion": "1.0.2",
            "process": {
                "terminal": false,
                "user": {"uid": 0, "gid": 0},
                "args": args,
                "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"],
                "cwd": "/",
                "capabilities": {"bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES},
                "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024}],
                "noNewPrivileges": false,
            },
            "root": {"path": root, "readonly": false},
            "hostname": HOSTNAME,
            "mounts": [
                mount("/proc", "proc", &[]),
                mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
                mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
                mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
                mount("/tmp", "tmpfs", &["nosuid", "nodev", "mode=1777"]),
            ],
            "linux": {"namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}]},
        });
        Self { dir: dir.to_owned(), config }
    }

    /// Sets the value at a JSON pointer, such as `/process/cwd`; missing objects on the way are made.
    #[must_use]
    pub fn set(mut self, pointer: &str, value: Value) -> Self {
        let mut at = &mut self.config;
        for key in pointer.trim_start_matches('/').split('/') {
            let key = key.replace("~1", "/").replace("~0", "~");
            if at.is_array() {
                let Some(slot) = key.parse::<usize>().ok().and_then(|i| at.get_mut(i)) else { return self };
                at = slot;
                continue;
            }
            if !at.is_object() {
                *at = Value::Object(Map::new());
            }
            let Some(map) = at.as_object_mut() else { return self };
            at = map.entry(key).or_insert(Value::Null);
        }
        *at = value;
        self
    }

    /// Adds an annotation.
    #[must_use]
    pub fn annotate(self, key: &str, value: &str) -> Self {
        self.set(&format!("/annotations/{}", key.replace('~', "~0").replace('/', "~1")), json!(value))
    }

    /// Writes `config.json` and gives the bundle's directory.
    ///
    /// # Errors
    /// The directory cannot be made or written.
    pub fn write(&self) -> Result<&Path> {
        fs::create_dir_all(&self.dir).with_context(|| format!("make {}", self.dir.display()))?;
        fs::write(self.dir.join("config.json"), serde_json::to_vec_pretty(&self.config)?)
            .with_context(|| format!("write the configuration in {}", self.dir.display()))?;
        Ok(&self.dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_makes_what_is_missing() {
        let b = Bundle::new(Path::new("/b"), Path::new("rootfs"), &["true"]);
        let b = b.annotate("dev.rsc/x", "y").set("/process/cwd", json!("/d")).set("/mounts/0/options", json!(["ro"]));
        assert_eq!(b.config["annotations"]["dev.rsc/x"], "y");
        assert_eq!(b.config["process"]["cwd"], "/d");
        assert_eq!(b.config["mounts"][0]["options"][0], "ro");
    }
}
