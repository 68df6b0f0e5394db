//! `cut-relay LISTEN TARGET [--cuts N] [--between LOW..HIGH] [--pause LOW..HIGH]`: relays (paths are unix sockets, else
//! HOST:PORT), cuts all connections N times at random moments (milliseconds), then goes on relaying until its input or parent ends
//! it; prints `cuts N connections M bytes B` after the last cut and exits when idle for a second.

use std::ops::Range;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use rsc_tests::relay::{Address, Relay};

fn address(text: &str) -> Address {
    if text.contains('/') { Address::Unix(text.into()) } else { Address::Tcp(text.into()) }
}

fn range(text: Option<String>) -> Result<Range<u64>> {
    let text = text.context("a range LOW..HIGH is missing")?;
    let (low, high) = text.split_once("..").context("a range is LOW..HIGH")?;
    Ok(low.parse()?..high.parse()?)
}

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let listen = words.next().context("usage: cut-relay LISTEN TARGET [OPTION…]")?;
    let target = words.next().context("a target is missing")?;
    let (mut cuts, mut between, mut pause) = (0, 100..1000, 10..300);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--cuts" => cuts = words.next().context("a number of cuts is missing")?.parse()?,
            "--between" => between = range(words.next())?,
            "--pause" => pause = range(words.next())?,
            _ => bail!("unknown option {word}"),
        }
    }
    let mut seed = SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos().into();
    let mut pick = |r: &Range<u64>| {
        seed = u64::wrapping_mul(seed, 6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Duration::from_millis(r.start + (seed >> 33) % (r.end - r.start).max(1))
    };
    let relay = Relay::start(&address(&listen), address(&target))?;
    while relay.counts().0 == 0 {
        sleep(Duration::from_millis(5));
    }
    for _ in 0..cuts {
        sleep(pick(&between));
        relay.cut(pick(&pause));
    }
    let mut before = 0;
    loop {
        let (connections, bytes) = relay.counts();
        if bytes == before {
            println!("cuts {cuts} connections {connections} bytes {bytes}");
            return Ok(());
        }
        before = bytes;
        sleep(Duration::from_secs(1));
    }
}
