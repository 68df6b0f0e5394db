//! Event counters, eventfd(2). Linux: fs/eventfd.c.

use std::any::Any;
use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use rsc_proto::abi::{Errno, EventfdFlags, OpenFlags, Stat};

use super::limits::Ticket;
use crate::kernel::Kernel;
use crate::kernel::file::{File, FileOps, Fut, Written, ready};
use crate::kernel::wait::{PollEvents, WaitQueue};

/// See the module's text.
pub struct Eventfd {
    count: Cell<u64>,
    semaphore: bool,
    queue: Rc<WaitQueue>,
    _ticket: Ticket,
}

impl Eventfd {
    /// A counter's file.
    pub fn open(kernel: &Kernel, initial: u32, flags: EventfdFlags) -> Result<Rc<File>, Errno> {
        let ticket = kernel.limits.anonymous.take(1, Errno::ENFILE)?;
        let mut status = OpenFlags::O_RDWR;
        status.set(OpenFlags::O_NONBLOCK, flags.contains(EventfdFlags::EFD_NONBLOCK));
        let ops = Self {
            count: Cell::new(u64::from(initial)),
            semaphore: flags.contains(EventfdFlags::EFD_SEMAPHORE),
            queue: WaitQueue::new(),
            _ticket: ticket,
        };
        Ok(File::new(ops, status))
    }

    fn take(&self, len: usize) -> Result<u64, Errno> {
        if len < 8 {
            return Err(Errno::EINVAL);
        }
        let count = self.count.get();
        if count == 0 {
            return Err(Errno::EAGAIN);
        }
        let n = if self.semaphore { 1 } else { count };
        self.count.set(count - n);
        self.queue.notify(PollEvents::OUT);
        Ok(n)
    }

    fn put(&self, data: &[u8]) -> Result<usize, Errno> {
        let n = u64::from_le_bytes(data.try_into().map_err(|_| Errno::EINVAL)?);
        if n == u64::MAX {
            return Err(Errno::EINVAL);
        }
        // The highest value is left for overflows.
        let sum = self.count.get().checked_add(n).filter(|&s| s < u64::MAX).ok_or(Errno::EAGAIN)?;
        self.count.set(sum);
        self.queue.notify(PollEvents::IN);
        Ok(8)
    }
}

impl FileOps for Eventfd {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn describe(&self) -> String {
        "anon_inode:[eventfd]".into()
    }

    fn read<'a>(&'a self, _: &'a File, _: u64, len: usize) -> Fut<'a, Result<Bytes, Errno>> {
        ready(self.take(len).map(|n| Bytes::copy_from_slice(&n.to_le_bytes())))
    }

    fn write<'a>(&'a self, _: &'a File, _: u64, data: Bytes) -> Fut<'a, Result<Written, Errno>> {
        ready(self.put(&data).map(|bytes| Written { bytes, end: 0 }))
    }

    fn poll(&self) -> PollEvents {
        let mut events = PollEvents::empty();
        events.set(PollEvents::IN, self.count.get() > 0);
        events.set(PollEvents::OUT, self.count.get() < u64::MAX - 1);
        events
    }

    fn wait_queue(&self) -> Option<Rc<WaitQueue>> {
        Some(self.queue.clone())
    }

    fn stat(&self) -> Fut<'_, Result<Stat, Errno>> {
        ready(Ok(super::anon_stat()))
    }
}
