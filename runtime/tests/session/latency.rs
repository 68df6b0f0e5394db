//! Round-trip time of one call, for comparison with the floor of gRPC on one core. Run by hand, with `--release --ignored`.

use crate::support::*;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::time::Instant;

#[test]
#[ignore = "a measurement"]
fn ping_pong_over_a_unix_socket_on_one_core() {
    const ROUNDS: u64 = 20_000;
    let mut cpus = CpuSet::new();
    cpus.set(0).unwrap();
    // The server's thread inherits it.
    sched_setaffinity(Pid::from_raw(0), &cpus).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let server = Server::unix(&dir.path().join("s"));
    run(async {
        let mut session = open(dialer(server.url())).await;
        let mut times = Vec::new();
        for n in 0..ROUNDS {
            let start = Instant::now();
            round_trip(&mut session, n).await;
            times.push(start.elapsed());
        }
        times.sort();
        let at = |percent: usize| times.get(times.len() * percent / 100).unwrap().as_nanos() / 1000;
        eprintln!("round trip: p50 {} us, p90 {} us, p99 {} us", at(50), at(90), at(99));
    });
}
