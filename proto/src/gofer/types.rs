//! Flags of the gofer's wire. Unknown bits are an error, never ignored.

use bitflags::bitflags;

bitflags! {
    /// How a file is opened. FIFOs are always opened with `O_NONBLOCK`; device nodes are never opened (EACCES, as on a mount
    /// with `nodev`); neither are sockets (ENXIO) nor symbolic links (ELOOP).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct OpenFlags: u32 {
        /// For reading.
        const READ = 1;
        /// For writing.
        const WRITE = 1 << 1;
        /// `O_TRUNC`; needs `WRITE`.
        const TRUNC = 1 << 2;
        /// `O_DIRECTORY`: ENOTDIR for anything else.
        const DIRECTORY = 1 << 3;
        /// `O_NOATIME`.
        const NOATIME = 1 << 4;
        /// `O_SYNC`.
        const SYNC = 1 << 5;
        /// `O_DSYNC`.
        const DSYNC = 1 << 6;
    }

    /// How data is written.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct WriteFlags: u32 {
        /// At the file's end, atomically; the offset is ignored.
        const APPEND = 1;
        /// Drop set-user-id and set-group-id before writing, as Linux does for a writer without CAP_FSETID.
        const KILL_PRIV = 1 << 1;
        /// `RWF_DSYNC`.
        const DSYNC = 1 << 2;
        /// `RWF_SYNC`.
        const SYNC = 1 << 3;
        /// Return the attributes after the write.
        const ATTR = 1 << 4;
    }

    /// `renameat2(2)`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct RenameFlags: u32 {
        /// `RENAME_NOREPLACE`
        const NOREPLACE = 1;
        /// `RENAME_EXCHANGE`
        const EXCHANGE = 1 << 1;
    }

    /// `fallocate(2)`, with Linux's values.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct AllocateFlags: u32 {
        /// `FALLOC_FL_KEEP_SIZE`
        const KEEP_SIZE = 1;
        /// `FALLOC_FL_PUNCH_HOLE`
        const PUNCH_HOLE = 1 << 1;
        /// `FALLOC_FL_COLLAPSE_RANGE`
        const COLLAPSE_RANGE = 1 << 3;
        /// `FALLOC_FL_ZERO_RANGE`
        const ZERO_RANGE = 1 << 4;
        /// `FALLOC_FL_INSERT_RANGE`
        const INSERT_RANGE = 1 << 5;
        /// `FALLOC_FL_UNSHARE_RANGE`
        const UNSHARE_RANGE = 1 << 6;
    }

    /// `setxattr(2)`, with Linux's values.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct XattrFlags: u32 {
        /// `XATTR_CREATE`: EEXIST if it is there.
        const CREATE = 1;
        /// `XATTR_REPLACE`: ENODATA if it is not there.
        const REPLACE = 1 << 1;
    }

    /// What this gofer can do.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Features: u32 {
        /// The export is read-only: every change is refused with EROFS.
        const READ_ONLY = 1;
        /// There is a donation socket.
        const DONATE = 1 << 1;
        /// Files can be given to any owner. Without it an owner that the gofer cannot represent is refused with EPERM.
        const CHOWN = 1 << 2;
    }
}
