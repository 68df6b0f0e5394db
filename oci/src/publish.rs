//! The annotation `dev.rsc.publish`: `HOST[:CONTAINER][/tcp]`, separated by commas. A port of the container's network namespace on the
//! compute host, and the port of the sandbox's own network to which connections are relayed.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

/// Its name.
pub const ANNOTATION: &str = "dev.rsc.publish";

/// Ports of one container, at most.
pub const MAX_PUBLISHED: usize = 64;

/// One relayed port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Publication {
    /// Where the compute host listens.
    pub host: NonZeroU16,
    /// Where the workload does.
    pub container: NonZeroU16,
}

impl fmt::Display for Publication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/tcp", self.host, self.container)
    }
}

impl FromStr for Publication {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ports = match text.split_once('/') {
            None => text,
            Some((ports, "tcp")) => ports,
            Some((_, "udp")) => return Err(format!("{text:?}: only tcp is relayed, not udp")),
            Some(_) => return Err(format!("{text:?} is not HOST[:CONTAINER][/tcp]")),
        };
        let port = |digits: &str| {
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            let port = digits.parse().ok().filter(|_| plain);
            port.ok_or_else(|| format!("{text:?} is not HOST[:CONTAINER][/tcp] with ports from 1 to 65535"))
        };
        let (host, container) = ports.split_once(':').unwrap_or((ports, ports));
        Ok(Self { host: port(host)?, container: port(container)? })
    }
}

/// The whole list, which is not empty; no port of the compute host is in it twice.
pub fn parse_list(text: &str) -> Result<Vec<Publication>, String> {
    let mut list: Vec<Publication> = Vec::new();
    for item in text.split(',') {
        let one: Publication = item.trim().parse()?;
        if list.iter().any(|other| other.host == one.host) {
            return Err(format!("port {} is published twice", one.host));
        }
        if list.len() >= MAX_PUBLISHED {
            return Err(format!("more than {MAX_PUBLISHED} ports"));
        }
        list.push(one);
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(host: u16, container: u16) -> Publication {
        Publication { host: host.try_into().unwrap(), container: container.try_into().unwrap() }
    }

    #[test]
    fn all_forms() {
        assert_eq!(parse_list("8080"), Ok(vec![of(8080, 8080)]));
        assert_eq!(parse_list("8080/tcp, 9000:80,1:65535/tcp"), Ok(vec![of(8080, 8080), of(9000, 80), of(1, 65535)]));
        assert_eq!(of(9000, 80).to_string().parse(), Ok(of(9000, 80)));
    }

    #[test]
    fn what_is_refused() {
        for (text, word) in [
            ("", "is not HOST"),
            ("0", "1 to 65535"),
            ("65536", "1 to 65535"),
            ("80:0", "1 to 65535"),
            ("+80", "1 to 65535"),
            ("80:", "1 to 65535"),
            (":80", "1 to 65535"),
            ("80:81:82", "1 to 65535"),
            ("80-90", "1 to 65535"),
            ("127.0.0.1:80", "1 to 65535"),
            ("80,", "is not HOST"),
            ("80/udp", "only tcp"),
            ("80/sctp", "is not HOST"),
            ("80/tcp/tcp", "is not HOST"),
            ("80,80:81", "twice"),
        ] {
            let problem = parse_list(text).unwrap_err();
            assert!(problem.contains(word), "{text}: {problem}");
        }
        let many: Vec<String> = (1..=65).map(|port| port.to_string()).collect();
        assert!(parse_list(&many.join(",")).unwrap_err().contains("more than 64"));
    }
}
