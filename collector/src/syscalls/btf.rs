//! Where members lie in the running kernel's structures, from its BTF. Pure.
//!
//! Format: `Documentation/bpf/btf.rst` of the kernel. Only what is needed to
//! find a member's offset is read; whatever does not add up gives `None`.

use std::collections::HashMap;

const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_FUNC: u32 = 12;
/// Typedef, volatile, const, restrict, type tag: each refers to another type.
const REFERRING: [u32; 5] = [8, 9, 10, 11, 18];
/// Instead of a member: the structure's size.
pub(super) const SIZE: &str = "#size";
/// Anonymous structures and qualifiers followed before it is called damaged.
const MAX_DEPTH: usize = 16;

/// The structures of one kernel that were asked for.
pub(super) struct Btf<'a> {
    bytes: &'a [u8],
    /// Where each type begins; a type's id is its index.
    types: Vec<u32>,
    strings: usize,
    structs: HashMap<&'a [u8], u32>,
}

// === impl Btf ===

impl<'a> Btf<'a> {
    /// Reads the table of types, remembering structures named in `wanted`.
    pub(super) fn parse(bytes: &'a [u8], wanted: &[&str]) -> Option<Self> {
        if u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?) != MAGIC {
            return None;
        }
        let field = |at: usize| u32_at(bytes, at).map(|value| value as usize);
        let header = field(4)?;
        let (types_at, types_len, strings_at) = (field(8)?, field(12)?, field(16)?);
        let strings = header.checked_add(strings_at)?;
        let mut at = header.checked_add(types_at)?;
        let end = at.checked_add(types_len)?;
        let mut btf = Self { bytes, types: vec![0], strings, structs: HashMap::new() };
        while at < end {
            let info = u32_at(bytes, at + 4)?;
            if matches!(kind(info), KIND_STRUCT | KIND_UNION) {
                let name = btf.name(at)?;
                if wanted.iter().any(|wanted| wanted.as_bytes() == name) {
                    let id = u32::try_from(btf.types.len()).ok()?;
                    btf.structs.entry(name).or_insert(id);
                }
            }
            btf.types.push(u32::try_from(at).ok()?);
            at = at.checked_add(12)?.checked_add(tail(info)?)?;
        }
        Some(btf)
    }

    /// The value of an enumerator, found by its name in any enumeration of up to
    /// 32 bits.
    pub(super) fn enumerator(&self, name: &str) -> Option<u32> {
        self.types.iter().skip(1).find_map(|at| {
            let at = *at as usize;
            let info = u32_at(self.bytes, at + 4)?;
            if kind(info) != KIND_ENUM {
                return None;
            }
            (0..(info & 0xffff) as usize).map(|index| at + 12 + 8 * index).find_map(|value| {
                (self.name(value)? == name.as_bytes()).then(|| u32_at(self.bytes, value + 4))?
            })
        })
    }

    /// The number of a structure that was asked for.
    pub(super) fn structure(&self, name: &str) -> Option<u32> {
        self.structs.get(name.as_bytes()).copied()
    }

    /// The number of a function.
    pub(super) fn function(&self, name: &str) -> Option<u32> {
        let is_it = |at: &u32| {
            let at = *at as usize;
            u32_at(self.bytes, at + 4).is_some_and(|info| kind(info) == KIND_FUNC)
                && self.name(at) == Some(name.as_bytes())
        };
        let id = self.types.iter().skip(1).position(is_it)?;
        u32::try_from(id + 1).ok()
    }

    /// Bytes from the structure's begin to the member; `path` names a member, or
    /// a member of a member with a dot between.
    pub(super) fn offset(&self, structure: &str, path: &str) -> Option<u32> {
        let mut id = *self.structs.get(structure.as_bytes())?;
        if path == SIZE {
            let at = *self.types.get(id as usize)? as usize;
            return u32_at(self.bytes, at + 8);
        }
        let mut offset = 0;
        for name in path.split('.') {
            let (at, of) = self.member(id, name.as_bytes(), MAX_DEPTH)?;
            offset += at;
            id = of;
        }
        Some(offset)
    }

    /// The member's offset and type; members of anonymous ones count as own.
    fn member(&self, id: u32, name: &[u8], depth: usize) -> Option<(u32, u32)> {
        let at = *self.types.get(self.resolve(id)? as usize)? as usize;
        let info = u32_at(self.bytes, at + 4)?;
        if depth == 0 || !matches!(kind(info), KIND_STRUCT | KIND_UNION) {
            return None;
        }
        // With this bit an offset's upper byte is a bitfield's size.
        let has_bitfields = info >> 31 == 1;
        for index in 0..(info & 0xffff) as usize {
            let member = at + 12 + 12 * index;
            let bits = u32_at(self.bytes, member + 8)?;
            let offset = if has_bitfields { bits & 0xff_ffff } else { bits } / 8;
            let of = u32_at(self.bytes, member + 4)?;
            let called = self.name(member)?;
            if called == name {
                return Some((offset, of));
            }
            if called.is_empty()
                && let Some((inner, of)) = self.member(of, name, depth - 1)
            {
                return Some((offset + inner, of));
            }
        }
        None
    }

    /// Follows typedefs and qualifiers.
    fn resolve(&self, mut id: u32) -> Option<u32> {
        for _ in 0..MAX_DEPTH {
            let at = *self.types.get(id as usize)? as usize;
            if !REFERRING.contains(&kind(u32_at(self.bytes, at + 4)?)) {
                return Some(id);
            }
            id = u32_at(self.bytes, at + 8)?;
        }
        None
    }

    /// The name of what begins at `at` with an offset into the strings.
    fn name(&self, at: usize) -> Option<&'a [u8]> {
        let text = self.bytes.get(self.strings.checked_add(u32_at(self.bytes, at)? as usize)?..)?;
        text.split(|byte| *byte == 0).next()
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn kind(info: u32) -> u32 {
    (info >> 24) & 0x1f
}

/// Bytes that follow a type's first 12.
fn tail(info: u32) -> Option<usize> {
    let members = (info & 0xffff) as usize;
    Some(match kind(info) {
        1 | 14 | 17 => 4,
        3 => 12,
        KIND_STRUCT | KIND_UNION | 15 | 19 => members * 12,
        KIND_ENUM | 13 => members * 8,
        2 | 7..=12 | 16 | 18 => 0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn this_kernels_members_are_found() {
        let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else {
            println!("skipped: this kernel has no BTF");
            assert!(std::env::var_os("BAILIWICK_REQUIRE_KERNEL").is_none());
            return;
        };
        let btf = Btf::parse(&bytes, &["task_struct", "sock", "list_head"]).unwrap();
        assert_eq!(btf.offset("list_head", "next"), Some(0));
        assert_eq!(btf.offset("list_head", "prev"), Some(8));
        assert!(btf.offset("task_struct", "tgid") > btf.offset("task_struct", "pid"));
        assert!(btf.offset("sock", "__sk_common.skc_family").is_some());
        assert_eq!(btf.offset("task_struct", "no_such_member"), None);
        assert_eq!(btf.offset("no_such_struct", "pid"), None);
        // A value that is part of what programs are built against.
        assert_eq!(btf.enumerator("BPF_MAP_TYPE_RINGBUF"), Some(27));
        assert_eq!(btf.enumerator("no_such_enumerator"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Some(start) = bytes.get_mut(..2) {
                start.copy_from_slice(&MAGIC.to_ne_bytes());
            }
            if let Some(header) = bytes.get_mut(4..8) {
                header.copy_from_slice(&24_u32.to_ne_bytes());
            }
            if let Some(btf) = Btf::parse(&bytes, &["", "a"]) {
                btf.offset("", "a.b");
                btf.offset("a", "");
                btf.enumerator("");
            }
        }
    }
}
