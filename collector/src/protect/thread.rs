//! The calls that change what a thread may do. See capabilities(7), prctl(2).

#![allow(unsafe_code)]

use std::io;

use crate::capabilities::Capabilities;

/// `_LINUX_CAPABILITY_VERSION_3`: sets of two words.
const VERSION: u32 = 0x2008_0522;
const PR_CAP_AMBIENT: libc::c_int = 47;
const PR_CAP_AMBIENT_CLEAR_ALL: libc::c_ulong = 4;

#[repr(C)]
struct Target {
    version: u32,
    /// 0 for the calling thread.
    pid: i32,
}

/// One word of each set.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Words {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Programs started from here get no more than their starter has, and the
/// process's memory is root's alone.
pub(super) fn forbid_more() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)?;
    prctl(libc::PR_SET_DUMPABLE, 0)
}

/// What this thread could make effective.
pub(super) fn permitted() -> io::Result<Capabilities> {
    let mut words = [Words::default(); 2];
    let target = Target { version: VERSION, pid: 0 };
    // Safety: two words are what this version writes.
    let failed = unsafe { libc::syscall(libc::SYS_capget, &raw const target, words.as_mut_ptr()) };
    checked(failed)?;
    let [low, high] = words.map(|words| u64::from(words.permitted));
    Ok(Capabilities::of_bits(low | high << 32))
}

/// Gives up everything but these, in every set; answers those of them that were held.
pub(super) fn keep(these: Capabilities) -> io::Result<Capabilities> {
    let kept = these.within(permitted()?);
    bound_to(kept);
    prctl_ambient_none()?;
    let [low, high] = [kept.bits(), kept.bits() >> 32].map(|bits| (bits & 0xffff_ffff) as u32);
    let word = |bits| Words { effective: bits, permitted: bits, inheritable: 0 };
    let (target, words) = (Target { version: VERSION, pid: 0 }, [word(low), word(high)]);
    // Safety: two words are what this version reads.
    checked(unsafe { libc::syscall(libc::SYS_capset, &raw const target, words.as_ptr()) })?;
    Ok(kept)
}

/// Takes what is not kept from programs that root would start. Without `SETPCAP`
/// it cannot, as in a pod, whose runtime has bounded it already.
fn bound_to(kept: Capabilities) {
    for bit in (0..u64::BITS).filter(|bit| kept.bits() >> bit & 1 == 0) {
        if prctl(libc::PR_CAPBSET_DROP, bit.into()).is_err() {
            return;
        }
    }
}

fn prctl_ambient_none() -> io::Result<()> {
    // Safety: numbers only.
    let failed = unsafe {
        libc::prctl(
            PR_CAP_AMBIENT,
            PR_CAP_AMBIENT_CLEAR_ALL,
            0 as libc::c_ulong,
            0 as libc::c_ulong,
            0 as libc::c_ulong,
        )
    };
    checked(failed.into())
}

fn prctl(option: libc::c_int, value: libc::c_ulong) -> io::Result<()> {
    let none: libc::c_ulong = 0;
    // Safety: numbers only.
    checked(unsafe { libc::prctl(option, value, none, none, none) }.into())
}

fn checked(answer: libc::c_long) -> io::Result<()> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
