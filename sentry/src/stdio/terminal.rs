//! Terminal requests that the sentry may make on one of the caller's descriptors, each with the size of its structure. Whose
//! session and foreground group a terminal has is the sentry's business: those requests are not in the list.

use std::os::fd::BorrowedFd;

use bytes::Bytes;
use nix::errno::Errno;

use crate::sys::stdio as host;

/// What a request takes and gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Fills a structure of this size.
    Out(usize),
    /// Takes one of this size.
    In(usize),
    /// Takes a number, four bytes here.
    Number,
}

const TERMIOS: usize = 36;
const TERMIOS2: usize = 44;
const TCSETS: u32 = 0x5402;
const TCFLSH: u32 = 0x540b;
const TCSBRK: u32 = 0x5409;
const FIONREAD: u32 = 0x541b;

/// (request, what is executed, shape). Requests that wait for output to drain become their variants which do not.
const REQUESTS: [(u32, u32, Shape); 16] = [
    (0x5401, 0x5401, Shape::Out(TERMIOS)),            // TCGETS
    (TCSETS, TCSETS, Shape::In(TERMIOS)),             // TCSETS
    (0x5403, TCSETS, Shape::In(TERMIOS)),             // TCSETSW
    (0x5404, TCSETS, Shape::In(TERMIOS)),             // TCSETSF
    (0x802c_542a, 0x802c_542a, Shape::Out(TERMIOS2)), // TCGETS2
    (0x402c_542b, 0x402c_542b, Shape::In(TERMIOS2)),  // TCSETS2
    (0x402c_542c, 0x402c_542b, Shape::In(TERMIOS2)),  // TCSETSW2
    (0x402c_542d, 0x402c_542b, Shape::In(TERMIOS2)),  // TCSETSF2
    (0x5413, 0x5413, Shape::Out(8)),                  // TIOCGWINSZ
    (0x5414, 0x5414, Shape::In(8)),                   // TIOCSWINSZ
    (0x5411, 0x5411, Shape::Out(4)),                  // TIOCOUTQ
    (FIONREAD, FIONREAD, Shape::Out(4)),              // FIONREAD
    (TCSBRK, TCSBRK, Shape::Number),                  // TCSBRK
    (0x5425, 0x5425, Shape::Number),                  // TCSBRKP
    (0x540a, 0x540a, Shape::Number),                  // TCXONC
    (TCFLSH, TCFLSH, Shape::Number),                  // TCFLSH
];
/// Those which throw away what was typed and not read.
const FLUSHING: [u32; 2] = [0x5404, 0x402c_542d];

/// What is executed.
pub(super) fn requests() -> impl Iterator<Item = u32> {
    let executed: std::collections::BTreeSet<u32> = REQUESTS.iter().map(|(_, executed, _)| *executed).collect();
    executed.into_iter()
}

pub(super) fn ioctl(fd: BorrowedFd<'_>, is_terminal: bool, request: u32, data: &[u8]) -> nix::Result<Bytes> {
    let known = REQUESTS.iter().find(|(asked, ..)| *asked == request);
    let Some((_, executed, shape)) = known.filter(|_| is_terminal || request == FIONREAD) else {
        return Err(Errno::ENOTTY);
    };
    match *shape {
        Shape::Out(size) => {
            let mut buffer = vec![0; size];
            host::ioctl_struct(fd, u64::from(*executed), &mut buffer)?;
            Ok(buffer.into())
        }
        Shape::In(size) => {
            let mut buffer = data.to_vec();
            if buffer.len() != size {
                return Err(Errno::EINVAL);
            }
            if FLUSHING.contains(&request) {
                host::ioctl_number(fd, u64::from(TCFLSH), libc::TCIFLUSH as u64)?;
            }
            host::ioctl_struct(fd, u64::from(*executed), &mut buffer)?;
            Ok(Bytes::new())
        }
        Shape::Number => {
            let number = u32::from_le_bytes(data.try_into().map_err(|_| Errno::EINVAL)?);
            // tcdrain(3) would wait; what was written is on its way.
            if request != TCSBRK || number == 0 {
                host::ioctl_number(fd, u64::from(*executed), u64::from(number))?;
            }
            Ok(Bytes::new())
        }
    }
}
