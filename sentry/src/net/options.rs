//! Options at the level `SOL_SOCKET` for sockets whose home is the sentry. socket(7). Linux: net/core/sock.c.

use std::cell::Cell;

use rsc_proto::abi::{Errno, Linger, parse};
use zerocopy::IntoBytes;

/// Names of options.
#[allow(missing_docs)]
pub mod so {
    pub const DEBUG: i32 = 1;
    pub const REUSEADDR: i32 = 2;
    pub const TYPE: i32 = 3;
    pub const ERROR: i32 = 4;
    pub const DONTROUTE: i32 = 5;
    pub const BROADCAST: i32 = 6;
    pub const SNDBUF: i32 = 7;
    pub const RCVBUF: i32 = 8;
    pub const KEEPALIVE: i32 = 9;
    pub const OOBINLINE: i32 = 10;
    pub const NO_CHECK: i32 = 11;
    pub const PRIORITY: i32 = 12;
    pub const LINGER: i32 = 13;
    pub const REUSEPORT: i32 = 15;
    pub const PASSCRED: i32 = 16;
    pub const PEERCRED: i32 = 17;
    pub const RCVLOWAT: i32 = 18;
    pub const SNDLOWAT: i32 = 19;
    pub const RCVTIMEO: i32 = 20;
    pub const SNDTIMEO: i32 = 21;
    pub const BINDTODEVICE: i32 = 25;
    pub const PEERNAME: i32 = 28;
    pub const TIMESTAMP: i32 = 29;
    pub const ACCEPTCONN: i32 = 30;
    pub const PEERSEC: i32 = 31;
    pub const SNDBUFFORCE: i32 = 32;
    pub const RCVBUFFORCE: i32 = 33;
    pub const TIMESTAMPNS: i32 = 35;
    pub const MARK: i32 = 36;
    pub const PROTOCOL: i32 = 38;
    pub const DOMAIN: i32 = 39;
    pub const RXQ_OVFL: i32 = 40;
    pub const BUSY_POLL: i32 = 46;
    pub const COOKIE: i32 = 57;
    pub const PEERGROUPS: i32 = 59;
    pub const ZEROCOPY: i32 = 60;
    pub const RCVTIMEO_NEW: i32 = 66;
    pub const SNDTIMEO_NEW: i32 = 67;
}

/// Linux: /proc/sys/net/core/wmem_max and rmem_max, and the defaults.
const BUF_MAX: u32 = 212_992;
const SNDBUF_MIN: u32 = 4_608;
const RCVBUF_MIN: u32 = 2_304;

/// An `int` option's value. `EINVAL` if there are fewer than four bytes.
pub fn int(value: &[u8]) -> Result<i32, Errno> {
    parse(value).ok_or(Errno::EINVAL)
}

/// Values that a socket keeps. Those which mean nothing to a local socket are kept to be read back, as Linux does.
pub struct Base {
    /// Bytes that may wait at the other end.
    pub sndbuf: Cell<u32>,
    rcvbuf: Cell<u32>,
    /// `SO_PASSCRED`
    pub passcred: Cell<bool>,
    /// One bit for each option that is a switch, by number.
    switches: Cell<u64>,
    priority: Cell<i32>,
    rcvlowat: Cell<i32>,
    linger: Cell<Linger>,
}

impl Default for Base {
    fn default() -> Self {
        Self {
            sndbuf: Cell::new(BUF_MAX),
            rcvbuf: Cell::new(BUF_MAX),
            passcred: Cell::new(false),
            switches: Cell::new(0),
            priority: Cell::new(0),
            rcvlowat: Cell::new(1),
            linger: Cell::new(Linger::default()),
        }
    }
}

impl Base {
    /// Options that are on or off and are only kept.
    fn is_switch(name: i32) -> bool {
        matches!(
            name,
            so::DEBUG
                | so::REUSEADDR
                | so::DONTROUTE
                | so::BROADCAST
                | so::KEEPALIVE
                | so::OOBINLINE
                | so::NO_CHECK
                | so::TIMESTAMP
                | so::TIMESTAMPNS
                | so::RXQ_OVFL
        )
    }

    /// The value of an option; `ENOPROTOOPT` for those that are not known.
    pub fn get(&self, name: i32) -> Result<Vec<u8>, Errno> {
        let value = match name {
            _ if Self::is_switch(name) => i32::from(self.switches.get() >> name & 1 == 1),
            so::SNDBUF => self.sndbuf.get() as i32,
            so::RCVBUF => self.rcvbuf.get() as i32,
            so::PRIORITY => self.priority.get(),
            so::RCVLOWAT => self.rcvlowat.get(),
            so::SNDLOWAT => 1,
            so::PASSCRED => i32::from(self.passcred.get()),
            so::LINGER => return Ok(self.linger.get().as_bytes().to_vec()),
            so::MARK | so::BUSY_POLL | so::REUSEPORT | so::ZEROCOPY => 0,
            _ => return Err(Errno::ENOPROTOOPT),
        };
        Ok(value.to_ne_bytes().to_vec())
    }

    /// Sets an option. `privileged`: with `CAP_NET_ADMIN`.
    pub fn set(&self, name: i32, value: &[u8], privileged: bool) -> Result<(), Errno> {
        let n = int(value)?;
        let doubled = |least: u32, max: u32| (n.unsigned_abs().min(max) * 2).max(least);
        match name {
            _ if Self::is_switch(name) => {
                let bit = 1 << name;
                self.switches.set(if n != 0 { self.switches.get() | bit } else { self.switches.get() & !bit });
            }
            // Linux takes the number as unsigned, up to the maximum, and doubles it for its own book-keeping.
            so::SNDBUF => self.sndbuf.set(doubled(SNDBUF_MIN, BUF_MAX)),
            so::RCVBUF => self.rcvbuf.set(doubled(RCVBUF_MIN, BUF_MAX)),
            so::SNDBUFFORCE | so::RCVBUFFORCE if !privileged => return Err(Errno::EPERM),
            so::SNDBUFFORCE => self.sndbuf.set(doubled(SNDBUF_MIN, BUF_MAX)),
            so::RCVBUFFORCE => self.rcvbuf.set(doubled(RCVBUF_MIN, BUF_MAX)),
            so::PRIORITY if (0..=6).contains(&n) || privileged => self.priority.set(n),
            so::PRIORITY | so::MARK => return Err(Errno::EPERM),
            so::RCVLOWAT => self.rcvlowat.set(if n < 0 { i32::MAX } else { n.max(1) }),
            so::PASSCRED => self.passcred.set(n != 0),
            so::LINGER => self.linger.set(parse(value).ok_or(Errno::EINVAL)?),
            so::TYPE | so::PROTOCOL | so::DOMAIN | so::ERROR | so::SNDLOWAT => return Err(Errno::ENOPROTOOPT),
            so::REUSEPORT | so::ZEROCOPY => return Err(Errno::EOPNOTSUPP),
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }
}
