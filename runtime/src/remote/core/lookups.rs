//! Names under which addresses were looked up, so that rules can be about hosts: from the answers of name servers as a traced
//! process receives them (RFC 1035), or as a library within it tells.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses that are remembered at most; then it begins anew.
const ADDRESSES_MAX: usize = 16_384;
/// Names of one address at most.
const NAMES_MAX: usize = 16;
/// Records of one answer that are looked at.
const RECORDS_MAX: u16 = 256;
/// Pointers within one name that are followed.
const JUMPS_MAX: usize = 32;

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;

/// See the module.
#[derive(Debug, Default)]
pub struct Lookups {
    names: RefCell<HashMap<IpAddr, BTreeSet<String>>>,
}

impl Lookups {
    /// An address was found under a name.
    pub fn remember(&self, name: &str, address: IpAddr) {
        let mut names = self.names.borrow_mut();
        let address = address.to_canonical();
        if names.len() >= ADDRESSES_MAX && !names.contains_key(&address) {
            names.clear();
        }
        let known = names.entry(address).or_default();
        if known.len() < NAMES_MAX {
            known.insert(name.trim_end_matches('.').to_ascii_lowercase());
        }
    }

    /// The names of an address.
    pub fn of(&self, address: IpAddr) -> Vec<String> {
        self.names.borrow().get(&address.to_canonical()).into_iter().flatten().cloned().collect()
    }

    /// A name server has answered.
    pub fn answer(&self, message: &[u8]) {
        // Anything may arrive; what is no proper answer tells nothing.
        for (name, address) in addresses(message).unwrap_or_default() {
            self.remember(&name, address);
        }
    }
}

/// What an answer says of addresses: under the name that was asked for, and under that of each record.
fn addresses(message: &[u8]) -> Option<Vec<(String, IpAddr)>> {
    let word = |at: usize| Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?));
    // A response, without an error.
    if word(2)? & 0x800f != 0x8000 || word(4)? != 1 {
        return None;
    }
    let (asked, at) = name(message, 12)?;
    let mut at = at + 4;
    let mut found = Vec::new();
    for _ in 0..word(6)?.min(RECORDS_MAX) {
        let (owner, end) = name(message, at)?;
        let (kind, length) = (word(end)?, usize::from(word(end + 8)?));
        let data = message.get(end + 10..end + 10 + length)?;
        let address = match kind {
            TYPE_A => <[u8; 4]>::try_from(data).ok().map(|it| IpAddr::V4(Ipv4Addr::from(it))),
            TYPE_AAAA => <[u8; 16]>::try_from(data).ok().map(|it| IpAddr::V6(Ipv6Addr::from(it))),
            _ => None,
        };
        if let Some(address) = address {
            if owner != asked {
                found.push((asked.clone(), address));
            }
            found.push((owner, address));
        }
        at = end + 10 + length;
    }
    Some(found)
}

/// The name at a place of a message, and where it ends there.
fn name(message: &[u8], start: usize) -> Option<(String, usize)> {
    let (mut at, mut end, mut text) = (start, None, String::new());
    for _ in 0..JUMPS_MAX + 128 {
        let length = usize::from(*message.get(at)?);
        match length {
            0 => return Some((text, end.unwrap_or(at + 1))),
            1..=63 => {
                let label = message.get(at + 1..at + 1 + length)?;
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(&String::from_utf8_lossy(label).to_ascii_lowercase());
                if text.len() > 255 {
                    return None;
                }
                at += 1 + length;
            }
            0xc0.. => {
                end.get_or_insert(at + 2);
                at = (length & 0x3f) << 8 | usize::from(*message.get(at + 1)?);
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_name_servers() {
        // www.x. CNAME a.x., a.x. A 10.1.2.3
        let mut message = vec![0, 1, 0x81, 0x80, 0, 1, 0, 2, 0, 0, 0, 0];
        message.extend(b"\x03www\x01x\x00\x00\x01\x00\x01");
        message.extend(b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x04\x01a\xc0\x10");
        message.extend(b"\xc0\x23\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x0a\x01\x02\x03");
        let lookups = Lookups::default();
        lookups.answer(&message);
        assert_eq!(lookups.of("10.1.2.3".parse().unwrap()), ["a.x", "www.x"]);
        for end in 0..message.len() {
            lookups.answer(message.get(..end).unwrap());
        }
        // A name that leads to itself.
        lookups.answer(b"\x00\x01\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\xc0\x0c");
        lookups.remember("Y.", "::ffff:10.1.2.3".parse().unwrap());
        assert_eq!(lookups.of("10.1.2.3".parse().unwrap()), ["a.x", "www.x", "y"]);
    }
}
