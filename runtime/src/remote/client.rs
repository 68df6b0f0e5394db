//! The session of ordinary processes: calls go out, answers come in, and the sentry is told which threads there are.
//!
//! The sandbox's first task is the anchor, which is nobody: calls of the core itself are made in its name. A thread is announced
//! when it makes its first call.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;
use nix::errno::Errno;
use rsc_proto::abi::flags::CloneFlags;
use rsc_proto::table::marshal::{OutRanges, Ranges};
use rsc_proto::v1::{self, answer, down, reverse::What, task_event, up};
use tokio::sync::{Notify, oneshot};

use crate::session::{ConnectError, SessionClient, SessionConfig, SessionEvent, SessionHandle, SessionSender};

/// The anchor's tid: no kernel gives it to a thread (pid_max is at most 2^22).
pub const ANCHOR: u32 = 1 << 30;
/// Most bytes of one memory request.
const MEMORY_MAX: u32 = 1 << 20;

/// The memory of whoever makes a call.
pub trait Window {
    /// Reads from `addr` on; how many bytes of `buf` are filled.
    fn read(&self, addr: u64, buf: &mut [u8]) -> usize;
    /// Writes from `addr` on; how many bytes.
    fn write(&self, addr: u64, data: &[u8]) -> usize;
}

/// No memory: of calls that bring everything along.
#[derive(Debug)]
pub struct NoWindow;

impl Window for NoWindow {
    fn read(&self, _: u64, _: &mut [u8]) -> usize {
        0
    }

    fn write(&self, _: u64, _: &[u8]) -> usize {
        0
    }
}

/// A call for the sentry.
pub struct Request {
    /// Who makes it: a tid that was announced.
    pub tid: u32,
    /// Its number.
    pub nr: u32,
    /// Its arguments.
    pub args: [u64; 6],
    /// Memory that it brings along.
    pub segments: Vec<v1::Segment>,
    /// What it may ask for beside that.
    pub input: Ranges,
    /// What may be written.
    pub out: OutRanges,
    /// The caller's memory.
    pub window: Rc<dyn Window>,
}

/// What the sentry says of a call.
#[derive(Debug)]
pub struct Answered {
    /// What the register gets: a value, `-errno`, or after an interruption a restart code.
    pub result: i64,
    /// What is to be written to the caller's memory, within what was allowed.
    pub out: Vec<v1::Segment>,
    /// A signal for the calling thread, or 0.
    pub signal: i32,
    /// The sentry leaves it to the caller's own kernel.
    pub native: bool,
}

impl Answered {
    fn failed(errno: Errno) -> Self {
        Answered { result: -i64::from(errno as i32), out: Vec::new(), signal: 0, native: false }
    }
}

/// What is done with the result of a call whose caller is gone.
type OnOrphan = Box<dyn Fn(u32, i64)>;

struct InFlight {
    reply: oneshot::Sender<Answered>,
    tid: u32,
    nr: u32,
    input: Ranges,
    out: OutRanges,
    window: Rc<dyn Window>,
    interrupted: bool,
}

struct Inner {
    sender: SessionSender,
    calls: RefCell<HashMap<u64, InFlight>>,
    next: Cell<u64>,
    /// Announced threads, and their thread groups.
    tasks: RefCell<HashMap<u32, u32>>,
    /// Why there is no session any more.
    lost: RefCell<Option<String>>,
    overflow: Notify,
    /// What an answer that nobody waits for any more came to.
    orphan: RefCell<Option<OnOrphan>>,
}

/// See the module. Clones are the same one.
#[derive(Clone)]
pub struct Client(Rc<Inner>);

/// An answer that is awaited. Dropped before it is there, the call is interrupted.
pub struct Pending {
    client: Client,
    id: u64,
    reply: oneshot::Receiver<Answered>,
    done: bool,
}

impl Pending {
    /// The answer. Cancel-safe.
    pub async fn answer(&mut self) -> Answered {
        let answered = (&mut self.reply).await.unwrap_or_else(|_| Answered::failed(Errno::EIO));
        self.done = true;
        answered
    }

    /// Asks the sentry to end the call now. The answer then says how far it came.
    pub fn interrupter(&self) -> Box<dyn Fn()> {
        let (client, id) = (self.client.clone(), self.id);
        Box::new(move || client.interrupt(id))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.done {
            self.client.interrupt(self.id);
        }
    }
}

impl Client {
    /// Opens the session.
    pub async fn connect(config: SessionConfig) -> Result<(Self, SessionHandle), ConnectError> {
        let (session, _) = SessionClient::connect(config).await?;
        let inner = Inner {
            sender: session.sender(),
            calls: RefCell::default(),
            next: Cell::new(1),
            tasks: RefCell::new([(ANCHOR, ANCHOR)].into()),
            lost: RefCell::default(),
            overflow: Notify::new(),
            orphan: RefCell::default(),
        };
        Ok((Client(Rc::new(inner)), session))
    }

    /// What is done with the result of a call whose caller is gone: number and value.
    pub fn on_orphan(&self, act: impl Fn(u32, i64) + 'static) {
        *self.0.orphan.borrow_mut() = Some(Box::new(act));
    }

    /// Serves the session until it is lost; why.
    pub async fn serve(&self, session: &mut SessionHandle) -> String {
        loop {
            let event = tokio::select! {
                event = session.recv() => event,
                () = self.0.overflow.notified() => SessionEvent::Lost("the sentry does not take what it is sent".into()),
            };
            match event {
                SessionEvent::Body(down::Body::Answer(answer)) => self.answered(answer),
                SessionEvent::Body(down::Body::Reverse(request)) => self.reverse(request),
                // Nothing waits for those.
                SessionEvent::Body(_) => {}
                SessionEvent::Detached => {
                    tracing::info!("the connection to the sentry is broken; it is being restored")
                }
                SessionEvent::Resumed => tracing::info!("the connection to the sentry is restored"),
                SessionEvent::Lost(reason) => {
                    self.lose(&reason);
                    return reason;
                }
            }
        }
    }

    /// Whether the session is gone for good.
    pub fn is_lost(&self) -> bool {
        self.0.lost.borrow().is_some()
    }

    fn lose(&self, reason: &str) {
        *self.0.lost.borrow_mut() = Some(reason.to_owned());
        // Their callers get EIO.
        self.0.calls.borrow_mut().clear();
    }

    fn push(&self, body: up::Body) {
        if !self.is_lost() && self.0.sender.send(body).is_err() {
            self.0.overflow.notify_one();
        }
    }

    /// Tells the sentry of a thread, if it does not know it yet.
    pub fn announce(&self, tid: i32, tgid: i32) -> u32 {
        let (Ok(tid), Ok(tgid)) = (u32::try_from(tid), u32::try_from(tgid)) else { return ANCHOR };
        if self.0.tasks.borrow().contains_key(&tid) {
            return tid;
        }
        if tid != tgid {
            self.announce(tgid as i32, tgid as i32);
        }
        // Numbers of descriptors are the session's, whoever uses them.
        let shared = CloneFlags::CLONE_FILES | CloneFlags::CLONE_FS;
        let thread = CloneFlags::CLONE_VM | CloneFlags::CLONE_SIGHAND | CloneFlags::CLONE_THREAD;
        let (parent, flags) =
            if tid == tgid { (ANCHOR, shared.bits() | libc::SIGCHLD as u64) } else { (tgid, (shared | thread).bits()) };
        let cloned = v1::Cloned { child: tid, flags, child_tgid: tgid };
        self.push(up::Body::Event(v1::TaskEvent { tid: parent, id: 0, what: Some(task_event::What::Cloned(cloned)) }));
        self.0.tasks.borrow_mut().insert(tid, tgid);
        tid
    }

    /// A thread has ended.
    pub fn ended(&self, tid: i32, status: i32) {
        let Ok(tid) = u32::try_from(tid) else { return };
        let Some(tgid) = self.0.tasks.borrow_mut().remove(&tid) else { return };
        let last = !self.0.tasks.borrow().values().any(|group| *group == tgid);
        let exited = v1::Exited { status, last };
        self.push(up::Body::Event(v1::TaskEvent { tid, id: 0, what: Some(task_event::What::Exited(exited)) }));
    }

    /// Sends a call.
    pub fn call(&self, request: Request) -> Pending {
        let Request { tid, nr, args, segments, input, out, window } = request;
        let (reply, receiver) = oneshot::channel();
        let id = self.0.next.replace(self.0.next.get() + 1);
        // Without a session the sender is dropped, which is EIO.
        if !self.is_lost() {
            let flight = InFlight { reply, tid, nr, input, out, window, interrupted: false };
            self.0.calls.borrow_mut().insert(id, flight);
            self.push(up::Body::Syscall(v1::Syscall { call: id, tid, nr, args: args.to_vec(), segments }));
        }
        Pending { client: self.clone(), id, reply: receiver, done: false }
    }

    /// A call of the core's own: by the anchor, with this memory and room for so many bytes at each of these addresses.
    pub async fn own(&self, nr: u32, args: [u64; 6], memory: &[(u64, &[u8])], room: &[(u64, u64)]) -> Answered {
        let segments =
            memory.iter().map(|(addr, data)| v1::Segment { addr: *addr, data: Bytes::copy_from_slice(data) }).collect();
        let mut out = OutRanges::default();
        for (addr, len) in room {
            out.push(*addr, *len);
        }
        out.finish();
        let window = Rc::new(NoWindow);
        self.call(Request { tid: ANCHOR, nr, args, segments, input: Ranges::default(), out, window }).answer().await
    }

    fn interrupt(&self, id: u64) {
        let mut calls = self.0.calls.borrow_mut();
        let Some(flight) = calls.get_mut(&id).filter(|flight| !flight.interrupted) else { return };
        flight.interrupted = true;
        drop(calls);
        self.push(up::Body::Interrupt(v1::Interrupt { call: id }));
    }

    fn answered(&self, answer: v1::Answer) {
        let Some(flight) = self.0.calls.borrow_mut().remove(&answer.call) else { return };
        let answered = check(&flight, answer);
        let (nr, result) = (flight.nr, answered.result);
        if flight.reply.send(answered).is_err()
            && let Some(act) = &*self.0.orphan.borrow()
        {
            act(nr, result);
        }
    }

    fn reverse(&self, request: v1::Reverse) {
        let Some(what) = request.what else { return };
        let refused = |errno: Errno| (-i64::from(errno as i32), Bytes::new());
        let (value, data) = match what {
            What::ReadMemory(it) => self.read_memory(it.tid, it.addr, it.len),
            What::WriteMemory(it) => (self.write_memory(it.tid, it.addr, &it.data), Bytes::new()),
            What::Cancel(_) | What::StdioClose(_) => return,
            What::StdioRead(_)
            | What::StdioWrite(_)
            | What::StdioSeek(_)
            | What::StdioPoll(_)
            | What::StdioIoctl(_) => refused(Errno::EBADF),
            // Processes here are not the sentry's to signal or to look at, and nothing is mapped by it.
            What::Signal(_) | What::ProcInfo(_) => refused(Errno::ESRCH),
            What::ArenaOpen(_) | What::ArenaWrite(_) | What::ArenaRead(_) => refused(Errno::ENODEV),
            What::ArenaClose(_) if request.id == 0 => return,
            What::ArenaClose(_) => (0, Bytes::new()),
        };
        self.push(up::Body::Reply(v1::ReverseReply { id: request.id, value, data }));
    }

    /// The window of a thread's call, if its arguments name all of that range.
    fn window(&self, tid: u32, allowed: impl Fn(&InFlight) -> bool) -> Result<Rc<dyn Window>, Errno> {
        let calls = self.0.calls.borrow();
        let mut flights = calls.values().filter(|flight| flight.tid == tid).peekable();
        if flights.peek().is_none() {
            return Err(Errno::ESRCH);
        }
        flights.find(|flight| allowed(flight)).map(|flight| Rc::clone(&flight.window)).ok_or(Errno::EFAULT)
    }

    fn read_memory(&self, tid: u32, addr: u64, len: u32) -> (i64, Bytes) {
        let window = self.window(tid, |flight| flight.input.allows(addr, 1));
        let Ok(window) = window else { return (0, Bytes::new()) };
        let mut buffer = vec![0; len.min(MEMORY_MAX) as usize];
        let got = window.read(addr, &mut buffer).min(buffer.len());
        buffer.truncate(got);
        (got as i64, buffer.into())
    }

    fn write_memory(&self, tid: u32, addr: u64, data: &[u8]) -> i64 {
        match self.window(tid, |flight| flight.out.allows(addr, data.len() as u64)) {
            Ok(window) => window.write(addr, data) as i64,
            Err(errno) => -i64::from(errno as i32),
        }
    }
}

/// What an answer may do to its call. Anything else fails the call.
fn check(flight: &InFlight, answer: v1::Answer) -> Answered {
    if !answer.out.iter().all(|segment| flight.out.allows(segment.addr, segment.data.len() as u64)) {
        tracing::warn!("the sentry wanted to write outside of a call's buffers; the call fails");
        return Answered::failed(Errno::EIO);
    }
    let signal = i32::try_from(answer.signal).ok().filter(|signal| (1..=64).contains(signal)).unwrap_or(0);
    match answer.outcome {
        Some(answer::Outcome::Result(result)) => {
            let restart = matches!(result, -516 | -514 | -513 | -512);
            if !restart && (-4095..=-512).contains(&result) || restart && !flight.interrupted {
                tracing::warn!("the sentry answered a call with {result}, which Linux does not; the call fails");
                return Answered::failed(Errno::EIO);
            }
            Answered { result, out: answer.out, signal, native: false }
        }
        Some(answer::Outcome::Native(_)) => Answered { native: true, ..Answered::failed(Errno::ENOSYS) },
        // Nothing of ours asks for a program or a mapping.
        _ => Answered::failed(Errno::ENOSYS),
    }
}
