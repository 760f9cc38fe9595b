//! This bench's own binary in another role, spoken to by lines of JSON.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child as Process, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::Outcome;

/// As `bailiwick` sets the allocator up for itself at its start.
const ALLOCATOR: [(&str, &str); 3] = [
    ("MALLOC_ARENA_MAX", "2"),
    ("MALLOC_MMAP_THRESHOLD_", "1048576"),
    ("MALLOC_TRIM_THRESHOLD_", "67108864"),
];

/// A running part. It is ended when it goes out of scope.
#[derive(Debug)]
pub struct Child {
    process: Process,
    lines: Lines<BufReader<ChildStdout>>,
}

// === impl Child ===

impl Child {
    /// Starts the running binary again with these arguments.
    pub fn start(arguments: &[&str]) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.envs(ALLOCATOR);
        let mut process = command.spawn()?;
        let stdout = process.stdout.take().ok_or("no standard output")?;
        Ok(Self { process, lines: BufReader::new(stdout).lines() })
    }

    /// The next thing it says.
    pub fn answer(&mut self) -> Outcome<Value> {
        let line = self.lines.next().ok_or("a part of the bench ended before it answered")??;
        Ok(serde_json::from_str(&line)?)
    }

    /// Ends its standard input, which tells it to finish.
    pub fn finish(&mut self) {
        drop(self.process.stdin.take());
    }

    /// Waits until it has ended.
    pub fn wait(mut self) -> Outcome<()> {
        self.finish();
        let status = self.process.wait()?;
        if status.success() { Ok(()) } else { Err(format!("a part of the bench ended with {status}").into()) }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It has ended already where all went well.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
