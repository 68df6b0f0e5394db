//! Names as rules see them: absolute, without `..`, and through symbolic links as far as this machine can say.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Symbolic links that are followed at most, as in Linux.
const LINKS_MAX: usize = 40;

/// An absolute name without `.`, `..` and doubled slashes. `..` of the root is the root.
pub fn normal(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let mut out = Vec::with_capacity(path.len() + 1);
    for part in &parts {
        out.push(b'/');
        out.extend_from_slice(part);
    }
    if out.is_empty() {
        out.push(b'/');
    }
    out
}

/// A name in a directory; an absolute name stays what it is.
pub fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if name.starts_with(b"/") {
        return name.to_vec();
    }
    let mut out = directory.to_vec();
    out.push(b'/');
    out.extend_from_slice(name);
    out
}

/// Follows the symbolic links of a name of this machine, within a process's root directory. What is not there is taken as it is
/// spelt, and so is the last component if `itself`.
pub fn resolve(root: &Path, path: &[u8], itself: bool) -> Vec<u8> {
    let mut done = PathBuf::from("/");
    let mut rest: Vec<Vec<u8>> = parts(path);
    let mut links = 0;
    while let Some(part) = rest.pop() {
        if part == b".." {
            done.pop();
            continue;
        }
        done.push(OsStr::from_bytes(&part));
        if rest.is_empty() && itself || links >= LINKS_MAX {
            continue;
        }
        let inside = done.strip_prefix("/").unwrap_or(&done);
        let Ok(target) = fs::read_link(root.join(inside)) else { continue };
        let target = target.into_os_string().into_vec();
        links += 1;
        done.pop();
        if target.starts_with(b"/") {
            done = PathBuf::from("/");
        }
        rest.extend(parts(&target));
    }
    done.into_os_string().into_vec()
}

/// Components, the last first.
fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    let mut parts: Vec<Vec<u8>> = parts.map(<[u8]>::to_vec).collect();
    parts.reverse();
    parts
}

/// A thread's working directory here; a name that is not there any more is none.
pub fn working_directory(tid: i32) -> Option<Vec<u8>> {
    let path = fs::read_link(format!("/proc/{tid}/cwd")).ok()?;
    Some(inside_root(tid, &path))
}

/// Where a descriptor of a thread's leads, if that has a name here.
pub fn directory_of(tid: i32, fd: i32) -> Option<Vec<u8>> {
    let path = fs::read_link(format!("/proc/{tid}/fd/{fd}")).ok()?;
    path.is_absolute().then(|| inside_root(tid, &path))
}

/// A thread's root directory.
pub fn root_of(tid: i32) -> PathBuf {
    PathBuf::from(format!("/proc/{tid}/root"))
}

fn inside_root(tid: i32, path: &Path) -> Vec<u8> {
    let root = fs::read_link(root_of(tid)).unwrap_or_else(|_| PathBuf::from("/"));
    let path = path.strip_prefix(&root).map(|rest| Path::new("/").join(rest)).unwrap_or_else(|_| path.to_owned());
    path.into_os_string().into_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_names() {
        for (from, to) in [("/", "/"), ("//a/./b/../c/", "/a/c"), ("/../..", "/"), ("", "/"), ("a/..", "/")] {
            assert_eq!(normal(from.as_bytes()), to.as_bytes(), "{from}");
        }
        assert_eq!(join(b"/x", b"y"), b"/x/y");
        assert_eq!(join(b"/x", b"/y"), b"/y");
    }

    #[test]
    fn links_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::os::unix::fs::symlink("/a/b", dir.path().join("l")).unwrap();
        std::os::unix::fs::symlink("../l/x", dir.path().join("a/m")).unwrap();
        std::os::unix::fs::symlink("loop", dir.path().join("loop")).unwrap();
        let of = |path: &str, itself| String::from_utf8(resolve(dir.path(), path.as_bytes(), itself)).unwrap();
        assert_eq!(of("/l/f", false), "/a/b/f");
        assert_eq!(of("/a/m", false), "/a/b/x");
        assert_eq!(of("/a/m", true), "/a/m");
        assert_eq!(of("/l/../c", false), "/a/c");
        assert_eq!(of("/not/there/../f", false), "/not/f");
        assert_eq!(of("/../../l", false), "/a/b");
        assert_eq!(of("/loop", false), "/loop");
    }
}
