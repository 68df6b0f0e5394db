//! Pipes and FIFOs (pipe(7), fifo(7)): a ring of pages like Linux's, so that what fits, what merges and what is written whole are
//! the same. Linux: fs/pipe.c.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use rsc_proto::abi::{Errno, OpenFlags, Stat, mode};

use super::limits::{Limits, Ticket};
use crate::error::{SysError, SysResult};
use crate::kernel::Kernel;
use crate::kernel::cx::Cx;
use crate::kernel::file::{File, FileOps, Fut, Written, ready};
use crate::kernel::memory::UserPtr;
use crate::kernel::wait::{Listener, PollEvents, WaitQueue, Wakeup};

/// Bytes of one slot.
const PAGE: usize = 4096;
/// Slots of a new pipe. Linux: `PIPE_DEF_BUFFERS`.
const SLOTS: usize = 16;
/// Slots of a new pipe when the sandbox has many. Linux: `PIPE_MIN_DEF_BUFFERS`.
const SLOTS_FEW: usize = 2;
/// Pages in use beyond which new pipes are small. Linux: /proc/sys/fs/pipe-user-pages-soft.
const SOFT_PAGES: usize = 16_384;
/// The most that `F_SETPIPE_SZ` gives without `CAP_SYS_RESOURCE`. Linux: /proc/sys/fs/pipe-max-size.
const MAX_SIZE: usize = 1 << 20;

/// FIONREAD, ioctl_tty(2).
pub(crate) const FIONREAD: u32 = 0x541b;

/// One page: bytes from `start`, which may grow up to the page's end while `merge`.
struct Slot {
    data: Vec<u8>,
    start: usize,
    /// Later small writes may be added (not in packet mode).
    merge: bool,
    /// A packet of its own: a read never goes beyond it, and drops what it did not take.
    packet: bool,
}

impl Slot {
    fn rest(&self) -> &[u8] {
        self.data.get(self.start..).unwrap_or_default()
    }
}

/// The buffer between the ends, of a pipe or of a FIFO's inode.
pub struct Pipe {
    slots: RefCell<VecDeque<Slot>>,
    ring: Cell<usize>,
    readers: Cell<usize>,
    writers: Cell<usize>,
    /// Counts openings for reading and for writing, so that an open that waits sees one that came and went.
    reader_count: Cell<u64>,
    writer_count: Cell<u64>,
    queue: Rc<WaitQueue>,
    ticket: Ticket,
    ino: u64,
    /// What `take` gave last was a packet.
    took_packet: Cell<bool>,
}

impl Pipe {
    /// An empty pipe without ends. `ENFILE` when the sandbox has too many.
    pub fn new(limits: &Limits, ino: u64) -> Result<Rc<Self>, Errno> {
        let want = if limits.pipe_pages.used() + SLOTS > SOFT_PAGES { SLOTS_FEW } else { SLOTS };
        let ticket = limits.pipe_pages.take(want, Errno::ENFILE)?;
        Ok(Rc::new(Self {
            slots: RefCell::default(),
            ring: Cell::new(want),
            readers: Cell::new(0),
            writers: Cell::new(0),
            reader_count: Cell::new(0),
            writer_count: Cell::new(0),
            queue: WaitQueue::new(),
            ticket,
            ino,
            took_packet: Cell::new(false),
        }))
    }

    fn full(&self) -> bool {
        self.slots.borrow().len() >= self.ring.get()
    }

    /// Bytes that a read could take. Linux: pipe_ioctl(FIONREAD).
    pub fn readable(&self) -> usize {
        self.slots.borrow().iter().map(|s| s.rest().len()).sum()
    }

    /// What `take` would give, left where it is: for splice(2) and tee(2).
    pub fn peek(&self, len: usize) -> Result<Bytes, Errno> {
        let slots = self.slots.borrow();
        if slots.is_empty() && self.writers.get() > 0 {
            return Err(Errno::EAGAIN);
        }
        let mut out = BytesMut::new();
        for slot in slots.iter() {
            let rest = slot.rest();
            out.extend_from_slice(rest.get(..rest.len().min(len - out.len())).unwrap_or_default());
            if slot.packet || out.len() == len {
                break;
            }
        }
        Ok(out.freeze())
    }

    /// Takes up to `len` bytes; `EAGAIN` if there are none but may come, empty at the end.
    pub fn take(&self, len: usize) -> Result<Bytes, Errno> {
        if len == 0 {
            return Ok(Bytes::new());
        }
        let was_full = self.full();
        let out = {
            let mut slots = self.slots.borrow_mut();
            if slots.is_empty() {
                return if self.writers.get() == 0 { Ok(Bytes::new()) } else { Err(Errno::EAGAIN) };
            }
            let total: usize = slots.iter().map(|s| s.rest().len()).sum();
            let mut out = BytesMut::with_capacity(len.min(total));
            while let Some(slot) = slots.front_mut() {
                let room = len - out.len();
                let rest = slot.rest();
                let n = rest.len().min(room);
                out.extend_from_slice(rest.get(..n).unwrap_or_default());
                slot.start += n;
                let packet = slot.packet;
                self.took_packet.set(packet);
                if slot.rest().is_empty() || packet {
                    slots.pop_front();
                }
                if packet || out.len() == len {
                    break;
                }
            }
            out.freeze()
        };
        if was_full {
            self.queue.notify(PollEvents::WRITABLE);
        }
        Ok(out)
    }

    /// Puts back what `take` has just given, for its reader's memory could not hold it: in Linux a read that fails takes nothing.
    pub fn untake(&self, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let slot = Slot { data: data.to_vec(), start: 0, merge: false, packet: self.took_packet.get() };
        self.slots.borrow_mut().push_front(slot);
        self.queue.notify(PollEvents::READABLE);
    }

    /// Puts as much of `data` as there is room for; up to `PIPE_BUF` all or nothing. `EAGAIN` when nothing fits, `EPIPE` without
    /// readers.
    pub fn put(&self, mut data: &[u8], packet: bool) -> Result<usize, Errno> {
        if data.is_empty() {
            return Ok(0);
        }
        if self.readers.get() == 0 {
            return Err(Errno::EPIPE);
        }
        let total = data.len();
        {
            let mut slots = self.slots.borrow_mut();
            // What is more than whole pages joins the last page if all of it fits there.
            let odd = total % PAGE;
            if odd > 0
                && let Some(last) = slots.back_mut()
                && last.merge
                && last.data.len() + odd <= PAGE
                && let Some((head, tail)) = data.split_at_checked(odd)
            {
                last.data.extend_from_slice(head);
                data = tail;
            }
            while !data.is_empty() && slots.len() < self.ring.get() {
                let (head, tail) = data.split_at(data.len().min(PAGE));
                slots.push_back(Slot { data: head.to_vec(), start: 0, merge: !packet, packet });
                data = tail;
            }
        }
        if data.len() == total {
            return Err(Errno::EAGAIN);
        }
        self.queue.notify(PollEvents::READABLE);
        Ok(total - data.len())
    }

    fn size(&self) -> usize {
        self.ring.get() * PAGE
    }

    /// fcntl `F_SETPIPE_SZ`. Linux: pipe_set_size().
    fn set_size(&self, bytes: u64, privileged: bool) -> Result<usize, Errno> {
        if bytes > 1 << 31 {
            return Err(Errno::EINVAL);
        }
        let bytes = (bytes as usize).max(PAGE).next_power_of_two();
        let slots = bytes / PAGE;
        if slots > self.ring.get() && bytes > MAX_SIZE && !privileged {
            return Err(Errno::EPERM);
        }
        if slots < self.slots.borrow().len() {
            return Err(Errno::EBUSY);
        }
        // Beyond the sandbox's quota no privilege helps: it is not the machine's administrator who asks.
        if !self.ticket.resize(slots) {
            return Err(Errno::EPERM);
        }
        self.ring.set(slots);
        self.queue.notify(PollEvents::WRITABLE);
        Ok(bytes)
    }
}

/// How fstat(2) of a FIFO finds its inode.
pub type StatFn = Box<dyn Fn() -> Fut<'static, Result<Stat, Errno>>>;

/// One end (or, for a FIFO opened for both, two).
pub struct PipeEnd {
    pipe: Rc<Pipe>,
    reads: bool,
    writes: bool,
    /// `O_DIRECT`: each write is a packet.
    packet: Cell<bool>,
    /// The pipe's count of writers when this end was opened without waiting for one: no hang-up until one has come.
    opened_at: Option<u64>,
    stat: Option<StatFn>,
    owner: (u32, u32),
}

impl PipeEnd {
    fn new(pipe: Rc<Pipe>, reads: bool, writes: bool, packet: bool, owner: (u32, u32)) -> Self {
        if reads {
            pipe.readers.set(pipe.readers.get() + 1);
            pipe.reader_count.set(pipe.reader_count.get() + 1);
        }
        if writes {
            pipe.writers.set(pipe.writers.get() + 1);
            pipe.writer_count.set(pipe.writer_count.get() + 1);
        }
        Self { pipe, reads, writes, packet: Cell::new(packet), opened_at: None, stat: None, owner }
    }

    /// The buffer behind this end, for splice(2) and tee(2).
    pub fn pipe(&self) -> &Rc<Pipe> {
        &self.pipe
    }

    /// fcntl `F_GETPIPE_SZ`. Bytes.
    pub fn size(&self) -> usize {
        self.pipe.size()
    }

    /// fcntl `F_SETPIPE_SZ`: the size it has now.
    pub fn set_size(&self, bytes: u64, privileged: bool) -> Result<usize, Errno> {
        self.pipe.set_size(bytes, privileged)
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        let pipe = &self.pipe;
        if self.reads {
            pipe.readers.set(pipe.readers.get() - 1);
        }
        if self.writes {
            pipe.writers.set(pipe.writers.get() - 1);
        }
        if pipe.readers.get() == 0 && pipe.writers.get() == 0 {
            // A FIFO keeps nothing when all have gone.
            pipe.slots.borrow_mut().clear();
        } else if pipe.readers.get() == 0 || pipe.writers.get() == 0 {
            pipe.queue.notify(PollEvents::all() - PollEvents::NVAL);
        }
    }
}

impl FileOps for PipeEnd {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn describe(&self) -> String {
        format!("pipe:[{}]", self.pipe.ino)
    }

    fn read<'a>(&'a self, _: &'a File, _: u64, len: usize) -> Fut<'a, Result<Bytes, Errno>> {
        ready(self.pipe.take(len))
    }

    fn write<'a>(&'a self, _: &'a File, _: u64, data: Bytes) -> Fut<'a, Result<Written, Errno>> {
        ready(self.pipe.put(&data, self.packet.get()).map(|bytes| Written { bytes, end: 0 }))
    }

    fn poll(&self) -> PollEvents {
        let mut events = PollEvents::empty();
        if self.reads {
            if !self.pipe.slots.borrow().is_empty() {
                events |= PollEvents::READABLE;
            }
            if self.pipe.writers.get() == 0 && self.opened_at != Some(self.pipe.writer_count.get()) {
                events |= PollEvents::HUP;
            }
        }
        if self.writes {
            if !self.pipe.full() {
                events |= PollEvents::WRITABLE;
            }
            if self.pipe.readers.get() == 0 {
                events |= PollEvents::ERR;
            }
        }
        events
    }

    fn wait_queue(&self) -> Option<Rc<WaitQueue>> {
        Some(self.pipe.queue.clone())
    }

    fn stat(&self) -> Fut<'_, Result<Stat, Errno>> {
        match &self.stat {
            Some(stat) => stat(),
            None => ready(Ok(Stat {
                st_dev: super::PIPEFS_DEV,
                st_ino: self.pipe.ino,
                st_nlink: 1,
                st_mode: mode::S_IFIFO | 0o600,
                st_uid: self.owner.0,
                st_gid: self.owner.1,
                st_blksize: PAGE as i64,
                ..Stat::default()
            })),
        }
    }

    fn ioctl<'a>(&'a self, cx: &'a Cx, _: &'a Rc<File>, cmd: u32, arg: u64) -> Fut<'a, SysResult> {
        Box::pin(async move {
            if cmd != FIONREAD {
                // Linux: pipe_ioctl() says ENOIOCTLCMD, which becomes ENOTTY.
                return Err(Errno::ENOTTY.into());
            }
            let n = self.pipe.readable() as u32;
            cx.mem.write(UserPtr::<u32>::new(arg), &n).await?;
            Ok(0)
        })
    }

    fn reopen(&self, flags: OpenFlags) -> Result<Box<dyn FileOps>, Errno> {
        // Both sides are there, or this end would not be: nothing to wait for.
        let packet = flags.contains(OpenFlags::O_DIRECT);
        let end = Self::new(self.pipe.clone(), flags.readable(), flags.writable(), packet, self.owner);
        Ok(Box::new(end))
    }

    fn set_status(&self, flags: OpenFlags) {
        self.packet.set(flags.contains(OpenFlags::O_DIRECT));
    }
}

/// pipe2(2): both ends. `flags` holds `O_NONBLOCK` and `O_DIRECT`, as checked by the caller.
pub fn pair(kernel: &Kernel, flags: OpenFlags, owner: (u32, u32)) -> Result<(Rc<File>, Rc<File>), Errno> {
    let pipe = Pipe::new(&kernel.limits, kernel.new_ino())?;
    let status = flags & (OpenFlags::O_NONBLOCK | OpenFlags::O_DIRECT);
    let packet = flags.contains(OpenFlags::O_DIRECT);
    let read = PipeEnd::new(pipe.clone(), true, false, false, owner);
    let write = PipeEnd::new(pipe, false, true, packet, owner);
    Ok((File::new(read, status - OpenFlags::O_DIRECT), File::new(write, status | OpenFlags::O_WRONLY)))
}

/// Opens a FIFO (fifo(7)): waits for the other side unless `O_NONBLOCK` or `O_RDWR`; `ENXIO` for a writer that may not wait. The
/// inode owns `pipe` while it is open somewhere; `stat` is the inode's status. The caller makes the `File`, with its location.
pub async fn open_fifo(cx: &Cx, pipe: &Rc<Pipe>, flags: OpenFlags, stat: StatFn) -> SysResult<PipeEnd> {
    let nonblock = flags.contains(OpenFlags::O_NONBLOCK);
    let packet = flags.contains(OpenFlags::O_DIRECT);
    let (reads, writes) = (flags.readable(), flags.writable());
    if writes && !reads && nonblock && pipe.readers.get() == 0 {
        return Err(Errno::ENXIO.into());
    }
    let writers_before = pipe.writer_count.get();
    let readers_before = pipe.reader_count.get();
    let mut end = PipeEnd::new(pipe.clone(), reads, writes, packet, (0, 0));
    end.stat = Some(stat);
    // Wakes those who wait in open for this side.
    pipe.queue.notify(PollEvents::READABLE | PollEvents::WRITABLE);
    if reads && !writes && pipe.writers.get() == 0 {
        if nonblock {
            end.opened_at = Some(writers_before);
        } else {
            wait_for(cx, pipe, || pipe.writer_count.get() != writers_before).await?;
        }
    } else if writes && !reads && pipe.readers.get() == 0 {
        wait_for(cx, pipe, || pipe.reader_count.get() != readers_before).await?;
    }
    Ok(end)
}

async fn wait_for(cx: &Cx, pipe: &Rc<Pipe>, came: impl Fn() -> bool) -> Result<(), SysError> {
    let wakeup = Wakeup::new();
    let listener: Rc<dyn Listener> = wakeup.clone();
    let _registration = pipe.queue.listen(PollEvents::READABLE | PollEvents::WRITABLE, &listener);
    while !came() {
        wakeup.clear();
        cx.wait(wakeup.wait()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipe() -> (Rc<Pipe>, PipeEnd, PipeEnd) {
        let pipe = Pipe::new(&Limits::default(), 7).unwrap();
        let r = PipeEnd::new(pipe.clone(), true, false, false, (0, 0));
        let w = PipeEnd::new(pipe.clone(), false, true, false, (0, 0));
        (pipe, r, w)
    }

    #[test]
    fn small_writes_merge_and_fill_it_exactly() {
        let (p, _r, _w) = pipe();
        let mut n = 0;
        while p.put(b"x", false).is_ok() {
            n += 1;
        }
        assert_eq!(n, 65536);
        assert_eq!(p.readable(), 65536);
        assert_eq!(p.take(1).unwrap().len(), 1);
        // One byte of room in the first page is not room for a new one.
        assert_eq!(p.put(b"x", false), Err(Errno::EAGAIN));
        assert_eq!(p.take(4095).unwrap().len(), 4095);
        assert_eq!(p.put(&[0; 4096], false), Ok(4096));
        assert_eq!(p.put(&[0; 8192], false), Err(Errno::EAGAIN));
    }

    #[test]
    fn packets_are_kept_apart_and_cut() {
        let (p, _r, _w) = pipe();
        p.put(b"abc", true).unwrap();
        p.put(b"def", true).unwrap();
        assert_eq!(&p.take(2).unwrap()[..], b"ab");
        assert_eq!(&p.take(9).unwrap()[..], b"def");
        assert_eq!(p.take(9), Err(Errno::EAGAIN));
    }

    #[test]
    fn ends_tell_each_other() {
        let (p, r, w) = pipe();
        assert_eq!(r.poll(), PollEvents::empty());
        assert_eq!(w.poll(), PollEvents::WRITABLE);
        p.put(b"x", false).unwrap();
        drop(w);
        assert_eq!(r.poll(), PollEvents::READABLE | PollEvents::HUP);
        assert_eq!(p.take(5).unwrap().len(), 1);
        assert!(p.take(5).unwrap().is_empty());
        drop(r);
        assert_eq!(p.put(b"x", false), Err(Errno::EPIPE));
    }

    #[test]
    fn size_is_rounded_and_bounded() {
        let (p, _r, _w) = pipe();
        assert_eq!(p.set_size(1, false), Ok(4096));
        assert_eq!(p.set_size(5000, false), Ok(8192));
        p.put(&[0; 8192], false).unwrap();
        assert_eq!(p.set_size(4096, false), Err(Errno::EBUSY));
        assert_eq!(p.set_size(2 << 20, false), Err(Errno::EPERM));
        assert_eq!(p.set_size(2 << 20, true), Ok(2 << 20));
    }

    #[test]
    fn quota_is_given_back() {
        let limits = Limits::default();
        let p = Pipe::new(&limits, 1).unwrap();
        assert_eq!(limits.pipe_pages.used(), 16);
        p.set_size(4096, false).unwrap();
        assert_eq!(limits.pipe_pages.used(), 1);
        drop(p);
        assert_eq!(limits.pipe_pages.used(), 0);
    }
}
