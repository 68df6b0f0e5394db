//! Fuzz targets for everything that decodes bytes from outside: one test per target, each a bounded number of rounds.
//!
//! `RSC_FUZZ_ITERS` sets the rounds of each target, `RSC_FUZZ_SEED` where they start; a failure prints the two that repeat its
//! round alone. Besides "no panic", each target checks what must hold of what was decoded: that it survives a round trip, that it
//! is within the stated bounds, and that decoding took no more memory than so many times the input ([`memory`]).
#![deny(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod address;
mod elf;
mod gofer;
mod link;
mod oci;
mod random;
mod session;
#[allow(unsafe_code)]
mod sys;
mod table;

use random::Random;

/// Where rounds start unless `RSC_FUZZ_SEED` says otherwise: the same in every run, so that a failure is one for everybody.
const SEED: u64 = 0x5eed_0000;

fn from_env(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    Some(number.unwrap_or_else(|_| panic!("{name}={text:?} is not a number")))
}

/// Says how to repeat a round that panics.
struct Guard {
    target: &'static str,
    seed: u64,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: repeat this round alone with RSC_FUZZ_SEED={:#x} RSC_FUZZ_ITERS=1", self.target, self.seed);
        }
    }
}

/// Runs `round` with a fresh source of randomness for each of `default` rounds, or as many as the environment says.
fn fuzz(target: &'static str, default: u64, mut round: impl FnMut(&mut Random)) {
    let rounds = from_env("RSC_FUZZ_ITERS").unwrap_or(default);
    let start = from_env("RSC_FUZZ_SEED").unwrap_or(SEED);
    for seed in (0..rounds).map(|n| start.wrapping_add(n)) {
        let guard = Guard { target, seed };
        round(&mut Random::new(seed));
        drop(guard);
    }
}

/// Runs `decode`, which must not allocate more than `most` bytes at a time, counted over all that is held at once.
fn within<T>(most: usize, decode: impl FnOnce() -> T) -> T {
    let (value, peak) = sys::peak(decode);
    assert!(peak <= most, "held {peak} bytes, {most} are allowed");
    value
}
