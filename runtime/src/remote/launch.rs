//! `remote` without `--all`: a program of this machine under the tracer, some of whose calls go to the sentry.

use std::ffi::{CString, OsString};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair,
};
use tokio::runtime::LocalOptions;
use tokio::signal::unix::{SignalKind, signal};

use super::all;
use super::core::Core;
use super::open::{self, World};
use super::tracer::Tracer;
use crate::cli::Context;
use crate::cli::args::{RemoteArgs, Streams};
use crate::lifecycle::LifecycleError;
use crate::sys::host;
use crate::sys::process::{self, Forked};
use crate::sys::ptrace::Options;

/// Exit status of a program that is not there, and of one that cannot be executed.
const MISSING: i32 = 127;
const UNUSABLE: i32 = 126;

/// Runs the program to its end, and its children to theirs; its exit status.
pub(super) fn run(context: &Context, args: &RemoteArgs) -> Result<u8, LifecycleError> {
    let settings = open::settings_of(context)?;
    let world = World {
        export: args.export.clone(),
        cwd: args.cwd.clone(),
        stdio: matches!(args.stdio, Streams::Remote),
        user: args.user.as_deref().map(all::parse_user).transpose().map_err(LifecycleError::Refused)?,
    };
    let rules = open::rules_of(args.rules.as_deref(), &args.syscalls)?;
    let program = c_strings(&args.words)?;
    let here = std::env::current_dir().unwrap_or_default();
    let env = all::environment(std::env::vars_os(), &args.env, &here.to_string_lossy());
    let env = c_strings(&env)?;
    // Before there is a runtime: only a process with one thread may fork.
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .map_err(LifecycleError::io("making", "a socket pair"))?;
    let child = match process::fork_into(0).map_err(LifecycleError::io("forking for", "the program"))? {
        Forked::Child => {
            drop(ours);
            process::exit_now(become_program(&theirs, &program, &env))
        }
        Forked::Parent(pid) => pid,
    };
    drop(theirs);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let done = runtime.map_err(LifecycleError::io("starting", "the executor")).and_then(|runtime| {
        runtime.block_on(async {
            let (core, mut session) = open::open(&settings, &world, rules).await?;
            let tracer = Tracer::new(Rc::clone(&core), Options::LAUNCHED, world.cwd.map(String::into_bytes));
            tracer.launch(child).map_err(LifecycleError::io("tracing", "the program"))?;
            release(&core, &ours, world.stdio).map_err(LifecycleError::io("starting", "the program"))?;
            let status = live(&tracer, &core, &mut session, child).await?;
            session.close("the program has ended").await;
            Ok(status)
        })
    });
    if done.is_err() {
        // It has not begun, or nobody carries out its calls any more.
        let _ = process::kill(child, libc::SIGKILL);
    }
    done
}

async fn live(
    tracer: &Rc<Tracer>,
    core: &Rc<Core>,
    session: &mut crate::session::SessionHandle,
    child: i32,
) -> Result<u8, LifecycleError> {
    // What a terminal sends it sends to the program too; what is meant for us alone is passed on.
    let taken = |kind| signal(kind).map_err(LifecycleError::io("watching for", "signals"));
    let (mut interrupt, mut quit) = (taken(SignalKind::interrupt())?, taken(SignalKind::quit())?);
    let (mut terminate, mut hangup) = (taken(SignalKind::terminate())?, taken(SignalKind::hangup())?);
    let drive = tracer.drive();
    tokio::pin!(drive);
    let mut lost = false;
    loop {
        tokio::select! {
            biased;
            driven = &mut drive => driven.map_err(LifecycleError::io("tracing", "the program"))?,
            () = tracer.changed() => {
                if tracer.is_idle() {
                    return Ok(exit_code(tracer.status_of(child).unwrap_or(0)));
                }
            }
            reason = core.client().serve(session), if !lost => {
                lost = true;
                tracing::error!("the session with the sentry is lost ({reason}): remote calls fail with EIO from now on");
            }
            _ = interrupt.recv() => {}
            _ = quit.recv() => {}
            _ = terminate.recv() => pass_on(child, libc::SIGTERM),
            _ = hangup.recv() => pass_on(child, libc::SIGHUP),
        }
    }
}

fn pass_on(child: i32, signal: i32) {
    // It may have ended.
    let _ = process::kill(child, signal);
}

/// As shells have it.
fn exit_code(status: i32) -> u8 {
    let code = if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) };
    u8::try_from(code).unwrap_or(1)
}

fn c_strings(words: &[OsString]) -> Result<Vec<CString>, LifecycleError> {
    let string = |word: &OsString| {
        CString::new(word.clone().into_vec())
            .map_err(|_| LifecycleError::Refused(format!("the argument {} has a zero byte in it", word.display())))
    };
    words.iter().map(string).collect()
}

/// Lets the child execute its program, with these standard streams if they are remote.
fn release(core: &Rc<Core>, socket: &OwnedFd, remote: bool) -> nix::Result<()> {
    let mut streams = Vec::new();
    if remote {
        for number in 0..3 {
            let (handle, theirs) = core.placeholders.make(number)?;
            core.adopt(handle);
            streams.push(theirs);
        }
    }
    let raw: Vec<RawFd> = streams.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let rights = if remote { &rights[..] } else { &[] };
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&[1])], rights, MsgFlags::MSG_NOSIGNAL, None).map(drop)
}

/// In the child: waits for its release, and executes the program.
fn become_program(socket: &OwnedFd, program: &[CString], env: &[CString]) -> i32 {
    let mut byte = [0];
    let mut room = nix::cmsg_space!([RawFd; 3]);
    let mut streams = Vec::new();
    let released = {
        let mut pieces = [IoSliceMut::new(&mut byte)];
        match recvmsg::<()>(socket.as_raw_fd(), &mut pieces, Some(&mut room), MsgFlags::MSG_CMSG_CLOEXEC) {
            Ok(message) => {
                for control in message.cmsgs().into_iter().flatten() {
                    if let ControlMessageOwned::ScmRights(fds) = control {
                        streams.extend(fds.into_iter().map(host::adopt));
                    }
                }
                message.bytes == 1
            }
            Err(_) => false,
        }
    };
    if !released {
        return 1;
    }
    for (stream, number) in streams.iter().zip(0..) {
        if host::replace_standard(std::os::fd::AsFd::as_fd(stream), number).is_err() {
            return 1;
        }
    }
    let Some(name) = program.first() else { return MISSING };
    let Err(errno) = nix::unistd::execvpe(name, program, env);
    eprintln!("rsc-runtime: {}: {}", name.to_string_lossy(), errno.desc());
    if matches!(errno, Errno::ENOENT | Errno::ENOTDIR) { MISSING } else { UNUSABLE }
}
