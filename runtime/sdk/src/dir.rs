//! Directories of the server's.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rsc_proto::table::nr;

use crate::Server;

/// Room for a part of a directory.
const PART: usize = 32 << 10;

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    name: OsString,
    ino: u64,
    kind: u8,
}

impl DirEntry {
    /// Its name.
    pub fn file_name(&self) -> &OsStr {
        &self.name
    }

    /// Its inode's number.
    pub fn ino(&self) -> u64 {
        self.ino
    }

    /// A directory. Links are not followed.
    pub fn is_dir(&self) -> bool {
        self.kind == libc::DT_DIR
    }

    /// A regular file.
    pub fn is_file(&self) -> bool {
        self.kind == libc::DT_REG
    }

    /// A symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.kind == libc::DT_LNK
    }
}

pub(crate) fn read(server: &Server, path: &Path) -> io::Result<Vec<DirEntry>> {
    let fd = server.open_raw(path, libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
    let mut all = Vec::new();
    let mut part = vec![0_u8; PART];
    loop {
        let got = fd.call(nr::GETDENTS64, &[part.as_mut_ptr() as u64, part.len() as u64])? as usize;
        if got == 0 {
            return Ok(all);
        }
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "the server's directory is not one");
        entries(part.get(..got).ok_or_else(bad)?, &mut all).ok_or_else(bad)?;
    }
}

/// Takes apart what getdents64(2) gives: inode, offset, length, kind, name.
fn entries(mut bytes: &[u8], all: &mut Vec<DirEntry>) -> Option<()> {
    while !bytes.is_empty() {
        let ino = u64::from_ne_bytes(bytes.get(..8)?.try_into().ok()?);
        let len = usize::from(u16::from_ne_bytes(bytes.get(16..18)?.try_into().ok()?));
        let kind = *bytes.get(18)?;
        let name = bytes.get(19..len)?.split(|byte| *byte == 0).next()?;
        if name != b"." && name != b".." {
            all.push(DirEntry { name: OsStr::from_bytes(name).to_owned(), ino, kind });
        }
        bytes = bytes.get(len..)?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(ino: u64, kind: u8, name: &str) -> Vec<u8> {
        let len = (19 + name.len() + 1).next_multiple_of(8);
        let mut bytes =
            [&ino.to_ne_bytes()[..], &[0; 8], &(len as u16).to_ne_bytes(), &[kind], name.as_bytes()].concat();
        bytes.resize(len, 0);
        bytes
    }

    #[test]
    fn takes_entries_apart() {
        let bytes = [entry(1, 4, "."), entry(2, 4, ".."), entry(3, 8, "file"), entry(4, 4, "a directory")].concat();
        let mut all = Vec::new();
        entries(&bytes, &mut all).unwrap();
        let names: Vec<_> = all.iter().map(|entry| (entry.file_name().to_str().unwrap(), entry.is_dir())).collect();
        assert_eq!(names, [("file", false), ("a directory", true)]);
    }

    #[test]
    fn refuses_what_is_none() {
        for bytes in [&[0; 4][..], &[0; 19], &[0; 24], &entry(1, 8, "name")[..10]] {
            assert_eq!(entries(bytes, &mut Vec::new()), None);
        }
    }
}
