//! How Falco writes a number, a path, a descriptor. One method an argument, so
//! that a call reads as the list of its arguments.

use std::fmt::Display;

use bailiwick_collector_ebpf::{Capabilities, flag, text};

use super::super::opening::{self, Opening};
use super::super::{decode, descriptors, flags, paths};
use super::names::{self, Bits};
use super::{Names, Pairs, sockets};
use crate::users::NO_NAME;

const AT_FDCWD: i32 = -100;
/// What Falco writes for a text that could not be read.
const NOT_READ: &str = "<NA>";
/// A user or group that is to stay as it is (-1).
const NOBODY: &str = "<NONE>";
const S_IFMT: u32 = 0o170_000;

/// The arguments of one call, as far as they are written.
pub(super) struct Arguments<'a> {
    pub(super) call: &'a decode::Call<'a>,
    flags: u16,
    names: &'a Names<'a>,
    pub(super) pairs: Pairs,
}

// === impl Arguments ===

impl<'a> Arguments<'a> {
    pub(super) fn new(call: &'a decode::Call<'a>, flags: u16, names: &'a Names<'a>, room: Pairs) -> Self {
        Self { call, flags, names, pairs: room.cleared() }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl AsRef<str>) -> Self {
        self.pairs.text(name, value.as_ref());
        self
    }

    fn shown(mut self, name: &'static str, value: impl Display) -> Self {
        self.pairs.shown(name, value);
        self
    }

    fn put(mut self, name: &'static str, write: impl FnOnce(&mut String)) -> Self {
        self.pairs.write(name, write);
        self
    }

    /// What the call returned: a number, or an error's name.
    pub(super) fn res(self) -> Self {
        self.made("res")
    }

    /// What the call returned, as nothing but a number.
    pub(super) fn res_number(self) -> Self {
        let ret = self.call.ret;
        self.shown("res", ret)
    }

    /// A descriptor that the call made and that nothing is known of.
    pub(super) fn made(self, name: &'static str) -> Self {
        let ret = self.call.ret;
        if ret < 0 { self.with(name, flags::result(ret)) } else { self.shown(name, ret) }
    }

    /// A descriptor that the call made, of this kind and name.
    pub(super) fn made_as(self, name: &'static str, letter: &str, of: &str) -> Self {
        let ret = self.call.ret;
        if ret < 0 {
            return self.with(name, flags::result(ret));
        }
        self.shown(name, format_args!("<{letter}>{of}"))
    }

    /// The descriptor of a file that was opened.
    pub(super) fn opened(self) -> Self {
        let kind = if self.opening().is_of_folders() { descriptors::DIRECTORY } else { descriptors::FILE };
        let name = self.names.path.or(self.names.target).unwrap_or_default();
        self.made_as("fd", kind.1, name)
    }

    /// The descriptor that the call returned, which stands for its file.
    pub(super) fn duplicate(self) -> Self {
        let ret = self.call.ret;
        if ret < 0 { self.with("res", flags::result(ret)) } else { self.target_or("res", ret) }
    }

    /// The descriptor in this argument, which stands for the call's file.
    pub(super) fn file(self, name: &'static str, at: usize) -> Self {
        let number = i64::from(self.int(at));
        if number < 0 { self.shown(name, number) } else { self.target_or(name, number) }
    }

    /// A descriptor that, if the call went through, stands for the same file as
    /// the one that it returned.
    pub(super) fn copied(self, name: &'static str, at: usize) -> Self {
        if self.call.ret < 0 { self.fd(name, at) } else { self.file(name, at) }
    }

    /// A descriptor of which only the number is known.
    pub(super) fn fd(self, name: &'static str, at: usize) -> Self {
        self.decimal(name, at)
    }

    /// The descriptor of the first path's folder.
    pub(super) fn dirfd(self, name: &'static str, at: usize) -> Self {
        let by_folder = self.flags & flag::BY_FOLDER != 0;
        let folder = self.names.folder.filter(|_| by_folder);
        self.folder(name, at, folder)
    }

    /// The descriptor of the second path's folder.
    pub(super) fn dirfd2(self, name: &'static str, at: usize) -> Self {
        let by_folder = self.flags & flag::BY_FOLDER2 != 0;
        let folder = self.names.folder2.filter(|_| by_folder);
        self.folder(name, at, folder)
    }

    fn folder(self, name: &'static str, at: usize, folder: Option<&str>) -> Self {
        let number = self.int(at);
        match folder {
            _ if number == AT_FDCWD => self.with(name, "AT_FDCWD"),
            // What cannot be found out is not open, or not a folder.
            Some(folder) if folder != paths::UNKNOWN => self.shown(name, format_args!("<d>{folder}")),
            _ => self.shown(name, number),
        }
    }

    /// The first path; a relative one is made absolute.
    pub(super) fn path(self, name: &'static str) -> Self {
        let text = path(self.names.raw, self.names.path);
        self.with(name, text)
    }

    /// The second path, likewise.
    pub(super) fn path2(self, name: &'static str) -> Self {
        let text = path(self.names.raw2, self.names.path2);
        self.with(name, text)
    }

    /// The first path as it was given.
    pub(super) fn raw(self, name: &'static str) -> Self {
        let text = self.names.raw.unwrap_or(NOT_READ);
        self.with(name, text)
    }

    /// The second path, which is no path but a word.
    pub(super) fn raw2(self, name: &'static str) -> Self {
        let text = self.names.raw2.unwrap_or(NOT_READ);
        self.with(name, text)
    }

    /// The path of the file behind the descriptor.
    pub(super) fn target(self, name: &'static str) -> Self {
        let text = self.names.target.unwrap_or(NOT_READ);
        self.with(name, text)
    }

    /// The further text. One that is not there was empty or not readable.
    pub(super) fn extra(self, name: &'static str) -> Self {
        let text = self.extra_text();
        self.with(name, text)
    }

    pub(super) fn extra_text(&self) -> String {
        let bytes = self.extra_bytes();
        paths::text(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
    }

    pub(super) fn extra_bytes(&self) -> &'a [u8] {
        self.call.texts.get(text::EXTRA).copied().unwrap_or_default()
    }

    /// The `at`th number of 32 bits in the further text.
    pub(super) fn extra_u32(&self, at: usize) -> u32 {
        let bytes = self.extra_bytes().get(at.saturating_mul(4)..).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    }

    /// The `at`th number of 64 bits in the further text.
    pub(super) fn extra_u64(&self, at: usize) -> u64 {
        let bytes = self.extra_bytes().get(at.saturating_mul(8)..).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    }

    /// A signed number of 32 bits.
    pub(super) fn decimal(self, name: &'static str, at: usize) -> Self {
        let number = self.int(at);
        self.shown(name, number)
    }

    /// An unsigned number of 32 bits.
    pub(super) fn unsigned(self, name: &'static str, at: usize) -> Self {
        let number = self.int(at).cast_unsigned();
        self.shown(name, number)
    }

    /// A size.
    pub(super) fn length(self, name: &'static str, at: usize) -> Self {
        let number = self.arg(at);
        self.shown(name, number)
    }

    /// A number of 32 bits in hexadecimal, as Falco writes it.
    pub(super) fn hex(self, name: &'static str, at: usize) -> Self {
        let number = self.int(at).cast_unsigned();
        self.shown(name, format_args!("{number:X}"))
    }

    /// A number of 64 bits in hexadecimal.
    pub(super) fn address(self, name: &'static str, at: usize) -> Self {
        let number = self.arg(at);
        self.shown(name, format_args!("{number:X}"))
    }

    /// Bits that have names.
    pub(super) fn bits(self, name: &'static str, at: usize, known: Bits) -> Self {
        let text = bits(self.int(at).cast_unsigned().into(), known);
        self.with(name, text)
    }

    /// Permission bits by name.
    pub(super) fn mode(self, name: &'static str, at: usize) -> Self {
        let text = mode(self.int(at).cast_unsigned());
        self.with(name, text)
    }

    /// A user.
    pub(super) fn uid(self, name: &'static str, at: usize) -> Self {
        let number = self.int(at).cast_unsigned();
        let text = owner(number, self.names.users.map(|users| users.user(number)));
        self.with(name, text)
    }

    /// A group.
    pub(super) fn gid(self, name: &'static str, at: usize) -> Self {
        let number = self.int(at).cast_unsigned();
        let text = owner(number, self.names.users.map(|users| users.group(number)));
        self.with(name, text)
    }

    /// `O_*` bits of a call that opens.
    pub(super) fn open_flags(self) -> Self {
        let (bits, created) = (self.opening().flags, self.flags & flag::CREATED != 0);
        self.put("flags", |text| flags::put_open_flags(text, bits, created))
    }

    /// The mode of a file that is made; it counts only where one may be.
    pub(super) fn open_mode(self) -> Self {
        let opening = self.opening();
        let mode = if opening.makes() { opening.mode } else { 0 };
        self.put("mode", |text| flags::put_mode(text, u32::try_from(mode).unwrap_or_default()))
    }

    /// Where the file that was opened lies.
    pub(super) fn device_and_inode(self) -> Self {
        let file = self.call.file;
        self.shown("dev", format_args!("{:X}", descriptors::device(file.dev))).shown("ino", file.ino)
    }

    /// What the task may do since the call.
    pub(super) fn capabilities(self) -> Self {
        let caps = Capabilities {
            permitted: self.extra_u64(0),
            effective: self.extra_u64(1),
            inheritable: self.extra_u64(2),
        };
        self.with("cap_inheritable", hex(caps.inheritable))
            .with("cap_permitted", hex(caps.permitted))
            .with("cap_effective", hex(caps.effective))
    }

    /// Program and arguments of an execve that failed.
    pub(super) fn program(self) -> Self {
        let bytes = self.extra_bytes();
        let mut arguments =
            bytes.strip_suffix(b"\0").unwrap_or(bytes).split(|byte| *byte == 0).map(paths::text);
        let exe = arguments.next().unwrap_or_default().into_owned();
        let rest = arguments.collect::<Vec<_>>().join(" ");
        self.with("exe", exe).with("args", rest)
    }

    /// How the call asked for its file.
    pub(super) fn opening(&self) -> Opening {
        opening::of(self.call).unwrap_or_default()
    }

    /// `<f>/path` of the call's file, else the descriptor's number.
    fn target_or(self, name: &'static str, number: i64) -> Self {
        if let Some(socket) = self.names.socket {
            return self.put(name, |text| sockets::put_descriptor(text, number, &socket));
        }
        match self.names.target {
            Some(target) => {
                let kind = descriptors::kind(&self.call.file, Some(target));
                self.shown(name, format_args!("<{}>{target}", kind.map_or("", |kind| kind.1)))
            }
            None => self.shown(name, number),
        }
    }

    pub(super) fn arg(&self, at: usize) -> u64 {
        self.call.args.get(at).copied().unwrap_or(0)
    }

    /// The lower half of an argument: the upper half of a number of 32 bits is
    /// whatever was left in the register.
    fn low(&self, at: usize) -> u64 {
        self.arg(at) & u64::from(u32::MAX)
    }

    pub(super) fn int(&self, at: usize) -> i32 {
        u32::try_from(self.low(at)).unwrap_or_default().cast_signed()
    }
}

/// Upper case and without a prefix, as Falco writes it.
pub(super) fn hex(number: u64) -> String {
    format!("{number:X}")
}

/// Names of the bits that are set, joined by `|`; the number where none has one.
/// Of names that share bits, the first takes them.
pub(super) fn bits(number: u64, known: Bits) -> String {
    let mut text = String::new();
    let mut rest = number;
    for (bits, name) in known {
        let is_set = if *bits == 0 { number == 0 } else { rest & bits == *bits };
        if is_set {
            rest &= !bits;
            if !text.is_empty() {
                text.push('|');
            }
            text.push_str(name);
        }
    }
    if text.is_empty() { number.to_string() } else { text }
}

/// All names of a number, joined by `|`; the number where it has none.
pub(super) fn choice(number: u64, known: Bits) -> String {
    let names: Vec<_> = known.iter().filter(|(value, _)| *value == number).map(|(_, name)| *name).collect();
    if names.is_empty() { number.to_string() } else { names.join("|") }
}

/// Permission bits, then the kind of file if there is one.
pub(super) fn mode(number: u32) -> String {
    let permissions = u64::from(number & !S_IFMT);
    let kind = names::KINDS.iter().find(|(kind, _)| *kind != 0 && *kind == u64::from(number & S_IFMT));
    match (bits(permissions, names::PERMISSIONS), kind) {
        (text, None) if number & S_IFMT == 0 => text,
        (_, None) => flags::mode(number),
        (_, Some((_, kind))) if permissions == 0 => (*kind).to_owned(),
        (text, Some((_, kind))) => format!("{text}|{kind}"),
    }
}

fn owner(number: u32, name: Option<&str>) -> &str {
    match name {
        _ if number == u32::MAX => NOBODY,
        Some(name) => name,
        None => NO_NAME,
    }
}

/// Falco names a relative path by where it leads and an absolute one as given.
fn path<'a>(raw: Option<&'a str>, absolute: Option<&'a str>) -> &'a str {
    match (raw, absolute) {
        (Some(raw), _) if raw.is_empty() || raw.starts_with('/') => raw,
        (Some(raw), None) => raw,
        (_, Some(absolute)) => absolute,
        (None, None) => NOT_READ,
    }
}
