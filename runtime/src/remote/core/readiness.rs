//! Readiness of remote descriptors, as their placeholders show it, so that poll(2), select(2) and epoll(7) of this machine's kernel
//! work over any mix of descriptors.

use super::descriptors::BUFFER;
use super::{Caller, Core, Done, Served, written};
use crate::remote::placeholder::{Handle, Readiness};
use crate::sys::process;
use nix::errno::Errno;
use nix::sys::stat::fstat;
use rsc_proto::abi::Pollfd;
use rsc_proto::table::nr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use zerocopy::IntoBytes;

/// Descriptors of one poll(2) that are looked at.
const FDS_MAX: u64 = 1 << 16;
/// Events that are waited for at once.
const EVENTS: u64 = 64;
/// Where what is ready is said in a `struct pollfd`.
const REVENTS: u64 = 6;
/// Size of a `struct epoll_event`, which is packed.
const EVENT: usize = 12;

impl Core {
    /// Before a call that waits for descriptors runs here: remote ones among them show what they are.
    pub(super) async fn before_poll(self: &Rc<Self>, caller: &Caller, number: u32, args: &[u64; 6]) -> Served {
        let fds = match number {
            nr::EPOLL_CTL => vec![args[2] as i32],
            nr::POLL | nr::PPOLL => polled(caller, args[0], args[1]),
            _ => selected(caller, args),
        };
        for fd in fds {
            let Some(handle) = self.placeholders.find(caller.tid, caller.process.tgid, fd) else { continue };
            if number == nr::EPOLL_CTL && args[1] == libc::EPOLL_CTL_ADD as u64 && self.is_plain(&handle).await {
                return Done::failed(Errno::EPERM);
            }
            self.mirror(&handle).await;
        }
        Served::Here(None)
    }

    /// Has a placeholder show how ready the remote file is, now and from now on.
    pub async fn mirror(self: &Rc<Self>, handle: &Rc<Handle>) {
        self.watch(handle).await;
        self.refresh(handle).await;
    }

    async fn is_plain(&self, handle: &Handle) -> bool {
        let stat = self.stat_there(handle.number).await;
        stat.is_ok_and(|stat| matches!(stat.st_mode & libc::S_IFMT, libc::S_IFREG | libc::S_IFDIR))
    }

    /// Has changes told from now on.
    async fn watch(self: &Rc<Self>, handle: &Rc<Handle>) {
        if handle.watched.replace(true) {
            return;
        }
        let Some(epoll) = self.epoll().await else { return };
        let events = (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET) as u32;
        let mut event = events.to_ne_bytes().to_vec();
        event.extend(handle.inode.to_ne_bytes());
        let args = [epoll as u64, libc::EPOLL_CTL_ADD as u64, handle.number as u64, BUFFER, 0, 0];
        // What cannot be waited for is always ready.
        self.client.own(nr::EPOLL_CTL, args, &[(BUFFER, &event)], &[]).await;
    }

    /// The epoll instance there that all of them are in.
    async fn epoll(self: &Rc<Self>) -> Option<i32> {
        if let Some(epoll) = self.epoll.get() {
            return Some(epoll);
        }
        let epoll = i32::try_from(self.client.own(nr::EPOLL_CREATE1, [0; 6], &[], &[]).await.result).ok()?;
        if epoll < 0 {
            return None;
        }
        if let Some(other) = self.epoll.get() {
            // Two made one at the same time.
            self.close_there(epoll).await;
            return Some(other);
        }
        self.epoll.set(Some(epoll));
        let core = Rc::clone(self);
        tokio::task::spawn_local(async move { core.follow(epoll).await });
        Some(epoll)
    }

    /// Shows changes as they come.
    async fn follow(&self, epoll: i32) {
        let room = EVENTS * EVENT as u64;
        let args = [epoll as u64, BUFFER, EVENTS, u64::MAX, 0, 0];
        loop {
            let answered = self.client.own(nr::EPOLL_WAIT, args, &[], &[(BUFFER, room)]).await;
            let Ok(count) = usize::try_from(answered.result) else { return };
            let events = written(&answered, BUFFER).chunks_exact(EVENT).take(count);
            let inodes = events.filter_map(|event| Some(u64::from_ne_bytes(event.get(4..12)?.try_into().ok()?)));
            for inode in inodes.collect::<Vec<_>>() {
                let handle = self.placeholders.all().into_iter().find(|handle| handle.inode == inode);
                if let Some(handle) = handle {
                    self.refresh(&handle).await;
                }
            }
        }
    }

    /// Asks how ready a remote file is, and shows it.
    pub(super) async fn refresh(&self, handle: &Handle) {
        let wanted = libc::POLLIN | libc::POLLOUT | libc::POLLRDHUP;
        let polled = Pollfd { fd: handle.number, events: wanted, revents: 0 };
        let room = [(BUFFER, Pollfd::SIZE as u64)];
        let answered = self.client.own(nr::POLL, [BUFFER, 1, 0, 0, 0, 0], &[(BUFFER, polled.as_bytes())], &room).await;
        let revents = match answered.result {
            // Lost: whoever waits for it is to find out.
            ..0 => libc::POLLIN | libc::POLLOUT | libc::POLLHUP,
            _ => rsc_proto::abi::parse::<i16>(written(&answered, BUFFER + REVENTS)).unwrap_or(0),
        };
        let any = |events: i16| revents & events != 0;
        let readiness = Readiness {
            readable: any(libc::POLLIN | libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR),
            writable: any(libc::POLLOUT | libc::POLLHUP | libc::POLLERR),
            hung_up: any(libc::POLLHUP | libc::POLLRDHUP),
        };
        if let Some(theirs) = copy_of(handle)
            && let Err(errno) = handle.show(readiness, &theirs)
        {
            tracing::debug!("cannot show how ready a remote descriptor is: {errno}");
        }
    }
}

/// A copy of a placeholder, from where it was seen last.
fn copy_of(handle: &Handle) -> Option<OwnedFd> {
    let (pid, fd) = handle.seen.get();
    let pidfd = process::pidfd_open(pid).ok()?;
    let copy = process::pidfd_getfd(pidfd.as_fd(), fd).ok()?;
    (fstat(&copy).ok()?.st_ino == handle.inode).then_some(copy)
}

/// The descriptors of a poll(2).
fn polled(caller: &Caller, addr: u64, count: u64) -> Vec<i32> {
    let mut bytes = vec![0; count.min(FDS_MAX) as usize * Pollfd::SIZE];
    let got = caller.window.read(addr, &mut bytes);
    let fds = bytes.get(..got).unwrap_or_default().chunks_exact(Pollfd::SIZE);
    fds.filter_map(|bytes| Some(rsc_proto::abi::parse::<Pollfd>(bytes)?.fd)).collect()
}

/// The descriptors of a select(2).
fn selected(caller: &Caller, args: &[u64; 6]) -> Vec<i32> {
    let count = args[0].min(FDS_MAX) as usize;
    let mut fds = Vec::new();
    for addr in args.iter().skip(1).take(3).filter(|addr| **addr != 0) {
        let mut bytes = vec![0; count.div_ceil(8)];
        let got = caller.window.read(*addr, &mut bytes);
        for fd in 0..count.min(got * 8) {
            if bytes.get(fd / 8).is_some_and(|byte| byte & (1 << (fd % 8)) != 0) {
                fds.push(fd as i32);
            }
        }
    }
    fds.sort_unstable();
    fds.dedup();
    fds
}
