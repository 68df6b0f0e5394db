//! The user namespace: which ids the tree's files can have, and how they are called.

use crate::sys::{Result, ns};
use rsc_proto::abi::Errno;

/// A range of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdMap {
    /// As the container counts: what attributes show.
    pub inside: u32,
    /// As this host counts.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

impl std::str::FromStr for IdMap {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<IdMap, String> {
        let numbers: Vec<u32> =
            text.split(':').map(str::parse).collect::<std::result::Result<_, _>>().unwrap_or_default();
        match numbers[..] {
            [inside, outside, count]
                if count > 0 && inside.checked_add(count).is_some() && outside.checked_add(count).is_some() =>
            {
                Ok(IdMap { inside, outside, count })
            }
            _ => Err(format!("{text:?} is not INSIDE:OUTSIDE:COUNT")),
        }
    }
}

impl std::fmt::Display for IdMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.inside, self.outside, self.count)
    }
}

/// The ids that files can be given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) uids: Vec<IdMap>,
    pub(crate) gids: Vec<IdMap>,
}

impl Ids {
    /// Every id: no user namespace in the way.
    pub(crate) fn all() -> Ids {
        let all = vec![IdMap { inside: 0, outside: 0, count: u32::MAX }];
        Ids { uids: all.clone(), gids: all }
    }

    pub(crate) fn has_uid(&self, uid: u32) -> bool {
        self.uids.iter().any(|m| uid.checked_sub(m.inside).is_some_and(|n| n < m.count))
    }

    pub(crate) fn has_gid(&self, gid: u32) -> bool {
        self.gids.iter().any(|m| gid.checked_sub(m.inside).is_some_and(|n| n < m.count))
    }

    /// Whether files can be given to others than root.
    pub(crate) fn several(&self) -> bool {
        self.uids.iter().map(|m| u64::from(m.count)).sum::<u64>() > 1
    }
}

/// The calling process's own namespace's ids, mapped to themselves.
fn identity(file: &str) -> Vec<IdMap> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let ranges = text.lines().filter_map(|line| {
        let mut numbers = line.split_ascii_whitespace().map(|n| n.parse::<u32>().ok());
        let (inside, _, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
        Some(IdMap { inside, outside: inside, count })
    });
    ranges.collect()
}

/// What to map when nobody says: everything if the process may, else its own ids to root's.
pub(crate) fn default_ids() -> Ids {
    if may_map() {
        Ids { uids: identity("/proc/self/uid_map"), gids: identity("/proc/self/gid_map") }
    } else {
        let (uid, gid) = ns::effective_ids();
        let own = |id| vec![IdMap { inside: 0, outside: id, count: 1 }];
        Ids { uids: own(uid), gids: own(gid) }
    }
}

/// Whether this process may map ids other than its own.
pub(crate) fn may_map() -> bool {
    let has = |cap| caps::has_cap(None, caps::CapSet::Effective, cap).unwrap_or(false);
    has(caps::Capability::CAP_SETUID) && has(caps::Capability::CAP_SETGID)
}

/// Enters a new user namespace with these ids.
pub(crate) fn enter(ids: &Ids) -> Result<()> {
    let privileged = may_map();
    let pid = std::process::id();
    let text = |maps: &[IdMap]| -> String {
        maps.iter().map(|m| format!("{} {} {}\n", m.inside, m.outside, m.count)).collect()
    };
    let write = |file: &str, text: &str| {
        std::fs::write(format!("/proc/{pid}/{file}"), text)
            .map_err(|e| Errno::new(e.raw_os_error().unwrap_or(libc::EIO)))
    };
    ns::with_outside_helper(
        || ns::unshare(libc::CLONE_NEWUSER),
        || {
            if !privileged {
                write("setgroups", "deny")?;
            }
            write("gid_map", &text(&ids.gids))?;
            write("uid_map", &text(&ids.uids))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_parsed() {
        assert_eq!("0:1000:1".parse(), Ok(IdMap { inside: 0, outside: 1000, count: 1 }));
        for bad in ["", "0:1000", "0:1000:0", "a:b:c", "1:2:3:4", "1:1:4294967295", "-1:0:1"] {
            assert!(bad.parse::<IdMap>().is_err(), "{bad}");
        }
    }

    #[test]
    fn membership() {
        let ids = Ids { uids: vec![IdMap { inside: 10, outside: 0, count: 5 }], gids: vec![] };
        assert!(ids.has_uid(10) && ids.has_uid(14));
        assert!(!ids.has_uid(9) && !ids.has_uid(15) && !ids.has_gid(0));
        assert!(Ids::all().has_uid(65534) && !Ids::all().has_uid(u32::MAX));
    }
}
