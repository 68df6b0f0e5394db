//! The running kernel's own description of its structures (`/sys/kernel/btf/vmlinux`), of which we want offsets of members.
//! Documentation/bpf/btf.rst.

use std::path::Path;

const MAGIC: u16 = 0xeb9f;
const HEADER: usize = 24;
/// Anonymous structures in anonymous structures, modifiers of modifiers.
const DEPTH: usize = 16;

const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
/// typedef, volatile, const, restrict, and type tags: what stands before a type without changing its layout.
const MODIFIERS: [u32; 5] = [8, 9, 10, 11, 18];

/// Types by number.
#[derive(Debug)]
pub(crate) struct Btf {
    data: Vec<u8>,
    /// Where each type's record begins in `data`; the first one is type 1.
    types: Vec<usize>,
    strings: usize,
}

impl Btf {
    /// That of the running kernel.
    pub(crate) fn of_kernel() -> Option<Btf> {
        Btf::parse(std::fs::read(Path::new("/sys/kernel/btf/vmlinux")).ok()?)
    }

    fn parse(data: Vec<u8>) -> Option<Btf> {
        if half(&data, 0)? != MAGIC {
            return None;
        }
        let header = word(&data, 4)?;
        let types_begin = header.checked_add(word(&data, 8)?)?;
        let end = types_begin.checked_add(word(&data, 12)?)?;
        let strings = header.checked_add(word(&data, 16)?)?;
        if header < HEADER || end > data.len() || strings > data.len() {
            return None;
        }
        let (mut types, mut at) = (Vec::new(), types_begin);
        while at < end {
            types.push(at);
            at = at.checked_add(12)?.checked_add(extra(info(&data, at)?)?)?;
        }
        Some(Btf { data, types, strings })
    }

    fn name_is(&self, offset: usize, name: &str) -> bool {
        let text = self.strings.checked_add(offset).and_then(|at| self.data.get(at..)).unwrap_or_default();
        text.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    }

    fn record(&self, id: usize) -> Option<usize> {
        self.types.get(id.checked_sub(1)?).copied()
    }

    /// The offset in bytes of `member` in `structure`; further members are in the structure that the one before is.
    pub(crate) fn offset(&self, structure: &str, members: &[&str]) -> Option<i32> {
        let mut at = self.types.iter().copied().find(|at| {
            info(&self.data, *at).is_some_and(|(kind, count, _)| kind == KIND_STRUCT && count > 0)
                && word(&self.data, *at).is_some_and(|name| self.name_is(name, structure))
        })?;
        let mut bits = 0usize;
        for member in members {
            let (offset, kind) = self.member(at, member, DEPTH)?;
            bits = bits.checked_add(offset)?;
            at = self.record(kind).and_then(|at| self.bare(at)).unwrap_or(at);
        }
        i32::try_from(bits / 8).ok()
    }

    /// A member's offset in bits and its type's number.
    fn member(&self, at: usize, name: &str, depth: usize) -> Option<(usize, usize)> {
        let depth = depth.checked_sub(1)?;
        let at = self.bare(at)?;
        let (kind, count, bitfields) = info(&self.data, at)?;
        if kind != KIND_STRUCT && kind != KIND_UNION {
            return None;
        }
        for index in 0..count {
            let member = at.checked_add(12 + 12 * index)?;
            let (own_name, of) = (word(&self.data, member)?, word(&self.data, member + 4)?);
            let offset = word(&self.data, member + 8)? & if bitfields { 0x00ff_ffff } else { usize::MAX };
            if self.name_is(own_name, name) {
                return Some((offset, of));
            }
            if self.name_is(own_name, "") {
                let inner = self.record(of).and_then(|at| self.member(at, name, depth));
                if let Some((more, of)) = inner {
                    return Some((offset.checked_add(more)?, of));
                }
            }
        }
        None
    }

    /// The type behind modifiers.
    fn bare(&self, mut at: usize) -> Option<usize> {
        for _ in 0..DEPTH {
            if !MODIFIERS.contains(&info(&self.data, at)?.0) {
                return Some(at);
            }
            at = self.record(word(&self.data, at + 8)?)?;
        }
        None
    }
}

fn word(data: &[u8], at: usize) -> Option<usize> {
    let bytes = data.get(at..at.checked_add(4)?)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(bytes)).ok()
}

fn half(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(data.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

/// A type's kind, the number of its members, and whether it has bit fields.
fn info(data: &[u8], at: usize) -> Option<(u32, usize, bool)> {
    let info = u32::try_from(word(data, at.checked_add(4)?)?).ok()?;
    Some((info >> 24 & 0x1f, usize::try_from(info & 0xffff).ok()?, info >> 31 == 1))
}

/// How many bytes follow a type's record.
fn extra((kind, count, _): (u32, usize, bool)) -> Option<usize> {
    Some(match kind {
        1 | 14 | 17 => 4,
        3 => 12,
        KIND_STRUCT | KIND_UNION | 15 | 19 => 12 * count,
        6 | 13 => 8 * count,
        2 | 7..=12 | 16 | 18 => 0,
        _ => return None,
    })
}

/// Offsets of what the matcher follows from the current task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offsets {
    pub(crate) task_mm: i32,
    pub(crate) mm_exe_file: i32,
    pub(crate) file_dentry: i32,
    pub(crate) file_mnt: i32,
    pub(crate) task_fs: i32,
    pub(crate) fs_pwd_dentry: i32,
    pub(crate) fs_pwd_mnt: i32,
    pub(crate) task_files: i32,
    pub(crate) files_fdt: i32,
    pub(crate) fdt_fd: i32,
    pub(crate) dentry_name: i32,
    pub(crate) dentry_parent: i32,
    pub(crate) dentry_inode: i32,
    pub(crate) inode_ino: i32,
    pub(crate) mount_mnt: i32,
    pub(crate) mount_parent: i32,
    pub(crate) mount_mountpoint: i32,
    pub(crate) mnt_root: i32,
}

impl Offsets {
    /// Those of the running kernel; `None` if it does not say.
    pub(crate) fn of_kernel() -> Option<Offsets> {
        let btf = Btf::of_kernel()?;
        let path = |structure: &str, member: &str, part: &str| btf.offset(structure, &[member, part]);
        let one = |structure: &str, member: &str| btf.offset(structure, &[member]);
        Some(Offsets {
            task_mm: one("task_struct", "mm")?,
            mm_exe_file: one("mm_struct", "exe_file")?,
            file_dentry: path("file", "f_path", "dentry")?,
            file_mnt: path("file", "f_path", "mnt")?,
            task_fs: one("task_struct", "fs")?,
            fs_pwd_dentry: path("fs_struct", "pwd", "dentry")?,
            fs_pwd_mnt: path("fs_struct", "pwd", "mnt")?,
            task_files: one("task_struct", "files")?,
            files_fdt: one("files_struct", "fdt")?,
            fdt_fd: one("fdtable", "fd")?,
            dentry_name: path("dentry", "d_name", "name")?,
            dentry_parent: one("dentry", "d_parent")?,
            dentry_inode: one("dentry", "d_inode")?,
            inode_ino: one("inode", "i_ino")?,
            mount_mnt: one("mount", "mnt")?,
            mount_parent: one("mount", "mnt_parent")?,
            mount_mountpoint: one("mount", "mnt_mountpoint")?,
            mnt_root: one("vfsmount", "mnt_root")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct inner { int; struct { int wanted; }; }; struct outer { int first; const struct inner body; };`
    fn sample() -> Vec<u8> {
        let strings = b"\0inner\0outer\0wanted\0first\0body\0int\0";
        let at = |name: &str| {
            let needle = [name.as_bytes(), b"\0"].concat();
            u32::try_from(strings.windows(needle.len()).position(|part| part == needle).unwrap()).unwrap()
        };
        let kind = |kind: u32, count: u32| kind << 24 | count;
        let types = [
            vec![at("int"), kind(1, 0), 4, 32],                                      // 1
            vec![0, kind(4, 1), 4, at("wanted"), 1, 0],                              // 2: the anonymous one
            vec![at("inner"), kind(4, 2), 8, at("first"), 1, 0, 0, 2, 32],           // 3
            vec![0, kind(10, 0), 3],                                                 // 4: const inner
            vec![at("outer"), kind(4, 2), 12, at("first"), 1, 0, at("body"), 4, 32], // 5
        ]
        .concat();
        let types: Vec<u8> = types.into_iter().flat_map(u32::to_le_bytes).collect();
        let len = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
        let header = [24, 0, len(&types), len(&types), len(strings)];
        let header = header.into_iter().flat_map(u32::to_le_bytes).collect::<Vec<_>>();
        [&[0x9f, 0xeb, 1, 0][..], &header, &types, strings].concat()
    }

    #[test]
    fn members_are_found_through_anonymous_structures_and_modifiers() {
        let btf = Btf::parse(sample()).unwrap();
        assert_eq!(btf.offset("inner", &["wanted"]), Some(4));
        assert_eq!(btf.offset("outer", &["body", "wanted"]), Some(8));
        assert_eq!(btf.offset("outer", &["wanted"]), None);
        assert_eq!(btf.offset("inn", &["wanted"]), None);
    }

    #[test]
    fn damaged_data_gives_nothing_and_no_panic() {
        let good = sample();
        for cut in 0..good.len() {
            if let Some(btf) = Btf::parse(good.get(..cut).unwrap().to_vec()) {
                let _ = btf.offset("outer", &["body", "wanted"]);
            }
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] = 0xff;
            if let Some(btf) = Btf::parse(bad) {
                let _ = btf.offset("outer", &["body", "wanted"]);
            }
        }
    }
}
