//! What children of the tests do.

#![allow(unsafe_code)]

use std::io::BufRead;

use super::*;

const WHAT: &str = "BAILIWICK_TEST_CALLS";
const DONE: &str = "all calls made";

/// A child that has made its calls and lives until this is dropped.
pub(super) struct Made {
    child: std::process::Child,
    told: std::io::BufReader<std::process::ChildStdout>,
}

/// Runs this test binary again as a child that makes the named calls in `folder`.
pub(super) fn run(what: &str, folder: &Path) -> Made {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "syscalls::tests::child::makes_calls", "--ignored", "--nocapture"]);
    child.env(WHAT, what).current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = child.spawn().unwrap();
    let mut told = std::io::BufReader::new(child.stdout.take().unwrap());
    let lines: Vec<_> = told.by_ref().lines().map_while(Result::ok).take_while(|line| line != DONE).collect();
    assert!(child.try_wait().unwrap().is_none(), "the child ended: {lines:?}");
    Made { child, told }
}

/// Runs this test binary again as a child that makes the named calls and ends
/// right after the last of them.
pub(super) fn run_to_its_end(what: &str, folder: &Path) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "syscalls::tests::child::makes_calls", "--ignored", "--nocapture"]);
    let ended = child.env(WHAT, what).current_dir(folder).stdin(Stdio::null()).output().unwrap();
    let told = String::from_utf8_lossy(&ended.stdout);
    assert!(
        ended.status.success() && told.contains(DONE),
        "{what}: {told}{}",
        String::from_utf8_lossy(&ended.stderr)
    );
}

impl Drop for Made {
    fn drop(&mut self) {
        // The end of its input tells the child that it may end.
        drop(self.child.stdin.take());
        let _ = self.told.read_to_end(&mut Vec::new());
        let _ = self.child.wait();
    }
}

/// Not a test of its own: the other half of those that run it.
#[test]
#[ignore = "makes system calls for other tests, which run it"]
fn makes_calls() {
    match std::env::var(WHAT).as_deref() {
        Ok("opens") => opens(),
        Ok("connects") => connects(),
        Ok("flood") => flood(),
        Ok("storm") => storm(),
        Ok("clones") => clones(),
        Ok("reads") => reads(),
        Ok("reuse") => reuse(),
        Ok("unprivileged") => unprivileged(),
        Ok(actor) if actor.starts_with("actor:") => {
            super::actors::play(&actor["actor:".len()..]);
            return println!("\n{DONE}");
        }
        _ => return println!("skipped: only other tests run this"),
    }
    println!("\n{DONE}");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

fn open_at(dirfd: i32, path: &[u8], flags: i32, mode: u32) -> i64 {
    let path = CString::new(path).unwrap();
    // Safety: a path that ends with a zero byte.
    unsafe { libc::syscall(libc::SYS_openat, dirfd, path.as_ptr(), flags, mode) }
}

fn opens() {
    use libc::{AT_FDCWD, O_CLOEXEC, O_CREAT, O_DIRECTORY, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY};
    let folder = std::env::current_dir().unwrap();
    let at = folder.as_os_str().as_bytes();
    let below = |name: &[u8]| [at, b"/", name].concat();
    std::fs::create_dir("sub").unwrap();
    // Not through the call that is under test.
    std::os::unix::fs::symlink("/dev/null", "relative").unwrap();
    std::os::unix::fs::symlink("/dev/null", "sub/below").unwrap();
    let long = "d".repeat(200);
    std::fs::create_dir(&long).unwrap();
    std::os::unix::fs::symlink("/dev/null", format!("{long}/{}", "f".repeat(200))).unwrap();
    std::os::unix::fs::symlink("/dev/null", folder.join(std::ffi::OsStr::from_bytes(b"non\xff-utf8")))
        .unwrap();
    std::fs::create_dir("x").unwrap();

    assert!(
        open_at(AT_FDCWD, &below(b"./x/../created"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o640) >= 0
    );
    assert!(open_at(AT_FDCWD, b"relative", O_RDONLY, 0) >= 0);
    let sub = open_at(AT_FDCWD, b"sub", O_RDONLY | O_DIRECTORY, 0);
    assert!(open_at(i32::try_from(sub).unwrap(), b"below", O_RDONLY, 0) >= 0);
    assert_eq!(open_at(AT_FDCWD, b"missing", O_RDONLY, 0), -1);
    assert!(open_at(AT_FDCWD, b"non\xff-utf8", O_RDONLY, 0) >= 0);
    assert!(open_at(AT_FDCWD, format!("{long}/{}", "f".repeat(200)).as_bytes(), O_RDONLY, 0) >= 0);
    assert_eq!(open_at(999, b"bad-folder", O_RDONLY, 0), -1);
    // Safety: an address that nothing is mapped at is what this is about.
    unsafe { assert_eq!(libc::syscall(libc::SYS_openat, AT_FDCWD, 8, O_RDONLY, 0), -1) };
    let relative = c"relative".as_ptr();
    let how = [u64::from(O_RDONLY.cast_unsigned()), 0, 0x04];
    // Safety: paths end with a zero byte; `how` has the size that is told. The
    // links above make the second fail, which is a row as well.
    unsafe {
        assert!(libc::syscall(libc::SYS_open, relative, O_RDWR, 0) >= 0);
        assert!(libc::syscall(libc::SYS_creat, c"made".as_ptr(), 0o755) >= 0);
        assert_eq!(libc::syscall(libc::SYS_openat2, AT_FDCWD, relative, how.as_ptr(), size_of_val(&how)), -1);
    }
}

fn connects() {
    let mut ports = String::new();
    std::fs::File::open("ports").unwrap().read_to_string(&mut ports).unwrap();
    let ports: Vec<u16> = ports.split(' ').map(|port| port.parse().unwrap()).collect();
    assert!(std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, ports[0])).is_ok());
    assert!(std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, ports[1])).is_err());
    if ports[2] != 0 {
        assert!(std::net::TcpStream::connect((Ipv6Addr::LOCALHOST, ports[2])).is_ok());
    }
    let udp = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    udp.connect((Ipv4Addr::LOCALHOST, ports[0])).unwrap();
    let folder = std::env::current_dir().unwrap();
    assert!(std::os::unix::net::UnixStream::connect(folder.join("door")).is_ok());
    assert!(std::os::unix::net::UnixStream::connect(folder.join("wall")).is_err());
    let name = [b"\0", folder.as_os_str().as_bytes()].concat();
    connect_raw(udp_less_unix().as_raw_fd(), &[&1_u16.to_ne_bytes()[..], &name].concat());
    connect_raw(999, &[2, 0, 0, 9, 127, 9, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0]);
}

fn udp_less_unix() -> std::os::fd::OwnedFd {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    socket(AddressFamily::Unix, SockType::Stream, SockFlag::empty(), None).unwrap()
}

/// A connect that must fail.
fn connect_raw(fd: i32, address: &[u8]) {
    // Safety: as many bytes as are told.
    let failed = unsafe { libc::connect(fd, address.as_ptr().cast(), u32::try_from(address.len()).unwrap()) };
    assert_eq!(failed, -1);
}

/// Moves into the cgroup that is named in a file.
fn move_into_cgroup() {
    let procs = std::fs::read_to_string("cgroup").unwrap() + "/cgroup.procs";
    std::fs::write(procs, std::process::id().to_string()).unwrap();
}

fn flood() {
    let path = CString::new("missing").unwrap();
    let address = [2_u8, 0, 0, 9, 127, 9, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0];
    // All memory is touched and the file is opened before it counts.
    move_into_cgroup();
    for _ in 0..overload::CALLS {
        // Safety: a path that ends with a zero byte, and an address of 16 bytes.
        unsafe {
            libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), libc::O_RDONLY, 0);
            libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, path.as_ptr(), 0);
            libc::syscall(libc::SYS_connect, 999, address.as_ptr(), 16);
            libc::syscall(libc::SYS_setpgid, 1, 1);
        }
    }
}

/// Opens one file after the other, four groups of them in turn, and now and then
/// one to write, on one processor.
fn reads() {
    move_into_cgroup();
    let mut one = nix::sched::CpuSet::new();
    one.set(nix::sched::sched_getcpu().unwrap()).unwrap();
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &one).unwrap();
    for number in 0..overload::READS {
        open_at(libc::AT_FDCWD, format!("no/r{}-{number}", number % 4).as_bytes(), libc::O_RDONLY, 0);
        if number % overload::READS_A_WRITE == 0 {
            open_at(libc::AT_FDCWD, format!("no/w{number}").as_bytes(), libc::O_WRONLY, 0);
        }
    }
}

/// Makes processes that end at once, for a while, and says how many.
fn storm() {
    move_into_cgroup();
    let began = std::time::Instant::now();
    let mut made = 0;
    while began.elapsed() < Duration::from_secs(2) {
        // Safety: the child ends without doing anything.
        unsafe {
            let pid = libc::fork();
            if pid == 0 {
                libc::_exit(0);
            }
            assert!(pid > 0);
            libc::waitpid(pid, std::ptr::null_mut(), 0);
        }
        made += 1;
    }
    std::fs::write("made", made.to_string()).unwrap();
}

/// Makes processes that end at once as fast as the machine can: they get no memory of
/// their own, nobody waits for their end, and every processor makes them. How many
/// there were in how many microseconds.
fn clones() {
    use libc::{CLONE_VFORK, CLONE_VM, SIGCHLD};
    extern "C" fn end(_: *mut libc::c_void) -> libc::c_int {
        0
    }
    move_into_cgroup();
    let threads = std::thread::available_parallelism().unwrap().get();
    let each = overload::CLONES / threads;
    let make = || {
        let mut stack = vec![0_u128; 4096];
        for _ in 0..each {
            // Safety: the thread does not go on before the child has ended, which has
            // this stack for itself. A child whose end nobody asks for is gone at once.
            unsafe {
                let top = stack.as_mut_ptr_range().end.cast();
                assert!(libc::clone(end, top, CLONE_VM | CLONE_VFORK | SIGCHLD, std::ptr::null_mut()) > 0);
            }
        }
    };
    // Safety: no handler, and nothing here waits for a child.
    unsafe { libc::signal(SIGCHLD, libc::SIG_IGN) };
    let began = std::time::Instant::now();
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(make))));
    std::fs::write("made", format!("{} {}", each * threads, began.elapsed().as_micros())).unwrap();
}

/// Two processes one after the other with the same pid, each opening a file of
/// its own; which rounds that worked in.
fn reuse() {
    let next = std::fs::OpenOptions::new().write(true).open("/proc/sys/kernel/ns_last_pid").unwrap();
    let mut pairs = String::new();
    for round in 0..40 {
        let names = ["first", "second"].map(|which| CString::new(format!("{which}-{round}")).unwrap());
        let free = stage::forked(|| 0).0;
        let [first, second] = names.each_ref().map(|name| {
            std::os::unix::fs::FileExt::write_at(&next, (free - 1).to_string().as_bytes(), 0).unwrap();
            stage::forked(|| stage::sys(libc::SYS_openat, &[stage::fd(libc::AT_FDCWD), stage::s(name), 0])).0
        });
        if first == second {
            pairs += &format!("{round} {first}\n");
        }
    }
    std::fs::write("pairs", pairs).unwrap();
}

fn unprivileged() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config { spool_dir: dir.path().join("spool"), ..Config::default() };
    let spool = Spool::open(&config, Metrics::default(), CancellationToken::new()).unwrap();
    let outlet = Outlet::new("n1".into(), "c1".into(), spool.sender(), Metrics::default());
    nix::unistd::setuid(nix::unistd::Uid::from_raw(65_534)).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let begin = |config: &Config| {
        let (outlet, stop) = (outlet.clone(), CancellationToken::new());
        runtime.block_on(start(
            config,
            outlet,
            Pods::default(),
            Sightings::default(),
            Metrics::default(),
            stop,
        ))
    };
    let told = begin(&config).map(|started| started.status.state);
    let missing =
        matches!(&told, Ok(SourceState::Missing { how_to_get_it, .. }) if how_to_get_it.contains("root"));
    assert!(missing, "{told:?}");
    config.syscalls.enabled = Enabled::On;
    assert!(matches!(begin(&config).err(), Some(CollectorError::Source { name: NAME, .. })));
}
