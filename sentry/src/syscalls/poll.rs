//! poll, ppoll, select, pselect6. Linux: fs/select.c.
//!
//! The temporary signal mask is applied by the compute host's kernel while the task is parked; here only its form is checked.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use rsc_proto::abi::{Errno, Pollfd, Restart, SigsetArg, Timespec, Timeval};
use tokio::time::Instant;

use super::nr;
use crate::error::{SysError, SysResult};
use crate::kernel::cx::{Cx, Waited};
use crate::kernel::fd::Fd;
use crate::kernel::file::File;
use crate::kernel::memory::UserPtr;
use crate::kernel::task::{RestartBlock, rlimit};
use crate::kernel::wait::{Listener, PollEvents, Registration, Wakeup};

/// When a wait ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// At once: only look.
    Now,
    /// At this moment.
    At(Instant),
    /// Never by itself.
    Forever,
}

impl Until {
    /// After `d`, which may be longer than a clock can say.
    pub(super) fn after(d: Duration) -> Self {
        if d.is_zero() {
            return Self::Now;
        }
        Instant::now().checked_add(d).map_or(Self::Forever, Self::At)
    }

    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Now => Some(Instant::now()),
            Self::At(at) => Some(at),
            Self::Forever => None,
        }
    }

    /// What is left, if it ends by itself.
    fn rest(self) -> Option<Duration> {
        self.deadline().map(|at| at.saturating_duration_since(Instant::now()))
    }
}

/// A file's readiness now, whoever has to be asked.
pub(crate) async fn readiness(file: &File) -> PollEvents {
    if let Some(refresh) = file.ops().refresh() {
        refresh.await;
    }
    file.ops().poll()
}

/// One file that is waited for.
struct Watched {
    file: Rc<File>,
    /// What to report, errors and hang-ups included.
    filter: PollEvents,
}

/// How a wait for many files ended.
enum Ended {
    /// The caller's look saw something, or time is up.
    Done,
    /// A signal is to be taken.
    Interrupted,
}

/// Looks at every file until `look` (given what is ready of each) counts something, the time is up or a signal comes.
async fn wait_any(cx: &Cx, files: &[Watched], until: Until, mut look: impl FnMut(&[PollEvents]) -> bool) -> Ended {
    let mut ready = vec![PollEvents::empty(); files.len()];
    let wakeup = Wakeup::new();
    let listener: Rc<dyn Listener> = wakeup.clone();
    let mut registrations: Vec<Registration> = Vec::new();
    let mut registered = false;
    loop {
        wakeup.clear();
        for (w, r) in files.iter().zip(&mut ready) {
            *r = readiness(&w.file).await & w.filter;
        }
        if look(&ready) || until == Until::Now {
            return Ended::Done;
        }
        if !registered {
            // Registered, then looked at once more: nothing that happens in between is missed.
            registered = true;
            registrations
                .extend(files.iter().filter_map(|w| Some(w.file.ops().wait_queue()?.listen(w.filter, &listener))));
            continue;
        }
        match cx.wait_until(&wakeup, until.deadline()).await {
            Ok(Waited::Ready) => {}
            Ok(Waited::TimedOut) => return Ended::Done,
            Err(_) => return Ended::Interrupted,
        }
    }
}

/// poll(2).
pub async fn poll(cx: &Cx, fds: UserPtr<Pollfd>, n: u32, timeout: i32) -> SysResult<usize> {
    let until = match u64::try_from(timeout) {
        Ok(ms) => Until::after(Duration::from_millis(ms)),
        Err(_) => Until::Forever,
    };
    poll_until(cx, fds, n, until).await
}

async fn poll_until(cx: &Cx, fds: UserPtr<Pollfd>, n: u32, until: Until) -> SysResult<usize> {
    match do_poll(cx, fds, n, until).await? {
        Some(n) => Ok(n),
        None => {
            let deadline = if until == Until::Forever { None } else { until.deadline() };
            let block = RestartBlock { nr: nr::POLL, args: [fds.addr(), u64::from(n), 0, 0, 0, 0], deadline };
            *cx.task.restart.borrow_mut() = Some(block);
            Err(Restart::Block.into())
        }
    }
}

/// restart_syscall(2) of an interrupted poll. Linux: do_restart_poll().
async fn restart_poll(cx: &Cx, block: RestartBlock) -> SysResult<usize> {
    let until = block.deadline.map_or(Until::Forever, Until::At);
    poll_until(cx, UserPtr::new(block.args[0]), block.args[1] as u32, until).await
}

/// restart_syscall(2): goes on with what a signal interrupted.
pub async fn restart_syscall(cx: &Cx) -> SysResult<usize> {
    let block = cx.task.restart.borrow_mut().take();
    match block {
        Some(block) if block.nr == nr::POLL => restart_poll(cx, block).await,
        // Linux: do_no_restart_syscall().
        _ => Err(Errno::EINTR.into()),
    }
}

/// ppoll(2).
pub async fn ppoll(
    cx: &Cx,
    fds: UserPtr<Pollfd>,
    n: u32,
    timeout: UserPtr<Timespec>,
    mask: UserPtr<u64>,
    mask_len: usize,
) -> SysResult<usize> {
    let until = timespec(cx, timeout).await?;
    check_mask(cx, mask, mask_len).await?;
    let r = match do_poll(cx, fds, n, until).await {
        Ok(Some(n)) => Ok(n),
        Ok(None) => Err(SysError::Restart(Restart::NoHand)),
        Err(e) => Err(e),
    };
    write_rest(cx, timeout, until, r).await
}

/// `None`: interrupted.
async fn do_poll(cx: &Cx, fds: UserPtr<Pollfd>, n: u32, until: Until) -> SysResult<Option<usize>> {
    if u64::from(n) > cx.task.group().limit(rlimit::NOFILE).rlim_cur {
        return Err(Errno::EINVAL.into());
    }
    let n = n as usize;
    let list = if n == 0 { Vec::new() } else { cx.mem.read_array(fds, n).await? };
    let mut revents = vec![PollEvents::empty(); n];
    // Which entry each watched file stands for.
    let mut index = Vec::with_capacity(n);
    let mut files = Vec::with_capacity(n);
    {
        let table = cx.task.fds.borrow();
        for (i, (p, r)) in list.iter().zip(&mut revents).enumerate() {
            if p.fd < 0 {
                continue;
            }
            match table.get(Fd(p.fd)) {
                Ok(file) => {
                    let filter = PollEvents::from_bits_truncate(u32::from(p.events as u16)) | PollEvents::ALWAYS;
                    index.push(i);
                    files.push(Watched { file, filter });
                }
                Err(_) => *r = PollEvents::NVAL,
            }
        }
    }
    let invalid = revents.iter().any(|r| !r.is_empty());
    let ended = wait_any(cx, &files, until, |ready| {
        for (&i, r) in index.iter().zip(ready) {
            if let Some(slot) = revents.get_mut(i) {
                *slot = *r;
            }
        }
        invalid || ready.iter().any(|r| !r.is_empty())
    })
    .await;
    let count = revents.iter().filter(|r| !r.is_empty()).count();
    for (i, r) in revents.iter().enumerate() {
        // Only `revents`: the rest is the caller's, who may be changing it.
        let at = fds.offset(i).addr().wrapping_add(6);
        cx.mem.write_bytes(at, Bytes::copy_from_slice(&(r.bits() as u16).to_le_bytes())).await?;
    }
    Ok(match ended {
        Ended::Done => Some(count),
        Ended::Interrupted => None,
    })
}

/// A relative timeout; NULL is forever. Linux: poll_select_set_timeout().
pub(super) async fn timespec(cx: &Cx, ptr: UserPtr<Timespec>) -> SysResult<Until> {
    if ptr.is_null() {
        return Ok(Until::Forever);
    }
    let t = cx.mem.read(ptr).await?;
    Ok(Until::after(t.to_duration().ok_or(Errno::EINVAL)?))
}

/// Linux: set_user_sigmask().
pub(super) async fn check_mask(cx: &Cx, mask: UserPtr<u64>, len: usize) -> SysResult<()> {
    if mask.is_null() {
        return Ok(());
    }
    if len != 8 {
        return Err(Errno::EINVAL.into());
    }
    cx.mem.read(mask).await?;
    Ok(())
}

/// Writes the time that is left, as Linux does whatever the outcome. If that fails, the call can't be restarted. Linux:
/// poll_select_finish().
async fn write_rest(cx: &Cx, ptr: UserPtr<Timespec>, until: Until, r: SysResult<usize>) -> SysResult<usize> {
    if ptr.is_null() || until == Until::Now {
        return r;
    }
    let Some(rest) = until.rest() else { return r };
    let written = cx.mem.write(ptr, &Timespec::from(rest)).await;
    match (written, r) {
        (Err(_), Err(SysError::Restart(_))) => Err(Errno::EINTR.into()),
        (_, r) => r,
    }
}

/// select(2).
pub async fn select(
    cx: &Cx,
    n: i32,
    read: UserPtr<u64>,
    write: UserPtr<u64>,
    except: UserPtr<u64>,
    timeout: UserPtr<Timeval>,
) -> SysResult<usize> {
    let mut until = Until::Forever;
    if !timeout.is_null() {
        let t = cx.mem.read(timeout).await?;
        // Microseconds beyond a second count; negative values don't.
        let t = Timespec {
            tv_sec: t.tv_sec.saturating_add(t.tv_usec / 1_000_000),
            tv_nsec: (t.tv_usec % 1_000_000) * 1000,
        };
        until = Until::after(t.to_duration().ok_or(Errno::EINVAL)?);
    }
    let r = do_select(cx, n, [read, write, except], until).await;
    if timeout.is_null() || until == Until::Now {
        return r;
    }
    let Some(rest) = until.rest() else { return r };
    let left = Timeval { tv_sec: rest.as_secs() as i64, tv_usec: i64::from(rest.subsec_micros()) };
    match (cx.mem.write(timeout, &left).await, r) {
        (Err(_), Err(SysError::Restart(_))) => Err(Errno::EINTR.into()),
        (_, r) => r,
    }
}

/// pselect6(2).
pub async fn pselect6(
    cx: &Cx,
    n: i32,
    read: UserPtr<u64>,
    write: UserPtr<u64>,
    except: UserPtr<u64>,
    timeout: UserPtr<Timespec>,
    mask: UserPtr<SigsetArg>,
) -> SysResult<usize> {
    let arg = if mask.is_null() { SigsetArg::default() } else { cx.mem.read(mask).await? };
    let until = timespec(cx, timeout).await?;
    check_mask(cx, UserPtr::new(arg.ss), arg.ss_len as usize).await?;
    let r = do_select(cx, n, [read, write, except], until).await;
    write_rest(cx, timeout, until, r).await
}

/// What makes a descriptor ready in each of the three sets. Linux: `POLLIN_SET`, `POLLOUT_SET`, `POLLEX_SET`.
const SETS: [PollEvents; 3] = [
    PollEvents::READABLE.union(PollEvents::RDBAND).union(PollEvents::HUP).union(PollEvents::ERR),
    PollEvents::WRITABLE.union(PollEvents::WRBAND).union(PollEvents::ERR),
    PollEvents::PRI,
];

/// How many descriptors Linux's table would have room for: bits beyond are not looked at. Linux: alloc_fdtable().
fn table_size(highest: usize) -> usize {
    if highest < 64 { 64 } else { (highest / 128 + 1).next_power_of_two() * 128 }
}

async fn do_select(cx: &Cx, n: i32, sets: [UserPtr<u64>; 3], until: Until) -> SysResult<usize> {
    let n = usize::try_from(n).map_err(|_| Errno::EINVAL)?;
    let table = cx.task.fds.borrow().clone();
    let highest = table.list().last().map_or(0, |(fd, _)| fd.0.max(0) as usize);
    let n = n.min(table_size(highest));
    let words = n.div_ceil(64);
    let mut wanted: [Vec<u64>; 3] = Default::default();
    for (ptr, bits) in sets.iter().zip(&mut wanted) {
        *bits = if ptr.is_null() || words == 0 { vec![0; words] } else { cx.mem.read_array(*ptr, words).await? };
    }
    let bit = |bits: &Vec<u64>, fd: usize| bits.get(fd / 64).is_some_and(|w| w >> (fd % 64) & 1 == 1);
    let mut files = Vec::new();
    let mut numbers = Vec::new();
    for fd in 0..n {
        let mut filter = PollEvents::empty();
        for (bits, set) in wanted.iter().zip(SETS) {
            if bit(bits, fd) {
                filter |= set;
            }
        }
        if !filter.is_empty() {
            files.push(Watched { file: table.get(Fd(fd as i32))?, filter });
            numbers.push(fd);
        }
    }
    let mut results: [Vec<u64>; 3] = std::array::from_fn(|_| vec![0; words]);
    let mut count = 0;
    let ended = wait_any(cx, &files, until, |ready| {
        count = 0;
        for ((bits, out), set) in wanted.iter().zip(&mut results).zip(SETS) {
            out.fill(0);
            for (&fd, r) in numbers.iter().zip(ready) {
                if bit(bits, fd)
                    && r.intersects(set)
                    && let Some(word) = out.get_mut(fd / 64)
                {
                    *word |= 1 << (fd % 64);
                    count += 1;
                }
            }
        }
        count > 0
    })
    .await;
    if matches!(ended, Ended::Interrupted) {
        return Err(Restart::NoHand.into());
    }
    for (ptr, out) in sets.iter().zip(&results) {
        if !ptr.is_null() && words > 0 {
            cx.mem.write_array(*ptr, out).await?;
        }
    }
    Ok(count)
}
