//! Rows of processes that start, make others, and end.

use bailiwick_collector_ebpf::flag;

use super::{Common, Rows, loginuid, with_slash};
use crate::syscalls::decode::{Exec, Exit};
use crate::syscalls::{paths, walk};

// === impl Rows ===

impl Rows {
    /// A program start.
    pub(in crate::syscalls) fn exec(&mut self, common: &Common<'_>, exec: &Exec<'_>) {
        let is_cut =
            common.header.flags & flag::TRUNCATED != 0 || [exec.exe, exec.cwd].into_iter().any(walk::is_cut);
        self.columns.boolean(self.at.evt_truncated, is_cut.then_some(true));
        self.common(common, "execve", Some(0), 1);
        let (columns, at) = (&mut self.columns, &self.at);
        let (header, process) = (common.header, common.process);
        let program = process.program_at(header.boot_ns);
        let facts = [
            (program.is_writable == Some(true), "EXE_WRITABLE"),
            (program.is_upper_layer == Some(true), "EXE_UPPER_LAYER"),
            (program.is_from_memfd, "EXE_FROM_MEMFD"),
        ];
        let facts: Vec<_> = facts.into_iter().filter(|(is, _)| *is).map(|(_, name)| name).collect();
        let arguments = [
            ("res", "0".into()),
            ("exe", program.exe.clone()),
            ("args", program.args.clone()),
            ("tid", header.tid.to_string()),
            ("pid", header.pid.to_string()),
            ("ptid", header.ppid.to_string()),
            ("cwd", with_slash(process.cwd_at(header.boot_ns).unwrap_or_default())),
            ("comm", program.name.clone()),
            ("tty", process.tty.to_string()),
            ("vpgid", process.vpgid.to_string()),
            ("loginuid", loginuid(header).to_string()),
            ("flags", facts.join("|")),
            ("uid", header.uid.to_string()),
            ("trusted_exepath", program.exepath.clone()),
            ("pgid", process.pgid.to_string()),
            ("gid", header.gid.to_string()),
            ("filename", paths::text(exec.filename).into_owned()),
        ];
        columns.pairs(at.evt_arg, arguments);
        if let Some(environment) = &program.environment {
            columns.texts(at.proc_env, environment);
        }
        columns.end_row();
    }

    /// A process creation, seen from the parent.
    pub(in crate::syscalls) fn fork(&mut self, common: &Common<'_>, child_pid: u32, child_vpid: u32) {
        self.common(common, "clone", Some(child_pid.into()), 1);
        let arguments = [("res", child_pid.to_string()), ("vtid", child_vpid.to_string())];
        self.columns.pairs(self.at.evt_arg, arguments);
        self.columns.end_row();
    }

    /// A process's end.
    pub(in crate::syscalls) fn exit(&mut self, common: &Common<'_>, exit: Exit) {
        self.common(common, "procexit", None, 1);
        let (signal, code) = (exit.status & 0x7f, exit.status >> 8 & 0xff);
        let result = if signal == 0 { code } else { 128 + signal };
        let (columns, at) = (&mut self.columns, &self.at);
        columns.int(at.proc_exit_code, Some(result.into()));
        let arguments = [
            ("status", exit.status.to_string()),
            ("ret", code.to_string()),
            ("sig", signal.to_string()),
            ("core", (exit.status & 0x80 != 0).to_string()),
        ];
        columns.pairs(at.evt_arg, arguments);
        columns.end_row();
    }
}
