//! The sentry's own context: what a sandbox is given that is to be in it (`Sandbox.in_context`), and what the sentry lends. Looked up
//! once, before the sentry confines itself.

use std::rc::Rc;

use rsc_proto::transport::Peer;
use rsc_proto::v1;

use super::ExportSource;
use crate::server::sandbox::OpenError;
use crate::stdio::Stdio;

/// Standard streams that the sentry lends, and what they are.
pub struct Lent {
    /// The descriptors.
    pub(super) files: Stdio,
    /// In their order.
    pub(super) about: Vec<v1::Stdio>,
}

impl Lent {
    /// The process's own. In a runtime.
    pub fn own() -> Rc<Self> {
        let (files, about) = Stdio::own();
        Rc::new(Self { files, about })
    }
}

/// See the module's text.
#[derive(Clone, Default)]
pub struct Context {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// Capabilities, as a mask.
    pub capabilities: u64,
    /// The host's name.
    pub hostname: String,
    /// The host's NIS domain.
    pub domainname: String,
    /// None: they are not for sandboxes.
    pub lent: Option<Rc<Lent>>,
}

impl Context {
    /// The calling process's, without standard streams.
    pub fn of_process() -> Self {
        let names = nix::sys::utsname::uname();
        let name = |name: Option<&std::ffi::OsStr>| name.unwrap_or_default().to_string_lossy().into_owned();
        let held = caps::read(None, caps::CapSet::Permitted).unwrap_or_default();
        let groups = nix::unistd::getgroups().unwrap_or_default();
        Self {
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            groups: groups.into_iter().map(nix::unistd::Gid::as_raw).collect(),
            capabilities: held.iter().fold(0, |mask, cap| mask | 1 << cap.index()),
            hostname: name(names.as_ref().ok().map(|names| names.nodename())),
            domainname: name(names.as_ref().ok().map(|names| names.domainname())),
            lent: None,
        }
    }

    /// Completes the description of a sandbox that is to be in this context.
    pub(super) fn complete(
        &self,
        sandbox: &mut v1::Sandbox,
        exports: &dyn ExportSource,
        peer: &Peer,
    ) -> Result<(), OpenError> {
        if let Some(v1::root::Source::Export(name)) = sandbox.root.as_mut().and_then(|root| root.source.as_mut())
            && name.is_empty()
        {
            *name = exports.only(peer)?;
        }
        for (name, own) in [(&mut sandbox.hostname, &self.hostname), (&mut sandbox.domainname, &self.domainname)] {
            if name.is_empty() {
                name.clone_from(own);
            }
        }
        Ok(())
    }

    /// Gives a process what it asks of this context.
    pub(super) fn dress(&self, process: &mut v1::Process) {
        if process.own_user {
            (process.uid, process.gid) = (self.uid, self.gid);
            process.additional_gids.clone_from(&self.groups);
        }
        if process.own_capabilities {
            let held = if process.uid == 0 { self.capabilities } else { 0 };
            process.capabilities = Some(v1::Capabilities {
                effective: held,
                permitted: held,
                inheritable: 0,
                bounding: self.capabilities,
                ambient: 0,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_user_and_own_capabilities() {
        let own = Context { uid: 0, gid: 4, groups: vec![4, 5], capabilities: 6, ..Context::default() };
        let mut process = v1::Process { own_user: true, own_capabilities: true, uid: 9, ..v1::Process::default() };
        own.dress(&mut process);
        assert_eq!((process.uid, process.gid, process.additional_gids.clone()), (0, 4, vec![4, 5]));
        assert_eq!(process.capabilities.map(|sets| (sets.effective, sets.bounding, sets.ambient)), Some((6, 6, 0)));
        let mut process = v1::Process { own_capabilities: true, uid: 9, ..v1::Process::default() };
        own.dress(&mut process);
        assert_eq!((process.uid, process.capabilities.map(|sets| sets.effective)), (9, Some(0)));
        let mut process = v1::Process { uid: 9, ..v1::Process::default() };
        own.dress(&mut process);
        assert_eq!(process, v1::Process { uid: 9, ..v1::Process::default() });
    }

    #[test]
    fn of_this_process() {
        let own = Context::of_process();
        assert_eq!(own.uid, nix::unistd::geteuid().as_raw());
        assert!(!own.hostname.is_empty());
    }
}
