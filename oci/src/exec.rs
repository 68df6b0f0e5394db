//! The process of `exec`: from a file with one, or the container's own with what the command line changes.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities, LinuxResources, Process, Spec};

use crate::bundle::{BundleError, load_json};
use crate::check;
use crate::json::one_line;

/// What the command line may change of the container's own process.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Program and arguments.
    pub args: Vec<String>,
    /// With a terminal.
    pub terminal: bool,
    /// Working directory.
    pub cwd: Option<PathBuf>,
    /// Entries for the environment, behind those that there are.
    pub env: Vec<String>,
    /// `UID[:GID]`.
    pub user: Option<String>,
    /// Groups to add.
    pub additional_gids: Vec<u32>,
    /// Names of capabilities to add; unknown ones are ignored, with a note.
    pub capabilities: Vec<String>,
    /// Whether programs can gain privileges; none: as the container's own.
    pub no_new_privileges: Option<bool>,
    /// Of AppArmor.
    pub apparmor_profile: Option<String>,
    /// Of SELinux.
    pub selinux_label: Option<String>,
}

/// A checked process, and notes on what of it has no effect here.
#[derive(Clone, Debug)]
pub struct Checked {
    /// As it can be run.
    pub process: Process,
    /// For the log.
    pub ignored: Vec<String>,
}

/// Reads the process in the file at `path`.
pub fn from_file(path: &Path) -> Result<Checked, BundleError> {
    checked(load_json(path)?, Vec::new())
}

/// The process of the bundle in `dir` with `changes`.
pub fn from_bundle(dir: &Path, changes: Changes) -> Result<Checked, BundleError> {
    let spec: Spec = load_json(&dir.join("config.json"))?;
    changed(spec.process().clone().unwrap_or_default(), changes)
}

/// Checks resources that come without a bundle.
pub fn check_resources(resources: &LinuxResources) -> Result<(), BundleError> {
    check::resources(resources, &mut Vec::new())
}

fn changed(mut process: Process, changes: Changes) -> Result<Checked, BundleError> {
    let mut ignored = Vec::new();
    process.set_args(Some(changes.args));
    process.set_terminal(Some(changes.terminal));
    if let Some(cwd) = changes.cwd {
        process.set_cwd(cwd);
    }
    if !changes.env.is_empty() {
        let mut env = process.env().clone().unwrap_or_default();
        env.extend(changes.env);
        process.set_env(Some(env));
    }
    let mut user = process.user().clone();
    if let Some(text) = &changes.user {
        let (uid, gid) = parse_user(text)?;
        user.set_uid(uid);
        if let Some(gid) = gid {
            user.set_gid(gid);
        }
    }
    if !changes.additional_gids.is_empty() {
        let mut groups = user.additional_gids().clone().unwrap_or_default();
        groups.extend(changes.additional_gids);
        user.set_additional_gids(Some(groups));
    }
    process.set_user(user);
    let mut added = Capabilities::new();
    for name in changes.capabilities {
        match name.strip_prefix("CAP_").unwrap_or(&name).parse::<Capability>() {
            Ok(capability) => drop(added.insert(capability)),
            Err(_) => ignored.push(format!("unknown capability {}", one_line(&name))),
        }
    }
    if !added.is_empty() {
        let mut sets = process.capabilities().clone().unwrap_or_else(no_capabilities);
        let with = |set: &Option<Capabilities>| Some(set.iter().flatten().chain(&added).copied().collect());
        sets.set_bounding(with(sets.bounding()));
        sets.set_effective(with(sets.effective()));
        sets.set_permitted(with(sets.permitted()));
        process.set_capabilities(Some(sets));
    }
    if changes.no_new_privileges.is_some() {
        process.set_no_new_privileges(changes.no_new_privileges);
    }
    if changes.apparmor_profile.is_some() {
        process.set_apparmor_profile(changes.apparmor_profile);
    }
    if changes.selinux_label.is_some() {
        process.set_selinux_label(changes.selinux_label);
    }
    checked(process, ignored)
}

/// The default of this type has some.
fn no_capabilities() -> LinuxCapabilities {
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(None).set_effective(None).set_permitted(None).set_inheritable(None).set_ambient(None);
    sets
}

fn checked(process: Process, mut ignored: Vec<String>) -> Result<Checked, BundleError> {
    check::process(&process, &mut ignored)?;
    Ok(Checked { process, ignored })
}

fn parse_user(text: &str) -> Result<(u32, Option<u32>), BundleError> {
    let number = |name: &str, text: &str| {
        text.parse().map_err(|_| {
            BundleError::Flag(format!("--user: {name} {:?} is no number; give UID or UID:GID", one_line(text)))
        })
    };
    match text.split_once(':') {
        Some((uid, gid)) => Ok((number("uid", uid)?, Some(number("gid", gid)?))),
        None => Ok((number("uid", text)?, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Process {
        let spec: Spec = serde_json::from_str(crate::defaults::SPEC).unwrap();
        spec.process().clone().unwrap()
    }

    #[test]
    fn the_command_line_changes_what_it_names() {
        let changes = Changes {
            args: vec!["id".to_owned()],
            cwd: Some("/tmp".into()),
            env: vec!["A=1".to_owned()],
            user: Some("5:6".to_owned()),
            additional_gids: vec![7],
            capabilities: vec!["CAP_SYS_ADMIN".to_owned(), "CAP_FOO".to_owned()],
            ..Changes::default()
        };
        let Checked { process, ignored } = changed(base(), changes).unwrap();
        assert_eq!(ignored, ["unknown capability CAP_FOO"]);
        assert_eq!((process.user().uid(), process.user().gid()), (5, 6));
        assert_eq!(process.user().additional_gids().as_deref(), Some([7].as_slice()));
        assert_eq!(process.env().as_ref().unwrap().last().unwrap(), "A=1");
        let sets = process.capabilities().clone().unwrap();
        assert!(sets.bounding().as_ref().unwrap().contains(&Capability::SysAdmin));
        assert!(!sets.inheritable().as_ref().is_some_and(|set| set.contains(&Capability::SysAdmin)));
        assert_eq!(process.no_new_privileges(), base().no_new_privileges());
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let text = |changes| changed(base(), changes).map(|_| ()).unwrap_err().to_string();
        assert!(text(Changes::default()).contains("process.args"));
        let args = || vec!["x".to_owned()];
        assert!(text(Changes { args: args(), user: Some("x".to_owned()), ..Changes::default() }).contains("uid"));
        assert!(text(Changes { args: args(), cwd: Some("rel".into()), ..Changes::default() }).contains("process.cwd"));
        assert!(
            text(Changes { args: args(), env: vec!["BAD".to_owned()], ..Changes::default() }).contains("process.env")
        );
    }
}
