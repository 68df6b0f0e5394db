//! Which options and control messages of internet sockets reach the host's kernel. None of these holds a pointer, changes the
//! namespace, or sees or sends other sandboxes' traffic.

use rsc_proto::abi::Errno;

use super::control::SOL_SOCKET;
use super::options::so;

/// The longest value (`struct tcp_info` is the largest).
pub(super) const VALUE_MAX: usize = 512;

const IP: i32 = 0;
const TCP: i32 = 6;
const UDP: i32 = 17;
const IPV6: i32 = 41;

/// Options that can be set and read.
fn known(level: i32, name: i32) -> bool {
    match level {
        SOL_SOCKET => matches!(
            name,
            so::REUSEADDR
                | so::DONTROUTE
                | so::BROADCAST
                | so::SNDBUF
                | so::RCVBUF
                | so::KEEPALIVE
                | so::OOBINLINE
                | so::NO_CHECK
                | so::PRIORITY
                | so::LINGER
                | so::REUSEPORT
                | so::RCVLOWAT
                | so::TIMESTAMP
                | so::TIMESTAMPNS
                | so::RXQ_OVFL
        ),
        // TOS TTL PKTINFO MTU_DISCOVER RECVERR RECVTTL RECVTOS FREEBIND RECVORIGDSTADDR MINTTL BIND_ADDRESS_NO_PORT,
        // MULTICAST_IF..DROP_MEMBERSHIP, MULTICAST_ALL, LOCAL_PORT_RANGE
        IP => matches!(name, 1 | 2 | 8 | 10..=13 | 15 | 20 | 21 | 24 | 32..=36 | 49 | 51),
        // NODELAY MAXSEG CORK KEEPIDLE KEEPINTVL KEEPCNT SYNCNT LINGER2 DEFER_ACCEPT WINDOW_CLAMP, QUICKACK CONGESTION,
        // USER_TIMEOUT, FASTOPEN, NOTSENT_LOWAT
        TCP => matches!(name, 1..=10 | 12 | 13 | 18 | 23 | 25),
        // CORK SEGMENT GRO
        UDP => matches!(name, 1 | 103 | 104),
        // UNICAST_HOPS MULTICAST_IF..LEAVE_GROUP, MTU_DISCOVER, RECVERR V6ONLY, MULTICAST_ALL, RECVPKTINFO, RECVHOPLIMIT,
        // DONTFRAG, RECVTCLASS TCLASS AUTOFLOWLABEL, MINHOPCOUNT
        IPV6 => matches!(name, 16..=21 | 23 | 25 | 26 | 29 | 49 | 51 | 62 | 66 | 67 | 70 | 73),
        _ => false,
    }
}

/// getsockopt(2): `ENOPROTOOPT`, or `EOPNOTSUPP` for a level that is not known.
pub(super) fn readable(level: i32, name: i32) -> Result<(), Errno> {
    let read_only = match level {
        SOL_SOCKET => matches!(
            name,
            so::DEBUG | so::MARK | so::SNDLOWAT | so::BUSY_POLL | so::BINDTODEVICE | so::PEERCRED | 49 | 56
        ),
        // MTU
        IP => name == 14,
        // INFO
        TCP => name == 11,
        // MTU
        IPV6 => name == 24,
        _ => false,
    };
    if (level, name) == (SOL_SOCKET, so::PASSCRED) {
        return Err(Errno::EOPNOTSUPP);
    }
    let unknown =
        if matches!(level, SOL_SOCKET | IP | TCP | UDP | IPV6) { Errno::ENOPROTOOPT } else { Errno::EOPNOTSUPP };
    if known(level, name) || read_only { Ok(()) } else { Err(unknown) }
}

/// setsockopt(2). What needs privileges in the namespace is refused whoever asks.
pub(super) fn writable(level: i32, name: i32) -> Result<(), Errno> {
    // IP_TRANSPARENT, IPV6_TRANSPARENT
    let privileged = matches!((level, name), (IP, 19) | (IPV6, 75))
        || level == SOL_SOCKET
            && matches!(
                name,
                so::MARK | so::BINDTODEVICE | so::SNDBUFFORCE | so::RCVBUFFORCE | so::DEBUG | so::BUSY_POLL
            );
    match (known(level, name), privileged) {
        (true, _) => Ok(()),
        (false, true) => Err(Errno::EPERM),
        (false, false) if (level, name) == (SOL_SOCKET, so::PASSCRED) => Err(Errno::EOPNOTSUPP),
        (false, false) => Err(Errno::ENOPROTOOPT),
    }
}

/// Control messages that may be sent, by the length of their data.
pub(super) fn sendable(level: i32, kind: i32, len: usize) -> bool {
    matches!(
        (level, kind, len),
        (IP, 8, 12) | (IP, 2, 4) | (IP, 1, 1 | 4) | (IPV6, 50, 20) | (IPV6, 52 | 67, 4) | (UDP, 103, 2)
    )
}

/// Control messages that the workload may see.
pub(super) fn receivable(level: i32, kind: i32) -> bool {
    match level {
        SOL_SOCKET => matches!(kind, 29 | 35 | 37 | 40),
        IP => matches!(kind, 1 | 2 | 8 | 11 | 20),
        IPV6 => matches!(kind, 25 | 50 | 52 | 67),
        UDP => kind == 104,
        _ => false,
    }
}
