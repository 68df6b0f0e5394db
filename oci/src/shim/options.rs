//! What containerd's configuration says of this runtime: runc's own options (`containerd.runc.v1.Options`), or the file that the
//! CRI plugin hands to runtimes which it doesn't know (`runtimeoptions.v1.Options`): that is rsc's configuration.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use containerd_shim_protos::protobuf::{CodedInputStream, Message as _, well_known_types::any::Any};
use containerd_shim_protos::shim::oci::Options as RuncOptions;
use serde::{Deserialize, Serialize};

use super::error::{Doing as _, ShimError};

/// File of a container's folder in which `create` keeps them for `delete`.
const FILE: &str = "rsc-options.json";
/// File of a container's folder for a configuration that came as text.
const CONFIG: &str = "rsc-config.toml";
/// They are never larger.
const MAX_OPTIONS: u64 = 1 << 20;

/// How the OCI runtime is to be called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Options {
    /// `BinaryName`: the OCI runtime.
    pub(super) binary: Option<PathBuf>,
    /// `Root`: where it keeps its state, by namespace.
    pub(super) root: Option<PathBuf>,
    /// `SystemdCgroup`.
    pub(super) systemd_cgroup: bool,
    /// `NoPivotRoot`.
    pub(super) no_pivot_root: bool,
    /// `NoNewKeyring`.
    pub(super) no_new_keyring: bool,
    /// `IoUid`: whose the FIFOs of standard output are to be.
    pub(super) io_uid: u32,
    /// `IoGid`.
    pub(super) io_gid: u32,
    /// `ShimCgroup`: one that exists, for the shim itself.
    pub(super) shim_cgroup: Option<PathBuf>,
    /// Configuration file for the runtime.
    pub(super) config: Option<PathBuf>,
}

fn set(text: String) -> Option<PathBuf> {
    (!text.is_empty()).then(|| text.into())
}

impl Options {
    /// Reads them; `bundle` is for what must become a file.
    pub(super) fn parse(any: Option<&Any>, bundle: &Path) -> Result<Self, ShimError> {
        let Some(any) = any.filter(|any| !any.type_url.is_empty()) else { return Ok(Self::default()) };
        let invalid = |what: String| ShimError::Invalid(format!("options of type {}: {what}", any.type_url));
        // URLs end in the name of the type.
        match any.type_url.rsplit('/').next().unwrap_or_default() {
            "containerd.runc.v1.Options" => {
                let given = RuncOptions::parse_from_bytes(&any.value).map_err(|error| invalid(error.to_string()))?;
                if !given.task_api_address.is_empty() {
                    // It tells containerd where another shim serves; a container's own has no use for it, runc's neither.
                    tracing::info!("option TaskApiAddress is not for this shim");
                }
                Ok(Self {
                    binary: set(given.binary_name),
                    root: set(given.root),
                    systemd_cgroup: given.systemd_cgroup,
                    no_pivot_root: given.no_pivot_root,
                    no_new_keyring: given.no_new_keyring,
                    io_uid: given.io_uid,
                    io_gid: given.io_gid,
                    shim_cgroup: set(given.shim_cgroup),
                    config: None,
                })
            }
            "runtimeoptions.v1.Options" | "cri.runtimeoptions.v1.Options" => {
                let (path, body) = runtime_options(&any.value).map_err(invalid)?;
                let config = match set(path) {
                    None if !body.is_empty() => {
                        let file = bundle.join(CONFIG);
                        fs::write(&file, body).map_err(ShimError::io(format!("writing {}", file.display())))?;
                        Some(file)
                    }
                    path => path,
                };
                Ok(Self { config, ..Self::default() })
            }
            _ => Err(invalid("not known; use those of runc, or ConfigPath".to_owned())),
        }
    }

    /// Those that containerd hands to `start` on its standard input, as an `Any`; a person has none.
    pub(super) fn read(input: impl io::Read) -> Result<Self, ShimError> {
        let mut bytes = Vec::new();
        input.take(MAX_OPTIONS).read_to_end(&mut bytes).doing("reading options from standard input")?;
        let any = Any::parse_from_bytes(&bytes).ok().filter(|any| any.type_url.ends_with("containerd.runc.v1.Options"));
        // What is no options of runc's is looked at by `create`.
        any.map_or_else(|| Ok(Self::default()), |any| Self::parse(Some(&any), Path::new("")))
    }

    /// Keeps them for [`Options::load`].
    pub(super) fn save(&self, bundle: &Path) -> Result<(), ShimError> {
        let file = bundle.join(FILE);
        let what = || format!("writing {}", file.display());
        let text = serde_json::to_vec(self).doing(what())?;
        crate::state::write_atomically(&file, &text).doing(what())
    }

    /// Those that were kept, if any.
    pub(super) fn load(bundle: &Path) -> Self {
        let text = fs::read(bundle.join(FILE)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }
}

/// `config_path` (2) and `config_body` (3) of a message that the protocol's crate does not have.
fn runtime_options(value: &[u8]) -> Result<(String, Vec<u8>), String> {
    let mut input = CodedInputStream::from_bytes(value);
    let (mut path, mut body) = (String::new(), Vec::new());
    let mut read = || -> containerd_shim_protos::protobuf::Result<()> {
        while let Some(tag) = input.read_raw_tag_or_eof()? {
            match tag >> 3 {
                2 => path = input.read_string()?,
                3 => body = input.read_bytes()?,
                _ => containerd_shim_protos::protobuf::rt::skip_field_for_tag(tag, &mut input)?,
            }
        }
        Ok(())
    };
    read().map_err(|error| error.to_string())?;
    Ok((path, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(type_url: &str, value: Vec<u8>) -> Any {
        Any { type_url: type_url.to_owned(), value, ..Any::default() }
    }

    #[test]
    fn those_of_runc() {
        let mut given = RuncOptions { binary_name: "rt".to_owned(), systemd_cgroup: true, ..RuncOptions::default() };
        (given.io_uid, given.io_gid, given.shim_cgroup) = (7, 8, "/shims".to_owned());
        let any = any("containerd.runc.v1.Options", given.write_to_bytes().unwrap());
        let options = Options::parse(Some(&any), Path::new("/none")).unwrap();
        let expected = Options { binary: Some("rt".into()), systemd_cgroup: true, ..Options::default() };
        assert_eq!(options, Options { io_uid: 7, io_gid: 8, shim_cgroup: Some("/shims".into()), ..expected });
        assert_eq!(Options::read(any.write_to_bytes().unwrap().as_slice()).unwrap(), options);
        assert_eq!(Options::read(&b"noise"[..]).unwrap(), Options::default());
        let dir = tempfile::tempdir().unwrap();
        options.save(dir.path()).unwrap();
        assert_eq!(Options::load(dir.path()), options);
    }

    #[test]
    fn those_of_unknown_runtimes() {
        let dir = tempfile::tempdir().unwrap();
        let url = "runtimeoptions.v1.Options";
        let path = Options::parse(Some(&any(url, b"\x12\x02/c".to_vec())), dir.path()).unwrap();
        assert_eq!(path.config, Some("/c".into()));
        let body = Options::parse(Some(&any(url, b"\x0a\x01x\x1a\x03a=1".to_vec())), dir.path()).unwrap();
        assert_eq!(fs::read_to_string(body.config.unwrap()).unwrap(), "a=1");
        assert!(Options::parse(Some(&any(url, b"\x12\xff".to_vec())), dir.path()).is_err());
    }

    #[test]
    fn none_and_strange_ones() {
        assert_eq!(Options::parse(None, Path::new("/")).unwrap(), Options::default());
        assert!(matches!(Options::parse(Some(&any("x.Y", Vec::new())), Path::new("/")), Err(ShimError::Invalid(_))));
        assert_eq!(Options::load(Path::new("/nonexistent")), Options::default());
    }
}
