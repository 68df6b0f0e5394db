//! Cgroups by systemd: a container is a transient scope, whose cgroup systemd makes, watches and removes, and into which it puts the
//! container's init. As runc does it; docs/decisions/0019-systemd-cgroups.md.

mod bus;
mod properties;
mod wire;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use bus::{Bus, BusError};
use wire::{Property, Value, Writer};

/// systemd's own limit for names of units.
const MAX_NAME: usize = 255;
/// Beginning of a scope's name where `linux.cgroupsPath` has none.
const PREFIX: &str = "rsc";

/// Why systemd does not manage a container's cgroup.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    /// `linux.cgroupsPath`.
    #[error("expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {0:?} instead")]
    Path(String),
    /// A name in it.
    #[error("linux.cgroupsPath: {0:?} can't be the name of {1} of systemd's")]
    Name(String, &'static str),
    /// An annotation `org.systemd.property.*`, or a resource.
    #[error("{0}: {1:?} can't be a property of a unit of systemd's")]
    Property(String, String),
    /// A call.
    #[error("unit {unit}: {doing}: {problem}")]
    Call {
        /// Of which unit.
        unit: String,
        /// What was being done.
        doing: &'static str,
        /// What systemd said, or why it could not.
        problem: String,
    },
}

/// Whether systemd is this machine's init, as sd_booted(3) finds it out.
pub fn is_running() -> bool {
    Path::new("/run/systemd/system").symlink_metadata().is_ok_and(|found| found.is_dir())
}

/// The scope of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Its name.
    name: String,
    /// It is one of the user's own manager.
    user: bool,
}

/// A scope that is to be made.
#[derive(Clone, Debug)]
pub struct Plan {
    unit: Unit,
    properties: Vec<Property>,
}

impl Plan {
    /// For the container `id`, by its `linux.cgroupsPath` and annotations. `user`: by the manager of the user.
    pub fn new(
        cgroups_path: &str,
        id: &str,
        annotations: &BTreeMap<String, String>,
        user: bool,
    ) -> Result<Self, SystemdError> {
        let (slice, prefix, name) = match *cgroups_path.split(':').collect::<Vec<_>>() {
            [""] => ("", PREFIX, id),
            [slice, prefix, name] => (slice, prefix, name),
            _ => return Err(SystemdError::Path(cgroups_path.to_owned())),
        };
        let slice = match (slice, user) {
            ("", true) => "user.slice",
            ("", false) => "system.slice",
            _ => slice,
        };
        if !is_slice(slice) {
            return Err(SystemdError::Name(slice.to_owned(), "a slice"));
        }
        let unit = format!("{prefix}-{name}.scope");
        if !is_name(&unit) || name.is_empty() || name.ends_with(".slice") {
            return Err(SystemdError::Name(unit, "a scope"));
        }
        let mut properties = vec![
            ("Description".to_owned(), Value::Text(format!("rsc container {name}"))),
            ("Slice".to_owned(), Value::Text(slice.to_owned())),
        ];
        // The same in either version as without systemd: everything is measured, and what is below is not systemd's.
        let flags = ["Delegate", "MemoryAccounting", "CPUAccounting", "TasksAccounting"];
        properties.extend(flags.map(|flag| (flag.to_owned(), Value::Flag(true))));
        properties.push(("DefaultDependencies".to_owned(), Value::Flag(false)));
        properties.extend(properties::annotated(annotations)?);
        Ok(Self { unit: Unit { name: unit, user }, properties })
    }

    /// Makes the scope with the process `pid` in it: the unit, and where its cgroup is in each hierarchy. One that is left of another
    /// container, and has failed, is replaced. After an error there may be a scope, which ends with `pid`.
    pub fn start(self, pid: i32, unified: bool) -> Result<(Unit, PathBuf), SystemdError> {
        let Self { unit, mut properties } = self;
        let pid = pid.cast_unsigned();
        let io = if unified { "IOAccounting" } else { "BlockIOAccounting" };
        // Before what annotations say, which may be otherwise.
        properties.insert(2, (io.to_owned(), Value::Flag(true)));
        properties.insert(2, ("PIDs".to_owned(), Value::Pids(vec![pid])));
        let mut bus = unit.connect("making it")?;
        let mut body = Writer::default();
        body.text(&unit.name);
        body.text("replace");
        body.properties(&properties);
        body.no_structures();
        let mut again = true;
        let result = loop {
            match bus.job(&unit.name, "StartTransientUnit", "ssa(sv)a(sa(sv))", &body) {
                Err(problem) if again && problem.is("UnitExists") => {
                    // One that runs stays.
                    let _ = bus.forget(&unit.name);
                    again = false;
                }
                result => break result.map_err(unit.error("making it"))?,
            }
        };
        if result != "done" {
            let _ = bus.forget(&unit.name);
            return Err(unit.error("making it")(format!("got `{result}`")));
        }
        match unit.control_group(&mut bus) {
            Ok(path) => Ok((unit, path)),
            Err(problem) => {
                // Nobody will know that it is ours.
                let _ = unit.stop();
                Err(problem)
            }
        }
    }
}

impl Unit {
    fn error<E: ToString>(&self, doing: &'static str) -> impl FnOnce(E) -> SystemdError + use<E> {
        let unit = self.name.clone();
        move |problem| SystemdError::Call { unit, doing, problem: problem.to_string() }
    }

    fn connect(&self, doing: &'static str) -> Result<Bus, SystemdError> {
        Bus::connect(self.user).map_err(self.error(doing))
    }

    /// Its object's path: what is no letter and no digit is `_` and two digits.
    fn object(&self) -> String {
        let mut path = "/org/freedesktop/systemd1/unit/".to_owned();
        for (index, byte) in self.name.bytes().enumerate() {
            if byte.is_ascii_alphabetic() || (index > 0 && byte.is_ascii_digit()) {
                path.push(char::from(byte));
            } else {
                path.push_str(&format!("_{byte:02x}"));
            }
        }
        path
    }

    /// Where its cgroup is in each hierarchy.
    fn control_group(&self, bus: &mut Bus) -> Result<PathBuf, SystemdError> {
        const DOING: &str = "finding its cgroup";
        let path = bus.property(&self.object(), "org.freedesktop.systemd1.Scope", "ControlGroup");
        let path = PathBuf::from(path.map_err(self.error(DOING))?);
        let plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
        if !path.has_root() || !path.components().all(plain) || !path.ends_with(&self.name) {
            return Err(self.error(DOING)(format!("{:?} can't be it", path.display().to_string())));
        }
        Ok(path)
    }

    /// Tells systemd of the limits, so that it does not take them back. It sets those that it knows.
    pub fn limit(&self, resources: &LinuxResources, unified: bool) -> Result<(), SystemdError> {
        let mut bus = self.connect("limiting it")?;
        let version = match bus.manager_property("Version") {
            Ok(text) => properties::version(&text),
            // What newer ones know goes into the files alone.
            Err(BusError::Refused { .. }) => 0,
            Err(problem) => return Err(self.error("limiting it")(problem)),
        };
        let properties = properties::of(resources, unified, version)?;
        if properties.is_empty() {
            return Ok(());
        }
        bus.set(&self.name, &properties).map_err(self.error("limiting it"))
    }

    /// Ends the scope. What was in it has ended already; then so has it, as a rule.
    pub fn stop(&self) -> Result<(), SystemdError> {
        let mut bus = self.connect("removing it")?;
        let mut body = Writer::default();
        body.text(&self.name);
        body.text("replace");
        match bus.job(&self.name, "StopUnit", "ss", &body) {
            Ok(result) if result != "done" => tracing::warn!("unit {}: removing it: got `{result}`", self.name),
            Ok(_) => {}
            Err(BusError::Refused { ref name, .. }) if name.ends_with(".NoSuchUnit") => return Ok(()),
            Err(problem) => return Err(self.error("removing it")(problem)),
        }
        // Mostly there is none any more.
        let _ = bus.forget(&self.name);
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    name.len() <= MAX_NAME && name.bytes().all(fits)
}

/// `a-b.slice` is below `a.slice`; so no part of it may be empty.
fn is_slice(name: &str) -> bool {
    match name.strip_suffix(".slice") {
        Some("-") => true,
        Some(parts) => is_name(name) && parts.split('-').all(|part| !part.is_empty()),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(path: &str, user: bool) -> Result<(String, Value), String> {
        let plan = Plan::new(path, "id", &BTreeMap::new(), user).map_err(|error| error.to_string())?;
        let slice = plan.properties.into_iter().find(|(name, _)| name == "Slice").unwrap().1;
        Ok((plan.unit.name, slice))
    }

    #[test]
    fn names() {
        let text = |text: &str| Value::Text(text.to_owned());
        assert_eq!(plan("", false), Ok(("rsc-id.scope".to_owned(), text("system.slice"))));
        assert_eq!(plan("", true), Ok(("rsc-id.scope".to_owned(), text("user.slice"))));
        assert_eq!(plan("a-b.slice:cri:x", false), Ok(("cri-x.scope".to_owned(), text("a-b.slice"))));
        assert_eq!(plan(":docker:x", false), Ok(("docker-x.scope".to_owned(), text("system.slice"))));
        for wrong in [
            "/a/b",
            "a.slice:b",
            "a:b:c",
            "a--b.slice:b:c",
            ".slice:b:c",
            "a/b.slice:b:c",
            "a.slice:b:",
            "::x'y",
            "a.slice:b:c.slice",
            "a:b:c:d",
        ] {
            assert!(plan(wrong, false).is_err(), "{wrong}");
        }
    }

    #[test]
    fn paths_of_objects() {
        let unit = Unit { name: "0a-b_c.scope".to_owned(), user: false };
        assert_eq!(unit.object(), "/org/freedesktop/systemd1/unit/_30a_2db_5fc_2escope");
    }
}
