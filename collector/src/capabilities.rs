//! Linux capabilities: names, sets, and what /proc tells of them. Pure.

use std::fmt;

/// A set of capabilities, one bit each, as the kernel writes it in /proc/PID/status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities(u64);

/// Names by bit, from `include/uapi/linux/capability.h`, without `CAP_`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

// === impl Capabilities ===

impl Capabilities {
    /// Write, read and search files of anybody.
    pub const DAC_OVERRIDE: Self = Self(1 << 1);
    /// Read and search files of anybody.
    pub const DAC_READ_SEARCH: Self = Self(1 << 2);
    /// Listen below port 1024.
    pub const NET_BIND_SERVICE: Self = Self(1 << 10);
    /// Attach programs to what cgroups send and receive.
    pub const NET_ADMIN: Self = Self(1 << 12);
    /// See executables, folders and descriptors of other processes.
    pub const SYS_PTRACE: Self = Self(1 << 19);
    /// Mount; and everything that has no capability of its own.
    pub const SYS_ADMIN: Self = Self(1 << 21);
    /// Lock more memory than the limit, which maps needed before Linux 5.11.
    pub const SYS_RESOURCE: Self = Self(1 << 24);
    /// Let kernel programs read the kernel's memory.
    pub const PERFMON: Self = Self(1 << 38);
    /// Load kernel programs.
    pub const BPF: Self = Self(1 << 39);
    /// None.
    pub const NONE: Self = Self(0);
    /// How many bits have a name here.
    pub const COUNT: u32 = NAMES.len() as u32;

    /// One line of a /proc/PID/status, e.g. `CapEff`; none if it is not there.
    pub fn of_status(status: &str, line: &str) -> Option<Self> {
        let found = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'))?;
        u64::from_str_radix(found.trim(), 16).ok().map(Self)
    }

    /// What this thread may use now; none where /proc is not mounted.
    pub fn effective() -> Self {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        Self::of_status(&status, "CapEff").unwrap_or_default()
    }

    /// From the kernel's number.
    pub(crate) fn of_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// As the kernel's number.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Whether all of these are in it.
    pub fn has(self, these: Self) -> bool {
        self.0 & these.0 == these.0
    }

    /// Whether programs may be loaded, in the new way or the old.
    pub fn may_load(self) -> bool {
        self.has(Self::SYS_ADMIN) || self.has(Self::BPF.and(Self::PERFMON))
    }

    /// Those of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are in both.
    #[must_use]
    pub const fn within(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many there are.
    pub fn count(self) -> u32 {
        self.0.count_ones()
    }
}

/// `BPF, PERFMON`; `none` for none. Bits of a newer kernel are numbers.
impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for bit in (0..u64::BITS).filter(|bit| self.0 >> bit & 1 == 1) {
            match NAMES.get(bit as usize) {
                Some(name) => write!(f, "{separator}{name}")?,
                None => write!(f, "{separator}{bit}")?,
            }
            separator = ", ";
        }
        f.write_str(if separator.is_empty() { "none" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_status_is_read_by_line() {
        let status = "Name:\tx\nCapPrm:\tffffffffffffffff\nCapEff:\t000000c000000000\n";
        let effective = Capabilities::of_status(status, "CapEff").unwrap();
        assert_eq!(effective.to_string(), "PERFMON, BPF");
        assert!(effective.may_load() && !effective.has(Capabilities::SYS_PTRACE));
        assert_eq!(Capabilities::of_status(status, "CapBnd"), None);
        assert_eq!(Capabilities::of_status("CapEff:\twhat\n", "CapEff"), None);
        assert_eq!(Capabilities::NONE.to_string(), "none");
        assert_eq!(Capabilities(1 << 63 | 1).to_string(), "CHOWN, 63");
    }

    #[test]
    fn loading_takes_both_or_the_old_one() {
        assert!(Capabilities::SYS_ADMIN.may_load());
        assert!(!Capabilities::BPF.may_load() && !Capabilities::PERFMON.may_load());
    }

    proptest! {
        #[test]
        fn sets_are_sets(a: u64, b: u64) {
            let (a, b) = (Capabilities(a), Capabilities(b));
            prop_assert!(a.and(b).has(a) && a.and(b).has(b));
            prop_assert!(a.has(a.within(b)) && b.has(a.within(b)));
            prop_assert_eq!(a.within(b).count() + a.and(b).count(), a.count() + b.count());
        }
    }
}
