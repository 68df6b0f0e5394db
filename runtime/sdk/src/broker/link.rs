//! A thread's connection to the broker: messages with their length before them, and descriptors that come along.

use prost::Message;
use rsc_proto::v1::{BrokerAnswer, BrokerHello, BrokerWelcome, ToBroker, to_broker};

use super::fds::{self, State};
use super::terms::Terms;
use crate::sys::{local, signals};

/// The largest message: what a call may bring along or write, and some more.
const MAX: usize = 72 << 20;
/// So long an answer is waited for before signals are looked after, in milliseconds.
const MOMENT: i32 = 3;

/// See the module.
pub(crate) struct Link {
    fd: i32,
    /// Becomes readable with a signal; made when it is first needed.
    signals: i32,
    pid: i32,
    terms: &'static Terms,
    buffer: Vec<u8>,
    filled: usize,
    brought: Option<i32>,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Broken {
    /// The connection is gone.
    Lost,
    /// The broker does not want us; why.
    Refused(String),
}

impl Link {
    /// A connection for this thread, on these terms.
    pub(crate) fn open(terms: &'static Terms) -> Result<Self, Broken> {
        let fd = local::connect(terms.socket());
        if fd < 0 {
            return Err(Broken::Lost);
        }
        fds::set(fd, State::Own);
        let (pid, buffer) = (local::getpid(), vec![0; 64 << 10]);
        let mut link = Link { fd, signals: -1, pid, terms, buffer, filled: 0, brought: None };
        let digest = rsc_proto::table::digest().to_vec().into();
        let settings = Some(terms.settings().clone());
        link.send(&BrokerHello { table_digest: digest, tid: local::gettid(), settings })?;
        let welcome: BrokerWelcome = link.receive()?;
        if !welcome.refused.is_empty() {
            return Err(Broken::Refused(welcome.refused));
        }
        local::admit(welcome.pid);
        terms.learn(&welcome.concerned);
        Ok(link)
    }

    /// Whether it is on these terms.
    pub(crate) fn is_on(&self, terms: &'static Terms) -> bool {
        std::ptr::eq(self.terms, terms)
    }

    /// Whether what is asked for is to be carried out there or not at all.
    pub(crate) fn is_explicit(&self) -> bool {
        self.terms.settings().explicit
    }

    /// Whether it belongs to this process: a fork has its parent's.
    pub(crate) fn is_ours(&self) -> bool {
        self.pid == local::getpid()
    }

    /// Sends.
    pub(crate) fn tell(&self, what: to_broker::What) -> Result<(), Broken> {
        self.send(&ToBroker { what: Some(what) })
    }

    fn send(&self, message: &impl Message) -> Result<(), Broken> {
        let len = message.encoded_len();
        let mut bytes = Vec::with_capacity(4 + len);
        bytes.extend_from_slice(&(len as u32).to_le_bytes());
        message.encode_raw(&mut bytes);
        if local::send(self.fd, &bytes) < 0 { Err(Broken::Lost) } else { Ok(()) }
    }

    /// The answer, and the descriptor that came with it. `interrupted` is asked what is to be done when a signal has come; signals
    /// are blocked, and `mask` says which were before.
    pub(crate) fn answer(
        &mut self,
        mask: signals::Set,
        interrupted: &mut dyn FnMut(&Link, bool) -> Result<(), Broken>,
    ) -> Result<(BrokerAnswer, Option<i32>), Broken> {
        let mut told = false;
        let mut moment = MOMENT;
        while !told && self.filled == 0 {
            let fds = [self.fd, if moment < 0 { self.signals } else { -1 }];
            let [answered, came] = signals::wait(fds, moment);
            if answered {
                break;
            }
            if came {
                match signals::pending(mask) {
                    signals::Effect::Handler { restart } => {
                        interrupted(self, restart)?;
                        told = true;
                    }
                    signals::Effect::None => {
                        // Nobody handles it: it is ignored, or stops or ends the process, now.
                        signals::restore(mask);
                        signals::block();
                    }
                }
            } else if moment >= 0 {
                self.watch_signals(mask);
                moment = -1;
            }
        }
        let answer = self.receive()?;
        Ok((answer, self.brought.take()))
    }

    fn watch_signals(&mut self, mask: signals::Set) {
        let fd = signals::descriptor(self.signals, mask);
        if self.signals < 0 && fd >= 0 {
            self.signals = local::away(fd);
            fds::set(self.signals, State::Own);
        }
    }

    fn receive<M: Message + Default>(&mut self) -> Result<M, Broken> {
        let mut wanted = 4;
        loop {
            if self.filled >= 4 {
                let head = self.buffer.get(..4).and_then(|head| head.try_into().ok()).unwrap_or_default();
                wanted = 4 + u32::from_le_bytes(head) as usize;
                if wanted > MAX {
                    return Err(Broken::Lost);
                }
                if self.filled >= wanted {
                    break;
                }
            }
            if self.buffer.len() < wanted {
                self.buffer.resize(wanted, 0);
            }
            let Some(room) = self.buffer.get_mut(self.filled..) else { return Err(Broken::Lost) };
            let (got, brought) = local::receive(self.fd, room, true);
            if let Some(fd) = brought {
                self.brought = Some(fd);
            }
            match got {
                1.. => self.filled += got as usize,
                _ if got == -i64::from(libc::EINTR) => {}
                _ => return Err(Broken::Lost),
            }
        }
        let message = self.buffer.get(4..wanted).and_then(|bytes| M::decode(bytes).ok());
        self.buffer.copy_within(wanted..self.filled, 0);
        self.filled -= wanted;
        // A large answer's room is given back.
        if self.filled == 0 && self.buffer.len() > 1 << 20 {
            self.buffer = vec![0; 64 << 10];
        }
        message.ok_or(Broken::Lost)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        for fd in [self.fd, self.signals] {
            if fd >= 0 && fds::get(fd) == State::Own {
                local::close(fd);
                fds::set(fd, State::Unknown);
            }
        }
    }
}
