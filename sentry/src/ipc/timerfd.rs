//! Timers that are read as files, timerfd_create(2). Linux: fs/timerfd.c.
//!
//! As in Linux an interval timer wakes nobody again before it has been read: then the expirations in between are counted.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::Bytes;
use rsc_proto::abi::{Errno, Itimerspec, OpenFlags, Stat, TimerfdFlags, Timespec};
use rsc_proto::v1::HostFacts;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::clock::Clock;
use super::limits::Ticket;
use crate::kernel::Kernel;
use crate::kernel::file::{File, FileOps, Fut, ready};
use crate::kernel::wait::{PollEvents, WaitQueue};

struct Timer {
    clock: Clock,
    facts: HostFacts,
    /// When it expires next, on its clock; `None`: not armed. Nanoseconds.
    expiry: Cell<Option<u64>>,
    /// Nanoseconds; zero: once.
    interval: Cell<u64>,
    /// Expirations that were not read.
    ticks: Cell<u64>,
    queue: Rc<WaitQueue>,
    /// What sleeps until the next expiration.
    sleeper: RefCell<Option<AbortHandle>>,
}

impl Timer {
    /// Counts the expirations until now.
    fn update(&self) {
        let Some(expiry) = self.expiry.get() else { return };
        let now = self.clock.now(&self.facts);
        if now < expiry {
            return;
        }
        let interval = self.interval.get();
        if interval == 0 {
            self.expiry.set(None);
            self.ticks.set(self.ticks.get().saturating_add(1));
            return;
        }
        let n = (now - expiry) / interval + 1;
        self.expiry.set(Some(expiry.saturating_add(n.saturating_mul(interval))));
        self.ticks.set(self.ticks.get().saturating_add(n));
    }

    /// Sees to it that listeners are told of the next expiration.
    fn arm(self: &Rc<Self>) {
        if let Some(old) = self.sleeper.take() {
            old.abort();
        }
        let Some(expiry) = self.expiry.get() else { return };
        let left = Duration::from_nanos(expiry.saturating_sub(self.clock.now(&self.facts)));
        let Some(at) = Instant::now().checked_add(left) else { return };
        let weak: Weak<Self> = Rc::downgrade(self);
        let task = tokio::task::spawn_local(async move {
            loop {
                sleep_until(at).await;
                let Some(timer) = weak.upgrade() else { return };
                timer.update();
                if timer.ticks.get() > 0 {
                    timer.queue.notify(PollEvents::IN);
                    return;
                }
                // The runtime's clock was ahead of the timer's by a little.
                drop(timer);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        *self.sleeper.borrow_mut() = Some(task.abort_handle());
    }

    /// What is left and the interval. Linux: timerfd_gettime().
    fn get(self: &Rc<Self>) -> Itimerspec {
        self.update();
        let left = self.expiry.get().map_or(0, |e| e.saturating_sub(self.clock.now(&self.facts)).max(1));
        Itimerspec { it_interval: Timespec::from_nanos(self.interval.get()), it_value: Timespec::from_nanos(left) }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(sleeper) = self.sleeper.take() {
            sleeper.abort();
        }
    }
}

/// See the module's text.
pub struct Timerfd {
    timer: Rc<Timer>,
    _ticket: Ticket,
}

fn nanos(t: Timespec) -> Result<u64, Errno> {
    let d = t.to_duration().ok_or(Errno::EINVAL)?;
    Ok(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}

impl Timerfd {
    /// A timer's file, not armed.
    pub fn open(kernel: &Kernel, clock: Clock, flags: TimerfdFlags) -> Result<Rc<File>, Errno> {
        let ticket = kernel.limits.anonymous.take(1, Errno::ENFILE)?;
        let mut status = OpenFlags::O_RDWR;
        status.set(OpenFlags::O_NONBLOCK, flags.contains(TimerfdFlags::TFD_NONBLOCK));
        let timer = Timer {
            clock,
            facts: HostFacts { boot_time_ns: kernel.facts.boot_time_ns, ..HostFacts::default() },
            expiry: Cell::new(None),
            interval: Cell::new(0),
            ticks: Cell::new(0),
            queue: WaitQueue::new(),
            sleeper: RefCell::default(),
        };
        Ok(File::new(Self { timer: Rc::new(timer), _ticket: ticket }, status))
    }

    /// Sets it; the setting before. A value of zero disarms.
    pub fn set(&self, new: &Itimerspec, absolute: bool) -> Result<Itimerspec, Errno> {
        let (value, interval) = (nanos(new.it_value)?, nanos(new.it_interval)?);
        let timer = &self.timer;
        let old = timer.get();
        timer.ticks.set(0);
        timer.interval.set(interval);
        timer.expiry.set(match value {
            0 => None,
            v if absolute => Some(v),
            v => Some(timer.clock.now(&timer.facts).saturating_add(v)),
        });
        timer.arm();
        Ok(old)
    }

    /// What is left.
    pub fn get(&self) -> Itimerspec {
        self.timer.get()
    }

    fn take(&self, len: usize) -> Result<u64, Errno> {
        if len < 8 {
            return Err(Errno::EINVAL);
        }
        self.timer.update();
        let ticks = self.timer.ticks.replace(0);
        if ticks == 0 {
            return Err(Errno::EAGAIN);
        }
        if self.timer.interval.get() > 0 {
            self.timer.arm();
        }
        Ok(ticks)
    }
}

impl FileOps for Timerfd {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn describe(&self) -> String {
        "anon_inode:[timerfd]".into()
    }

    fn read<'a>(&'a self, _: &'a File, _: u64, len: usize) -> Fut<'a, Result<Bytes, Errno>> {
        ready(self.take(len).map(|n| Bytes::copy_from_slice(&n.to_le_bytes())))
    }

    fn poll(&self) -> PollEvents {
        self.timer.update();
        if self.timer.ticks.get() > 0 { PollEvents::IN } else { PollEvents::empty() }
    }

    fn wait_queue(&self) -> Option<Rc<WaitQueue>> {
        Some(self.timer.queue.clone())
    }

    fn stat(&self) -> Fut<'_, Result<Stat, Errno>> {
        ready(Ok(super::anon_stat()))
    }
}
