//! Control messages (cmsg(3)): parsed from what sendmsg(2) gives, laid out for recvmsg(2). Linux: net/core/scm.c.

use std::rc::Rc;

use bytes::Bytes;
use rsc_proto::abi::{Cmsghdr, Errno, SCM_MAX_FD, Ucred, cmsg_space, parse};
use zerocopy::IntoBytes;

use crate::kernel::credentials::cap;
use crate::kernel::cx::Cx;
use crate::kernel::fd::Fd;
use crate::kernel::file::File;

/// The level of messages that belong to no protocol.
pub const SOL_SOCKET: i32 = 1;
const SCM_RIGHTS: i32 = 1;
const SCM_CREDENTIALS: i32 = 2;

/// One message as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// `SOL_*` or `IPPROTO_*`
    pub level: i32,
    /// What it is, by level.
    pub kind: i32,
    /// Its data.
    pub data: Bytes,
}

/// The messages of a buffer. `EINVAL` for a length that can't be. Linux: for_each_cmsghdr(), CMSG_OK().
pub fn split(control: &Bytes) -> Result<Vec<Raw>, Errno> {
    let mut all = Vec::new();
    let mut at = 0;
    while let Some(rest) = control.get(at..).filter(|r| r.len() >= Cmsghdr::SIZE) {
        let head: Cmsghdr = parse(rest).ok_or(Errno::EINVAL)?;
        let len = usize::try_from(head.cmsg_len).map_err(|_| Errno::EINVAL)?;
        if len < Cmsghdr::SIZE || len > rest.len() {
            return Err(Errno::EINVAL);
        }
        let data = control.slice(at + Cmsghdr::SIZE..at + len);
        all.push(Raw { level: head.cmsg_level, kind: head.cmsg_type, data });
        at += (len + 7) & !7;
    }
    Ok(all)
}

/// What a sender passes beside the bytes.
#[derive(Default)]
pub struct Sent {
    /// `SCM_RIGHTS`
    pub files: Vec<Rc<File>>,
    /// `SCM_CREDENTIALS`, checked.
    pub creds: Option<Ucred>,
    /// Messages of other levels, for internet sockets.
    pub raw: Vec<Raw>,
}

/// Whom a socket's other end sees. Linux: cred_to_ucred() of the caller.
pub fn own_creds(cx: &Cx) -> Ucred {
    let creds = cx.task.creds();
    Ucred { pid: cx.task.group().tgid as i32, uid: creds.uid, gid: creds.gid }
}

/// Linux: __scm_send(). `unix`: whether the socket is one, which alone passes descriptors and credentials.
pub fn parse_sent(cx: &Cx, control: &Bytes, unix: bool) -> Result<Sent, Errno> {
    let mut sent = Sent::default();
    for m in split(control)? {
        if m.level != SOL_SOCKET {
            if !unix {
                sent.raw.push(m);
            }
            continue;
        }
        if !unix {
            return Err(Errno::EINVAL);
        }
        match m.kind {
            SCM_RIGHTS => {
                let n = m.data.len() / 4;
                if sent.files.len() + n > SCM_MAX_FD {
                    return Err(Errno::EINVAL);
                }
                let table = cx.task.fds.borrow();
                for fd in m.data.chunks_exact(4) {
                    let fd = fd.try_into().map(i32::from_ne_bytes).map_err(|_| Errno::EINVAL)?;
                    sent.files.push(table.get_path(Fd(fd))?);
                }
            }
            SCM_CREDENTIALS => {
                if m.data.len() != Ucred::SIZE {
                    return Err(Errno::EINVAL);
                }
                let claim: Ucred = parse(&m.data).ok_or(Errno::EINVAL)?;
                check_creds(cx, &claim)?;
                sent.creds = Some(claim);
            }
            _ => return Err(Errno::EINVAL),
        }
    }
    Ok(sent)
}

/// Who may claim to be whom. Linux: scm_check_creds().
fn check_creds(cx: &Cx, claim: &Ucred) -> Result<(), Errno> {
    let own = cx.task.creds();
    let pid = claim.pid == cx.task.group().tgid as i32 || own.has(cap::SYS_ADMIN);
    let uid = [own.uid, own.euid, own.suid].contains(&claim.uid) || own.has(cap::SETUID);
    let gid = [own.gid, own.egid, own.sgid].contains(&claim.gid) || own.has(cap::SETGID);
    if pid && uid && gid { Ok(()) } else { Err(Errno::EPERM) }
}

/// A receiver's buffer for control messages, being filled. Linux: put_cmsg().
pub struct Layout {
    out: Vec<u8>,
    room: usize,
    /// Something did not fit: `MSG_CTRUNC`.
    pub truncated: bool,
}

impl Layout {
    /// An empty buffer of `room` bytes.
    pub fn new(room: usize) -> Self {
        Self { out: Vec::new(), room, truncated: false }
    }

    /// Adds a message, cut to what is left.
    pub fn put(&mut self, level: i32, kind: i32, data: &[u8]) {
        let left = self.room - self.out.len();
        if left < Cmsghdr::SIZE {
            self.truncated = true;
            return;
        }
        let mut len = Cmsghdr::SIZE + data.len();
        if left < len {
            self.truncated = true;
            len = left;
        }
        let head = Cmsghdr { cmsg_len: len as u64, cmsg_level: level, cmsg_type: kind };
        let padded = (self.out.len() + cmsg_space(len - Cmsghdr::SIZE)).min(self.room);
        self.out.extend_from_slice(head.as_bytes());
        self.out.extend_from_slice(data.get(..len - Cmsghdr::SIZE).unwrap_or_default());
        self.out.resize(padded, 0);
    }

    /// Adds credentials.
    pub fn put_creds(&mut self, creds: &Ucred) {
        self.put(SOL_SOCKET, SCM_CREDENTIALS, creds.as_bytes());
    }

    /// Puts as many files into the table as fit, and adds their numbers. Linux: scm_detach_fds().
    pub fn put_files(&mut self, cx: &Cx, files: Vec<Rc<File>>, cloexec: bool) {
        let room = (self.room - self.out.len()).saturating_sub(Cmsghdr::SIZE) / 4;
        let total = files.len();
        let mut numbers = Vec::new();
        for file in files.into_iter().take(room) {
            match cx.add_fd(file, cloexec) {
                Ok(fd) => numbers.extend_from_slice(&fd.0.to_ne_bytes()),
                Err(_) => break,
            }
        }
        if !numbers.is_empty() {
            self.put(SOL_SOCKET, SCM_RIGHTS, &numbers);
        }
        if numbers.len() / 4 < total {
            self.truncated = true;
        }
    }

    /// The buffer.
    pub fn finish(self) -> Bytes {
        self.out.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_split_and_laid_out_alike() {
        let mut layout = Layout::new(100);
        layout.put(0, 8, &[1, 2, 3, 4]);
        layout.put(41, 50, &[5; 20]);
        assert!(!layout.truncated);
        let bytes = layout.finish();
        assert_eq!(bytes.len(), 24 + 40);
        let all = split(&bytes).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!((all[1].level, all[1].kind, all[1].data.len()), (41, 50, 20));
    }

    #[test]
    fn bad_lengths_are_refused_and_small_rooms_cut() {
        let head = |len: u64| Bytes::copy_from_slice(Cmsghdr { cmsg_len: len, cmsg_level: 1, cmsg_type: 1 }.as_bytes());
        for bad in [0, 15, 17, u64::MAX] {
            assert_eq!(split(&head(bad)), Err(Errno::EINVAL));
        }
        let mut layout = Layout::new(18);
        layout.put(0, 8, &[1, 2, 3, 4]);
        assert!(layout.truncated);
        assert_eq!(layout.finish().len(), 18);
    }
}
