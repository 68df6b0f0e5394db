//! Bundles: finding, bounding, parsing and checking a config.json. What comes out can be run as it is; whatever could not be
//! honoured has been refused by the name of its property.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Mount, Spec};
use serde::de::DeserializeOwned;

use crate::annotations::{AnnotationError, Annotations, Permitted};
use crate::{check, json};

/// A config.json may have this many bytes; the largest that real clients write are some 100 KiB.
const MAX_CONFIG: u64 = 8 << 20;

/// What the caller allows a config.json to ask for.
#[derive(Clone, Debug, Default)]
pub struct Permissions {
    /// Which of our annotations it may set.
    pub annotations: Permitted,
}

/// Where the root file system comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootSource {
    /// A directory of the compute host, absolute.
    Directory(PathBuf),
    /// An export of the sentry.
    Export(String),
}

/// A checked bundle.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// Its directory, absolute.
    pub dir: PathBuf,
    /// Its config.json.
    pub spec: Spec,
    /// Where the root file system comes from.
    pub root: RootSource,
    /// Our annotations in it.
    pub annotations: Annotations,
    /// Properties that have no effect here, each with the reason; for the log.
    pub ignored: Vec<String>,
}

/// Why a bundle can't be run.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Something on the command line that stands in for a part of it.
    #[error("{0}")]
    Flag(String),
    /// The bundle's directory.
    #[error("bundle {path}: {source}; give the directory that holds config.json with --bundle")]
    Directory {
        /// As it was given.
        path: PathBuf,
        /// Why it can't be used.
        source: std::io::Error,
    },
    /// Reading the file.
    #[error("JSON specification file {path}: {source}; `rsc-runtime spec` writes one")]
    Read {
        /// The file.
        path: PathBuf,
        /// What failed.
        source: std::io::Error,
    },
    /// Larger than [`MAX_CONFIG`].
    #[error("{path}: larger than {MAX_CONFIG} bytes, which no config.json needs")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Nests deeper than any specification does.
    #[error("{path}: nested too deeply for a config.json")]
    TooDeep {
        /// The file.
        path: PathBuf,
    },
    /// Not JSON, or not of the specification's types.
    #[error("{path}: {property}{}", json::one_line(&.error.to_string()))]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The property, with a colon after it; empty when unknown.
        property: String,
        /// The parser's message with line and column.
        error: serde_json::Error,
    },
    /// A property that makes no sense or can't be honoured.
    #[error("config.json: {property}: {problem}")]
    Property {
        /// Its path, such as `process.args[0]`.
        property: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// One of our annotations.
    #[error("config.json: {0}")]
    Annotation(#[from] AnnotationError),
}

impl Bundle {
    /// Loads and checks the bundle in `dir`.
    pub fn load(dir: &Path, permissions: &Permissions) -> Result<Self, BundleError> {
        let dir = dir.canonicalize().map_err(|source| BundleError::Directory { path: dir.to_owned(), source })?;
        let spec: Spec = load_json(&dir.join("config.json"))?;
        let annotations = match spec.annotations() {
            Some(all) => Annotations::parse(all, &permissions.annotations)?,
            None => Annotations::default(),
        };
        let mut ignored = Vec::new();
        let root = check::check(&spec, &dir, &annotations, &mut ignored)?;
        Ok(Self { dir, spec, root, annotations, ignored })
    }

    /// The host's tree that a mount of this bundle shows; none when it is no bind mount.
    pub fn bind_source(&self, mount: &Mount) -> Option<PathBuf> {
        check::bind_source(mount, &self.dir)
    }
}

fn read(path: &Path) -> Result<String, BundleError> {
    let failed = |source| BundleError::Read { path: path.to_owned(), source };
    // A FIFO in its place must not hang us, hence the look before the opening.
    if !path.metadata().map_err(failed)?.is_file() {
        return Err(failed(std::io::Error::other("not a regular file")));
    }
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_CONFIG + 1).read_to_string(&mut text)).map_err(failed)?;
    if read as u64 > MAX_CONFIG {
        return Err(BundleError::TooLarge { path: path.to_owned() });
    }
    Ok(text)
}

/// Reads a bounded file of JSON; what is wrong with it is told by the property's name.
pub(crate) fn load_json<T: DeserializeOwned>(path: &Path) -> Result<T, BundleError> {
    parse(path, &read(path)?)
}

fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, BundleError> {
    json::check_depth(text).map_err(|_| BundleError::TooDeep { path: path.to_owned() })?;
    serde_json::from_str(text).map_err(|error| {
        let mut property = json::one_line(&json::property_at(text, error.line(), error.column()));
        if !property.is_empty() {
            property.push_str(": ");
        }
        BundleError::Syntax { path: path.to_owned(), property, error }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn load(config: &str) -> Result<Bundle, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("rootfs")).unwrap();
        std::fs::write(dir.path().join("config.json"), config).unwrap();
        Bundle::load(dir.path(), &Permissions::default()).map_err(|error| error.to_string())
    }

    /// The default specification with `change` made to it.
    fn with(change: impl FnOnce(&mut Value)) -> Result<Bundle, String> {
        let mut value: Value = serde_json::from_str(crate::defaults::SPEC).unwrap();
        change(&mut value);
        load(&value.to_string())
    }

    #[test]
    fn default_is_fine() {
        let bundle = with(|_| {}).unwrap();
        assert!(matches!(bundle.root, RootSource::Directory(path) if path.ends_with("rootfs")));
        let rootless = serde_json::to_string(&crate::defaults::rootless(1000, 1000)).unwrap();
        load(&rootless).unwrap();
    }

    #[test]
    fn accepts_every_version_one() {
        for version in ["1.0.0", "1.0.2-dev", "1.2.1", "1.3.0+x", "1.99.0-rc.1"] {
            with(|v| v["ociVersion"] = json!(version)).unwrap();
        }
        for version in ["", "1", "2.0.0", "0.9.0", "one", "1.x.0"] {
            let error = with(|v| v["ociVersion"] = json!(version)).unwrap_err();
            assert!(error.contains("ociVersion"), "{error}");
        }
    }

    #[test]
    fn broken_files() {
        assert!(load("{").unwrap_err().contains("EOF"));
        assert!(load(&"[".repeat(100_000)).unwrap_err().contains("nested"));
        assert!(load(&" ".repeat((8 << 20) + 1)).unwrap_err().contains("larger"));
        let error = Bundle::load(Path::new("/nonexistent/bundle"), &Permissions::default()).unwrap_err();
        assert!(error.to_string().contains("--bundle"), "{error}");
        let dir = tempfile::tempdir().unwrap();
        let error = Bundle::load(dir.path(), &Permissions::default()).unwrap_err();
        assert!(error.to_string().contains("config.json"), "{error}");
    }

    /// Each wrong change, and the property that the error must name.
    #[test]
    fn names_the_property() {
        type Change = fn(&mut Value);
        let cases: &[(Change, &str)] = &[
            (|v| v["process"]["args"] = json!("sh"), "process.args"),
            (|v| v["process"]["args"] = json!([]), "process.args"),
            (|v| v["process"]["args"] = json!(["a\u{0}b"]), "process.args[0]"),
            (|v| v["process"]["args"] = json!([1]), "process.args[0]"),
            (|v| v["process"]["cwd"] = json!("tmp"), "process.cwd"),
            (|v| v["process"]["cwd"] = json!(""), "process.cwd"),
            (|v| v["process"]["env"] = json!(["A=1", "B"]), "process.env[1]"),
            (|v| v["process"]["user"]["uid"] = json!(-1), "process.user.uid"),
            (|v| v["process"]["user"]["uid"] = json!(u32::MAX), "process.user.uid"),
            (|v| v["process"]["user"]["umask"] = json!(0o1777), "process.user.umask"),
            (|v| v["process"]["rlimits"][0]["type"] = json!("RLIMIT_FOO"), "process.rlimits[0].type"),
            (|v| v["process"]["rlimits"][0]["soft"] = json!(9999), "process.rlimits[0]"),
            (
                |v| {
                    let one = v["process"]["rlimits"][0].clone();
                    v["process"]["rlimits"] = json!([one, one]);
                },
                "process.rlimits[1]",
            ),
            (|v| v["process"]["capabilities"]["bounding"] = json!(["CAP_FOO"]), "process.capabilities.bounding"),
            (|v| v["process"]["oomScoreAdj"] = json!(1001), "process.oomScoreAdj"),
            (|v| v["process"]["scheduler"] = json!({"policy": "SCHED_FIFO"}), "process.scheduler"),
            (|v| v["process"] = Value::Null, "process"),
            (|v| v["root"] = Value::Null, "root"),
            (|v| v["root"]["path"] = json!(""), "root.path"),
            (|v| v["root"]["path"] = json!("nowhere"), "root.path"),
            (|v| v["root"]["path"] = json!("config.json"), "root.path"),
            (|v| v["hostname"] = json!("x".repeat(65)), "hostname"),
            (|v| v["mounts"][0]["destination"] = json!("proc"), "mounts[0].destination"),
            (|v| v["mounts"][0]["destination"] = json!("/a/../b"), "mounts[0].destination"),
            (|v| v["mounts"][0]["type"] = json!("ext4"), "mounts[0].type"),
            (|v| v["mounts"][1]["options"] = json!(["nosuit"]), "mounts[1].options[0]"),
            (
                |v| v["mounts"][0] = json!({"destination": "/x", "type": "bind", "source": "/nonexistent/x"}),
                "mounts[0].source",
            ),
            (|v| v["mounts"][0] = json!({"destination": "/x", "options": ["rbind"]}), "mounts[0].source"),
            (|v| v["hooks"] = json!({"prestart": [{"path": "bin/true"}]}), "hooks.prestart[0].path"),
            (|v| v["hooks"] = json!({"poststop": [{"path": "/bin/true", "timeout": 0}]}), "hooks.poststop[0].timeout"),
            (|v| v["annotations"] = json!({"": "x"}), "annotations"),
            (|v| v["annotations"] = json!({"dev.rsc.rootfs": "sentry:x"}), "dev.rsc.rootfs"),
            (|v| v["linux"]["namespaces"][0]["type"] = json!("foo"), "linux.namespaces[0].type"),
            (|v| v["linux"]["namespaces"][0]["path"] = json!("/proc/1/ns/none"), "linux.namespaces[0].path"),
            (
                |v| v["linux"]["namespaces"][0] = json!({"type": "mount", "path": "/proc/1/ns/mnt"}),
                "linux.namespaces[0].path",
            ),
            (
                |v| {
                    let one = v["linux"]["namespaces"][0].clone();
                    v["linux"]["namespaces"] = json!([one, one]);
                },
                "linux.namespaces[1]",
            ),
            (
                |v| v["linux"]["devices"] = json!([{"path": "/dev/sda", "type": "b", "major": 8, "minor": 0}]),
                "linux.devices[0]",
            ),
            (|v| v["linux"]["cgroupsPath"] = json!("/a/../../b"), "linux.cgroupsPath"),
            (|v| v["linux"]["resources"] = json!({"network": {"classID": 10}}), "linux.resources.network"),
            (|v| v["linux"]["resources"] = json!({"pids": {"limit": "x"}}), "linux.resources.pids.limit"),
            (|v| v["linux"]["maskedPaths"] = json!(["proc/x"]), "linux.maskedPaths[0]"),
            (|v| v["linux"]["rootfsPropagation"] = json!("sideways"), "linux.rootfsPropagation"),
            (|v| v["linux"]["personality"] = json!({"domain": "LINUX32"}), "linux.personality"),
            (|v| v["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1}}), "linux.timeOffsets"),
            (|v| v["linux"]["netDevices"] = json!({"eth0": {}}), "linux.netDevices"),
            (|v| v["linux"]["intelRdt"] = json!({"closID": "x"}), "linux.intelRdt"),
            // Texts which an error repeats must not break its line.
            (|v| v["root"]["path"] = json!("no\nwhere"), "no\\nwhere"),
            (|v| v["process"]["rlimits"][0]["type"] = json!("RLIMIT\nX"), "RLIMIT\\nX"),
        ];
        for (change, property) in cases {
            let error = with(change).expect_err(property);
            assert!(error.contains(property), "{error} does not name {property}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn annotation_needs_leave_to_choose_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let mut value: Value = serde_json::from_str(crate::defaults::SPEC).unwrap();
        value["annotations"] = json!({"dev.rsc.rootfs": "sentry:debian"});
        value["root"]["path"] = json!("nowhere");
        std::fs::write(dir.path().join("config.json"), value.to_string()).unwrap();
        let bundle = Bundle::load(dir.path(), &Permissions { annotations: Permitted::all() }).unwrap();
        assert_eq!(bundle.root, RootSource::Export("debian".to_owned()));
    }

    #[test]
    fn accepts_what_clients_write_beyond_need() {
        let bundle = with(|v| {
            v["process"]["apparmorProfile"] = json!("docker-default");
            v["linux"]["devices"] = json!([{"path": "/dev/null", "type": "c", "major": 1, "minor": 3}]);
            v["linux"]["resources"] = json!({"devices": [{"allow": false, "access": "rwm"}], "network": {},
                "memory": {"limit": 1 << 30}, "pids": {"limit": 100}, "cpu": {"shares": 512}, "blockIO": {}});
            v["linux"]["rootfsPropagation"] = json!("rslave");
            v["linux"]["personality"] = json!({"domain": "LINUX"});
            v["linux"]["sysctl"] = json!({"net.ipv4.ip_unprivileged_port_start": "0"});
            v["futureProperty"] = json!({"x": 1});
        });
        bundle.unwrap();
    }
}
