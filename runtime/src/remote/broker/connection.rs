//! A thread's connection: its calls, one after the other.

use std::cell::RefCell;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;
use rsc_proto::table;
use rsc_proto::table::marshal::{MemoryReader, find};
use rsc_proto::v1::{
    BrokerAnswer, BrokerCall, BrokerDone, BrokerHello, BrokerHere, BrokerMap, BrokerString, BrokerWelcome, Segment,
    ToBroker, broker_answer, to_broker,
};
use tokio::net::UnixStream;

use super::wire::Messages;
use super::{Broker, Brought, Seat};
use crate::engine::memory::Memory;
use crate::remote::client::Window;
use crate::remote::core::{Caller, Done, Served};

/// What a call has brought along of its thread's memory; the rest is read from the process. What is written goes back with the
/// answer.
struct Shipped {
    pid: i32,
    segments: RefCell<Vec<Segment>>,
    written: RefCell<Vec<Segment>>,
}

impl Window for Shipped {
    fn read(&self, addr: u64, buf: &mut [u8]) -> usize {
        if let Some(bytes) = find(&self.segments.borrow(), addr)
            && let (Some(bytes), len) = (bytes.get(..buf.len()), buf.len())
        {
            buf.copy_from_slice(bytes);
            return len;
        }
        // A piece that ends before: a string, or what was too much to bring along.
        let got = Memory(self.pid).read(addr, buf);
        if got > 0 {
            return got;
        }
        let segments = self.segments.borrow();
        let bytes = find(&segments, addr).unwrap_or_default();
        let len = bytes.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..len), bytes.get(..len)) {
            to.copy_from_slice(from);
        }
        len
    }

    fn write(&self, addr: u64, data: &[u8]) -> usize {
        self.written.borrow_mut().push(Segment { addr, data: Bytes::copy_from_slice(data) });
        data.len()
    }
}

/// Serves a connection to its end.
pub(super) async fn serve(broker: &Rc<Broker>, stream: UnixStream) {
    let mut messages = Messages::of(stream);
    match welcome(broker, &mut messages).await {
        Ok(Some((seat, caller, window))) => {
            if let Err(error) = calls(&seat, &caller, &window, &mut messages).await
                && error.kind() != io::ErrorKind::UnexpectedEof
            {
                tracing::warn!("process {}: {error}", caller.process.tgid);
            }
            seat.leave(caller.process.tgid, caller.tid);
        }
        Ok(None) => {}
        Err(error) => tracing::debug!("a connection that came to nothing: {error}"),
    }
}

/// Lets a thread in, or tells it why not.
async fn welcome(
    broker: &Rc<Broker>,
    messages: &mut Messages,
) -> io::Result<Option<(Rc<Seat>, Rc<Caller>, Rc<Shipped>)>> {
    let hello: BrokerHello = messages.next().await?;
    let refused = |why: String| BrokerWelcome { refused: why, ..BrokerWelcome::default() };
    let own = nix::unistd::geteuid().as_raw();
    let Some((_, pid)) = messages.peer().filter(|(uid, _)| *uid == own) else {
        let why = "the broker is another user's, or of another pid namespace; start one of your own".to_owned();
        return messages.send(&refused(why), None).await.map(|()| None);
    };
    if hello.table_digest != table::digest()[..] {
        let why = "the library and the broker (rsc-runtime) are of different builds; install both from the same";
        return messages.send(&refused(why.to_owned()), None).await.map(|()| None);
    }
    if !Path::new(&format!("/proc/{pid}/task/{}", hello.tid)).exists() {
        return messages
            .send(&refused(format!("process {pid} has no thread {}", hello.tid)), None)
            .await
            .map(|()| None);
    }
    let settings = hello.settings.unwrap_or_default();
    let rules = match broker.rules(&settings) {
        Ok(rules) => rules,
        Err(why) => return messages.send(&refused(why.to_string()), None).await.map(|()| None),
    };
    let concerned = rules.concerned().words().to_vec();
    let seat = match broker.seat(&settings).await {
        Ok(seat) => seat,
        Err(why) => return messages.send(&refused(why), None).await.map(|()| None),
    };
    let window = Rc::new(Shipped { pid, segments: RefCell::default(), written: RefCell::default() });
    let caller = Caller::new(hello.tid, seat.enter(pid, hello.tid), Rc::clone(&window) as Rc<dyn Window>);
    let caller = Rc::new(caller.with_rules(rules, settings.explicit));
    let welcome = BrokerWelcome { concerned, pid: std::process::id() as i32, ..BrokerWelcome::default() };
    match messages.send(&welcome, None).await {
        Ok(()) => Ok(Some((seat, caller, window))),
        Err(error) => {
            seat.leave(pid, hello.tid);
            Err(error)
        }
    }
}

async fn calls(seat: &Seat, caller: &Rc<Caller>, window: &Rc<Shipped>, messages: &mut Messages) -> io::Result<()> {
    loop {
        let ToBroker { what } = messages.next().await?;
        match what {
            Some(to_broker::What::Call(call)) => one(seat, caller, window, messages, call).await?,
            Some(to_broker::What::Names(names)) => {
                remember(seat, &names.name, &names.addresses);
                // Another thread may use them as soon as the lookup returns.
                let known = BrokerAnswer { what: Some(broker_answer::What::Done(BrokerDone::default())) };
                messages.send(&known, None).await?;
            }
            // It has crossed the answer.
            Some(to_broker::What::Interrupt(_)) => {}
            Some(to_broker::What::Ran(_)) | None => return Err(io::Error::other("a message out of place")),
        }
    }
}

/// A name was looked up.
fn remember(seat: &Seat, name: &str, addresses: &[Bytes]) {
    for bytes in addresses {
        match (<[u8; 4]>::try_from(&bytes[..]), <[u8; 16]>::try_from(&bytes[..])) {
            (Ok(four), _) => seat.core.lookups.remember(name, IpAddr::from(four)),
            (_, Ok(sixteen)) => seat.core.lookups.remember(name, IpAddr::from(sixteen)),
            _ => {}
        }
    }
}

/// One call from its question to its answer.
async fn one(
    seat: &Seat,
    caller: &Rc<Caller>,
    window: &Rc<Shipped>,
    messages: &mut Messages,
    call: BrokerCall,
) -> io::Result<()> {
    let args = <[u64; 6]>::try_from(call.args).map_err(|_| io::Error::other("a call without six arguments"))?;
    *window.segments.borrow_mut() = call.segments;
    window.written.borrow_mut().clear();
    let served = {
        let serving = seat.core.serve(caller, call.nr, args);
        tokio::pin!(serving);
        loop {
            tokio::select! {
                biased;
                served = &mut serving => break served,
                message = messages.next::<ToBroker>() => match message?.what {
                    Some(to_broker::What::Interrupt(_)) => caller.interrupt(),
                    _ => return Err(io::Error::other("a message while a call is served")),
                },
            }
        }
    };
    window.segments.borrow_mut().clear();
    let done = |done| BrokerAnswer { what: Some(broker_answer::What::Done(done)) };
    let here = |here| BrokerAnswer { what: Some(broker_answer::What::Here(here)) };
    match served {
        Served::Here(None) => messages.send(&here(BrokerHere::default()), None).await,
        Served::Here(Some(then)) => {
            messages.send(&here(BrokerHere { tell: true, ..BrokerHere::default() }), None).await?;
            let result = seat.core.after(caller, then, ran(messages).await?).await;
            messages.send(&done(BrokerDone { result, ..BrokerDone::default() }), None).await
        }
        Served::HereWith(strings) => {
            let string = |(at, text): (usize, Vec<u8>)| BrokerString { arg: at as u32, text: text.into() };
            let strings = strings.into_iter().map(string).collect();
            messages.send(&here(BrokerHere { strings, tell: false }), None).await
        }
        Served::Map(file) => {
            let map = BrokerAnswer { what: Some(broker_answer::What::Map(BrokerMap {})) };
            messages.send(&map, Some(file)).await
        }
        Served::Replace(made) => {
            let outcome = Done { made: Some(made), ..Done::default() };
            let (answer, brought) = answer(seat, window, outcome).await;
            messages.send(&done(BrokerDone { replaces: answer.descriptor, ..answer }), brought).await
        }
        Served::Done(outcome) => {
            let (answer, brought) = answer(seat, window, outcome).await;
            messages.send(&done(answer), brought).await
        }
    }
}

/// What a call came to that was to be told of. An interrupt has crossed the answer.
async fn ran(messages: &mut Messages) -> io::Result<i64> {
    loop {
        match messages.next::<ToBroker>().await?.what {
            Some(to_broker::What::Ran(ran)) => return Ok(ran.result),
            Some(to_broker::What::Interrupt(_)) => {}
            _ => return Err(io::Error::other("a message before a call's result")),
        }
    }
}

async fn answer(seat: &Seat, window: &Shipped, outcome: Done) -> (BrokerDone, Brought) {
    let Done { result, out, signal, made } = outcome;
    let mut written = window.written.take();
    written.extend(out);
    let plain = BrokerDone { result, out: written, signal, ..BrokerDone::default() };
    let Some(made) = made else { return (plain, None) };
    match seat.core.placeholders.make(made.number) {
        Ok((handle, theirs)) => {
            seat.core.adopt(handle);
            (BrokerDone { descriptor: true, cloexec: made.cloexec, ..plain }, Some(theirs))
        }
        Err(errno) => {
            seat.core.discard(made.number).await;
            (BrokerDone { result: -i64::from(errno as i32), ..BrokerDone::default() }, None)
        }
    }
}
