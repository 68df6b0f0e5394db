//! The compute host at the other end of a session: reverse requests and their replies.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use rsc_proto::abi::Errno;
use rsc_proto::v1::{self, down, reverse::What};
use tokio::sync::oneshot;

use super::context::Lent;
use crate::kernel::file::{Fut, ready};
use crate::kernel::host::ComputeHost;
use crate::server::sandbox::Outbox;

/// Reverse requests that may wait for a reply at one time.
const PENDING_MAX: usize = 4096;

/// See the module's text.
pub(super) struct RemoteHost {
    out: Outbox,
    next: Cell<u64>,
    pending: RefCell<BTreeMap<u64, oneshot::Sender<v1::ReverseReply>>>,
    closed: Cell<bool>,
    /// Standard streams that are the sentry's own, by their numbers in the sandbox.
    lent: RefCell<BTreeMap<u32, (Rc<Lent>, u32)>>,
}

/// An error of a descriptor of the sentry's own.
fn ours(errno: nix::errno::Errno) -> Errno {
    Errno::new(errno as i32)
}

/// Takes the request back when its future is dropped before the reply.
struct Cancel<'a> {
    host: &'a RemoteHost,
    id: u64,
}

impl Drop for Cancel<'_> {
    fn drop(&mut self) {
        if self.host.pending.borrow_mut().remove(&self.id).is_some() && !self.host.closed.get() {
            self.host.send(0, What::Cancel(v1::CancelReverse { id: self.id }));
        }
    }
}

impl RemoteHost {
    /// The host to which `out` leads.
    pub(super) fn new(out: Outbox) -> Self {
        Self {
            out,
            next: Cell::new(1),
            pending: RefCell::default(),
            closed: Cell::new(false),
            lent: RefCell::default(),
        }
    }

    /// A reply came. `false`: nobody waits for it (it crossed a cancellation).
    pub(super) fn reply(&self, reply: v1::ReverseReply) -> bool {
        match self.pending.borrow_mut().remove(&reply.id) {
            Some(waiter) => waiter.send(reply).is_ok(),
            None => false,
        }
    }

    /// The session is gone: all requests, waiting and to come, fail with `EIO`.
    pub(super) fn close(&self) {
        self.closed.set(true);
        self.pending.borrow_mut().clear();
    }

    /// Puts the sentry's own streams where a process, whose streams begin at `base`, asks for them; why not.
    pub(super) fn lend(&self, own: Option<&Rc<Lent>>, base: u32, about: &mut [v1::Stdio]) -> Result<(), String> {
        for (number, about) in (0..).zip(about).filter(|(_, about)| about.server) {
            let own = own.ok_or(
                "the sentry does not lend its standard streams; leave --stdio remote out, or start it with --allow-stdio",
            )?;
            *about = own.about.get(number as usize).copied().unwrap_or(v1::Stdio { closed: true, ..*about });
            self.lent.borrow_mut().insert(base.saturating_add(number), (Rc::clone(own), number));
        }
        Ok(())
    }

    fn lent(&self, index: u32) -> Option<(Rc<Lent>, u32)> {
        self.lent.borrow().get(&index).cloned()
    }

    fn send(&self, id: u64, what: What) {
        self.out.send(down::Body::Reverse(v1::Reverse { id, what: Some(what) }));
    }

    async fn ask(&self, what: What) -> Result<v1::ReverseReply, Errno> {
        if self.closed.get() {
            return Err(Errno::EIO);
        }
        let (tx, rx) = oneshot::channel();
        let id = self.next.replace(self.next.get() + 1);
        {
            let mut pending = self.pending.borrow_mut();
            if pending.len() >= PENDING_MAX {
                return Err(Errno::ENOMEM);
            }
            pending.insert(id, tx);
        }
        let _cancel = Cancel { host: self, id };
        self.send(id, what);
        let reply = rx.await.map_err(|_| Errno::EIO)?;
        match Errno::of_result(reply.value) {
            Some(e) => Err(e),
            None => Ok(reply),
        }
    }

    fn data(&self, what: What) -> Fut<'_, Result<Bytes, Errno>> {
        Box::pin(async move { Ok(self.ask(what).await?.data) })
    }

    fn value(&self, what: What) -> Fut<'_, Result<u64, Errno>> {
        Box::pin(async move { Ok(self.ask(what).await?.value as u64) })
    }

    fn done(&self, what: What) -> Fut<'_, Result<(), Errno>> {
        Box::pin(async move { self.ask(what).await.map(|_| ()) })
    }
}

impl ComputeHost for RemoteHost {
    fn read_memory(&self, tid: u32, addr: u64, len: u32) -> Fut<'_, Result<Bytes, Errno>> {
        self.data(What::ReadMemory(v1::ReadMemory { tid, addr, len }))
    }

    fn write_memory(&self, tid: u32, addr: u64, data: Bytes) -> Fut<'_, Result<u64, Errno>> {
        self.value(What::WriteMemory(v1::WriteMemory { tid, addr, data }))
    }

    fn stdio_read(&self, index: u32, len: u32) -> Fut<'_, Result<Bytes, Errno>> {
        if let Some((own, number)) = self.lent(index) {
            return ready(own.files.read(number, len, None).map_err(ours));
        }
        self.data(What::StdioRead(v1::StdioRead { index, len, offset: None }))
    }

    fn stdio_write(&self, index: u32, data: Bytes) -> Fut<'_, Result<u64, Errno>> {
        if let Some((own, number)) = self.lent(index) {
            return ready(own.files.write(number, &data, None).map(|count| count as u64).map_err(ours));
        }
        self.value(What::StdioWrite(v1::StdioWrite { index, data, offset: None }))
    }

    fn stdio_read_at(&self, index: u32, len: u32, offset: u64) -> Fut<'_, Result<Bytes, Errno>> {
        if let Some((own, number)) = self.lent(index) {
            return ready(own.files.read(number, len, Some(offset)).map_err(ours));
        }
        self.data(What::StdioRead(v1::StdioRead { index, len, offset: Some(offset) }))
    }

    fn stdio_write_at(&self, index: u32, data: Bytes, offset: u64) -> Fut<'_, Result<u64, Errno>> {
        if let Some((own, number)) = self.lent(index) {
            return ready(own.files.write(number, &data, Some(offset)).map(|count| count as u64).map_err(ours));
        }
        self.value(What::StdioWrite(v1::StdioWrite { index, data, offset: Some(offset) }))
    }

    fn stdio_seek(&self, index: u32, offset: i64, whence: u32) -> Fut<'_, Result<u64, Errno>> {
        if let Some((own, number)) = self.lent(index) {
            return ready(own.files.seek(number, offset, whence).map(|at| at as u64).map_err(ours));
        }
        self.value(What::StdioSeek(v1::StdioSeek { index, offset, whence }))
    }

    fn stdio_poll(&self, index: u32, events: u32, wait: bool) -> Fut<'_, Result<u32, Errno>> {
        if let Some((own, number)) = self.lent(index) {
            return Box::pin(async move { own.files.poll(number, events, wait).await.map_err(ours) });
        }
        Box::pin(
            async move { Ok(self.ask(What::StdioPoll(v1::StdioPoll { index, events, wait })).await?.value as u32) },
        )
    }

    fn stdio_ioctl(&self, index: u32, cmd: u32, data: Bytes) -> Fut<'_, Result<Bytes, Errno>> {
        if let Some((own, number)) = self.lent(index) {
            return ready(own.files.ioctl(number, cmd, &data).map_err(ours));
        }
        self.data(What::StdioIoctl(v1::StdioIoctl { index, cmd, data }))
    }

    fn stdio_close(&self, index: u32) {
        if self.lent.borrow_mut().remove(&index).is_none() && !self.closed.get() {
            self.send(0, What::StdioClose(v1::StdioClose { index }));
        }
    }

    fn send_signal(&self, tgid: u32, tid: u32, sig: u32) -> Fut<'_, Result<(), Errno>> {
        self.done(What::Signal(v1::SendSignal { tgid, tid, sig }))
    }

    fn proc_info(&self, tid: u32, what: &str) -> Fut<'_, Result<Bytes, Errno>> {
        self.data(What::ProcInfo(v1::ProcInfo { tid, what: what.into() }))
    }

    fn arena_open(&self, file: u64, size: u64) -> Fut<'_, Result<(), Errno>> {
        self.done(What::ArenaOpen(v1::ArenaOpen { file, size }))
    }

    fn arena_write(&self, file: u64, offset: u64, data: Bytes) -> Fut<'_, Result<(), Errno>> {
        self.done(What::ArenaWrite(v1::ArenaWrite { file, offset, data }))
    }

    fn arena_read(&self, file: u64, offset: u64, len: u32) -> Fut<'_, Result<Bytes, Errno>> {
        self.data(What::ArenaRead(v1::ArenaRead { file, offset, len }))
    }

    fn arena_close(&self, file: u64) {
        if !self.closed.get() {
            self.send(0, What::ArenaClose(v1::ArenaClose { file }));
        }
    }
}
