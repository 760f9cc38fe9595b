//! The events on which the goals for the write path were set: a fleet's, 27
//! values each, and nothing in any other column.
//!
//! ```text
//! 200 nodes × 20 of 4,000 pods × up to 40 processes; 300 namespaces of 50 tenants
//! a batch is 200 ms of one node; pods, processes, files and addresses are drawn by Zipf's law
//! ```
//!
//! Four of the 27 have no column of their own here. They are kept in ones that
//! would else be null, so that every row carries as much as it did there:
//!
//! | value | column |
//! |---|---|
//! | the call's number | `proc_tty` |
//! | flags | `mnt_ns` |
//! | duration, ns | `cgroup_id` |
//! | kind of event | `lane` |
//!
//! Times are in microseconds as everywhere in Bailiwick, there they were in
//! nanoseconds. Tenant, date and time of arrival are ingest's to stamp.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int64Array, RecordBatch, StringDictionaryBuilder, TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::{Int32Type, SchemaRef};
use arrow::error::ArrowError;
use bailiwick_proto::Table;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::BEGIN_US;
use super::draw::{Choice, lognormal, zipf};

const NODES: usize = 200;
/// Pods of the fleet.
pub const PODS: usize = 4_000;
const PODS_A_NODE: usize = 20;
pub(super) const NAMESPACES: usize = 300;
pub(super) const TENANTS: usize = 50;
const BATCH_US: i64 = 200_000;
/// From one batch's begin to the next one's.
pub(super) const BATCHES_APART_US: i64 = 20_000;
const PROGRAMS: [&str; 15] = [
    "nginx",
    "java",
    "python3",
    "node",
    "envoy",
    "postgres",
    "redis",
    "kubelet",
    "containerd",
    "bash",
    "sh",
    "curl",
    "go-svc",
    "dotnet",
    "ruby",
];

/// A system call, its x86 number, and its share.
#[rustfmt::skip]
const CALLS: [(&str, i64, f64); 30] = [
    ("read", 0, 20.0), ("write", 1, 16.0), ("close", 3, 9.0), ("openat", 257, 9.0), ("mmap", 9, 4.0),
    ("futex", 202, 14.0), ("recvfrom", 45, 3.0), ("sendto", 44, 3.0), ("connect", 42, 1.0), ("accept4", 288, 0.6),
    ("execve", 59, 0.4), ("clone", 56, 0.5), ("wait4", 61, 0.5), ("newfstatat", 262, 4.0), ("access", 21, 1.0),
    ("fcntl", 72, 1.0), ("ioctl", 16, 2.0), ("epoll_wait", 232, 3.0), ("epoll_pwait", 281, 2.0),
    ("clock_gettime", 228, 5.0), ("nanosleep", 35, 1.0), ("getpid", 39, 0.5), ("gettid", 186, 0.5),
    ("unlink", 87, 0.2), ("rename", 82, 0.1), ("ptrace", 101, 0.02), ("socket", 41, 0.3), ("bind", 49, 0.05),
    ("listen", 50, 0.05), ("setuid", 105, 0.03),
];
const WITH_PATH: [i64; 6] = [257, 262, 21, 87, 82, 59];
const WITH_PEER: [i64; 4] = [42, 288, 44, 45];
const PORTS: [(i64, f64); 8] =
    [(443, 0.4), (80, 0.2), (5432, 0.1), (6379, 0.1), (53, 0.1), (8080, 0.05), (9090, 0.03), (10250, 0.02)];

/// A seeded stream of a fleet's events, one node's batch after the other.
#[derive(Debug)]
pub(super) struct Fleet {
    random: StdRng,
    pods: Vec<[usize; PODS_A_NODE]>,
    next_seq: Vec<i64>,
    begin_us: i64,
    apart_us: i64,
    draws: Draws,
}

/// What is drawn for every event.
#[derive(Debug)]
struct Draws {
    call: Choice,
    port: Choice,
    pod: Choice,
    process: Choice,
    path: Choice,
    ip: Choice,
    fd: Choice,
}

#[derive(Debug, Clone)]
struct Event {
    time_us: i64,
    seq: i64,
    node: usize,
    pod: usize,
    process: usize,
    call: usize,
    thread: i64,
    rawres: i64,
    duration_ns: i64,
    root: bool,
    fd: Option<i64>,
    flags: i64,
    path: Option<usize>,
    peer: Option<(usize, i64)>,
}

/// Who owns which namespace, as the `tenants_file` says it.
pub(super) fn tenants() -> String {
    let tenant = |tenant: usize| {
        let namespaces = (tenant..NAMESPACES).step_by(TENANTS).map(|ns| format!("ns-team-{ns}"));
        format!(
            "- tenant: tenant-{tenant:03}\n  namespaces: [{}]\n",
            namespaces.collect::<Vec<_>>().join(", ")
        )
    };
    format!("tenants:\n{}", (0..TENANTS).map(tenant).collect::<String>())
}

/// The namespace of a pod.
pub(super) fn namespace(pod: usize) -> String {
    format!("ns-team-{}", pod % NAMESPACES)
}

/// The name of a pod.
pub(super) fn pod_name(pod: usize) -> String {
    let hashed = (pod as u64 * 2_654_435_761) & 0xffff_ffff;
    format!("svc-{}-{hashed:08x}-{pod:05}", pod % 500)
}

/// The id of a pod's one container.
pub(super) fn container_id(pod: usize) -> String {
    format!("{:016x}{:016x}", pod as u64 * 2_654_435_761, pod as u64 * 40_503).repeat(2)
}

// === impl Fleet ===

impl Fleet {
    /// Batches begin at `begin_us` and are `apart_us` apart.
    pub(super) fn new(seed: u64, begin_us: i64, apart_us: i64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let pods = (0..NODES).map(|_| std::array::from_fn(|_| random.random_range(0..PODS))).collect();
        let draws = Draws {
            call: Choice::of(CALLS.map(|(_, _, share)| share)),
            port: Choice::of(PORTS.map(|(_, share)| share)),
            pod: zipf(1.4, PODS_A_NODE),
            process: zipf(1.3, 40),
            path: zipf(1.25, 60_000),
            ip: zipf(1.3, 65_000),
            fd: zipf(1.3, 1_020),
        };
        Self { random, pods, next_seq: vec![0; NODES], begin_us, apart_us, draws }
    }

    pub(super) fn batch(&mut self, rows: usize) -> Result<RecordBatch, ArrowError> {
        let node = self.random.random_range(0..NODES);
        let mut times: Vec<i64> = (0..rows).map(|_| self.random.random_range(0..BATCH_US)).collect();
        times.sort_unstable();
        let events: Vec<Event> = times.iter().map(|after| self.event(node, self.begin_us + after)).collect();
        self.begin_us += self.apart_us;
        columns(&Table::Syscalls.wire_schema(), &events)
    }

    fn event(&mut self, node: usize, time_us: i64) -> Event {
        let (random, draws) = (&mut self.random, &self.draws);
        let call = draws.call.draw(random);
        let number = CALLS[call].1;
        let (with_path, with_peer) = (WITH_PATH.contains(&number), WITH_PEER.contains(&number));
        let pod = self.pods[node][draws.pod.draw(random)];
        let failed = random.random_range(0..100) < 5;
        let errno = -[2, 11, 13, 1][random.random_range(0..4)];
        let rawres = match number {
            0 | 1 | 42 | 44 | 45 | 288 => lognormal(5.0, 2.0, random).min(65_536.0) as i64,
            _ if failed => errno,
            257 => random.random_range(3..120),
            _ => 0,
        };
        let seq = self.next_seq[node];
        self.next_seq[node] += 1;
        Event {
            time_us,
            seq,
            node,
            pod,
            process: draws.process.draw(random),
            call,
            thread: if random.random::<f64>() < 0.6 { 0 } else { random.random_range(1..32) },
            rawres,
            duration_ns: lognormal(7.5, 1.6, random) as i64,
            root: random.random::<f64>() >= 0.7,
            fd: (with_peer || matches!(number, 0 | 1 | 3)).then(|| 3 + draws.fd.draw(random) as i64),
            flags: if with_path { [0, 0x80000, 0x241, 0x442][random.random_range(0..4)] } else { 0 },
            path: with_path.then(|| (draws.path.draw(random) + pod * 11) % 60_000),
            peer: with_peer.then(|| (draws.ip.draw(random), PORTS[draws.port.draw(random)].0)),
        }
    }
}

// === impl Event ===

impl Event {
    fn pid(&self) -> i64 {
        (self.pod as i64 * 97 + self.process as i64 * 13 + 1_000) % 4_194_304
    }

    fn text(&self, column: &str) -> Option<String> {
        let (pod, program) = (self.pod, (self.pod * 7 + self.process) % 150);
        let text = match column {
            "node" => format!("ip-10-0-{}-{}.ec2.internal", self.node / 256, self.node % 256),
            "cluster" => format!("prod-eu-{}", self.node % 4),
            "k8s_ns_name" => namespace(pod),
            "k8s_pod_name" => pod_name(pod),
            "container_id" => container_id(pod),
            "container_image" => {
                let image = pod % 500;
                let (team, minor, patch) = (image % 40, image % 17, image % 9);
                format!("registry.example.com/team{team}/svc-{image}:v1.{minor}.{patch}")
            }
            "lane" => match (self.path, self.peer) {
                (Some(_), _) => "file".to_owned(),
                (_, Some(_)) => "network".to_owned(),
                _ => "process".to_owned(),
            },
            "evt_type" => CALLS[self.call].0.to_owned(),
            "proc_name" => format!("{}-{}", PROGRAMS[program / 10], program % 10),
            "proc_exepath" => format!("/usr/bin/{}-{}", PROGRAMS[program / 10], program % 10),
            "fd_name" => {
                let path = self.path?;
                let ending = ["log", "json", "db", "tmp", "so", "conf"][path % 6];
                format!("/var/lib/app/{}/data/{path:06x}.{ending}", path % 37)
            }
            "fd_sip" => {
                let host = (self.peer?.0 as u64 + 1) * 2_654_435_761 % 65_536;
                format!("10.0.{}.{}", host / 256, host % 256)
            }
            _ => return None,
        };
        Some(text)
    }

    fn int(&self, column: &str) -> Option<i64> {
        match column {
            "seq" => Some(self.seq),
            "proc_pid" => Some(self.pid()),
            "thread_tid" => Some(self.pid() + self.thread),
            "proc_ppid" => Some((self.pod as i64 * 97 + (self.process as i64 / 4) * 13 + 1_000) % 4_194_304),
            "user_uid" => Some(if self.root { 0 } else { (self.pod as i64 % 7) * 1_000 }),
            "evt_rawres" => Some(self.rawres),
            "fd_num" => Some(self.fd.unwrap_or(-1)),
            "fd_sport" => self.peer.map(|(_, port)| port),
            "proc_tty" => Some(CALLS[self.call].1),
            "mnt_ns" => Some(self.flags),
            "cgroup_id" => Some(self.duration_ns),
            _ => None,
        }
    }

    fn time(&self, column: &str) -> Option<i64> {
        match column {
            "time" => Some(self.time_us),
            "proc_start_time" => Some(BEGIN_US - self.pid() * 1_000_003 % 86_400_000_000),
            _ => None,
        }
    }
}

fn columns(schema: &SchemaRef, events: &[Event]) -> Result<RecordBatch, ArrowError> {
    use arrow::datatypes::DataType::{Dictionary, Int64, Timestamp};
    let column = |field: &Arc<arrow::datatypes::Field>| -> ArrayRef {
        let name = field.name().as_str();
        match field.data_type() {
            Dictionary(..) => {
                let mut texts = StringDictionaryBuilder::<Int32Type>::new();
                texts.extend(events.iter().map(|event| event.text(name)));
                Arc::new(texts.finish())
            }
            Int64 => Arc::new(events.iter().map(|event| event.int(name)).collect::<Int64Array>()),
            Timestamp(..) => {
                let times: TimestampMicrosecondArray = events.iter().map(|event| event.time(name)).collect();
                Arc::new(times.with_timezone("UTC"))
            }
            other => new_null_array(other, events.len()),
        }
    };
    RecordBatch::try_new(Arc::clone(schema), schema.fields().iter().map(column).collect())
}
