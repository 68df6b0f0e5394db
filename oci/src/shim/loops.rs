//! Loop devices: a file of containerd's (an image of a file system) as something that can be mounted.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd as _;

use nix::errno::Errno;

/// Who gives out free ones.
const CONTROL: &str = "/dev/loop-control";
/// Others take free ones too.
const TRIES: u32 = 100;

/// A file behind a device, while this lives or the device is mounted.
#[derive(Debug)]
pub(super) struct Device {
    /// Its path.
    pub(super) name: String,
    _open: File,
}

/// Puts the file at `path` behind a free device.
pub(super) fn attach(path: &str, read_only: bool) -> io::Result<Device> {
    let file = OpenOptions::new().read(true).write(!read_only).open(path)?;
    let control = OpenOptions::new().read(true).write(true).open(CONTROL);
    let control = control.map_err(|error| io::Error::new(error.kind(), format!("{CONTROL}: {error}")))?;
    for _ in 0..TRIES {
        let name = format!("/dev/loop{}", crate::sys::free_loop_device(control.as_fd())?);
        let device = OpenOptions::new().read(true).write(!read_only).open(&name);
        let device = device.map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?;
        match crate::sys::set_loop_device(device.as_fd(), file.as_fd(), read_only) {
            Ok(()) => return Ok(Device { name, _open: device }),
            Err(error) if error.raw_os_error() == Some(Errno::EBUSY as i32) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("other programs took each loop device that was free"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_missing() {
        assert_eq!(attach("/nonexistent", true).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
