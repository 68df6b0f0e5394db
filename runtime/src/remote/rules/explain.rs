//! `rsc-runtime explain`: which rule decides about a call that is written like in a log of strace.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use rsc_proto::abi::flags::OpenFlags;
use rsc_proto::table::{self, FlagSet, Kind, Scalar, Syscall};

use super::{By, Class, Decision, Rules, Subject, Verdict, access_of, calls, class, follows, path_args};

/// A call in words.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// Its name.
    pub call: String,
    /// What is written behind it: paths, `O_…` flags, `ADDRESS:PORT`, `NAME:PORT`. Other words are ignored.
    pub words: Vec<String>,
    /// Names under which the address was looked up.
    pub hosts: Vec<String>,
    /// The program that makes it.
    pub executable: PathBuf,
    /// From where relative paths count.
    pub cwd: PathBuf,
}

/// The answer in lines, or what is wrong with the question.
pub fn explain(rules: &Rules, question: &Question) -> Result<String, String> {
    let set = calls::named(&question.call)?;
    let call = table::by_name(&question.call).filter(|call| set.contains(call.nr));
    let call = call.ok_or_else(|| format!("{:?} is a set of calls; ask about one of them", question.call))?;
    let args = arguments(call, &question.words)?;
    let how = (call.nr == table::nr::OPENAT2).then(|| flag_bits(&question.words).map(u64::from)).transpose()?;
    let (paths, address, mut hosts) = sort(call, question)?;
    hosts.extend(question.hosts.iter().cloned());
    let absolute =
        |at: usize| paths.get(at).map(|path| resolve(&question.cwd, path, follows(call.nr, &args, at == 1, how)));
    let (path, second) = (absolute(0), absolute(1));
    let subject = Subject {
        nr: call.nr,
        path: path.as_deref(),
        second: second.as_deref().filter(|_| path_args(call.nr).1.is_some()),
        address,
        hosts: &hosts,
        executable: &question.executable,
        access: access_of(call.nr, &args, how),
    };
    let decision = rules.decide(&subject);
    let mut lines = vec![match (class(call.nr), decision.verdict) {
        (_, Verdict::Deny(_)) => verdict(rules, &decision),
        (Class::Descriptor, _) => format!("where its descriptor is: {} is decided by no rule", call.name),
        (Class::Here, _) if decision.map.is_none() => format!("local: {} is always this machine's", call.name),
        _ => verdict(rules, &decision),
    }];
    let mut looked_at: Vec<String> =
        [path, second].into_iter().flatten().map(|path| String::from_utf8_lossy(&path).into_owned()).collect();
    looked_at.extend(address.map(|address| address.to_string()));
    looked_at.extend(hosts.iter().cloned());
    if !looked_at.is_empty() {
        lines.push(format!("for {} {}", call.name, looked_at.join(" ")));
    }
    if rules.needs_address(call.nr) && address.is_none() {
        lines.push("no rule with an address or a port was met: write ADDRESS:PORT behind the call".to_owned());
    }
    Ok(lines.join("\n") + "\n")
}

/// What is done, and which rule says so.
fn verdict(rules: &Rules, decision: &Decision) -> String {
    let named = |index: usize| rules.rule(index).map(|rule| rule.origin.to_string()).unwrap_or_default();
    let maps: Vec<String> = [&decision.map, &decision.second]
        .into_iter()
        .flatten()
        .map(|map| String::from_utf8_lossy(map).into_owned())
        .collect();
    let as_other = if maps.is_empty() { String::new() } else { format!(" as {}", maps.join(" ")) };
    let why = match decision.by {
        By::Nothing => "no rule matches".to_owned(),
        By::Rule(index) => named(index),
        By::Sides(first, second) => {
            let side = |index: Option<usize>| index.map_or("no rule".to_owned(), named);
            format!("its paths are on different sides: by {} and {}", side(first), side(second))
        }
    };
    format!("{}{as_other}: {why}", decision.verdict)
}

/// The registers, as far as words say anything of them: flags.
fn arguments(call: &Syscall, words: &[String]) -> Result<[u64; 6], String> {
    let mut args = [0; 6];
    for (slot, arg) in args.iter_mut().zip(call.args) {
        *slot = match arg.kind {
            Kind::Value(Scalar::Flags(FlagSet::Open)) => flag_bits(words)?.into(),
            Kind::Value(Scalar::Flags(FlagSet::At)) => bits(words, |name| match name {
                "AT_SYMLINK_NOFOLLOW" => Some(libc::AT_SYMLINK_NOFOLLOW as u64),
                "AT_SYMLINK_FOLLOW" => Some(libc::AT_SYMLINK_FOLLOW as u64),
                _ => None,
            }),
            Kind::Value(Scalar::Flags(FlagSet::Access)) => bits(words, |name| match name {
                "W_OK" => Some(2),
                "R_OK" => Some(4),
                "X_OK" => Some(1),
                _ => None,
            }),
            _ => 0,
        };
    }
    Ok(args)
}

fn bits(words: &[String], known: impl Fn(&str) -> Option<u64>) -> u64 {
    words.iter().flat_map(|word| word.split('|')).filter_map(known).fold(0, |all, bit| all | bit)
}

/// `O_RDWR|O_CREAT`, wherever it stands.
fn flag_bits(words: &[String]) -> Result<u32, String> {
    let mut all = 0;
    for name in words.iter().filter(|word| is_flags(word, "O_")).flat_map(|word| word.split('|')) {
        let bit = match name {
            "O_RDONLY" => 0,
            "O_SYNC" => OpenFlags::O_SYNC.bits(),
            "O_TMPFILE" => OpenFlags::O_TMPFILE.bits(),
            _ => OpenFlags::from_name(name).ok_or_else(|| format!("no flag of open is named {name:?}"))?.bits(),
        };
        all |= bit;
    }
    Ok(all)
}

fn is_flags(word: &str, prefix: &str) -> bool {
    word.starts_with(prefix)
}

type Sorted<'a> = (Vec<&'a str>, Option<SocketAddr>, Vec<String>);

/// Which words are paths, which the address.
fn sort<'a>(call: &Syscall, question: &'a Question) -> Result<Sorted<'a>, String> {
    let (mut paths, mut address, mut hosts) = (Vec::new(), None, Vec::new());
    let wanted = usize::from(path_args(call.nr).0.is_some()) + usize::from(path_args(call.nr).1.is_some());
    for word in &question.words {
        if ["O_", "AT_", "S_", "W_OK", "R_OK", "X_OK", "F_OK"].iter().any(|prefix| is_flags(word, prefix)) {
            continue;
        }
        if calls::has_address(call) {
            if word.starts_with('/') || word.starts_with('@') {
                paths.push(word.as_str());
            } else if address.is_none() && hosts.is_empty() && word.contains([':', '.']) {
                let (ip, name) = peer(word)?;
                address = ip;
                hosts.extend(name);
            }
        } else if paths.len() < wanted {
            // What a symbolic link is to say is no path that counts.
            paths.push(word.as_str());
        }
    }
    if call.name.starts_with("symlink") && question.words.len() > 1 {
        paths = question.words.last().map(String::as_str).into_iter().collect();
    }
    if paths.len() < wanted {
        return Err(format!(
            "{} takes {wanted} path{}; write it behind the call",
            call.name,
            if wanted > 1 { "s" } else { "" }
        ));
    }
    Ok((paths, address, hosts))
}

/// `1.2.3.4:80`, `[::1]:80`, `1.2.3.4`, `NAME:80`, `NAME`. A name has no address here: nothing is looked up.
fn peer(word: &str) -> Result<(Option<SocketAddr>, Option<String>), String> {
    if let Ok(address) = word.parse::<SocketAddr>() {
        return Ok((Some(address), None));
    }
    if let Ok(ip) = word.parse::<IpAddr>() {
        return Ok((Some(SocketAddr::new(ip, 0)), None));
    }
    let (name, port) = word.rsplit_once(':').unwrap_or((word, "0"));
    let port: u16 = port.parse().map_err(|_| format!("{word:?} is no ADDRESS:PORT"))?;
    // The address stands for one in no network that a rule is likely to name.
    let unknown = SocketAddr::new(IpAddr::from([0, 0, 0, 0]), port);
    Ok((Some(unknown), Some(name.to_owned())))
}

/// An absolute path without `.`, `..` and symbolic links, as far as there are files.
fn resolve(cwd: &Path, path: &str, follow: bool) -> Vec<u8> {
    if path.starts_with('@') {
        return path.as_bytes().to_vec();
    }
    let whole = cwd.join(path);
    let (folder, last) = match (whole.parent(), whole.file_name()) {
        (Some(folder), Some(last)) if !follow => (folder.to_owned(), Some(last.to_owned())),
        _ => (whole.clone(), None),
    };
    // The longest beginning that is there; what is behind it is taken as it is written.
    let mut there = folder.as_path();
    let known = loop {
        match (std::fs::canonicalize(there), there.parent()) {
            (Ok(known), _) => break known,
            (Err(_), Some(parent)) => there = parent,
            (Err(_), None) => break PathBuf::from("/"),
        }
    };
    let mut result = known;
    for component in folder.strip_prefix(there).unwrap_or(Path::new("")).components() {
        match component {
            Component::ParentDir => drop(result.pop()),
            Component::Normal(name) => result.push(name),
            _ => {}
        }
    }
    result.extend(last);
    result.into_os_string().into_vec()
}

impl Question {
    /// A question about a call, by a program that no rule names, from the root.
    pub fn new(call: &str, words: &[&str]) -> Self {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        let (executable, cwd) = (PathBuf::from("/"), PathBuf::from("/"));
        Self { call: call.to_owned(), words, hosts: Vec::new(), executable, cwd }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt as _;

    const TEXT: &str = r#"
[[rule]]
path = "/srv/private/**"
deny = "EACCES"

[[rule]]
name = "data"
path = "/srv/data/**"
action = "remote"

[[rule]]
path = "/opt/here/**"
map = "/opt/there"
access = "write"
action = "remote"

[[rule]]
host = "*.example.org"
port = [80, 443]
action = "remote"

[[rule]]
path = "/run/app.sock"
syscalls = "connect"
action = "remote"
"#;

    fn ask(line: &str) -> String {
        let rules = Rules::parse(TEXT, "r.toml").unwrap();
        let rules = rules.then(Rules::built_in(None)).then(Rules::for_syscalls("openat,getuid,read").unwrap());
        let words: Vec<&str> = line.split(' ').collect();
        let answer = explain(&rules, &Question::new(words[0], &words[1..]));
        answer.unwrap_or_else(|problem| format!("wrong: {problem}\n")).lines().next().unwrap().to_owned()
    }

    #[test]
    fn answers() {
        for (line, answer) in [
            ("openat AT_FDCWD /srv/private/x O_RDONLY", "deny EACCES: r.toml, line 2"),
            ("stat /srv/data/../data/x", "remote: r.toml, line 6 (\"data\")"),
            ("openat /opt/here/a/b O_WRONLY|O_CREAT", "remote as /opt/there/a/b: r.toml, line 11"),
            ("stat /opt/here/a/b", "local: no rule matches"),
            ("openat /opt/here/a/b", "remote: --syscalls"),
            ("rename /srv/data/a /srv/data/b", "remote: r.toml, line 6 (\"data\")"),
            (
                "rename /srv/data/a /tmp/b",
                "deny EXDEV: its paths are on different sides: by r.toml, line 6 (\"data\") and no rule",
            ),
            ("rename /tmp/b /srv/private/a", "deny EACCES: r.toml, line 2"),
            ("symlink /srv/private/x /srv/data/y", "remote: r.toml, line 6 (\"data\")"),
            ("connect www.example.org:443", "remote: r.toml, line 17"),
            ("connect www.example.org:22", "local: no rule matches"),
            ("connect 10.0.0.1:80", "local: no rule matches"),
            ("connect /run/app.sock", "remote: r.toml, line 22"),
            ("openat /dev/null O_RDWR", "local: the built-in rule `devices`"),
            ("openat /etc/hostname2", "remote: --syscalls"),
            ("getuid", "remote: --syscalls"),
            ("getgid", "local: no rule matches"),
            ("read 3", "where its descriptor is: read is decided by no rule"),
            ("fork", "local: fork is always this machine's"),
            ("execve /srv/private/x", "deny EACCES: r.toml, line 2"),
        ] {
            assert_eq!(ask(line), answer, "{line}");
        }
        for (line, word) in [
            ("openat", "takes 1 path"),
            ("rename /a", "takes 2 paths"),
            ("%file", "set"),
            ("opnat /x", "openat?"),
            ("open /x O_FLY", "O_FLY"),
            ("connect a:b", "ADDRESS:PORT"),
        ] {
            assert!(ask(line).contains(word), "{line}: {}", ask(line));
        }
    }

    #[test]
    fn links_are_resolved() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        std::fs::create_dir(real.join("a")).unwrap();
        std::os::unix::fs::symlink("a", real.join("l")).unwrap();
        std::os::unix::fs::symlink("/srv", real.join("a/out")).unwrap();
        let to = |path: &str, follow| String::from_utf8(resolve(&real, path, follow)).unwrap();
        assert_eq!(to("l/x/y", true), real.join("a/x/y").to_str().unwrap());
        assert_eq!(to("l/out", false), real.join("a/out").to_str().unwrap());
        assert_eq!(to("l/../x", true), real.join("x").to_str().unwrap());
        assert_eq!(to("l/nothing/../x", true), real.join("a/x").to_str().unwrap());
        assert_eq!(resolve(Path::new("/"), "/", false), b"/");
        assert!(Path::new(std::ffi::OsStr::from_bytes(&resolve(&real, ".", false))) == real);
    }
}
