//! Tests of rules as a whole.

use std::net::SocketAddr;
use std::path::Path;

use proptest::prelude::*;
use rsc_proto::abi::Errno;
use rsc_proto::table::nr;

use super::*;

fn subject(nr: u32) -> Subject<'static> {
    let executable = Path::new("/usr/bin/prog");
    Subject { nr, path: None, second: None, address: None, hosts: &[], executable, access: Access::Read }
}

fn at(nr: u32, path: &str) -> Subject<'_> {
    Subject { path: Some(path.as_bytes()), ..subject(nr) }
}

fn parse(text: &str) -> Rules {
    Rules::parse(text, "r.toml").unwrap()
}

#[test]
fn the_first_match_decides() {
    let rules = parse(
        r#"
        [[rule]]
        path = ["/srv/data/tmp/**", "/srv/x"]
        action = "local"
        [[rule]]
        syscalls = ["openat", "%network"]
        path = "/srv/**"
        action = "remote"
        [[rule]]
        executable = "/usr/bin/p*"
        syscalls = "getuid"
        deny = "EPERM"
        "#,
    );
    let verdict = |subject| rules.decide(&subject).verdict;
    assert_eq!(verdict(at(nr::OPENAT, "/srv/data/tmp/a")), Verdict::Local);
    assert_eq!(verdict(at(nr::OPENAT, "/srv/data/a")), Verdict::Remote);
    assert_eq!(verdict(at(nr::STAT, "/srv/data/a")), Verdict::Local);
    assert_eq!(verdict(at(nr::CONNECT, "/srv/sock")), Verdict::Remote);
    assert_eq!(verdict(subject(nr::GETUID)), Verdict::Deny(Errno::EPERM));
    let other = Subject { executable: Path::new("/bin/sh"), ..subject(nr::GETUID) };
    assert_eq!(rules.decide(&other), Decision { verdict: Verdict::Local, map: None, second: None, by: By::Nothing });
    assert_eq!(rules.decide(&at(nr::OPENAT, "/srv/x")).by, By::Rule(0));
}

#[test]
fn what_is_concerned() {
    let rules = Rules::built_in(None).then(Rules::for_syscalls("openat,read,getuid").unwrap());
    assert!(rules.concerns(nr::OPENAT) && rules.concerns(nr::GETUID));
    assert!(!rules.concerns(nr::READ) && !rules.concerns(nr::STAT) && !rules.concerns(99_999));
    assert!(rules.needs_paths(nr::OPENAT) && !rules.needs_paths(nr::GETUID) && !rules.needs_address(nr::OPENAT));
    let rules = parse("[[rule]]\naction = \"local\"\n[[rule]]\naction = \"remote\"");
    assert!(rules.concerned().is_empty(), "nothing is asked behind a rule without conditions");
    let rules = parse("[[rule]]\npath = \"/a\"\ndeny = \"EIO\"");
    assert!(rules.concerns(nr::EXECVE) && rules.concerns(nr::STAT) && !rules.concerns(nr::GETUID));
    let rules = parse("[[rule]]\nport = 80\naction = \"remote\"");
    assert!(rules.concerns(nr::CONNECT) && rules.needs_address(nr::CONNECT) && !rules.concerns(nr::STAT));
    let rules = parse("[[rule]]\nsyscalls = [\"socket\", \"fork\"]\ndeny = \"EPERM\"");
    assert!(rules.concerns(nr::SOCKET) && rules.concerns(nr::FORK));
}

#[test]
fn addresses() {
    let rules = parse(
        r#"
        [[rule]]
        host = "db.example.org"
        action = "remote"
        [[rule]]
        address = ["10.0.0.0/8", "fd00::/8"]
        port = ["5000-5999", 80]
        action = "remote"
        "#,
    );
    let to = |address: &str, hosts: &[String]| {
        let address: SocketAddr = address.parse().unwrap();
        rules.decide(&Subject { address: Some(address), hosts, ..subject(nr::CONNECT) }).verdict
    };
    assert_eq!(to("10.1.1.1:5432", &[]), Verdict::Remote);
    assert_eq!(to("10.1.1.1:22", &[]), Verdict::Local);
    assert_eq!(to("[fd00::1]:80", &[]), Verdict::Remote);
    assert_eq!(to("[::ffff:10.1.1.1]:80", &[]), Verdict::Remote);
    assert_eq!(to("1.2.3.4:22", &["x.org".to_owned(), "DB.example.org".to_owned()]), Verdict::Remote);
    assert_eq!(rules.decide(&subject(nr::CONNECT)).verdict, Verdict::Local);
}

#[test]
fn maps() {
    let rules = parse(
        r#"
        [[rule]]
        path = "/etc/hosts"
        map = "/tmp/hosts"
        [[rule]]
        path = ["/srv/*/data/**", "/srv/one"]
        action = "remote"
        map = "/"
        [[rule]]
        path = "/home/**"
        map = "/mnt/home/"
        "#,
    );
    let of = |path| {
        let decision = rules.decide(&at(nr::OPENAT, path));
        (decision.verdict, decision.map.map(|map| String::from_utf8(map).unwrap()))
    };
    assert_eq!(of("/etc/hosts"), (Verdict::Local, Some("/tmp/hosts".to_owned())));
    assert_eq!(of("/srv/a/data/x/y"), (Verdict::Remote, Some("/x/y".to_owned())));
    assert_eq!(of("/srv/a/data"), (Verdict::Remote, Some("/".to_owned())));
    assert_eq!(of("/srv/one"), (Verdict::Remote, Some("/".to_owned())));
    assert_eq!(of("/home/me"), (Verdict::Local, Some("/mnt/home/me".to_owned())));
    assert_eq!(of("/x"), (Verdict::Local, None));
    assert!(rules.concerns(nr::STAT) && rules.concerns(nr::EXECVE) && !rules.concerns(nr::CONNECT));
    let both = Subject { second: Some(b"/home/b"), ..at(nr::RENAME, "/home/a") };
    let decision = rules.decide(&both);
    assert_eq!((decision.map, decision.second), (Some(b"/mnt/home/a".to_vec()), Some(b"/mnt/home/b".to_vec())));
    let across = Subject { second: Some(b"/srv/one"), ..at(nr::RENAME, "/home/a") };
    assert_eq!(rules.decide(&across).verdict, Verdict::Deny(Errno::EXDEV));
}

#[test]
fn built_in_rules() {
    let rules = Rules::built_in(Some(Path::new("/run/user/1000"))).then(Rules::for_syscalls("all").unwrap());
    for path in [
        "/lib/x86_64-linux-gnu/libc.so.6",
        "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
        "/lib64/ld-linux-x86-64.so.2",
        "/etc/ld.so.cache",
        "/usr/lib/python3.11/encodings/__init__.py",
        "/dev/null",
        "/dev/tty",
        "/dev/pts/3",
        "/proc/1234/fd/3",
        "/run/user/1000/bus",
    ] {
        let decision = rules.decide(&at(nr::OPENAT, path));
        assert_eq!(decision.verdict, Verdict::Local, "{path}");
    }
    for path in ["/proc/meminfo", "/etc/passwd", "/usr/share/x", "/dev/sda", "/"] {
        assert_eq!(rules.decide(&at(nr::OPENAT, path)).verdict, Verdict::Remote, "{path}");
    }
    assert_eq!(rules.decide(&at(nr::CONNECT, "/tmp/.X11-unix/X0")).verdict, Verdict::Local);
    assert_eq!(rules.decide(&at(nr::CONNECT, "@/tmp/.X11-unix/X0")).verdict, Verdict::Local);
    assert_eq!(rules.decide(&subject(nr::UNAME)).verdict, Verdict::Remote);
}

#[test]
fn mistakes_have_a_place() {
    for (text, line, column, word) in [
        ("[[rule]]\nsyscalls = \"opnat\"\naction = \"remote\"", 2, 12, "did you mean openat?"),
        ("[[rule]]\nsyscalls = [\"read\",\n \"fork\"]\naction = \"remote\"", 3, 2, "this machine"),
        ("[[rule]]\nsyscalls = \"shmget\"\naction = \"remote\"", 2, 12, "leave it out"),
        ("[[rule]]\nsyscalls = \"exit_group\"\ndeny = \"EPERM\"", 2, 12, "can't be denied"),
        ("[[rule]]\npath = \"srv\"\naction = \"remote\"", 2, 8, "absolute"),
        ("[[rule]]\npath = []\naction = \"remote\"", 2, 8, "leave it out"),
        ("[[rule]]\npath = 5\naction = \"remote\"", 2, 8, "string"),
        ("[[rule]]\naddress = [\"10.0.0.0/99\"]\naction = \"remote\"", 2, 12, "up to 32"),
        ("[[rule]]\nport = 70000\naction = \"remote\"", 2, 8, "65535"),
        ("[[rule]]\nport = [80, \"x\"]\naction = \"remote\"", 2, 13, "range"),
        ("[[rule]]\nport = -1\naction = \"remote\"", 2, 8, "-1"),
        ("[[rule]]\nhost = \"a/b\"\naction = \"remote\"", 2, 8, "host"),
        ("[[rule]]\naccess = \"execute\"\naction = \"remote\"", 2, 10, "read"),
        ("[[rule]]\naction = \"there\"", 2, 10, "remote"),
        ("[[rule]]\ndeny = \"ENOPE\"", 2, 8, "ENOENT"),
        ("[[rule]]\ndeny = \"EIO\"\naction = \"local\"", 2, 8, "leave one"),
        ("[[rule]]\npath = \"/a\"\nmap = \"b\"", 3, 7, "absolute"),
        ("[[rule]]\nmap = \"/b\"", 2, 7, "path"),
        ("[[rule]]\npath = \"/**/a\"\nmap = \"/b\"", 3, 7, "at the end"),
        ("[[rule]]\npath = \"/a\"", 1, 1, "without action"),
        ("\n[[rule]]\ncolour = \"red\"", 3, 1, "colour"),
        ("[[rules]]\n", 1, 3, "rules"),
        ("[[rule]]\npath = \"/a\n", 2, 11, ""),
        ("[rule]\npath = \"/a\"", 1, 1, ""),
    ] {
        match Rules::parse(text, "r.toml") {
            Err(RulesError::Content { from, line: l, column: c, problem }) => {
                assert_eq!((from.as_str(), l, c), ("r.toml", line, column), "{text}: {problem}");
                assert!(problem.contains(word) && !problem.contains('\n'), "{text}: {problem}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    for (list, word) in
        [("opnat", "openat?"), ("openat,,read", "empty"), ("", "empty"), ("fork", "this machine"), ("%x", "sets")]
    {
        let problem = Rules::for_syscalls(list).unwrap_err().to_string();
        assert!(problem.starts_with("--syscalls: ") && (problem.contains(word) || word == "sets"), "{list}: {problem}");
    }
}

#[test]
fn bounds() {
    let many = "[[rule]]\naction = \"remote\"\n".repeat(1001);
    assert!(Rules::parse(&many, "r").unwrap_err().to_string().contains("line 2001"));
    assert!(Rules::parse(&" ".repeat((1 << 20) + 1), "r").is_err());
    let list = format!("[[rule]]\npath = [{}]\naction = \"remote\"", "\"/a\",".repeat(1001));
    assert!(Rules::parse(&list, "r").unwrap_err().to_string().contains("split"));
    let deep = format!("a = {}", "[".repeat(100_000));
    assert!(Rules::parse(&deep, "r").is_err());
}

#[test]
fn examples_of_the_documentation() {
    let text = include_str!("../../../../docs/rules.md");
    let mut count = 0;
    for block in text.split("```toml\n").skip(1) {
        let block = block.split("```").next().unwrap();
        let rules = Rules::parse(block, "docs/rules.md").unwrap_or_else(|error| panic!("{error}\n{block}"));
        assert_eq!(check::check(&rules), [], "{block}");
        count += 1;
    }
    assert!(count >= 3);
}

#[test]
fn files() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("r.toml");
    assert!(matches!(Rules::load(Some(&file), None), Err(RulesError::Read { .. })));
    assert!(Rules::load(Some(dir.path()), None).unwrap_err().to_string().contains("not a regular file"));
    std::fs::write(&file, "[[rule]]\npath = \"/dev/null\"\naction = \"remote\"").unwrap();
    let rules = Rules::load(Some(&file), Some("openat")).unwrap();
    assert_eq!(rules.decide(&at(nr::OPENAT, "/dev/null")).verdict, Verdict::Remote, "the user's come first");
    assert_eq!(rules.decide(&at(nr::OPENAT, "/dev/zero")).verdict, Verdict::Local);
    assert_eq!(rules.decide(&at(nr::OPENAT, "/x")).verdict, Verdict::Remote);
    assert_eq!(rules.decide(&at(nr::STAT, "/x")).verdict, Verdict::Local);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn hostile_text_is_refused_or_understood(
        text in "(\\[\\[rule\\]\\]\n)?((name|syscalls|path|address|host|port|executable|access|action|deny|map|x) = (\"[a-z/*%.@\\[0-9:-]{0,12}\"|[0-9]{1,6}|\\[\"/a\", \"[a-z]{1,3}\"\\]|true|\\{a = 1\\})\n){0,6}",
        number in 0u32..520,
        path in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        if let Ok(rules) = Rules::parse(&text, "r") {
            let subject = Subject { path: Some(&path), second: Some(&path), ..subject(number) };
            rules.decide(&subject);
            check::check(&rules);
        }
    }

    #[test]
    fn unconcerned_calls_are_local(
        words in proptest::collection::vec(proptest::sample::select(vec!["openat", "%file", "%network", "getuid", "all", "read"]), 1..3),
        patterns in proptest::collection::vec("(/(\\*\\*|a|\\*)){1,3}", 0..3),
        action in proptest::sample::select(vec!["action = \"remote\"", "action = \"local\"", "deny = \"EIO\""]),
        number in 0u32..480,
        path in "(/[ab]){0,3}",
    ) {
        let patterns = if patterns.is_empty() { String::new() } else { format!("path = {patterns:?}\n") };
        let rules = Rules::parse(&format!("[[rule]]\nsyscalls = {words:?}\n{patterns}{action}"), "r").unwrap();
        let decision = rules.decide(&at(number, &path));
        if !rules.concerns(number) {
            prop_assert_eq!(decision.verdict, Verdict::Local);
        }
        if decision.verdict == Verdict::Remote {
            prop_assert!(class(number) != Class::Here && class(number) != Class::Descriptor);
        }
    }
}
