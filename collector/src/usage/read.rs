//! Reads what the kernel counts for every cgroup, from its files.
//!
//! ```text
//!   cpu.stat         v2, every cgroup has it; throttling also from v1 `cpu`
//!   memory.*         v2, else v1 `memory` at the same path, else the resident
//!                    sizes of its processes from /proc
//!   io.stat          v2, else v1 `blkio` at the same path
//! ```
//!
//! The tree is that of cgroup v2, which a machine with v1 controllers has
//! beside them (`/sys/fs/cgroup/unified`): every process is in it, and its
//! cgroups have ids that are never used twice.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::own::{LOCAL, Memory, Reading, SHARED, local, shared};

/// One of the kernel's files at most; `cgroup.procs` is the longest.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Where the kernel's files are.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// The cgroup v2 mount.
    pub(super) v2: PathBuf,
    /// Mounts of v1 controllers, where those are in use.
    v1: HashMap<&'static str, PathBuf>,
    proc: PathBuf,
    /// The size of a page of memory, in which resident sizes are told.
    page_b: u64,
}

/// All cgroups at one moment.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Parents before their children.
    pub(super) readings: Vec<Reading>,
    /// Cgroups that were left out as there are more than allowed.
    pub(super) left_out: u64,
}

// === impl Layout ===

impl Layout {
    /// Looks below `/sys/fs/cgroup`; `None` without cgroup v2.
    pub(super) fn find(cgroups: &Path, proc: &Path) -> Option<Self> {
        let places = [cgroups.to_owned(), cgroups.join("unified")];
        let v2 = places.into_iter().find(|place| place.join("cgroup.controllers").exists())?;
        let v1 = [
            ("cpu", "cpu.stat"),
            ("memory", "memory.usage_in_bytes"),
            ("blkio", "blkio.throttle.io_serviced"),
        ];
        let mounted = |(name, file): (&'static str, &str)| {
            let mount = cgroups.join(name);
            // The root of `cpu` has no cpu.stat, so the mount itself is looked for there.
            let there = mount.join(file).exists() || (name == "cpu" && mount.join("cgroup.procs").exists());
            (there && mount != v2).then_some((name, mount))
        };
        let v1 = v1.into_iter().filter_map(mounted).collect();
        Some(Self { v2, v1, proc: proc.to_owned(), page_b: page_bytes(proc) })
    }

    /// Where each figure comes from, for a person.
    pub(super) fn sources(&self) -> String {
        let controllers = text(&self.v2.join("cgroup.controllers")).ok().flatten().unwrap_or_default();
        let v2 = |name: &str| controllers.split_whitespace().any(|controller| controller == name);
        let memory = match (v2("memory"), self.v1.contains_key("memory")) {
            (true, _) => "memory as charged",
            (false, true) => "memory as charged by v1, else resident",
            (false, false) => "memory as resident",
        };
        let io = if v2("io") || self.v1.contains_key("blkio") { "block I/O" } else { "no block I/O" };
        format!("CPU, {memory}, {io}")
    }

    /// Reads every cgroup, at most `max_cgroups`.
    pub(super) fn scan(&self, max_cgroups: usize) -> io::Result<Scan> {
        let mut scan = Scan::default();
        let mut waiting = vec![(self.v2.clone(), None, "/".to_owned())];
        while let Some((folder, parent, path)) = waiting.pop() {
            if scan.readings.len() >= max_cgroups {
                scan.left_out += 1;
                continue;
            }
            let Some((reading, children)) = self.cgroup(&folder, parent, path)? else { continue };
            let id = reading.id;
            let base = if reading.path == "/" { "" } else { reading.path.as_str() };
            for name in children {
                let path = format!("{base}/{}", shown(&name));
                waiting.push((folder.join(name), Some(id), path));
            }
            scan.readings.push(reading);
        }
        Ok(scan)
    }

    /// One cgroup and its children's names; `None` if it went meanwhile.
    fn cgroup(
        &self,
        folder: &Path,
        parent: Option<u64>,
        path: String,
    ) -> io::Result<Option<(Reading, Vec<std::ffi::OsString>)>> {
        let Some(metadata) = alive(fs::metadata(folder))? else { return Ok(None) };
        // Children first: what they count until they are read, their parent, read
        // before them, has not; that is made up for in the next interval.
        let Some(children) = children(folder)? else { return Ok(None) };
        let Some(cpu) = text(&folder.join("cpu.stat"))? else { return Ok(None) };
        // Threaded cgroups do not list processes; their domain does.
        let processes = text(&folder.join("cgroup.procs")).ok().flatten().unwrap_or_default();
        let mut reading = Reading {
            id: metadata.ino(),
            parent,
            path,
            has_processes: !processes.is_empty(),
            ..Reading::default()
        };
        let v1 = |controller: &str| {
            self.v1.get(controller).map(|mount| mount.join(reading.path.trim_start_matches('/')))
        };
        let throttling = if cpu.contains("nr_periods") { None } else { v1("cpu") };
        let (memory_v1, io_v1) = (v1("memory"), v1("blkio"));
        cpu_counters(&cpu, throttling.as_deref(), &mut reading)?;
        reading.memory = self.memory(folder, memory_v1.as_deref(), &processes, parent.is_none())?;
        io_counters(folder, io_v1.as_deref(), &mut reading.shared)?;
        Ok(Some((reading, children)))
    }

    fn memory(
        &self,
        folder: &Path,
        v1: Option<&Path>,
        processes: &str,
        root: bool,
    ) -> io::Result<Option<Memory>> {
        if let Some(current_b) = number(&folder.join("memory.current"))? {
            let stat = text(&folder.join("memory.stat"))?.unwrap_or_default();
            return Ok(Some(charged(current_b, field(&stat, "inactive_file"))));
        }
        // The root of v1 charges the whole machine, wherever its processes are in v2.
        if let (Some(v1), false) = (v1, root)
            && let Some(current_b) = number(&v1.join("memory.usage_in_bytes"))?
        {
            let stat = text(&v1.join("memory.stat"))?.unwrap_or_default();
            return Ok(Some(charged(current_b, field(&stat, "total_inactive_file"))));
        }
        let resident = processes.lines().filter_map(|pid| self.resident_b(pid)).fold(0, u64::saturating_add);
        Ok(Some(Memory::Resident { resident_b: resident }))
    }

    /// A process that ended meanwhile holds nothing.
    fn resident_b(&self, pid: &str) -> Option<u64> {
        pid.parse::<u32>().ok()?;
        let statm = text(&self.proc.join(pid).join("statm")).ok()??;
        let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
        pages.checked_mul(self.page_b)
    }
}

/// What the kernel told this process at its start: pairs of a number that says
/// what, and the value.
fn page_bytes(proc: &Path) -> u64 {
    const AT_PAGESZ: usize = 6;
    const WORD: usize = size_of::<usize>();
    let auxv = fs::read(proc.join("self/auxv")).unwrap_or_default();
    let (words, _) = auxv.as_chunks::<WORD>();
    let (pairs, _) = words.as_chunks::<2>();
    let page = pairs.iter().find(|[what, _]| usize::from_ne_bytes(*what) == AT_PAGESZ);
    page.map_or(4096, |[_, value]| usize::from_ne_bytes(*value) as u64)
}

fn charged(current_b: u64, inactive_file_b: Option<u64>) -> Memory {
    Memory::Charged { current_b, working_set_b: current_b.saturating_sub(inactive_file_b.unwrap_or(0)) }
}

fn cpu_counters(stat: &str, v1: Option<&Path>, reading: &mut Reading) -> io::Result<()> {
    let ns = |name: &str| field(stat, name).map(|us| us.saturating_mul(1000));
    reading.shared[shared::CPU_NS] = ns("usage_usec");
    reading.shared[shared::CPU_USER_NS] = ns("user_usec");
    reading.shared[shared::CPU_SYSTEM_NS] = ns("system_usec");
    let old = match v1 {
        Some(folder) => text(&folder.join("cpu.stat"))?.unwrap_or_default(),
        None => String::new(),
    };
    reading.local = throttling(stat, &old);
    Ok(())
}

/// v1 counts nanoseconds.
fn throttling(v2: &str, v1: &str) -> [Option<u64>; LOCAL] {
    let either = |name: &str| field(v2, name).or_else(|| field(v1, name));
    let mut counters = [None; LOCAL];
    counters[local::NR_PERIODS] = either("nr_periods");
    counters[local::NR_THROTTLED] = either("nr_throttled");
    counters[local::THROTTLED_US] =
        field(v2, "throttled_usec").or_else(|| field(v1, "throttled_time").map(|ns| ns / 1000));
    counters
}

fn io_counters(folder: &Path, v1: Option<&Path>, counters: &mut [Option<u64>; SHARED]) -> io::Result<()> {
    if let Some(stat) = text(&folder.join("io.stat"))? {
        let sum = |key: &str| Some(io_sum(&stat, key));
        counters[shared::IO_R_B] = sum("rbytes=");
        counters[shared::IO_W_B] = sum("wbytes=");
        counters[shared::IO_R_N] = sum("rios=");
        counters[shared::IO_W_N] = sum("wios=");
        return Ok(());
    }
    let Some(v1) = v1 else { return Ok(()) };
    let pairs = [
        ("blkio.throttle.io_service_bytes", shared::IO_R_B, shared::IO_W_B),
        ("blkio.throttle.io_serviced", shared::IO_R_N, shared::IO_W_N),
    ];
    for (file, read, write) in pairs {
        // Only the recursive file includes children, as v2 does.
        let Some(stat) = text(&v1.join(format!("{file}_recursive")))? else { continue };
        counters[read] = Some(blkio_sum(&stat, "Read"));
        counters[write] = Some(blkio_sum(&stat, "Write"));
    }
    Ok(())
}

/// `8:0 rbytes=1 wbytes=2 …`, a line a device.
fn io_sum(stat: &str, key: &str) -> u64 {
    let values = stat.split_whitespace().filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok());
    values.fold(0, u64::saturating_add)
}

/// `8:0 Read 1`, a line a device and direction.
fn blkio_sum(stat: &str, direction: &str) -> u64 {
    let value = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        (words.next()? == direction).then(|| words.next()?.parse::<u64>().ok()).flatten()
    };
    stat.lines().filter_map(value).fold(0, u64::saturating_add)
}

/// The value of `name` in lines of name and value.
fn field(stat: &str, name: &str) -> Option<u64> {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
    stat.lines().find_map(value)
}

fn number(path: &Path) -> io::Result<Option<u64>> {
    Ok(text(path)?.and_then(|text| text.trim().parse().ok()))
}

/// A file's text; `None` if it is not there, or its cgroup went while it was read.
fn text(path: &Path) -> io::Result<Option<String>> {
    let Some(file) = alive(File::open(path))? else { return Ok(None) };
    let mut text = String::new();
    let read = file.take(MAX_FILE_BYTES).read_to_string(&mut text);
    Ok(alive(read)?.map(|_| text))
}

fn children(folder: &Path) -> io::Result<Option<Vec<std::ffi::OsString>>> {
    let Some(entries) = alive(fs::read_dir(folder))? else { return Ok(None) };
    let mut names = Vec::new();
    for entry in entries {
        let Some(entry) = alive(entry)? else { return Ok(None) };
        if alive(entry.file_type())?.is_some_and(|kind| kind.is_dir()) {
            names.push(entry.file_name());
        }
    }
    Ok(Some(names))
}

/// Cgroups come and go; anything else that fails (too many open files) must fail
/// the whole scan, or living cgroups would be taken for gone.
fn alive<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A folder's name as text; bytes that are not UTF-8 as `\xNN`.
fn shown(name: &std::ffi::OsStr) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut text = String::new();
    for chunk in name.as_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

#[cfg(test)]
mod tests;
