//! The host's system calls as this crate uses them: the only place with `unsafe`. Descriptors are borrowed or owned types, names
//! are C strings, errors are [`Errno`].

pub(crate) mod fs;
pub(crate) mod ipc;
pub(crate) mod ns;

use rsc_proto::abi::Errno;
use std::ffi::CStr;
use std::os::fd::{FromRawFd, OwnedFd};

pub(crate) type Result<T> = std::result::Result<T, Errno>;

/// A result of libc's: -1 is an error that `errno` tells.
pub(crate) trait Checked: Copy {
    /// The value, or the thread's `errno`.
    fn checked(self) -> Result<Self>;
}

impl Checked for libc::c_int {
    fn checked(self) -> Result<Self> {
        if self == -1 { Err(Errno::last()) } else { Ok(self) }
    }
}

impl Checked for libc::c_long {
    fn checked(self) -> Result<Self> {
        if self == -1 { Err(Errno::last()) } else { Ok(self) }
    }
}

fn owned(fd: libc::c_int) -> Result<OwnedFd> {
    let fd = fd.checked()?;
    // SAFETY: each caller passes what a system call just returned: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A name with its NUL, on the stack.
pub(crate) struct Name {
    bytes: [u8; rsc_proto::gofer::NAME_MAX + 1],
    len: usize,
}

impl Name {
    /// A component that came from outside.
    pub(crate) fn component(name: &[u8]) -> Result<Name> {
        rsc_proto::gofer::check_name(name).map_err(Errno::new)?;
        Name::of(name)
    }

    /// The name of a descriptor in `/proc/self/fd`.
    pub(crate) fn of_fd(fd: libc::c_int) -> Name {
        let mut digits = [0u8; 12];
        let mut at = digits.len();
        let mut rest = fd.unsigned_abs();
        loop {
            at = at.saturating_sub(1);
            if let Some(digit) = digits.get_mut(at) {
                *digit = b'0' + (rest % 10) as u8;
            }
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        let digits = digits.get(at..).unwrap_or_default();
        Name::of(digits).unwrap_or(Name { bytes: [0; 256], len: 0 })
    }

    fn of(name: &[u8]) -> Result<Name> {
        let mut bytes = [0; 256];
        bytes.get_mut(..name.len()).filter(|_| name.len() < 256).ok_or(Errno::ENAMETOOLONG)?.copy_from_slice(name);
        Ok(Name { bytes, len: name.len() })
    }

    pub(crate) fn as_c(&self) -> &CStr {
        self.bytes.get(..=self.len).and_then(|b| CStr::from_bytes_with_nul(b).ok()).unwrap_or(c"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_descriptors() {
        for fd in [0, 7, 10, 19999, i32::MAX] {
            assert_eq!(Name::of_fd(fd).as_c().to_str().unwrap(), fd.to_string());
        }
    }
}
