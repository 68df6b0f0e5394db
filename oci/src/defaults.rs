//! What `spec` and `features` print.

use serde_json::{Value, json};

/// The newest runtime specification that is followed.
pub const OCI_VERSION: &str = "1.2.1";

/// A config.json to begin with.
pub const SPEC: &str = include_str!("default_spec.json");

/// The same for a user without privileges.
pub fn rootless(uid: u32, gid: u32) -> Value {
    let mut spec: Value = serde_json::from_str(SPEC).unwrap_or_default();
    if let Some(namespaces) = spec.pointer_mut("/linux/namespaces").and_then(Value::as_array_mut) {
        namespaces.retain(|namespace| namespace["type"] != "network");
        namespaces.push(json!({"type": "user"}));
    }
    if let Some(linux) = spec.pointer_mut("/linux").and_then(Value::as_object_mut) {
        linux.remove("resources");
        linux.insert("uidMappings".to_owned(), json!([{"containerID": 0, "hostID": uid, "size": 1}]));
        linux.insert("gidMappings".to_owned(), json!([{"containerID": 0, "hostID": gid, "size": 1}]));
    }
    if let Some(mounts) = spec.pointer_mut("/mounts").and_then(Value::as_array_mut) {
        for mount in mounts {
            // A gid that is not mapped can't own the terminals.
            if let Some(options) = mount.pointer_mut("/options").and_then(Value::as_array_mut) {
                options.retain(|option| option != "gid=5");
            }
        }
    }
    spec
}

/// The features structure of the runtime specification.
pub fn features() -> Value {
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI_VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": crate::check::MOUNT_OPTIONS,
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"],
            "capabilities": caps(),
            "cgroup": {"v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": false},
            "seccomp": crate::seccomp::features(),
            "apparmor": {"enabled": false},
            "selinux": {"enabled": false},
            "intelRdt": {"enabled": false},
            "mountExtensions": {"idmap": {"enabled": false}}
        },
        "annotations": {"dev.rsc.version": env!("CARGO_PKG_VERSION")},
        "potentiallyUnsafeConfigAnnotations": ["dev.rsc."]
    })
}

/// Names of all capabilities in the order of their numbers.
pub const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

fn caps() -> Value {
    json!(CAPABILITIES.as_slice())
}

/// The bit of a capability, by its name.
pub fn capability_bit(name: &str) -> Option<u64> {
    CAPABILITIES.iter().position(|known| *known == name).map(|number| 1 << number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capability_numbers() {
        assert_eq!(capability_bit("CAP_CHOWN"), Some(1));
        assert_eq!(capability_bit("CAP_SYS_ADMIN"), Some(1 << 21));
        assert_eq!(capability_bit("CAP_CHECKPOINT_RESTORE"), Some(1 << 40));
        assert_eq!(capability_bit("CAP_NO"), None);
    }
}
