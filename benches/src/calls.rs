//! System calls by the thousand, timed or paced, and counted exactly.

#![allow(unsafe_code, reason = "nothing may stand between the bench and the call")]

use std::ffi::{CString, OsStr};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// A program that ends at once, for x86_64: an ELF header, one segment, and
/// `exit(0)`. It opens nothing, so a start is three events and no more.
#[rustfmt::skip]
const NOTHING: [u8; 129] = [
    0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    2, 0, 0x3e, 0, 1, 0, 0, 0, 0x78, 0, 0x40, 0, 0, 0, 0, 0,
    0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0x40, 0, 0x38, 0, 1, 0, 0, 0, 0, 0, 0, 0,
    1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0,
    129, 0, 0, 0, 0, 0, 0, 0, 129, 0, 0, 0, 0, 0, 0, 0,
    0, 0x10, 0, 0, 0, 0, 0, 0,
    // xor edi, edi; mov eax, 60; syscall
    0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05,
];

/// What a measured window does over and over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Load {
    /// A call that nobody is interested in: getppid.
    Rejected,
    /// Two threads of one processor that wake each other by pipes: four calls that
    /// nobody is interested in, and two switches.
    Switches,
    /// One file opened; what closes it is not timed.
    Open,
    /// One file opened and closed.
    OneFile,
    /// A thousand files, one after the other, opened and closed.
    Files,
    /// `/bin/true` started and waited for.
    Program,
}

/// What a load is made of.
#[derive(Debug)]
pub struct Stage {
    files: Vec<CString>,
    program: CString,
}

/// Names of files that are not there, each used once. The name is counted up where
/// it lies, so that the load spends its time on calls.
struct Missing {
    /// Ends with a zero byte.
    path: Vec<u8>,
}

/// How many of each were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Made {
    /// Open calls.
    pub opens: u64,
    /// Connect calls.
    pub connects: u64,
    /// Programs started; each is a fork, an exec and an exit.
    pub programs: u64,
}

/// What one thread offers in a second.
#[derive(Debug, Clone, Copy)]
pub struct Mix {
    /// Events.
    pub events: u64,
    /// Of the opens, percent that have a name that was never used before.
    pub distinct_percent: u64,
}

// === impl Load ===

impl Load {
    /// All of them, the cheapest first.
    pub const ALL: [Self; 6] =
        [Self::Rejected, Self::Switches, Self::Open, Self::OneFile, Self::Files, Self::Program];

    /// As the output names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rejected => "rejected call (getppid)",
            Self::Switches => "two threads that wake each other",
            Self::Open => "openat alone, one path",
            Self::OneFile => "openat and close, one path",
            Self::Files => "openat and close, 1000 paths",
            Self::Program => "start and end of /bin/true",
        }
    }

    /// Repetitions of one window: few enough for any ring and for a turn on a busy
    /// processor, many enough for a clock.
    pub fn repetitions(self) -> usize {
        match self {
            Self::Rejected => 5_000,
            Self::Switches => 200,
            // As many descriptors as any limit leaves room for.
            Self::Open => 500,
            Self::OneFile => 500,
            Self::Files => 1_000,
            Self::Program => 10,
        }
    }
}

// === impl Stage ===

impl Stage {
    /// Makes a thousand files and a program in this folder.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let mut files = Vec::new();
        for number in 0..1_000 {
            let path = folder.join(format!("file-{number:03}"));
            std::fs::write(&path, "")?;
            files.push(c_string(path.as_os_str())?);
        }
        let program = folder.join("nothing");
        std::fs::write(&program, NOTHING)?;
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        Ok(Self { files, program: c_string(program.as_os_str())? })
    }

    /// Nanoseconds of one repetition, on average of a window.
    pub fn window(&self, load: Load) -> io::Result<f64> {
        let count = load.repetitions();
        let began = Instant::now();
        match load {
            Load::Rejected => (0..count).for_each(|_| rejected()),
            Load::Switches => return Ok(switches(count)?.as_secs_f64() * 1e9 / count as f64),
            Load::Open => return Ok(self.opens(count)?.as_secs_f64() * 1e9 / count as f64),
            Load::OneFile => self.files.iter().take(1).cycle().take(count).try_for_each(open_and_close)?,
            Load::Files => self.files.iter().cycle().take(count).try_for_each(open_and_close)?,
            Load::Program => (0..count).try_for_each(|_| run(c"/bin/true"))?,
        }
        Ok(began.elapsed().as_secs_f64() * 1e9 / count as f64)
    }

    /// How long it takes to open one file so often.
    fn opens(&self, count: usize) -> io::Result<Duration> {
        let path = self.files.first().ok_or(io::ErrorKind::NotFound)?;
        let mut opened = Vec::with_capacity(count);
        let began = Instant::now();
        (0..count).for_each(|_| opened.push(open(path)));
        let took = began.elapsed();
        opened.into_iter().try_for_each(close)?;
        Ok(took)
    }

    /// Offers a mix evenly for so long, millisecond by millisecond, and makes up
    /// for what it is late with; answers what was made, and by which thread.
    pub fn offer(&self, thread: usize, mix: Mix, length: Duration) -> io::Result<(Made, i64)> {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
        let mut made = Made::default();
        let mut missing = Missing::new(thread)?;
        let began = Instant::now();
        for millisecond in 1..=u64::try_from(length.as_millis()).unwrap_or(u64::MAX) {
            let due = millisecond.saturating_mul(mix.events) / 1_000;
            while made.events() < due {
                if made.opens % 40 == 39 {
                    // A new peer for a socket that never sends.
                    socket.connect(("127.0.0.1", 9 + (made.connects % 1_000) as u16))?;
                    made.connects += 1;
                }
                if made.opens % 100 < mix.distinct_percent {
                    missing.open_next()?;
                } else {
                    let few = self.files.get((made.opens % 16) as usize);
                    few.map_or(Ok(()), open_and_close)?;
                }
                made.opens += 1;
            }
            let then = began + Duration::from_millis(millisecond);
            std::thread::sleep(then.saturating_duration_since(Instant::now()));
        }
        Ok((made, thread_id()))
    }

    /// Starts a program so often, for so long. It waits for each, so it has a
    /// thread of its own: on a busy machine that waiting would be the whole load.
    pub fn start_programs(&self, every: Duration, length: Duration) -> io::Result<(Made, i64)> {
        let mut made = Made::default();
        let began = Instant::now();
        while began.elapsed() < length {
            run(&self.program)?;
            made.programs += 1;
            let then = began + every.saturating_mul(u32::try_from(made.programs).unwrap_or(u32::MAX));
            std::thread::sleep(then.saturating_duration_since(Instant::now()));
        }
        Ok((made, thread_id()))
    }
}

// === impl Missing ===

impl Missing {
    const DIGITS: usize = 9;

    fn new(thread: usize) -> io::Result<Self> {
        let path = format!("/nonexistent/bench/{thread}/{:0width$}", 0, width = Self::DIGITS);
        Ok(Self { path: c_string(OsStr::new(&path))?.into_bytes_with_nul() })
    }

    /// Opens what is not there, by a name that no call had before.
    fn open_next(&mut self) -> io::Result<()> {
        // Safety: the path ends with a zero byte; nothing is opened.
        let fd =
            unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, self.path.as_ptr(), libc::O_RDONLY) };
        self.count_up();
        if fd < 0 { Ok(()) } else { Err(io::Error::other("a file that must not be there is")) }
    }

    fn count_up(&mut self) {
        for digit in self.path.iter_mut().rev().skip(1).take(Self::DIGITS) {
            if *digit < b'9' {
                *digit += 1;
                return;
            }
            *digit = b'0';
        }
    }
}

// === impl Made ===

impl Made {
    /// Events altogether.
    pub fn events(self) -> u64 {
        self.opens + self.connects + 3 * self.programs
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            opens: self.opens + other.opens,
            connects: self.connects + other.connects,
            programs: self.programs + other.programs,
        }
    }
}

/// Keeps the calling thread on one processor.
pub fn pin(processor: usize) -> io::Result<()> {
    // Safety: an all-zero set is one, and it is told with its size.
    let failed = unsafe {
        let mut set = std::mem::zeroed::<libc::cpu_set_t>();
        libc::CPU_SET(processor, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn thread_id() -> i64 {
    // Safety: a call without arguments.
    unsafe { libc::syscall(libc::SYS_gettid) }
}

fn rejected() {
    // Safety: a call without arguments.
    unsafe { libc::syscall(libc::SYS_getppid) };
}

fn open_and_close(path: &CString) -> io::Result<()> {
    close(open(path))
}

/// The descriptor, below zero for none.
fn open(path: &CString) -> i64 {
    // Safety: the path ends with a zero byte.
    unsafe {
        libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC)
    }
}

fn close(fd: i64) -> io::Result<()> {
    // Safety: the descriptor is the caller's own.
    let is_closed = fd >= 0 && unsafe { libc::syscall(libc::SYS_close, fd) } == 0;
    if is_closed { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How long a thread and another one take to wake each other so often. The other is
/// where this one is, and both are there before it counts.
fn switches(count: usize) -> io::Result<Duration> {
    let (mut heard, mut answer) = io::pipe()?;
    let (mut asked, mut ask) = io::pipe()?;
    std::thread::scope(|scope| {
        let other = scope.spawn(move || {
            let mut byte = [0];
            // One more than is counted, and then the end of what is asked.
            while asked.read(&mut byte)? > 0 {
                answer.write_all(&byte)?;
            }
            io::Result::Ok(())
        });
        let mut turn = || {
            ask.write_all(&[0])?;
            heard.read_exact(&mut [0])
        };
        turn()?;
        let began = Instant::now();
        (0..count).try_for_each(|_| turn())?;
        let took = began.elapsed();
        drop(ask);
        other.join().map_err(|_| io::Error::other("the other thread panicked"))??;
        Ok(took)
    })
}

/// Starts a program, without arguments or environment, and waits for its end.
fn run(program: &std::ffi::CStr) -> io::Result<()> {
    let arguments = [program.as_ptr().cast_mut(), std::ptr::null_mut()];
    let environment = [std::ptr::null_mut()];
    let (mut pid, mut status) = (0, 0);
    // Safety: both lists end with a null pointer and outlive the call.
    unsafe {
        let (none, attributes) = (std::ptr::null(), std::ptr::null());
        let error = libc::posix_spawn(
            &raw mut pid,
            program.as_ptr(),
            none,
            attributes,
            arguments.as_ptr(),
            environment.as_ptr(),
        );
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        if libc::waitpid(pid, &raw mut status, 0) != pid || status != 0 {
            return Err(io::Error::other(format!("{program:?} ended with {status}")));
        }
    }
    Ok(())
}

fn c_string(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_used_once() {
        let mut missing = Missing::new(3).unwrap();
        for number in 0..1_100 {
            let expected = format!("/nonexistent/bench/3/{number:09}\0");
            assert_eq!(std::str::from_utf8(&missing.path), Ok(expected.as_str()));
            missing.open_next().unwrap();
        }
    }

    #[test]
    fn loads_make_their_calls() {
        let dir = tempfile::tempdir().unwrap();
        let stage = Stage::new(dir.path()).unwrap();
        for load in Load::ALL {
            assert!(stage.window(load).unwrap() > 0.0, "{load:?}");
        }
        let mix = Mix { events: 5_000, distinct_percent: 50 };
        let (made, _) = stage.offer(0, mix, Duration::from_millis(200)).unwrap();
        assert_eq!(made.programs, 0);
        // The last step may be two calls.
        assert!((1_000..=1_001).contains(&made.events()), "{made:?}");
        assert!(made.connects > 0 && made.opens > 10 * made.connects);
        let (made, _) = stage.start_programs(Duration::from_millis(10), Duration::from_millis(100)).unwrap();
        assert!(made.programs > 0 && made.opens == 0, "{made:?}");
    }
}
