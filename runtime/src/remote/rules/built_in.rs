//! Rules that come with rsc: what must be this machine's, though a list of calls says `openat` or `all`. `docs/rules.md` lists them
//! (a test sees to it). A user's rules come first, so each can be overruled.

use std::path::Path;

use super::calls::{self, CallSet};
use super::condition::Conditions;
use super::glob::Glob;
use super::{Origin, Rule, Verdict};

/// Names, what they are for, and patterns of paths. `RUNTIME` stands for `$XDG_RUNTIME_DIR`.
pub(super) const LIST: &[(&str, &str, &[&str])] = &[
    (
        "loader",
        "the dynamic loader, its settings, and shared libraries: the program is this machine's, so its code is too",
        &[
            "/lib*/ld-*.so*",
            "/usr/lib*/ld-*.so*",
            "/lib/*/ld-*.so*",
            "/etc/ld.so.*",
            "/etc/ld-*.path",
            "/lib/**/*.so*",
            "/lib32/**/*.so*",
            "/lib64/**/*.so*",
            "/usr/lib/**/*.so*",
            "/usr/lib32/**/*.so*",
            "/usr/lib64/**/*.so*",
            "/usr/local/lib/**/*.so*",
        ],
    ),
    ("terminal", "the terminal, and pseudo-terminals", &["/dev/tty", "/dev/ptmx", "/dev/pts/**", "/dev/console"]),
    (
        "devices",
        "devices that are the same everywhere",
        &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"],
    ),
    (
        "self",
        "processes, whose numbers are this machine's: descriptors, threads, memory",
        &["/proc/self/**", "/proc/thread-self/**", "/proc/[0-9]*/**", "/dev/fd/**", "/dev/std*"],
    ),
    (
        "interpreter",
        "the C library's own data and interpreters' standard libraries, which must be of the program's version",
        &[
            "/usr/lib/locale/**",
            "/usr/lib/**/gconv/**",
            "/usr/lib/python3*/**",
            "/usr/local/lib/python3*/**",
            "/usr/lib/**/perl*/**",
            "/usr/share/perl*/**",
            "/usr/lib/ruby/**",
            "/usr/share/nodejs/**",
        ],
    ),
    ("shared-memory", "memory that processes of this machine share", &["/dev/shm/**"]),
    ("x11", "the X server", &["/tmp/.X11-unix/**", "@/tmp/.X11-unix/**", "@/tmp/.X11-unix/*"]),
    (
        "session",
        "the Wayland server, D-Bus and what else belongs to the desktop's session",
        &["RUNTIME/**", "/run/user/*/**"],
    ),
    ("nscd", "the daemon that remembers users and hosts", &["/run/nscd/socket", "/var/run/nscd/socket"]),
    ("system-bus", "this machine's D-Bus", &["/run/dbus/system_bus_socket", "/var/run/dbus/system_bus_socket"]),
];

/// One rule for each.
pub(super) fn rules(runtime_dir: Option<&Path>) -> Vec<Rule> {
    let runtime_dir = runtime_dir.and_then(Path::to_str).filter(|dir| dir.starts_with('/')).map(escaped);
    let pattern = |text: &&str| {
        let text = match (text.strip_prefix("RUNTIME"), &runtime_dir) {
            (Some(rest), Some(dir)) => format!("{dir}{rest}"),
            (Some(_), None) => return None,
            (None, _) => (*text).to_owned(),
        };
        Glob::parse(&text).ok()
    };
    let named = |(name, _, patterns): &(&'static str, &str, &[&str])| {
        let paths: Vec<Glob> = patterns.iter().filter_map(pattern).collect();
        let mut when = Conditions { calls: CallSet::of(|_| true), paths, ..Conditions::default() };
        when.narrow(calls::is_remotable);
        Rule { origin: Origin::BuiltIn(name), when, verdict: Verdict::Local, map: None }
    };
    LIST.iter().map(named).filter(|rule| !rule.when.paths.is_empty()).collect()
}

/// A path as a pattern for itself.
fn escaped(path: &str) -> String {
    let special = |c: char| matches!(c, '*' | '?' | '[' | '\\');
    path.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_is_one() {
        let rules = rules(Some(Path::new("/tmp/a[b")));
        assert_eq!(rules.len(), LIST.len());
        for (rule, (name, _, patterns)) in rules.iter().zip(LIST) {
            assert_eq!(rule.when.paths.len(), patterns.len(), "{name}");
        }
        assert!(rules.iter().any(|rule| rule.when.paths.iter().any(|glob| glob.matches(b"/tmp/a[b/bus"))));
    }

    #[test]
    fn documented() {
        let text = include_str!("../../../../docs/rules.md");
        for (name, _, patterns) in LIST {
            let row = text.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
            let row = row.unwrap_or_else(|| panic!("docs/rules.md does not list {name}"));
            for pattern in *patterns {
                let shown = format!("`{}`", pattern.replace("RUNTIME", "$XDG_RUNTIME_DIR"));
                assert!(row.contains(&shown), "docs/rules.md does not list {pattern} of {name}");
            }
        }
    }
}
