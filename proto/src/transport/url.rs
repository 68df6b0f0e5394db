//! Where a sentry listens: `tcp://host:port`, `vsock://cid:port`, `unix:///path`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A sentry's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SentryUrl {
    /// `tcp://host:port`; an IPv6 address stands in brackets.
    Tcp {
        /// Name or address, without brackets.
        host: String,
        /// Port, not 0.
        port: u16,
    },
    /// `vsock://cid:port`.
    Vsock {
        /// Context identifier of the machine.
        cid: u32,
        /// Port.
        port: u32,
    },
    /// `unix:///path`, an absolute path.
    Unix {
        /// The socket's path.
        path: PathBuf,
    },
}

/// Why a text is not a sentry's address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sentry address {url:?}: {problem}; write tcp://HOST:PORT, vsock://CID:PORT or unix:///PATH")]
pub struct UrlError {
    /// What was given.
    pub url: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// Longest path that fits `sun_path` with its terminating zero.
const MAX_UNIX_PATH: usize = 107;

impl FromStr for SentryUrl {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<Self, UrlError> {
        parse(url).map_err(|problem| UrlError { url: url.to_owned(), problem })
    }
}

fn parse(url: &str) -> Result<SentryUrl, &'static str> {
    let (scheme, rest) = url.split_once("://").ok_or("no scheme")?;
    match scheme {
        "tcp" => {
            let (host, port) = split_port(rest)?;
            let host = match host.strip_prefix('[') {
                Some(inner) => inner.strip_suffix(']').ok_or("unbalanced bracket")?,
                None if host.contains(':') => return Err("an IPv6 address stands in brackets"),
                None => host,
            };
            if host.is_empty() {
                return Err("no host");
            }
            if host.chars().any(|c| c.is_whitespace() || c.is_control() || "/@?#[]".contains(c)) {
                return Err("bad character in host");
            }
            let port: u16 = port.parse().map_err(|_| "bad port")?;
            if port == 0 {
                return Err("bad port");
            }
            Ok(SentryUrl::Tcp { host: host.to_owned(), port })
        }
        "vsock" => {
            let (cid, port) = split_port(rest)?;
            let cid = cid.parse().map_err(|_| "bad context identifier")?;
            let port = port.parse().map_err(|_| "bad port")?;
            if cid == u32::MAX || port == u32::MAX {
                return Err("the wildcard is not an address");
            }
            Ok(SentryUrl::Vsock { cid, port })
        }
        "unix" => {
            if !rest.starts_with('/') {
                return Err("the path is not absolute");
            }
            if rest.len() > MAX_UNIX_PATH {
                return Err("the path is longer than 107 bytes");
            }
            if rest.contains('\0') {
                return Err("the path contains a zero byte");
            }
            Ok(SentryUrl::Unix { path: PathBuf::from(rest) })
        }
        _ => Err("unknown scheme"),
    }
}

fn split_port(rest: &str) -> Result<(&str, &str), &'static str> {
    let (host, port) = rest.rsplit_once(':').ok_or("no port")?;
    // `parse` of the integer types takes a leading plus.
    if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err("bad port");
    }
    Ok((host, port))
}

impl fmt::Display for SentryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SentryUrl::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            SentryUrl::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            SentryUrl::Vsock { cid, port } => write!(f, "vsock://{cid}:{port}"),
            SentryUrl::Unix { path } => write!(f, "unix://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_addresses_survive_a_round_trip() {
        for url in
            ["tcp://localhost:1", "tcp://10.0.0.1:65535", "tcp://[::1]:80", "vsock://2:9999", "unix:///run/x.sock"]
        {
            assert_eq!(url.parse::<SentryUrl>().unwrap().to_string(), url);
        }
    }

    #[test]
    fn bad_addresses_say_what_is_wrong() {
        let long = format!("unix:///{}", "x".repeat(200));
        for (url, problem) in [
            ("", "no scheme"),
            ("localhost:80", "no scheme"),
            ("http://x:1", "unknown scheme"),
            ("tcp://x", "no port"),
            ("tcp://x:", "bad port"),
            ("tcp://x:0", "bad port"),
            ("tcp://x:+1", "bad port"),
            ("tcp://x:65536", "bad port"),
            ("tcp://:1", "no host"),
            ("tcp://::1:80", "an IPv6 address stands in brackets"),
            ("tcp://[::1:80", "unbalanced bracket"),
            ("tcp://a b:1", "bad character in host"),
            ("vsock://host:1", "bad context identifier"),
            ("vsock://4294967295:1", "the wildcard is not an address"),
            ("vsock://1:4294967296", "bad port"),
            ("unix://run/x", "the path is not absolute"),
            (&long, "the path is longer than 107 bytes"),
        ] {
            let error = url.parse::<SentryUrl>().unwrap_err();
            assert_eq!(error.problem, problem, "{url}");
            assert!(error.to_string().contains("write tcp://HOST:PORT"));
        }
    }
}
