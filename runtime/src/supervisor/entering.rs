//! Processes that enter the running workload (`exec`): from a command's request to a process that is held, known to the sentry, and
//! then let run. Each step is an event; nothing waits.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::rc::Rc;

use nix::sys::socket::{MsgFlags, recv, send};
use rsc_oci::spec::Process;
use rsc_proto::v1::{self, up};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::observer::{Entering, Starting};
use super::reverse::Reverse;
use super::upstream::Upstream;
use super::{InContext, sandbox, terminal};
use crate::engine::{self, Engine};
use crate::lifecycle::control::Reply;
use rsc_sentry::stdio::Stdio;

/// A `process` may have this many bytes of JSON.
const MAX_PROCESS: u64 = 8 << 20;
/// Processes on their way at a time.
const MAX_ENTERING: usize = 256;

/// All of a supervisor.
pub(super) struct Entrance {
    engine: Rc<RefCell<Engine>>,
    upstream: Upstream,
    reverse: Rc<Reverse>,
    starting: Starting,
    /// For the jail: the filter, as init got it.
    filter: Vec<u8>,
    /// By pid on the host.
    newcomers: RefCell<HashMap<i32, Newcomer>>,
    /// By the number of what was told to the sentry: pid, and id as the workload sees it.
    told: RefCell<HashMap<u64, (i32, u32)>>,
    next_told: Cell<u64>,
    next_stdio: Cell<u32>,
    /// Of the sentry's context.
    context: Option<InContext>,
    /// What all of them execute, if that is not what they ask for.
    program: Option<String>,
}

/// A request to take over the process `pid`. See [`Request::Enter`](crate::lifecycle::control::Request::Enter).
pub(super) struct Wish {
    pub(super) pid: i32,
    pub(super) open: Vec<bool>,
    pub(super) terminal: bool,
    pub(super) program: Option<String>,
    pub(super) fds: Vec<OwnedFd>,
}

/// A process on its way.
struct Newcomer {
    process: v1::Process,
    options: engine::Options,
    stdio: Vec<Option<OwnedFd>>,
    /// Of its terminal.
    watcher: Option<OwnedFd>,
    following: Option<AbortHandle>,
    /// The number of its first descriptor, and how many it has.
    base: Option<(u32, u32)>,
    /// Its last words come here.
    jail: OwnedFd,
    /// Of the request to take it over.
    reply: Option<oneshot::Sender<Reply>>,
    /// It is known to the sentry.
    known: bool,
}

impl Entrance {
    #[allow(clippy::too_many_arguments)] // one user, which has them all apart
    pub(super) fn new(
        engine: Rc<RefCell<Engine>>,
        upstream: Upstream,
        reverse: Rc<Reverse>,
        starting: Starting,
        filter: Vec<u8>,
        context: Option<InContext>,
        program: Option<String>,
        first_stdio: u32,
    ) -> Self {
        Self {
            engine,
            upstream,
            reverse,
            starting,
            filter,
            newcomers: RefCell::default(),
            told: RefCell::default(),
            next_told: Cell::new(1),
            next_stdio: Cell::new(first_stdio),
            context,
            program,
        }
    }

    /// Takes over a process.
    pub(super) fn enter(&self, wish: Wish, reply: oneshot::Sender<Reply>) {
        let pid = wish.pid;
        let begun = self.begin(wish);
        let answer = match begun {
            Ok(mut newcomer) => {
                newcomer.reply = Some(reply);
                self.newcomers.borrow_mut().insert(pid, newcomer);
                return;
            }
            Err(error) => Reply::Failed(format!("taking over the new process: {error}")),
        };
        // The command may have gone away.
        let _ = reply.send(answer);
    }

    fn begin(&self, wish: Wish) -> io::Result<Newcomer> {
        let Wish { pid, open, terminal, program, fds } = wish;
        if self.newcomers.borrow().len() >= MAX_ENTERING {
            return Err(io::Error::other(format!("{MAX_ENTERING} others are on their way")));
        }
        let mut fds = fds.into_iter();
        let (Some(file), Some(jail)) = (fds.next(), fds.next()) else {
            return Err(io::Error::other("the request is malformed"));
        };
        let stdio: Vec<_> = open.into_iter().map(|open| if open { fds.next() } else { None }).collect();
        let watcher = if terminal { fds.next() } else { None };
        let mut text = Vec::new();
        File::from(file).take(MAX_PROCESS).read_to_end(&mut text)?;
        let mut process = sandbox::process(&serde_json::from_slice::<Process>(&text)?);
        if let Some(context) = &self.context {
            context.dress(&mut process);
        }
        let program = program
            .as_ref()
            .or(self.program.as_ref())
            .or(process.args.first())
            .map(String::as_bytes)
            .unwrap_or_default();
        let options = engine::Options::new(program, &process.env);
        self.engine.borrow_mut().join(pid)?;
        send(jail.as_raw_fd(), &self.filter, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT)?;
        Ok(Newcomer { process, options, stdio, watcher, following: None, base: None, jail, reply: None, known: false })
    }

    /// What the engine says of it.
    pub(super) fn on_event(&self, event: Entering) {
        match event {
            Entering::Held { pid, name } => self.tell(pid, name),
            Entering::Ended { pid } => self.ended(pid),
        }
    }

    /// It is held: serves its filter and tells the sentry of it.
    fn tell(&self, pid: i32, name: u32) {
        let mut newcomers = self.newcomers.borrow_mut();
        let (Some(newcomer), Ok(listener)) = (newcomers.get_mut(&pid), self.engine.borrow().listener_of(pid)) else {
            self.engine.borrow_mut().kill_root(pid);
            return;
        };
        let engine = Rc::clone(&self.engine);
        tokio::task::spawn_local(async move {
            if let Err(error) = engine::listen(&engine, listener).await {
                tracing::error!("serving the filter of process {pid}: {error}");
                engine.borrow_mut().kill_root(pid);
            }
        });
        let base = self.next_stdio.get();
        let count = u32::try_from(newcomer.stdio.len()).unwrap_or(u32::MAX);
        let Some(next) = base.checked_add(count) else {
            self.engine.borrow_mut().kill_root(pid);
            return;
        };
        self.next_stdio.set(next);
        newcomer.base = Some((base, count));
        if let Some(watcher) = newcomer.watcher.take() {
            let upstream = self.upstream.clone();
            let following = tokio::task::spawn_local(async move {
                if let Err(error) = terminal::follow(watcher, base, upstream).await {
                    tracing::warn!("following the terminal of process {pid}: {error}");
                }
            });
            newcomer.following = Some(following.abort_handle());
        }
        let about = Stdio::describe(&newcomer.stdio);
        let about = self.context.as_ref().map(|context| context.streams(about.clone())).unwrap_or(about);
        self.reverse.add_stdio(base, std::mem::take(&mut newcomer.stdio));
        let id = self.next_told.replace(self.next_told.get() + 1);
        self.told.borrow_mut().insert(id, (pid, name));
        let process = Some(newcomer.process.clone());
        self.upstream.tell(up::Body::Process(v1::NewProcess {
            id,
            tid: name,
            process,
            stdio: about,
            stdio_base: base,
        }));
    }

    /// The sentry has answered.
    pub(super) fn on_ready(&self, ready: v1::ProcessReady) {
        let Some((pid, name)) = self.told.borrow_mut().remove(&ready.id) else { return };
        let mut newcomers = self.newcomers.borrow_mut();
        let Some(newcomer) = newcomers.get_mut(&pid) else {
            if ready.problem.is_empty() {
                // It had ended before the sentry knew of it, which took the news for those of a stranger.
                let what = Some(v1::task_event::What::Exited(v1::Exited { status: 0, last: true }));
                self.upstream.tell(up::Body::Event(v1::TaskEvent { tid: name, id: 0, what }));
            }
            return;
        };
        let Some(reply) = newcomer.reply.take() else { return };
        if ready.problem.is_empty() {
            newcomer.known = true;
            let _ = reply.send(Reply::Done);
        } else {
            let _ = reply.send(Reply::Failed(ready.problem.chars().take(1000).collect()));
            self.engine.borrow_mut().kill_root(pid);
        }
    }

    /// Lets its program run.
    pub(super) fn release(&self, pid: i32, reply: oneshot::Sender<Reply>) {
        let newcomers = self.newcomers.borrow();
        let Some(newcomer) = newcomers.get(&pid).filter(|newcomer| newcomer.known) else {
            let _ = reply.send(Reply::Failed("the new process has ended".to_owned()));
            return;
        };
        let engine::Options { program, path, .. } = &newcomer.options;
        self.starting.expect(pid, program, reply);
        self.engine.borrow_mut().start_root(pid, program, path);
    }

    /// Nobody wants it any more.
    pub(super) fn abandon(&self, pid: i32) {
        if self.newcomers.borrow().contains_key(&pid) {
            self.engine.borrow_mut().kill_root(pid);
        }
    }

    fn ended(&self, pid: i32) {
        let Some(newcomer) = self.newcomers.borrow_mut().remove(&pid) else { return };
        if let Some(following) = newcomer.following {
            following.abort();
        }
        if let Some(reply) = newcomer.reply {
            let mut words = vec![0; 1024];
            let length = recv(newcomer.jail.as_raw_fd(), &mut words, MsgFlags::MSG_DONTWAIT).unwrap_or(0);
            let words = String::from_utf8_lossy(words.get(..length).unwrap_or_default()).into_owned();
            let reason = if words.is_empty() { "it has ended".to_owned() } else { words };
            let _ = reply.send(Reply::Failed(format!("taking over the new process: {reason}")));
        }
        // Else it is the sentry that says when nobody uses them any more.
        if let (false, Some((base, count))) = (newcomer.known && !self.upstream.is_lost(), newcomer.base) {
            (base..).take(count as usize).for_each(|index| self.reverse.close_stdio(index));
        }
    }
}
