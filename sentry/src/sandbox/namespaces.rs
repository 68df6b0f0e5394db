//! Namespaces that several sandboxes share: containers of one pod, and others that join a container's namespaces, each with a
//! session of its own. A supervisor names each namespace by a secret key; who says the same key shares it. It lives as long as the
//! last sandbox that has it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use rsc_proto::transport::Identity;
use rsc_proto::v1;

use crate::kernel::UtsNames;
use crate::kernel::task::TaskTable;
use crate::net::NetStack;

/// Bytes of a key; the sentry takes no other for one.
const KEY: usize = 16;

/// What finds a namespace: only who proved to be the same peer shares one, whatever key it knows.
type Place = (Identity, [u8; KEY]);

/// Namespaces of one kind.
struct Known<T>(RefCell<HashMap<Place, Weak<T>>>);

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<T> Known<T> {
    /// The one with this key, or a new one; the flag tells that it is new.
    fn get(&self, peer: &Identity, key: &[u8], make: impl FnOnce() -> Rc<T>) -> (Rc<T>, bool) {
        let Ok(key) = <[u8; KEY]>::try_from(key) else {
            return (make(), true);
        };
        let mut known = self.0.borrow_mut();
        let place = (peer.clone(), key);
        if let Some(found) = known.get(&place).and_then(Weak::upgrade) {
            return (found, false);
        }
        known.retain(|_, it| it.strong_count() > 0);
        let made = make();
        known.insert(place, Rc::downgrade(&made));
        (made, true)
    }
}

/// All that are shared, or could be.
#[derive(Default)]
pub(super) struct Namespaces {
    tasks: Known<TaskTable>,
    names: Known<RefCell<UtsNames>>,
    networks: Known<NetStack>,
}

/// Those of one sandbox.
pub(super) struct Chosen {
    pub(super) tasks: Rc<TaskTable>,
    pub(super) uts: Rc<RefCell<UtsNames>>,
    pub(super) net: Rc<NetStack>,
}

impl Namespaces {
    /// Finds or makes the namespaces of a sandbox. A host name that the sandbox brings along holds for all that share it.
    pub(super) fn choose(
        &self,
        peer: &Identity,
        sandbox: &v1::Sandbox,
        network: impl FnOnce() -> Rc<NetStack>,
    ) -> Chosen {
        let asked = sandbox.namespaces.clone().unwrap_or_default();
        let (tasks, _) = self.tasks.get(peer, &asked.pid, Rc::default);
        let (net, _) = self.networks.get(peer, &asked.net, network);
        let make = || UtsNames::shared(&sandbox.hostname, &sandbox.domainname);
        let (uts, new) = self.names.get(peer, &asked.uts, make);
        if !new {
            let mut names = uts.borrow_mut();
            if !sandbox.hostname.is_empty() {
                names.nodename.clone_from(&sandbox.hostname);
            }
            if !sandbox.domainname.is_empty() {
                names.domainname.clone_from(&sandbox.domainname);
            }
        }
        Chosen { tasks, uts, net }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::NetConfig;

    fn sandbox(key: &[u8], hostname: &str) -> v1::Sandbox {
        let key = bytes::Bytes::copy_from_slice(key);
        let namespaces = v1::Namespaces { pid: key.clone(), uts: key, ..Default::default() };
        v1::Sandbox { hostname: hostname.into(), namespaces: Some(namespaces), ..Default::default() }
    }

    fn choose(all: &Namespaces, peer: &Identity, sandbox: &v1::Sandbox) -> Chosen {
        all.choose(peer, sandbox, || NetStack::with_start(NetConfig::None, Rc::new(|_, _| Ok(()))))
    }

    #[test]
    fn the_same_key_of_the_same_peer_is_the_same_namespace() {
        let all = Namespaces::default();
        let peer = Identity::Unix { uid: 1 };
        let first = choose(&all, &peer, &sandbox(&[1; 16], "one"));
        let second = choose(&all, &peer, &sandbox(&[1; 16], ""));
        assert!(Rc::ptr_eq(&first.tasks, &second.tasks) && Rc::ptr_eq(&first.uts, &second.uts));
        // Without a key, or one of another length, everybody has his own.
        assert!(!Rc::ptr_eq(&first.net, &second.net));
        let short = [sandbox(&[1; 15], ""), sandbox(&[], "")];
        assert!(short.iter().all(|it| !Rc::ptr_eq(&choose(&all, &peer, it).tasks, &first.tasks)));
        let other = choose(&all, &Identity::Unix { uid: 2 }, &sandbox(&[1; 16], "other"));
        assert!(!Rc::ptr_eq(&first.tasks, &other.tasks));
        assert_eq!(second.uts.borrow().nodename, "one");
        let _third = choose(&all, &peer, &sandbox(&[1; 16], "three"));
        assert_eq!(first.uts.borrow().nodename, "three");
    }

    #[test]
    fn a_namespace_ends_with_its_last_user() {
        let all = Namespaces::default();
        let peer = Identity::Inherited;
        let weak = Rc::downgrade(&choose(&all, &peer, &sandbox(&[1; 16], "")).tasks);
        assert!(weak.upgrade().is_none());
        drop(choose(&all, &peer, &sandbox(&[2; 16], "")));
        assert_eq!(all.tasks.0.borrow().len(), 1);
    }
}
