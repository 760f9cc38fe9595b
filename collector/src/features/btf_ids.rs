//! Numbers of types in a kernel's BTF, by kind and name, which a program names
//! its place with. Pure; whatever does not add up gives nothing.
//!
//! Format: `Documentation/bpf/btf.rst` of the kernel.

use std::collections::HashMap;

const MAGIC: u16 = 0xeb9f;
/// A typedef, e.g. of a tracepoint's function.
pub(super) const TYPEDEF: u32 = 8;
/// A function.
pub(super) const FUNCTION: u32 = 12;

/// A kind and a name.
pub(super) type Wanted = (u32, &'static str);

/// The number of each that is there.
pub(super) fn find(btf: &[u8], wanted: &[Wanted]) -> HashMap<Wanted, u32> {
    let mut found = HashMap::new();
    if btf.get(..2) != Some(&MAGIC.to_ne_bytes()) {
        return found;
    }
    let part = |at: usize, length: usize| {
        let header = word(btf, 4)? as usize;
        let begin = header.checked_add(word(btf, at)? as usize)?;
        btf.get(begin..begin.checked_add(word(btf, length)? as usize)?)
    };
    let (Some(types), Some(strings)) = (part(8, 12), part(16, 20)) else { return found };
    let mut at = 0;
    // Number 0 is `void`, which is not written down.
    let mut id = 1;
    while let (Some(name), Some(info)) = (word(types, at), word(types, at + 4)) {
        let kind = (info >> 24) & 0x1f;
        if matches!(kind, TYPEDEF | FUNCTION) {
            for one in wanted.iter().filter(|one| one.0 == kind && is_named(strings, name, one.1)) {
                found.entry(*one).or_insert(id);
            }
        }
        let Some(tail) = tail(kind, (info & 0xffff) as usize) else { break };
        at += 12 + tail;
        id += 1;
    }
    found
}

/// Whether the string that begins there is this one.
fn is_named(strings: &[u8], at: u32, name: &str) -> bool {
    let text = strings.get(at as usize..).unwrap_or_default();
    text.get(..name.len()) == Some(name.as_bytes()) && text.get(name.len()) == Some(&0)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// Bytes that follow the first twelve of a type with so many members.
fn tail(kind: u32, members: usize) -> Option<usize> {
    Some(match kind {
        1 | 14 | 17 => 4,
        3 => 12,
        4 | 5 | 15 | 19 => members * 12,
        6 | 13 => members * 8,
        2 | 7..=12 | 16 | 18 => 0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn this_kernels_types_are_found() {
        let Ok(btf) = std::fs::read("/sys/kernel/btf/vmlinux") else {
            println!("skipped: this kernel has no BTF");
            assert!(std::env::var_os("BAILIWICK_REQUIRE_KERNEL").is_none());
            return;
        };
        let wanted = [(TYPEDEF, "btf_trace_sys_exit"), (FUNCTION, "do_exit"), (TYPEDEF, "no_such_type")];
        let found = find(&btf, &wanted);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_ne!(found[&wanted[0]], found[&wanted[1]]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 24..400)) {
            bytes[..2].copy_from_slice(&MAGIC.to_ne_bytes());
            bytes[4..8].copy_from_slice(&24_u32.to_ne_bytes());
            find(&bytes, &[(TYPEDEF, ""), (FUNCTION, "a")]);
        }
    }
}
