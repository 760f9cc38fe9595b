//! Who a process is, what it may do, and what it belongs to.

use serde_json::Value;

use super::super::stage::{Stage, forked, p, sys};
use super::Actor;

/// A user that no machine has.
const NEMO: u64 = 3_999_999_999;
/// To stay as it is.
const SAME: u64 = 0xffff_ffff;

pub(super) const ACTORS: &[Actor] = &[
    ("setuid", |stage| {
        changed(stage, "setuid", libc::SYS_setuid, &[65_534], &[("uid", "nobody")]);
        refused(stage, "setuid", libc::SYS_setuid, &[0], &[("uid", "root")]);
        changed(stage, "setuid", libc::SYS_setuid, &[NEMO], &[("uid", "<NA>")]);
        loses_capabilities(stage);
    }),
    ("setgid", |stage| {
        changed(stage, "setgid", libc::SYS_setgid, &[0], &[("gid", "root")]);
        refused(stage, "setgid", libc::SYS_setgid, &[0], &[("gid", "root")]);
    }),
    ("setreuid", |stage| {
        changed(
            stage,
            "setreuid",
            libc::SYS_setreuid,
            &[SAME, 65_534],
            &[("ruid", "<NONE>"), ("euid", "nobody")],
        );
        refused(stage, "setreuid", libc::SYS_setreuid, &[0, 0], &[("ruid", "root"), ("euid", "root")]);
    }),
    ("setregid", |stage| {
        changed(stage, "setregid", libc::SYS_setregid, &[SAME, 0], &[("rgid", "<NONE>"), ("egid", "root")]);
        refused(stage, "setregid", libc::SYS_setregid, &[0, 0], &[("rgid", "root"), ("egid", "root")]);
    }),
    ("setresuid", |stage| {
        let expected = &[("ruid", "<NONE>"), ("euid", "nobody"), ("suid", "root")];
        changed(stage, "setresuid", libc::SYS_setresuid, &[SAME, 65_534, 0], expected);
        let expected = &[("ruid", "root"), ("euid", "root"), ("suid", "root")];
        refused(stage, "setresuid", libc::SYS_setresuid, &[0, 0, 0], expected);
    }),
    ("setresgid", |stage| {
        let expected = &[("rgid", "<NONE>"), ("egid", "root"), ("sgid", "root")];
        changed(stage, "setresgid", libc::SYS_setresgid, &[SAME, 0, 0], expected);
        let expected = &[("rgid", "root"), ("egid", "root"), ("sgid", "root")];
        refused(stage, "setresgid", libc::SYS_setresgid, &[0, 0, 0], expected);
    }),
    ("capset", |stage| {
        let few = [0x21_u32, 0x23, 0x1, 0, 0, 0];
        let header = [0x2008_0522_u32, 0];
        let (pid, ret) = forked(|| sys(libc::SYS_capset, &[p(&header), p(&few)]));
        assert_eq!(ret, 0);
        let cells = [
            ("thread_cap_effective", "CAP_CHOWN CAP_KILL".into()),
            ("thread_cap_permitted", "CAP_CHOWN CAP_DAC_OVERRIDE CAP_KILL".into()),
            ("thread_cap_inheritable", "CAP_CHOWN".into()),
        ];
        let arguments =
            [("res", "0"), ("cap_inheritable", "1"), ("cap_permitted", "23"), ("cap_effective", "21")];
        stage.expect_of(pid, "capset", ret, &cells, &arguments);
        // More effective than permitted.
        let wrong = [0xff_u32, 0x1, 0x1, 0, 0, 0];
        let (pid, ret) = forked(|| sys(libc::SYS_capset, &[p(&header), p(&wrong)]));
        stage.expect_of(pid, "capset", ret, &[], &[("res", "EPERM")]);
    }),
    ("setsid", |stage| {
        let (pid, ret) = forked(|| sys(libc::SYS_setsid, &[]));
        assert_eq!(ret, i64::from(pid));
        let cells = [
            ("proc_is_sid_leader", Value::Bool(true)),
            ("proc_is_vpgid_leader", Value::Bool(true)),
            ("proc_sid", pid.into()),
            ("proc_vpgid", pid.into()),
            ("proc_tty", 0.into()),
        ];
        stage.expect_of(pid, "setsid", ret, &cells, &[("res", &pid.to_string())]);
        let (pid, ret) = forked(|| {
            sys(libc::SYS_setsid, &[]);
            sys(libc::SYS_setsid, &[])
        });
        stage.expect_of(pid, "setsid", ret, &[], &[("res", "EPERM")]);
    }),
    ("setpgid", |stage| {
        let (pid, ret) = forked(|| sys(libc::SYS_setpgid, &[0, 0]));
        assert_eq!(ret, 0);
        let cells = [("proc_is_vpgid_leader", Value::Bool(true)), ("proc_vpgid", pid.into())];
        stage.expect_of(pid, "setpgid", ret, &cells, &[("res", "0"), ("pid", "0"), ("pgid", "0")]);
        let ret = sys(libc::SYS_setpgid, &[1, 1]);
        stage.expect("setpgid", ret, &[], &[("res", "ESRCH"), ("pid", "1"), ("pgid", "1")]);
    }),
];

/// A call that goes through, in a process of its own.
fn changed(stage: &mut Stage, call: &str, number: libc::c_long, args: &[u64], expected: &[(&str, &str)]) {
    let (pid, ret) = forked(|| sys(number, args));
    assert_eq!(ret, 0, "{call} {args:?}");
    stage.expect_of(pid, call, ret, &[], &[&[("res", "0")], expected].concat());
}

/// The same call of somebody who may not.
fn refused(stage: &mut Stage, call: &str, number: libc::c_long, args: &[u64], expected: &[(&str, &str)]) {
    let (pid, ret) = forked(|| {
        sys(libc::SYS_setresgid, &[65_533, 65_533, 65_533]);
        sys(libc::SYS_setresuid, &[65_533, 65_533, 65_533]);
        sys(number, args)
    });
    assert_eq!(ret, -i64::from(libc::EPERM), "{call} {args:?}");
    stage.expect_of(
        pid,
        call,
        ret,
        &[("user_uid", 65_533.into())],
        &[&[("res", "EPERM")], expected].concat(),
    );
}

/// Who stops being root may do nothing more, which later rows know.
fn loses_capabilities(stage: &mut Stage) {
    let (pid, ret) = forked(|| {
        sys(libc::SYS_setuid, &[65_532]);
        sys(libc::SYS_setsid, &[])
    });
    let cells = [
        ("thread_cap_effective", Value::String(String::new())),
        ("thread_cap_permitted", Value::String(String::new())),
        ("user_uid", 65_532.into()),
    ];
    stage.expect_of(pid, "setsid", ret, &cells, &[]);
}
