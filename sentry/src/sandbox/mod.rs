//! A sandbox as a session drives it: frames become calls of the kernel, answers become frames.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use futures_util::future::LocalBoxFuture;
use rsc_proto::table;
use rsc_proto::v1::{self, down, up};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::kernel::Kernel;
use crate::kernel::stats::CallCounts;
use crate::net::connect_loopback;
use crate::server::sandbox::{Outbox, ProtocolError, Sandbox, SandboxStats};

mod console;
mod context;
mod factory;
mod namespaces;
mod remote_host;

pub use context::{Context, Lent};
pub use factory::{ExportSource, KernelFactory, KernelSettings};
use remote_host::RemoteHost;

/// Calls that one sandbox may have in flight: its tasks, each with one.
const IN_FLIGHT_MAX: usize = 1 << 16;

struct SessionSandbox {
    kernel: Rc<Kernel>,
    host: Rc<RemoteHost>,
    context: Rc<Context>,
    out: Outbox,
    work: RefCell<JoinSet<()>>,
}

impl SessionSandbox {
    fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        let mut work = self.work.borrow_mut();
        while work.try_join_next().is_some() {}
        work.spawn_local(future);
    }
}

/// Tells the supervisor at which of its published ports somebody listens.
async fn tell_of_listeners(kernel: Rc<Kernel>, published: Vec<u32>, out: Outbox) {
    let mut changes = kernel.net.listening.subscribe();
    drop(kernel);
    let mut told = Vec::new();
    loop {
        let mut now = published.clone();
        {
            let ports = changes.borrow_and_update();
            now.retain(|port| u16::try_from(*port).is_ok_and(|port| ports.contains_key(&port)));
        }
        if now != told {
            out.send(down::Body::Listening(v1::Listening { ports: now.clone() }));
            told = now;
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

impl Sandbox for SessionSandbox {
    fn receive(&self, body: up::Body) -> Result<(), ProtocolError> {
        match body {
            up::Body::Syscall(call) => {
                if self.kernel.in_flight() >= IN_FLIGHT_MAX {
                    return Err(ProtocolError(format!("more than {IN_FLIGHT_MAX} calls in flight")));
                }
                if call.args.len() != 6 {
                    return Err(ProtocolError(format!("call {} has {} arguments, not 6", call.call, call.args.len())));
                }
                let answer = self.kernel.syscall(call);
                let out = self.out.clone();
                self.spawn(async move { out.send(down::Body::Answer(answer.await)) });
            }
            up::Body::Interrupt(i) => self.kernel.interrupt(i.call),
            up::Body::Event(event) => {
                let id = event.id;
                let closed = self.kernel.event(event).map_err(|e| ProtocolError(e.to_string()))?;
                let out = self.out.clone();
                let done = move || {
                    if id != 0 {
                        out.send(down::Body::EventDone(v1::EventDone { id }));
                    }
                };
                if closed.is_empty() {
                    done();
                } else {
                    self.spawn(async move {
                        closed.flush().await;
                        done();
                    });
                }
            }
            up::Body::Reply(reply) => {
                self.host.reply(reply);
            }
            up::Body::TerminalSignal(it) => {
                let kernel = Rc::clone(&self.kernel);
                self.spawn(async move { kernel.terminal_signal(it.index, it.signal).await });
            }
            up::Body::Process(new) => {
                let (id, kernel, out) = (new.id, Rc::clone(&self.kernel), self.out.clone());
                let (host, context) = (Rc::clone(&self.host), Rc::clone(&self.context));
                self.spawn(async move {
                    let problem = factory::enter(&kernel, &host, &context, new).await.err().unwrap_or_default();
                    out.send(down::Body::ProcessReady(v1::ProcessReady { id, problem }));
                });
            }
            // The server's own business: it does not hand these on.
            up::Body::Hello(_) | up::Body::Ping(_) | up::Body::Pong(_) | up::Body::Goodbye(_) => {}
        }
        Ok(())
    }

    fn close(&self) {
        self.host.close();
        self.work.borrow_mut().abort_all();
        self.kernel.close();
    }

    fn connect(&self, port: u16) -> LocalBoxFuture<'static, io::Result<TcpStream>> {
        let net = Rc::clone(&self.kernel.net);
        Box::pin(async move {
            let broker = net.broker().map_err(|errno| io::Error::from_raw_os_error(errno.number()))?;
            connect_loopback(&broker, port).await
        })
    }

    fn stats(&self) -> SandboxStats {
        let named = |counts: &CallCounts| counts.iter().map(|(nr, n)| (table::name(nr).into_owned(), n)).collect();
        let stats = &self.kernel.stats;
        SandboxStats {
            tasks: self.kernel.own_tasks().len() as u64,
            calls: stats.calls.iter().map(|(_, n)| n).sum(),
            counts: named(&stats.calls),
            unimplemented: named(&stats.unimplemented),
            unlisted: named(&stats.unlisted),
            denied: named(&stats.denied),
        }
    }
}
