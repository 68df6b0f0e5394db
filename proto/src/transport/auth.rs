//! Who is let in: the token file, and the rules by which a connection's proof and a request's token become a [`Peer`].

use super::{Exports, Identity, Peer};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use subtle::{Choice, ConstantTimeEq as _};
use tonic::Status;
use tonic::metadata::MetadataMap;

/// What a connection has proved by itself. tonic attaches it to every request of the connection.
#[derive(Clone, Debug)]
pub struct Proof(Proven);

#[derive(Clone, Debug)]
enum Proven {
    /// The transport names the peer: unix, vsock, inherited.
    Peer(Peer),
    /// TCP with a verified client certificate of this subject.
    Certificate(String),
    /// TCP without.
    Nothing,
}

impl Proof {
    pub(super) fn peer(identity: Identity) -> Self {
        Proof(Proven::Peer(Peer::unrestricted(identity)))
    }

    pub(super) fn inherited() -> Self {
        Self::peer(Identity::Inherited)
    }

    pub(super) fn certificate(subject: String) -> Self {
        Proof(Proven::Certificate(subject))
    }

    pub(super) fn nothing() -> Self {
        Proof(Proven::Nothing)
    }
}

/// What is wrong with a token file.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// It can't be read.
    #[error("cannot read token file {path}: {source}")]
    Read {
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A line is wrong.
    #[error("token file {path}, line {line}: {problem}")]
    Line {
        /// Its path.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// There is nothing in it.
    #[error("token file {path} holds no token; write lines of TOKEN [NAME [EXPORT…]]")]
    Empty {
        /// Its path.
        path: PathBuf,
    },
}

/// Longest token, in bytes. HTTP/2 headers are limited to 16 KiB.
const MAX_TOKEN: usize = 4096;

struct Entry {
    line: usize,
    /// `None` for `-`: a certificate's name alone.
    token: Option<String>,
    name: Option<String>,
    exports: Exports,
}

/// A server's token file: lines of `TOKEN [NAME [EXPORT…]]`, `#` starting a comment.
///
/// A line without exports may use all of them. A client certificate is matched by its subject's common name against NAME; such
/// a line may have `-` for its token.
pub struct Tokens {
    entries: Vec<Entry>,
}

impl Tokens {
    /// Reads and checks a token file, and warns when others can read it.
    pub fn load(path: &Path) -> Result<Self, TokenFileError> {
        let text = read(path)?;
        Self::parse(&text).map_err(|e| match e {
            Some((line, problem)) => TokenFileError::Line { path: path.to_owned(), line, problem },
            None => TokenFileError::Empty { path: path.to_owned() },
        })
    }

    fn parse(text: &str) -> Result<Self, Option<(usize, &'static str)>> {
        let mut entries: Vec<Entry> = Vec::new();
        for (line, words) in lines(text) {
            let mut words = words.into_iter();
            let Some(token) = words.next() else { continue };
            let name = words.next().map(str::to_owned);
            let exports: BTreeSet<String> = words.map(str::to_owned).collect();
            let token = match token {
                "-" if name.is_none() => return Err(Some((line, "a line without a token needs a name"))),
                "-" => None,
                token if token.len() > MAX_TOKEN => return Err(Some((line, "the token is longer than 4096 bytes"))),
                token if !token.bytes().all(|b| b.is_ascii_graphic()) => {
                    return Err(Some((line, "a token is made of printable ASCII characters")));
                }
                token => Some(token.to_owned()),
            };
            if token.is_some() && entries.iter().any(|e| e.token == token) {
                return Err(Some((line, "the token is on an earlier line, too")));
            }
            if name.is_some() && entries.iter().any(|e| e.name == name) {
                return Err(Some((line, "the name is on an earlier line, too")));
            }
            let exports = if exports.is_empty() { Exports::All } else { Exports::Only(Arc::new(exports)) };
            entries.push(Entry { line, token, name, exports });
        }
        if entries.is_empty() { Err(None) } else { Ok(Tokens { entries }) }
    }

    /// The peer with this token. Takes the same time whichever line matches, or none (lengths are not secret).
    fn by_token(&self, token: &str) -> Option<Peer> {
        let mut found = None;
        for entry in &self.entries {
            let equal: Choice = match &entry.token {
                Some(known) => known.as_bytes().ct_eq(token.as_bytes()),
                None => Choice::from(0),
            };
            if bool::from(equal) {
                found = Some(entry);
            }
        }
        found.map(|entry| Peer {
            identity: Identity::Token { line: entry.line, name: entry.name.clone() },
            exports: entry.exports.clone(),
        })
    }

    fn by_name(&self, name: &str) -> Option<Exports> {
        self.entries.iter().find(|e| e.name.as_deref() == Some(name)).map(|e| e.exports.clone())
    }
}

fn read(path: &Path) -> Result<String, TokenFileError> {
    use std::os::unix::fs::PermissionsExt as _;
    let error = |source| TokenFileError::Read { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(error)?;
    let mode = std::fs::metadata(path).map_err(error)?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!("token file {} is readable by others (mode {:03o}): chmod 600 it", path.display(), mode & 0o777);
    }
    Ok(text)
}

/// Line numbers and words, without comments and empty lines.
fn lines(text: &str) -> impl Iterator<Item = (usize, Vec<&str>)> {
    text.lines().enumerate().filter_map(|(i, line)| {
        // A comment starts a word, so that a token may contain the character.
        let words: Vec<_> = line.split_whitespace().take_while(|w| !w.starts_with('#')).collect();
        (!words.is_empty()).then_some((i + 1, words))
    })
}

/// The token which a client shows: the first word of its token file.
pub fn client_token(path: &Path) -> Result<String, TokenFileError> {
    let text = read(path)?;
    let Some((line, words)) = lines(&text).next() else {
        return Err(TokenFileError::Empty { path: path.to_owned() });
    };
    match words.first() {
        Some(token) if token.len() <= MAX_TOKEN && token.bytes().all(|b| b.is_ascii_graphic()) => {
            Ok((*token).to_owned())
        }
        _ => Err(TokenFileError::Line {
            path: path.to_owned(),
            line,
            problem: "a token is made of up to 4096 printable ASCII characters",
        }),
    }
}

/// A server's rules.
#[derive(Default)]
pub struct Guard {
    /// Who may come with a token, and what named certificates may use.
    pub tokens: Option<Tokens>,
    /// TCP needs no proof.
    pub insecure: bool,
    /// Uids admitted on unix sockets besides the server's own.
    pub allow_uids: Vec<u32>,
    /// CIDs admitted on vsock; `None` admits all.
    pub allow_cids: Option<Vec<u32>>,
}

impl Guard {
    pub(super) fn admits_uid(&self, uid: u32) -> bool {
        uid == nix::unistd::geteuid().as_raw() || self.allow_uids.contains(&uid)
    }

    pub(super) fn admits_cid(&self, cid: u32) -> bool {
        self.allow_cids.as_ref().is_none_or(|cids| cids.contains(&cid))
    }

    /// Who sends this request, from what its connection proved and the token that it carries.
    ///
    /// Errors are `UNAUTHENTICATED`; they say what was missing, never what would have been right.
    pub fn identify(&self, proof: Option<&Proof>, metadata: &MetadataMap) -> Result<Peer, Status> {
        let proven = match proof {
            Some(Proof(proven)) => proven,
            None => return Err(Status::unauthenticated("the connection has no identity")),
        };
        if let Proven::Peer(peer) = proven {
            return Ok(peer.clone());
        }
        let mut refused = "show a token (--token-file) or a client certificate (--tls-cert)";
        if let Some(tokens) = &self.tokens
            && let Some(header) = metadata.get("authorization")
        {
            let token = header.to_str().ok().and_then(|h| h.strip_prefix("Bearer "));
            return token
                .and_then(|t| tokens.by_token(t))
                .ok_or_else(|| Status::unauthenticated("the token is not in the sentry's token file"));
        }
        if let Proven::Certificate(name) = proven {
            let identity = Identity::Certificate { name: name.clone() };
            match &self.tokens {
                None => return Ok(Peer::unrestricted(identity)),
                Some(tokens) => match tokens.by_name(name) {
                    Some(exports) => return Ok(Peer { identity, exports }),
                    None => refused = "the certificate's subject name is not in the sentry's token file",
                },
            }
        }
        if self.insecure {
            return Ok(Peer::unrestricted(Identity::Anonymous));
        }
        Err(Status::unauthenticated(refused))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(text: &str) -> Guard {
        Guard { tokens: Some(Tokens::parse(text).unwrap_or_else(|e| panic!("{e:?}"))), ..Guard::default() }
    }

    fn bearer(token: &str) -> MetadataMap {
        let mut map = MetadataMap::new();
        map.insert("authorization", format!("Bearer {token}").parse().unwrap());
        map
    }

    const FILE: &str = "# who may come\n\nalpha\nbeta builder data logs # two trees\n- web site\n";

    #[test]
    fn a_token_is_a_name_and_exports() {
        let guard = guard(FILE);
        let alpha = guard.identify(Some(&Proof::nothing()), &bearer("alpha")).unwrap();
        assert_eq!(alpha.to_string(), "token of line 3");
        assert!(alpha.may_use("anything"));
        let beta = guard.identify(Some(&Proof::nothing()), &bearer("beta")).unwrap();
        assert_eq!(beta.to_string(), "token builder");
        assert!(beta.may_use("data") && beta.may_use("logs") && !beta.may_use("site"));
        assert_ne!(alpha.identity, beta.identity);
    }

    #[test]
    fn wrong_or_missing_tokens_are_refused() {
        let guard = guard(FILE);
        for map in [MetadataMap::new(), bearer("alph"), bearer("alphaa"), bearer("-"), bearer("")] {
            let status = guard.identify(Some(&Proof::nothing()), &map).unwrap_err();
            assert_eq!(status.code(), tonic::Code::Unauthenticated);
            assert!(!status.message().contains("alpha"));
        }
        assert!(guard.identify(None, &bearer("alpha")).is_err());
    }

    #[test]
    fn certificates_match_by_name_when_there_is_a_file() {
        let none = MetadataMap::new();
        let with = guard(FILE);
        let web = with.identify(Some(&Proof::certificate("web".into())), &none).unwrap();
        assert!(web.may_use("site") && !web.may_use("data"));
        assert!(with.identify(Some(&Proof::certificate("other".into())), &none).is_err());
        let any = Guard::default().identify(Some(&Proof::certificate("other".into())), &none).unwrap();
        assert_eq!(any, Peer::unrestricted(Identity::Certificate { name: "other".into() }));
    }

    #[test]
    fn insecure_admits_anybody_on_tcp_but_not_with_a_wrong_token() {
        let guard = Guard { insecure: true, ..guard(FILE) };
        let peer = guard.identify(Some(&Proof::nothing()), &MetadataMap::new()).unwrap();
        assert_eq!(peer.identity, Identity::Anonymous);
        assert!(guard.identify(Some(&Proof::nothing()), &bearer("wrong")).is_err());
    }

    #[test]
    fn token_file_errors_have_line_numbers() {
        let error = |text| Tokens::parse(text).err().unwrap();
        assert_eq!(error("# nothing\n"), None);
        assert_eq!(error("a\n\n-\n").unwrap().0, 3);
        assert_eq!(error("a\nb\na x\n").unwrap(), (3, "the token is on an earlier line, too"));
        assert_eq!(error("a x\nb x\n").unwrap().0, 2);
        assert_eq!(error("ok\nt\u{f6}ken\n").unwrap().0, 2);
    }

    #[test]
    fn uids_and_cids() {
        let own = nix::unistd::geteuid().as_raw();
        let guard = Guard { allow_uids: vec![own + 7], allow_cids: Some(vec![3]), ..Guard::default() };
        assert!(guard.admits_uid(own) && guard.admits_uid(own + 7) && !guard.admits_uid(own + 1));
        assert!(guard.admits_cid(3) && !guard.admits_cid(4) && Guard::default().admits_cid(4));
    }
}
