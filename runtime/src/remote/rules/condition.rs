//! The conditions of a rule, all of which must hold for it to match, and which of two rules' conditions is the wider one.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::Subject;
use super::calls::{self, Access, CallSet};
use super::glob::{Glob, NameGlob};

/// What a call must be for a rule to match. What is empty or `None` asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// One of these calls; only calls for which the rest makes sense.
    pub calls: CallSet,
    /// One of these for its path, or for one of its two.
    pub paths: Vec<Glob>,
    /// In one of these networks.
    pub addresses: Vec<Network>,
    /// At an address that was looked up under one of these names.
    pub hosts: Vec<NameGlob>,
    /// In one of these ranges.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Made by one of these programs.
    pub executables: Vec<Glob>,
    /// Of this kind.
    pub access: Option<Access>,
}

impl Conditions {
    /// Whether they look at an address.
    pub fn on_address(&self) -> bool {
        !(self.addresses.is_empty() && self.hosts.is_empty() && self.ports.is_empty())
    }

    /// Drops the calls which can't meet the conditions, and those that are not `applicable`.
    pub(super) fn narrow(&mut self, applicable: impl Fn(u32) -> bool) {
        let address = self.on_address();
        self.calls = self.calls.and(CallSet::of(|call| {
            let (path, peer) = (calls::has_path(call), calls::has_address(call));
            applicable(call.nr)
                && (!address || peer)
                && ((self.paths.is_empty() && self.access.is_none()) || path || peer)
        }));
    }

    /// Whether they hold. `path` is the one of the subject's two that is looked at.
    pub(super) fn hold(&self, subject: &Subject<'_>, path: Option<&[u8]>) -> bool {
        self.calls.contains(subject.nr)
            && self.access.is_none_or(|access| access == subject.access)
            && (self.paths.is_empty() || path.is_some_and(|path| self.paths.iter().any(|glob| glob.matches(path))))
            && self.address_holds(subject)
            && (self.executables.is_empty() || {
                let program = std::os::unix::ffi::OsStrExt::as_bytes(subject.executable.as_os_str());
                self.executables.iter().any(|glob| glob.matches(program))
            })
    }

    fn address_holds(&self, subject: &Subject<'_>) -> bool {
        let ip = subject.address.map(|address| address.ip().to_canonical());
        let port = subject.address.map(|address| address.port());
        (self.addresses.is_empty() || ip.is_some_and(|ip| self.addresses.iter().any(|network| network.contains(ip))))
            && (self.ports.is_empty() || port.is_some_and(|port| self.ports.iter().any(|range| range.contains(&port))))
            && (self.hosts.is_empty()
                || subject.hosts.iter().any(|name| self.hosts.iter().any(|glob| glob.matches(name))))
    }

    /// Whether these surely hold wherever `other`'s do.
    pub(super) fn cover(&self, other: &Conditions) -> bool {
        fn all<T>(mine: &[T], theirs: &[T], covers: impl Fn(&T, &T) -> bool) -> bool {
            mine.is_empty()
                || (!theirs.is_empty() && theirs.iter().all(|theirs| mine.iter().any(|mine| covers(mine, theirs))))
        }
        other.calls.without(self.calls).is_empty()
            && all(&self.paths, &other.paths, Glob::covers)
            && all(&self.addresses, &other.addresses, Network::covers)
            && all(&self.hosts, &other.hosts, NameGlob::covers)
            && all(&self.ports, &other.ports, |a, b| a.contains(b.start()) && a.contains(b.end()))
            && all(&self.executables, &other.executables, Glob::covers)
            && (self.access.is_none() || self.access == other.access)
    }
}

/// Addresses with the same first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    bits: u8,
}

impl Network {
    /// `10.0.0.0/8`, `::1`; else what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (ip, bits) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
        let Ok(base) = ip.parse::<IpAddr>() else {
            return Err(format!(
                "{text:?} is no address like 10.1.2.3, 10.0.0.0/8 or fd00::/8; names have their own key `host`"
            ));
        };
        let most = if base.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => match bits.parse::<u8>() {
                Ok(bits) if bits <= most => bits,
                _ => return Err(format!("{text:?}: the part after the slash must be a number up to {most}")),
            },
        };
        let network = Self { base, bits };
        if !network.contains(base) {
            return Err(format!("{text:?} is never met"));
        }
        Ok(network)
    }

    /// Whether an address is in it.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.base, ip) {
            (IpAddr::V4(base), IpAddr::V4(ip)) => {
                shifted(base.to_bits().into(), self.bits, 32) == shifted(ip.to_bits().into(), self.bits, 32)
            }
            (IpAddr::V6(base), IpAddr::V6(ip)) => {
                shifted(base.to_bits(), self.bits, 128) == shifted(ip.to_bits(), self.bits, 128)
            }
            _ => false,
        }
    }

    fn covers(&self, other: &Network) -> bool {
        self.bits <= other.bits && self.contains(other.base)
    }
}

/// The first `bits` of a value of so many.
fn shifted(value: u128, bits: u8, of: u32) -> u128 {
    value.checked_shr(of.saturating_sub(bits.into())).unwrap_or(0)
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.bits)
    }
}

/// `80` or `8000-8999`; else what is wrong with it.
pub fn parse_ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    match (low.trim().parse::<u16>(), high.trim().parse::<u16>()) {
        (Ok(low), Ok(high)) if low <= high => Ok(low..=high),
        _ => Err(format!("{text:?} is neither a port nor a range of them like \"8000-8999\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let network = |text: &str| Network::parse(text).unwrap();
        let within = |net: &str, ip: &str| network(net).contains(ip.parse().unwrap());
        assert!(within("10.0.0.0/8", "10.255.1.2") && !within("10.0.0.0/8", "11.0.0.0"));
        assert!(within("0.0.0.0/0", "1.2.3.4") && !within("0.0.0.0/0", "::1"));
        assert!(within("::/0", "fe80::1") && within("::1", "::1") && !within("::1", "::2"));
        assert!(within("10.1.2.3/8", "10.9.9.9"), "bits behind the mask don't count");
        assert!(
            network("10.0.0.0/8").covers(&network("10.1.0.0/16"))
                && !network("10.1.0.0/16").covers(&network("10.0.0.0/8"))
        );
        for text in ["", "10.0.0", "10.0.0.0/33", "10.0.0.0/x", "example.org", "::/129", "10.0.0.0/"] {
            assert!(Network::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ports() {
        assert_eq!(parse_ports("80"), Ok(80..=80));
        assert_eq!(parse_ports("8000 - 8999"), Ok(8000..=8999));
        for text in ["", "-", "9-8", "70000", "http", "1-", "-5"] {
            assert!(parse_ports(text).is_err(), "{text}");
        }
    }
}
