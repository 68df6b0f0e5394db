//! The loader's memory file, resident in each task of a workload.

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, SealFlag, fcntl, open},
    sys::{
        memfd::{MFdFlags, memfd_create},
        stat::Mode,
    },
    unistd::write,
};
use std::os::fd::{AsRawFd, OwnedFd};

/// The program, built by `build.rs`.
const IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/loader.elf"));

/// The loader's number in a workload's task.
pub(crate) const LOADER_FD: i32 = 60;
/// Numbers for descriptors that are put into a task for one call.
pub(crate) const TRANSIENT_FDS: std::ops::Range<u32> = 64..128;
/// Where the program and its interpreter are while they are loaded.
pub(crate) const PROGRAM_FD: u32 = 61;
/// See `PROGRAM_FD`.
pub(crate) const INTERPRETER_FD: u32 = 62;

/// A sealed memory file with the loader in it, open for reading only.
pub(crate) fn memfd() -> Result<OwnedFd, Errno> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // Kernels before 6.3 do not know MFD_EXEC, and make every memory file executable.
    let file = match memfd_create(c"rsc-loader", flags | MFdFlags::from_bits_retain(libc::MFD_EXEC)) {
        Err(Errno::EINVAL) => memfd_create(c"rsc-loader", flags),
        made => made,
    }?;
    let mut rest = IMAGE;
    while !rest.is_empty() {
        let written = write(&file, rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    fcntl(
        &file,
        FcntlArg::F_ADD_SEALS(
            SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL,
        ),
    )?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
}
