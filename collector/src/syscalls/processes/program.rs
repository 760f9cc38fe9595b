//! One program run by a process.

use bailiwick_collector_ebpf::{File, Header, flag};

use crate::syscalls::decode::Exec;
use crate::syscalls::proc_fs::Found;
use crate::syscalls::{paths, walk};

/// The most bytes of arguments of which a line is made.
const ARGS_MAX: usize = 32 << 10;
const S_IWUSR: u32 = 0o200;
const S_IWGRP: u32 = 0o020;
const S_IWOTH: u32 = 0o002;

/// A program as it was when it started.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::syscalls) struct Program {
    pub(in crate::syscalls) name: String,
    /// `argv[0]`.
    pub(in crate::syscalls) exe: String,
    pub(in crate::syscalls) exepath: String,
    /// The arguments after `argv[0]`, joined by spaces.
    pub(in crate::syscalls) args: String,
    pub(in crate::syscalls) cmdline: String,
    pub(in crate::syscalls) environment: Option<Vec<String>>,
    pub(in crate::syscalls) is_writable: Option<bool>,
    pub(in crate::syscalls) is_upper_layer: Option<bool>,
    pub(in crate::syscalls) is_from_memfd: bool,
    /// The executable's inode; 0 if unknown.
    pub(in crate::syscalls) exe_ino: u64,
    /// When its inode and its content were changed, nanoseconds since 1970; 0 if unknown.
    pub(in crate::syscalls) exe_ctime_ns: u64,
    pub(in crate::syscalls) exe_mtime_ns: u64,
    /// Where it was started outside of any container: its mount namespace then.
    /// `None` once a container's program was started, and where it is not known.
    pub(in crate::syscalls) outside_mnt_ns: Option<u32>,
}

/// The executable and who may write it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::syscalls) struct Executable {
    pub(in crate::syscalls) file: File,
    pub(in crate::syscalls) uid: u32,
    pub(in crate::syscalls) gid: u32,
    pub(in crate::syscalls) ctime_ns: u64,
    pub(in crate::syscalls) mtime_ns: u64,
}

// === impl Program ===

impl Program {
    /// From arguments that each end with a zero byte, and a path for a program
    /// that has none.
    pub(in crate::syscalls) fn new(name: &str, args: &[u8], exepath: String) -> Self {
        let args = args.get(..ARGS_MAX).unwrap_or(args);
        let args = args.strip_suffix(b"\0").unwrap_or(args);
        let mut parts = args.splitn(2, |byte| *byte == 0);
        let exe = parts.next().filter(|exe| !exe.is_empty()).map(|exe| paths::text(exe).into_owned());
        let rest: Vec<u8> = parts
            .next()
            .unwrap_or_default()
            .iter()
            .map(|byte| if *byte == 0 { b' ' } else { *byte })
            .collect();
        let args = paths::text(&rest).into_owned();
        let cmdline = if args.is_empty() { name.to_owned() } else { format!("{name} {args}") };
        let exe = exe.unwrap_or_else(|| if exepath.is_empty() { name.to_owned() } else { exepath.clone() });
        let is_from_memfd = exepath.starts_with("memfd:") || exepath.starts_with("/memfd:");
        Self { name: name.to_owned(), exe, exepath, args, cmdline, is_from_memfd, ..Self::default() }
    }

    /// From the record of its start.
    pub(in crate::syscalls) fn started(header: &Header, name: &str, exec: &Exec<'_>) -> Self {
        let unlinked = header.flags & flag::UNLINKED != 0;
        let loaded = if exec.interp.is_empty() { exec.filename } else { exec.interp };
        let exepath = match exec.exe {
            [] => paths::text(loaded).into_owned(),
            walked => walk::path(walked),
        };
        let mut program = Self::new(name, exec.args, exepath);
        // A file of that name may lie in any folder.
        program.is_from_memfd = unlinked && exec.exe.starts_with(b"memfd:");
        program.is_upper_layer =
            (header.flags & flag::LAYER_KNOWN != 0).then_some(header.flags & flag::UPPER_LAYER != 0);
        if !exec.environment.is_empty() {
            let variables = exec.environment.split(|byte| *byte == 0).filter(|variable| !variable.is_empty());
            program.environment =
                Some(variables.map(|variable| paths::text(variable).into_owned()).collect());
        }
        let executable = Executable {
            file: exec.file,
            uid: exec.exe_uid,
            gid: exec.exe_gid,
            ctime_ns: exec.exe_ctime_ns,
            mtime_ns: exec.exe_mtime_ns,
        };
        program.runs(&executable, header.uid, header.gid);
        program
    }

    /// From /proc.
    pub(in crate::syscalls) fn found(found: &Found) -> Self {
        let mut program = Self::new(&found.name, &found.args, found.exepath.clone().unwrap_or_default());
        if let Some(executable) = &found.executable {
            program.runs(executable, found.uid, found.gid);
        }
        program
    }

    fn runs(&mut self, executable: &Executable, uid: u32, gid: u32) {
        let Executable { file, ctime_ns, mtime_ns, .. } = *executable;
        if file.ino == 0 {
            return;
        }
        self.is_writable = Some(may_write(executable, uid, gid));
        (self.exe_ino, self.exe_ctime_ns, self.exe_mtime_ns) = (file.ino, ctime_ns, mtime_ns);
    }
}

/// Whether this user may write the file, by its permission bits.
fn may_write(executable: &Executable, uid: u32, gid: u32) -> bool {
    let mode = executable.file.mode;
    match uid {
        0 => true,
        uid if uid == executable.uid => mode & S_IWUSR != 0,
        _ if gid == executable.gid => mode & S_IWGRP != 0,
        _ => mode & S_IWOTH != 0,
    }
}
