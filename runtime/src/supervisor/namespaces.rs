//! What the sentry is told of the jail's namespaces.

use rsc_proto::v1;

use super::{Seat, StartupError, sandbox};
use crate::engine;
use crate::jail::Kind;
use crate::jail::namespaces::Identity;
use crate::lifecycle::neighbours::key_bytes;

/// Completes a description: ids in the jail's namespaces, and names where the specification gives none.
pub(super) fn describe(seat: &Seat, about: &mut v1::Sandbox) -> Result<(), StartupError> {
    let init = seat.jail.pid;
    about.tid = engine::name_of(init).ok_or_else(|| StartupError("the container's init has ended".to_owned()))?;
    // `/proc` shows the pid namespace of the supervisor: of no other can strangers be shown.
    about.host_pids =
        Kind::Pid.of(init).is_some() && Kind::Pid.of(init) == Identity::at("/proc/self/ns/pid".as_ref()).ok();
    let key = |kind: Kind| {
        let key = seat.namespaces.get(kind.file()).map(|key| key_bytes(key)).unwrap_or_default();
        bytes::Bytes::from(key)
    };
    // The network of the host is everybody's: nobody is a neighbour for it.
    let net = sandbox::namespace(&seat.bundle.spec, Kind::Network).map(|_| key(Kind::Network));
    let (pid, ipc, uts) = (key(Kind::Pid), key(Kind::Ipc), key(Kind::Uts));
    about.namespaces = Some(v1::Namespaces { pid, net: net.unwrap_or_default(), ipc, uts });
    // Those of a neighbour, and its own, the sentry knows better.
    if seat.context.is_none() && !seat.shared.contains(&Kind::Uts) {
        let (host, domain) = &seat.jail.names;
        for (name, own) in [(&mut about.hostname, host), (&mut about.domainname, domain)] {
            if name.is_empty() {
                name.clone_from(own);
            }
        }
    }
    Ok(())
}
