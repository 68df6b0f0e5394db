//! Helper threads for requests that may take long: the disk's, not the client's, to wait for. They send their own replies.

use super::Wire;
use crate::sys::{Result, fs};
use rsc_proto::gofer::{self as wire, Outcome, Reply};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Barrier, Mutex, PoisonError};

/// Threads. One long `fsync` shall not hold up all others.
const THREADS: usize = 2;
/// Jobs that wait for a thread; more are done by the server itself, which is back-pressure.
const WAITING: usize = 128;

/// One slow operation, with descriptors of its own.
pub(super) enum Job {
    Sync { file: OwnedFd, data_only: bool },
    Allocate { file: OwnedFd, flags: i32, offset: i64, len: i64 },
    Copy { from: OwnedFd, from_offset: i64, to: OwnedFd, to_offset: i64, len: usize },
}

impl Job {
    pub(super) fn run(&self) -> Result<Option<Outcome>> {
        match self {
            Job::Sync { file, data_only } => fs::sync(file.as_fd(), *data_only).map(|()| None),
            Job::Allocate { file, flags, offset, len } => {
                fs::allocate(file.as_fd(), *flags, *offset, *len).map(|()| None)
            }
            Job::Copy { from, from_offset, to, to_offset, len } => {
                let (from, to) = ((from.as_fd(), *from_offset), (to.as_fd(), *to_offset));
                fs::copy_range(from, to, *len).map(|n| Some(Outcome::Value(n)))
            }
        }
    }
}

/// The threads' queue. They end with it.
pub(super) struct Helpers(SyncSender<(u64, Job)>);

impl Helpers {
    /// Starts the threads: before the filter, which lets no thread be made.
    pub(super) fn start(wire: &Arc<Wire>) -> std::io::Result<Helpers> {
        let (sender, receiver) = sync_channel(WAITING);
        let receiver = Arc::new(Mutex::new(receiver));
        // A thread's beginning makes calls that the filter refuses: it has to be over.
        let begun = Arc::new(Barrier::new(THREADS + 1));
        for _ in 0..THREADS {
            let (wire, receiver, begun) = (wire.clone(), receiver.clone(), begun.clone());
            let thread = std::thread::Builder::new().name("slow".into()).stack_size(128 << 10);
            thread.spawn(move || {
                begun.wait();
                help(&wire, &receiver);
            })?;
        }
        begun.wait();
        Ok(Helpers(sender))
    }

    /// Queues a job, or gives it back.
    pub(super) fn give(&self, id: u64, job: Job) -> std::result::Result<(), Job> {
        self.0.try_send((id, job)).map_err(|e| match e {
            TrySendError::Full((_, job)) | TrySendError::Disconnected((_, job)) => job,
        })
    }
}

fn help(wire: &Wire, receiver: &Mutex<Receiver<(u64, Job)>>) {
    loop {
        let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((id, job)) = next else { return };
        let reply = match job.run() {
            Ok(outcome) => Reply { id, errno: 0, outcome },
            Err(e) => Reply { id, errno: e.number(), outcome: None },
        };
        let mut bytes = Vec::with_capacity(64);
        wire::encode_frame(&mut bytes, &reply, &[]);
        if wire.send(&bytes).is_err() {
            // The server sees the same when it reads.
            return;
        }
    }
}
