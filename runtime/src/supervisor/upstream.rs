//! Frames for the sentry: the engine's and the supervisor's, in one order. After a loss under `eio` it keeps what the sentry would
//! have answered.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use rsc_proto::abi::Errno;
use rsc_proto::table;
use rsc_proto::v1::{self, answer, up};
use tokio::sync::Notify;

use crate::engine;
use crate::session::SessionSender;

/// See the module. Clones are the same one.
#[derive(Clone)]
pub(super) struct Upstream(Rc<Inner>);

struct Inner {
    session: SessionSender,
    /// Calls that the sentry has not answered: number and arguments.
    open: RefCell<BTreeMap<u64, (u32, Vec<u64>)>>,
    lost: Cell<bool>,
    overflow: Notify,
    /// Something is to be answered in the sentry's place.
    pending: Notify,
}

impl Upstream {
    pub(super) fn new(session: SessionSender) -> Self {
        Self(Rc::new(Inner {
            session,
            open: RefCell::default(),
            lost: Cell::new(false),
            overflow: Notify::new(),
            pending: Notify::new(),
        }))
    }

    /// Sends a reply to a reverse request.
    pub(super) fn reply(&self, reply: v1::ReverseReply) {
        self.push(up::Body::Reply(reply));
    }

    /// Sends a frame that is nobody's call.
    pub(super) fn tell(&self, body: up::Body) {
        self.push(body);
    }

    /// Whether the session is gone for good.
    pub(super) fn is_lost(&self) -> bool {
        self.0.lost.get()
    }

    fn push(&self, body: up::Body) {
        if !self.0.lost.get() && self.0.session.send(body).is_err() {
            self.0.overflow.notify_one();
        }
    }

    /// A call was answered.
    pub(super) fn answered(&self, call: u64) {
        self.0.open.borrow_mut().remove(&call);
    }

    /// Nothing is sent any more.
    pub(super) fn lose(&self) {
        self.0.lost.set(true);
        self.0.pending.notify_one();
    }

    /// Waits until more waits for the sentry than a session keeps.
    pub(super) async fn stalled(&self) {
        self.0.overflow.notified().await;
    }

    /// Waits until [`answers_instead`](Self::answers_instead) has something, after a loss.
    pub(super) async fn orphaned(&self) {
        self.0.pending.notified().await;
    }

    /// What stands in for the sentry's answers after a loss: what the host's kernel may do natively it does, all else is EIO.
    pub(super) fn answers_instead(&self) -> Vec<v1::Answer> {
        let open = std::mem::take(&mut *self.0.open.borrow_mut());
        open.into_iter()
            .map(|(call, (nr, args))| v1::Answer { call, outcome: Some(instead(nr, &args)), ..v1::Answer::default() })
            .collect()
    }
}

fn instead(nr: u32, args: &[u64]) -> answer::Outcome {
    let native = args.try_into().is_ok_and(|args: &[u64; 6]| table::native_permitted(nr, args, false));
    if native {
        answer::Outcome::Native(v1::Native { report: false })
    } else {
        answer::Outcome::Result(Errno::EIO.to_result())
    }
}

impl engine::Upstream for Upstream {
    fn send(&mut self, body: up::Body) {
        if let up::Body::Syscall(call) = &body {
            self.0.open.borrow_mut().insert(call.call, (call.nr, call.args.clone()));
            if self.0.lost.get() {
                self.0.pending.notify_one();
            }
        }
        self.push(body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_sentry() {
        const READ: u32 = 0;
        const EXIT_GROUP: u32 = 231;
        assert_eq!(instead(READ, &[0; 6]), answer::Outcome::Result(-5));
        assert_eq!(instead(EXIT_GROUP, &[0; 6]), answer::Outcome::Native(v1::Native { report: false }));
        assert_eq!(instead(EXIT_GROUP, &[]), answer::Outcome::Result(-5));
    }
}
