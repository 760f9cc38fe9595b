//! System calls as a busy node makes them: few programs, many files, all columns
//! filled that a collector fills.

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{BEGIN_US, node_columns};

const PODS: usize = 40;
const PROCESSES_A_POD: usize = 12;
const PROGRAMS: [&str; 10] =
    ["nginx", "java", "python3", "node", "postgres", "redis-server", "sh", "curl", "git", "envoy"];
const FOLDERS: [&str; 6] =
    ["/etc", "/usr/lib/x86_64-linux-gnu", "/var/lib/app/data", "/proc/self", "/tmp", "/srv/www/static"];

/// A seeded stream of one node's events, in the order of time.
#[derive(Debug)]
pub(super) struct Node {
    random: StdRng,
    processes: Vec<Process>,
    seq: i64,
    time_us: i64,
}

/// One running program.
#[derive(Debug, Clone)]
pub(super) struct Process {
    pub(super) pod: usize,
    pub(super) pid: i64,
    pub(super) program: &'static str,
    pub(super) parent: &'static str,
    pub(super) start_us: i64,
}

/// What a process did.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) process: Process,
    pub(super) time_us: i64,
    pub(super) seq: i64,
    pub(super) kind: Kind,
    pub(super) rawres: i64,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Open { folder: &'static str, file: String, write: bool },
    Connect { ip: String, port: i64, local_port: i64 },
    Exec { argument: String },
    Exit,
}

// === impl Node ===

impl Node {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let process = |index: usize| Process {
            pod: index / PROCESSES_A_POD,
            pid: 1_000 + random.random_range(0..8) + 8 * index as i64,
            program: PROGRAMS[random.random_range(0..PROGRAMS.len())],
            parent: PROGRAMS[random.random_range(0..PROGRAMS.len())],
            start_us: BEGIN_US - random.random_range(0..86_400_000_000),
        };
        let processes = (0..PODS * PROCESSES_A_POD).map(process).collect();
        Self { random, processes, seq: 0, time_us: BEGIN_US }
    }

    pub(super) fn batch(&mut self, rows: usize) -> Result<RecordBatch, ArrowError> {
        let events: Vec<Event> = (0..rows).map(|_| self.event()).collect();
        node_columns::batch(&events)
    }

    fn event(&mut self) -> Event {
        // Some processes do most of the work.
        let skewed = self.random.random::<f64>().powi(3);
        let process = self.processes[(skewed * self.processes.len() as f64) as usize].clone();
        self.seq += 1;
        self.time_us += self.random.random_range(0..40);
        let kind = self.kind();
        let failed = self.random.random_range(0..100) < 6;
        let rawres = if failed { -2 } else { self.random.random_range(3..64) };
        Event { process, time_us: self.time_us, seq: self.seq, kind, rawres }
    }

    fn kind(&mut self) -> Kind {
        match self.random.random_range(0..100) {
            0..82 => {
                let folder = FOLDERS[self.random.random_range(0..FOLDERS.len())];
                // A few files are opened all the time, most now and then.
                let file = (self.random.random::<f64>().powi(4) * 20_000.0) as u32;
                Kind::Open {
                    folder,
                    file: format!("file-{file:05}.dat"),
                    write: self.random.random_range(0..5) == 0,
                }
            }
            82..94 => Kind::Connect {
                ip: format!(
                    "10.{}.{}.{}",
                    self.random.random_range(0..4),
                    self.random.random_range(0..8),
                    self.random.random_range(1..250)
                ),
                port: [443, 5432, 6379, 8080, 53][self.random.random_range(0..5)],
                local_port: self.random.random_range(32_768..60_999),
            },
            94..97 => Kind::Exec { argument: format!("--task={}", self.random.random_range(0..500)) },
            _ => Kind::Exit,
        }
    }
}
