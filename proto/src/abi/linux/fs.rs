//! Files: attributes, directory entries, locks, vectors.

use super::Timespec;

abi_struct! {
    /// `struct stat`, stat(2).
    144 struct Stat {
        st_dev: u64,
        st_ino: u64,
        st_nlink: u64,
        st_mode: u32,
        st_uid: u32,
        st_gid: u32,
        __pad0: u32,
        st_rdev: u64,
        st_size: i64,
        st_blksize: i64,
        st_blocks: i64,
        st_atim: Timespec,
        st_mtim: Timespec,
        st_ctim: Timespec,
        __unused: [i64; 3],
    }

    /// `struct statx_timestamp`.
    16 struct StatxTimestamp {
        tv_sec: i64,
        tv_nsec: u32,
        __reserved: i32,
    }

    /// `struct statx`, statx(2).
    256 struct Statx {
        stx_mask: u32,
        stx_blksize: u32,
        stx_attributes: u64,
        stx_nlink: u32,
        stx_uid: u32,
        stx_gid: u32,
        stx_mode: u16,
        __spare0: u16,
        stx_ino: u64,
        stx_size: u64,
        stx_blocks: u64,
        stx_attributes_mask: u64,
        stx_atime: StatxTimestamp,
        stx_btime: StatxTimestamp,
        stx_ctime: StatxTimestamp,
        stx_mtime: StatxTimestamp,
        stx_rdev_major: u32,
        stx_rdev_minor: u32,
        stx_dev_major: u32,
        stx_dev_minor: u32,
        stx_mnt_id: u64,
        stx_dio_mem_align: u32,
        stx_dio_offset_align: u32,
        stx_subvol: u64,
        stx_atomic_write_unit_min: u32,
        stx_atomic_write_unit_max: u32,
        stx_atomic_write_segments_max: u32,
        stx_dio_read_offset_align: u32,
        __spare3: [u64; 9],
    }

    /// `struct statfs`, statfs(2).
    120 struct Statfs {
        f_type: i64,
        f_bsize: i64,
        f_blocks: u64,
        f_bfree: u64,
        f_bavail: u64,
        f_files: u64,
        f_ffree: u64,
        f_fsid: [i32; 2],
        f_namelen: i64,
        f_frsize: i64,
        f_flags: i64,
        f_spare: [i64; 4],
    }

    /// Head of a `struct linux_dirent64`; the name and its zero follow at offset 19, the whole is padded to 8 bytes.
    24 struct Dirent64Head {
        d_ino: u64,
        d_off: i64,
        d_reclen: u16,
        d_type: u8,
        d_name: [u8; 5],
    }

    /// `struct flock`, fcntl(2) `F_SETLK` and kin.
    32 struct Flock {
        l_type: i16,
        l_whence: i16,
        __pad0: u32,
        l_start: i64,
        l_len: i64,
        l_pid: i32,
        __pad1: u32,
    }

    /// `struct f_owner_ex`, fcntl(2) `F_SETOWN_EX`.
    8 struct FOwnerEx {
        kind: i32,
        pid: i32,
    }

    /// `struct iovec`, readv(2).
    16 struct Iovec {
        iov_base: u64,
        iov_len: u64,
    }

    /// `struct open_how`, openat2(2).
    24 struct OpenHow {
        flags: u64,
        mode: u64,
        resolve: u64,
    }

    /// `struct pollfd`, poll(2).
    8 struct Pollfd {
        fd: i32,
        events: i16,
        revents: i16,
    }

    /// Fixed head of `struct inotify_event`, inotify(7); `len` bytes of name follow.
    16 struct InotifyEvent {
        wd: i32,
        mask: u32,
        cookie: u32,
        len: u32,
    }

    /// `struct utimbuf`, utime(2).
    16 struct Utimbuf {
        actime: i64,
        modtime: i64,
    }

    /// Head of `struct file_handle`, name_to_handle_at(2).
    8 struct FileHandleHead {
        handle_bytes: u32,
        handle_type: i32,
    }
}

/// `struct epoll_event`, epoll_ctl(2). Packed on x86-64: 12 bytes.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::Immutable,
    zerocopy::KnownLayout,
)]
#[repr(C, packed)]
pub struct EpollEvent {
    /// Ready or wanted conditions, `EPOLL*`.
    pub events: u32,
    /// The caller's own.
    pub data: u64,
}

impl EpollEvent {
    /// Size in bytes.
    pub const SIZE: usize = 12;
}

/// Offset of a directory entry's name in `struct linux_dirent64`.
pub const DIRENT64_NAME: usize = 19;
/// Offset of a directory entry's name in the old `struct linux_dirent`, whose type is its last byte.
pub const DIRENT_NAME: usize = 18;

/// Bytes that an entry with a name of this length takes in getdents64(2).
pub const fn dirent64_len(name: usize) -> usize {
    (DIRENT64_NAME + name + 1 + 7) & !7
}

/// A device number in the form `st_rdev` and `mknod` have.
pub const fn makedev(major: u32, minor: u32) -> u64 {
    let (major, minor) = (major as u64, minor as u64);
    ((major & 0xffff_f000) << 32) | ((major & 0xfff) << 8) | ((minor & 0xffff_ff00) << 12) | (minor & 0xff)
}

/// The major number of a device.
pub const fn major(dev: u64) -> u32 {
    (((dev >> 32) & 0xffff_f000) | ((dev >> 8) & 0xfff)) as u32
}

/// The minor number of a device.
pub const fn minor(dev: u64) -> u32 {
    (((dev >> 12) & 0xffff_ff00) | (dev & 0xff)) as u32
}

/// Types of files in `st_mode`.
pub mod mode {
    #![allow(missing_docs)]
    pub const S_IFMT: u32 = 0o170_000;
    pub const S_IFSOCK: u32 = 0o140_000;
    pub const S_IFLNK: u32 = 0o120_000;
    pub const S_IFREG: u32 = 0o100_000;
    pub const S_IFBLK: u32 = 0o060_000;
    pub const S_IFDIR: u32 = 0o040_000;
    pub const S_IFCHR: u32 = 0o020_000;
    pub const S_IFIFO: u32 = 0o010_000;
    pub const S_ISUID: u32 = 0o4000;
    pub const S_ISGID: u32 = 0o2000;
    pub const S_ISVTX: u32 = 0o1000;
}
