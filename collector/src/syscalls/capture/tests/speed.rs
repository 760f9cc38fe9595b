//! What a record costs. Run it alone, in release:
//! `cargo test --release -p bailiwick-collector --lib speed -- --ignored --nocapture`

use std::time::{Duration, Instant};

use super::*;

/// Records a round.
const RECORDS: u64 = 100_000;
const ROUNDS: usize = 7;

/// The quickest round's nanoseconds a record.
fn cost(name: &str, config: &Syscalls, record: impl Fn(u64) -> Vec<u8>) {
    let mut capture = capture_with(config);
    capture.share_batches(false);
    let exe = exec(
        Who { ppid: 1, ..WHO },
        START,
        "/usr/bin/python3",
        b"python3\0server.py\0--port\x008080\0",
        "/srv",
    );
    capture.take(&exe);
    let mut best = Duration::MAX;
    for round in 0..ROUNDS as u64 {
        let records: Vec<_> = (0..RECORDS).map(|at| record(round * RECORDS + at)).collect();
        let mut spent = Duration::ZERO;
        for records in records.chunks(8_192) {
            let began = Instant::now();
            records.iter().for_each(|record| capture.take(record));
            for rows in capture.waiting() {
                drop(rows.columns.finish().unwrap());
            }
            spent += began.elapsed();
        }
        best = best.min(spent);
    }
    println!("{name}: {} ns a record", best.as_nanos() / u128::from(RECORDS));
}

#[test]
#[ignore = "prints figures"]
fn what_a_record_costs() {
    let (on, off) = (Syscalls::default(), Syscalls { repeats_after_ms: 0, ..Syscalls::default() });
    let who = Who { ppid: 1, ..WHO };
    cost("open, repeated", &on, |at| open(who, START + at, "lib/module.py", "/work/lib/module.py"));
    let distinct = |at: u64| {
        let path = format!("lib/module{}.py", at % 50_000);
        open(who, START + at * 1_000, &path, &format!("/work/{path}"))
    };
    cost("open, 50,000 paths", &on, distinct);
    cost("open, 50,000 paths, repeats off", &off, distinct);
    cost("connect", &off, |at| tcp(who, START + at, id::CONNECT, 0));
    cost("execve", &off, |at| exec(who, START + at, "/usr/bin/cat", b"cat\0/etc/hosts\0", "/srv"));
}
