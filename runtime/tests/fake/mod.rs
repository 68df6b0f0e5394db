//! A sentry that is none: it lets run natively what may run so, passes standard input and output on, and refuses all else. With it
//! the runtime is tested alone, and told lies.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use rsc_proto::table;
use rsc_proto::transport::{Guard, Incoming, ListenAddr, Listener, Peer};
use rsc_proto::v1::{self, answer, down, file_source, reverse::What, up};
use rsc_sentry::server::guests::Handed;
use rsc_sentry::server::sandbox::{OpenError, Opened, Outbox, ProtocolError, Sandbox, SandboxFactory, SandboxStats};
use rsc_sentry::server::{Config, serve};
use tokio::sync::oneshot;

/// What the sentry says to a call instead of the truth.
pub(crate) type Lie = fn(&v1::Syscall) -> Option<answer::Outcome>;

/// A running one.
pub(crate) struct FakeSentry {
    pub(crate) url: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FakeSentry {
    /// Serves at a socket in `dir`. Programs named `busybox` are `program`, all others are missing.
    pub(crate) fn start(dir: &Path, program: &Path, lie: Lie) -> Self {
        let path = dir.join("sentry.sock");
        let url = format!("unix://{}", path.display());
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let program = program.to_owned();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let local = tokio::task::LocalSet::new();
            runtime.block_on(local.run_until(async move {
                let guard = Arc::new(Guard::default());
                let listener = Listener::bind(&ListenAddr::Unix(path), None, false).await.unwrap();
                let incoming = Incoming::start(vec![listener], &guard);
                ready.send(()).unwrap();
                let config = Config { drain_grace: std::time::Duration::ZERO, ..Config::default() };
                let factory = Rc::new(Factory { program, lie });
                serve(incoming, guard, factory, config, Rc::default(), stopped.map(|_| ())).await.unwrap();
            }));
        });
        is_ready.recv().unwrap();
        Self { url, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for FakeSentry {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

struct Factory {
    program: PathBuf,
    lie: Lie,
}

impl SandboxFactory for Factory {
    fn open(&self, _: v1::Sandbox, _: Peer, out: Outbox, _: Handed) -> LocalBoxFuture<'_, Result<Opened, OpenError>> {
        let program = std::fs::read(&self.program).unwrap();
        let sandbox = FakeSandbox { out, program, lie: self.lie, waiting: RefCell::default() };
        let native = table::filter_rules().map(|(nr, _)| nr).collect();
        async move { Ok(Opened { sandbox: Rc::new(sandbox) as Rc<dyn Sandbox>, native }) }.boxed_local()
    }
}

struct FakeSandbox {
    out: Outbox,
    program: Vec<u8>,
    lie: Lie,
    /// Calls by the reverse request whose reply is their result, and where its data goes.
    waiting: RefCell<HashMap<u64, u64>>,
}

impl FakeSandbox {
    fn answer(&self, call: u64, outcome: answer::Outcome) {
        self.out.send(down::Body::Answer(v1::Answer { call, outcome: Some(outcome), ..v1::Answer::default() }));
    }

    fn ask(&self, id: u64, what: What) {
        self.out.send(down::Body::Reverse(v1::Reverse { id, what: Some(what) }));
    }

    fn exec(&self, call: &v1::Syscall) {
        let path = call.args.first().and_then(|at| table::marshal::find(&call.segments, *at)).unwrap_or_default();
        let path: Vec<u8> = path.iter().copied().take_while(|byte| *byte != 0).collect();
        if path == b"/noexec" {
            return self.answer(call.call, answer::Outcome::Result(-13));
        }
        if !path.ends_with(b"/busybox") {
            return self.answer(call.call, answer::Outcome::Result(-2));
        }
        let size = self.program.len() as u64;
        self.ask(1 << 40, What::ArenaOpen(v1::ArenaOpen { file: 1, size }));
        for (index, chunk) in self.program.chunks(1 << 20).enumerate() {
            let offset = (index as u64) << 20;
            let data = Bytes::copy_from_slice(chunk);
            self.ask((1 << 40) + 1 + index as u64, What::ArenaWrite(v1::ArenaWrite { file: 1, offset, data }));
        }
        let source = v1::FileSource { file: 1, size, from: Some(file_source::From::Arena(true)) };
        let exec =
            v1::Exec { program: Some(source), execfn: path.into(), comm: "busybox".into(), ..v1::Exec::default() };
        self.answer(call.call, answer::Outcome::Exec(exec));
    }

    fn syscall(&self, call: &v1::Syscall) {
        let args: [u64; 6] = call.args.clone().try_into().unwrap();
        if let Some(lie) = (self.lie)(call) {
            return self.answer(call.call, lie);
        }
        match table::name(call.nr).as_ref() {
            "execve" => self.exec(call),
            "write" => {
                let data = call.segments.first().map(|segment| segment.data.clone()).unwrap_or_default();
                self.waiting.borrow_mut().insert(call.call, call.call);
                self.ask(call.call, What::StdioWrite(v1::StdioWrite { index: args[0] as u32, data, offset: None }));
            }
            _ if table::native_permitted(call.nr, &args, false) => {
                self.answer(call.call, answer::Outcome::Native(v1::Native { report: false }));
            }
            "getuid" | "getgid" | "geteuid" | "getegid" | "ioctl" => self.answer(call.call, answer::Outcome::Result(0)),
            _ => self.answer(call.call, answer::Outcome::Result(-38)),
        }
    }
}

impl Sandbox for FakeSandbox {
    fn receive(&self, body: up::Body) -> Result<(), ProtocolError> {
        match body {
            up::Body::Syscall(call) => self.syscall(&call),
            up::Body::Event(event) if event.id != 0 => {
                self.out.send(down::Body::EventDone(v1::EventDone { id: event.id }));
            }
            up::Body::Interrupt(interrupt) => self.answer(interrupt.call, answer::Outcome::Result(-4)),
            up::Body::Reply(reply) => {
                if let Some(call) = self.waiting.borrow_mut().remove(&reply.id) {
                    self.answer(call, answer::Outcome::Result(reply.value));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn close(&self) {}

    fn stats(&self) -> SandboxStats {
        SandboxStats::default()
    }
}
