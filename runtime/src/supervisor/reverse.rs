//! Reverse requests that need no task: the caller's stdio and the arena. Each may wait as a future of its own; a cancellation
//! drops it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use bytes::Bytes;
use nix::errno::Errno;
use rsc_proto::v1;
use rsc_proto::v1::reverse::What;
use tokio::task::AbortHandle;

use crate::arena::Arena;
use rsc_sentry::stdio::Stdio;

/// Requests that wait at a time, at most; the sentry keeps to fewer.
const MAX_WAITING: usize = 8192;

/// Where replies go.
pub(super) type SendReply = Rc<dyn Fn(v1::ReverseReply)>;

/// Serves reverse requests. In a `LocalSet`.
pub(super) struct Reverse {
    stdio: Rc<Stdio>,
    arena: Rc<RefCell<Arena>>,
    reply: SendReply,
    /// By request: the descriptor that is polled.
    waiting: Rc<RefCell<HashMap<u64, (u32, AbortHandle)>>>,
}

/// A reply of a number, or of an error.
pub(super) fn reply(id: u64, result: nix::Result<i64>) -> v1::ReverseReply {
    let value = result.unwrap_or_else(|errno| -i64::from(errno as i32));
    v1::ReverseReply { id, value, data: Bytes::new() }
}

fn data_reply(id: u64, result: nix::Result<Bytes>) -> v1::ReverseReply {
    match result {
        Ok(data) => v1::ReverseReply { id, value: data.len() as i64, data },
        Err(errno) => reply(id, Err(errno)),
    }
}

impl Reverse {
    pub(super) fn new(stdio: Rc<Stdio>, arena: Rc<RefCell<Arena>>, reply: SendReply) -> Self {
        Self { stdio, arena, reply, waiting: Rc::default() }
    }

    /// Serves a request that concerns no task.
    pub(super) fn serve(&self, id: u64, what: What) {
        let answer = match what {
            What::StdioRead(it) => data_reply(id, self.stdio.read(it.index, it.len, it.offset)),
            What::StdioWrite(it) => {
                reply(id, self.stdio.write(it.index, &it.data, it.offset).map(|count| count as i64))
            }
            What::StdioSeek(it) => reply(id, self.stdio.seek(it.index, it.offset, it.whence)),
            What::StdioIoctl(it) => data_reply(id, self.stdio.ioctl(it.index, it.cmd, &it.data)),
            What::StdioPoll(it) => {
                return self.poll(id, it);
            }
            What::Cancel(it) => {
                if let Some((_, waiting)) = self.waiting.borrow_mut().remove(&it.id) {
                    waiting.abort();
                }
                return;
            }
            What::StdioClose(it) => return self.close_stdio(it.index),
            What::ArenaOpen(it) => reply(id, self.arena.borrow_mut().open(it.file, it.size).map(|()| 0)),
            What::ArenaWrite(it) => {
                reply(id, self.arena.borrow_mut().write(it.file, it.offset, &it.data).map(|()| it.data.len() as i64))
            }
            What::ArenaRead(it) => data_reply(id, self.arena.borrow().read(it.file, it.offset, it.len)),
            What::ArenaClose(it) => {
                self.arena.borrow_mut().close(it.file);
                // Without an id nobody waits for the answer.
                if id == 0 {
                    return;
                }
                reply(id, Ok(0))
            }
            // The engine has seen it, and did not know it either.
            _ => reply(id, Err(Errno::ENOSYS)),
        };
        (self.reply)(answer);
    }

    /// The descriptors of a process that enters the workload, from number `base` on.
    pub(super) fn add_stdio(&self, base: u32, fds: Vec<Option<OwnedFd>>) {
        self.stdio.add(base, fds);
    }

    /// Closes a descriptor: whoever reads its other end shall see the end.
    pub(super) fn close_stdio(&self, index: u32) {
        let mut ended = Vec::new();
        self.waiting.borrow_mut().retain(|id, (waits_for, waiting)| {
            let ends = *waits_for == index;
            if ends {
                waiting.abort();
                ended.push(*id);
            }
            !ends
        });
        self.stdio.close(index);
        for id in ended {
            (self.reply)(reply(id, Err(Errno::EBADF)));
        }
    }

    fn poll(&self, id: u64, request: v1::StdioPoll) {
        if self.waiting.borrow().len() >= MAX_WAITING {
            return (self.reply)(reply(id, Err(Errno::ENOMEM)));
        }
        let index = request.index;
        let (stdio, send, waiting) = (self.stdio.clone(), self.reply.clone(), self.waiting.clone());
        let task = tokio::task::spawn_local(async move {
            let events = stdio.poll(request.index, request.events, request.wait).await;
            waiting.borrow_mut().remove(&id);
            send(reply(id, events.map(i64::from)));
        });
        self.waiting.borrow_mut().insert(id, (index, task.abort_handle()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const POLLIN: u32 = libc::POLLIN as u32;

    #[test]
    fn polls_wait_and_are_cancelled() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = tokio::task::LocalSet::new();
        runtime.block_on(local.run_until(async {
            let (read, write) = nix::unistd::pipe().unwrap();
            let stdio = Rc::new(Stdio::new(vec![Some(read), None, None]));
            let replies = Rc::new(RefCell::new(Vec::new()));
            let sink = replies.clone();
            let reverse = Reverse::new(stdio, Rc::default(), Rc::new(move |reply| sink.borrow_mut().push(reply)));
            let poll = |index| What::StdioPoll(v1::StdioPoll { index, events: POLLIN, wait: true });
            reverse.serve(1, poll(0));
            reverse.serve(2, poll(0));
            reverse.serve(0, What::Cancel(v1::CancelReverse { id: 1 }));
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(replies.borrow().is_empty());
            nix::unistd::write(&write, b"x").unwrap();
            while replies.borrow().is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(replies.borrow().as_slice(), [reply(2, Ok(i64::from(POLLIN)))]);
            assert!(reverse.waiting.borrow().is_empty());
            reverse.serve(3, What::StdioWrite(v1::StdioWrite { index: 1, ..v1::StdioWrite::default() }));
            assert_eq!(replies.borrow().last(), Some(&reply(3, Err(Errno::EBADF))));
            reverse.serve(4, What::ReadMemory(v1::ReadMemory::default()));
            assert_eq!(replies.borrow().last(), Some(&reply(4, Err(Errno::ENOSYS))));
        }));
    }
}
