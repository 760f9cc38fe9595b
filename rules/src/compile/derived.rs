//! Fields that no column holds as such: what Falco works out from others.

use arrow::array::{Array, AsArray, BooleanArray, Int64Array, ListArray, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;

use super::column::{Column, list, pair_columns, share, text_column, texts, times};
use crate::fields::{Access, DevicePart, MountPart, PathOf};
use crate::pattern::Glob;

/// How many characters of a container's id Falco shows.
const SHORT_ID: usize = 12;
const NS_PER_S: i64 = 1_000_000_000;

/// Calls of which each path's argument is known, `*` for the descriptor's own name.
type Paths = &'static [(&'static str, &'static str)];

const NAME: Paths = &[
    ("open", "name"),
    ("openat", "name"),
    ("openat2", "name"),
    ("mkdir", "path"),
    ("mkdirat", "path"),
    ("rmdir", "path"),
    ("unlink", "path"),
    ("unlinkat", "name"),
    ("chmod", "filename"),
    ("fchmodat", "filename"),
    ("fchmod", "*"),
    ("chown", "path"),
    ("lchown", "path"),
    ("fchown", "*"),
    ("fchownat", "pathname"),
    ("quotactl", "special"),
    ("umount", "name"),
    ("umount2", "name"),
];
/// A link's new name counts as its source.
const SOURCE: Paths = &[
    ("rename", "oldpath"),
    ("renameat", "oldpath"),
    ("renameat2", "oldpath"),
    ("link", "newpath"),
    ("linkat", "newpath"),
    ("symlink", "linkpath"),
    ("symlinkat", "linkpath"),
    ("mount", "dev"),
];
const TARGET: Paths = &[
    ("rename", "newpath"),
    ("renameat", "newpath"),
    ("renameat2", "newpath"),
    ("link", "oldpath"),
    ("linkat", "oldpath"),
    ("symlink", "target"),
    ("symlinkat", "target"),
    ("mount", "dir"),
];
const ABSOLUTE_SOURCE: Paths = &[
    ("openat", "name"),
    ("openat2", "name"),
    ("renameat", "oldpath"),
    ("renameat2", "oldpath"),
    ("linkat", "oldpath"),
    ("symlinkat", "linkpath"),
    ("unlinkat", "name"),
    ("mkdirat", "path"),
    ("fchmodat", "filename"),
    ("fchownat", "pathname"),
    ("open_by_handle_at", "path"),
];
const ABSOLUTE_TARGET: Paths = &[("renameat", "newpath"), ("renameat2", "newpath"), ("linkat", "newpath")];

/// The values of a derived field; `None` when a column that it needs is missing.
pub(super) fn of(access: &Access, batch: &RecordBatch) -> Option<Column> {
    let column = |name: &str| batch.column_by_name(name);
    let rows = batch.num_rows();
    Some(match access {
        Access::ErrorCount => {
            let failed = column("evt_failed")?.as_boolean_opt()?;
            Column::Int(failed.iter().map(|failed| failed.filter(|failed| *failed).map(|_| 1)).collect())
        }
        Access::TypeIs(wanted) => {
            let types = text_column(column("evt_type")?)?;
            Column::Int((0..rows).map(|row| types.text(row).map(|name| i64::from(name == wanted))).collect())
        }
        Access::TypeAmong(wanted) => {
            let types = text_column(column("evt_type")?)?;
            Column::Bool((0..rows).map(|row| types.text(row).map(|name| wanted.contains(&name))).collect())
        }
        Access::IoDirection => text_column(column("evt_type")?)?.map_texts(rows, direction),
        Access::TimeSeconds(name) => time_part(batch, name, |ns| ns.div_euclid(NS_PER_S))?,
        Access::TimeRest(name) => time_part(batch, name, |ns| ns.rem_euclid(NS_PER_S))?,
        Access::Around(time) => time_part(batch, "time", |ns| ns.saturating_sub(*time).saturating_abs())?,
        Access::Same(one, other) => {
            let (one, other) = (ints(batch, one)?, ints(batch, other)?);
            let same = |(one, other): (Option<i64>, Option<i64>)| Some(one? == other?);
            Column::Bool(one.iter().zip(other.iter()).map(same).collect::<BooleanArray>())
        }
        Access::Device(name, part) => {
            let number = |device: Option<i64>| device.map(|device| part.of(device));
            Column::Int(ints(batch, name)?.iter().map(number).collect())
        }
        Access::ShortId(name) => text_column(column(name)?)?.map_texts(rows, |id| Some(short(id).to_owned())),
        Access::InContainer(name) => in_container(batch, name)?,
        Access::ExeLine => exe_line(batch)?,
        Access::FdUid => {
            let (threads, numbers) = (ints(batch, "thread_tid")?, ints(batch, "fd_num")?);
            let uid = |(thread, number): (Option<i64>, Option<i64>)| Some(format!("{}{}", thread?, number?));
            texts(threads.iter().zip(numbers.iter()).map(uid))
        }
        Access::LoginShell => login_shell(batch)?,
        Access::Mount(part, key) => {
            let mounts = list(column("container_mounts")?.as_list_opt()?)?;
            texts((0..rows).map(|row| mount(mounts.texts(row), *part, key)))
        }
        Access::Path(which) => paths(batch, *which)?,
        _ => return None,
    })
}

fn ints<'a>(batch: &'a RecordBatch, name: &str) -> Option<&'a Int64Array> {
    batch.column_by_name(name)?.as_primitive_opt::<Int64Type>()
}

fn time_part(batch: &RecordBatch, name: &str, part: impl Fn(i64) -> i64) -> Option<Column> {
    let times = times(batch.column_by_name(name)?)?;
    Some(Column::Int(times.iter().map(|us| us.map(|us| part(us.saturating_mul(1000)))).collect()))
}

fn direction(evt_type: &str) -> Option<String> {
    let plain = evt_type.trim_start_matches('p');
    let word = if plain.starts_with("read") || plain.starts_with("recv") {
        "read"
    } else if plain.starts_with("write") || plain.starts_with("send") {
        "write"
    } else {
        return None;
    };
    Some(word.to_owned())
}

fn short(id: &str) -> &str {
    id.char_indices().nth(SHORT_ID).and_then(|(end, _)| id.get(..end)).unwrap_or(id)
}

fn in_container(batch: &RecordBatch, name: &str) -> Option<Column> {
    let ids = text_column(batch.column_by_name("container_id")?)?;
    let names = text_column(batch.column_by_name(name)?)?;
    let text = |row| {
        let id = ids.text(row).filter(|id| *id != "host").map_or("", short);
        names.text(row).map(|name| format!("{id}:{name}"))
    };
    Some(texts((0..batch.num_rows()).map(text)))
}

fn exe_line(batch: &RecordBatch) -> Option<Column> {
    let exes = text_column(batch.column_by_name("proc_exe")?)?;
    let args = batch.column_by_name("proc_args").and_then(text_column);
    let text = |row| {
        let exe = exes.text(row)?;
        let args = args.as_ref().and_then(|args| args.text(row)).filter(|args| !args.is_empty());
        Some(args.map_or_else(|| exe.to_owned(), |args| format!("{exe} {args}")))
    };
    Some(texts((0..batch.num_rows()).map(text)))
}

/// A shell is what has a name that ends in `sh`.
fn login_shell(batch: &RecordBatch) -> Option<Column> {
    let (pids, names) = (ints(batch, "proc_pid")?, text_column(batch.column_by_name("proc_name")?)?);
    let ancestors: &ListArray = batch.column_by_name("proc_ancestors")?.as_list_opt()?;
    let of_ancestors = ancestors.values().as_struct_opt()?;
    let ancestor_names: &StringArray = of_ancestors.column_by_name("name")?.as_string_opt()?;
    let ancestor_pids = of_ancestors.column_by_name("pid")?.as_primitive_opt::<Int64Type>()?;
    let oldest = |row: usize| {
        let (start, end) = share(ancestors, row);
        let is_shell = |at: &usize| ancestor_names.is_valid(*at) && ancestor_names.value(*at).ends_with("sh");
        let above = (start..end).rev().find(is_shell).filter(|at| ancestor_pids.is_valid(*at));
        let own = || names.text(row).filter(|name| name.ends_with("sh")).filter(|_| pids.is_valid(row));
        above.map(|at| ancestor_pids.value(at)).or_else(|| own().map(|_| pids.value(row)))
    };
    Some(Column::Int((0..batch.num_rows()).map(oldest).collect()))
}

/// Of the mount that a key picks: by its number, or by a pattern for its
/// source; for the source itself, by one for its destination.
fn mount<'a>(mounts: impl Iterator<Item = &'a str>, part: MountPart, key: &str) -> Option<String> {
    let mut parsed = mounts.filter_map(|mount| Some((mount, split(mount)?)));
    let (whole, parts) = match key.parse::<usize>() {
        Ok(index) => parsed.nth(index)?,
        Err(_) => {
            let pattern = Glob::new(key, false);
            let picked = usize::from(part == MountPart::Source);
            parsed.find(|(_, parts)| pattern.matches(parts[picked]))?
        }
    };
    let [source, destination, mode, writable, propagation] = parts;
    let text = match part {
        MountPart::Whole => whole,
        MountPart::Source => source,
        MountPart::Destination => destination,
        MountPart::Mode => mode,
        MountPart::Writable => writable,
        MountPart::Propagation => propagation,
    };
    Some(text.to_owned())
}

/// `source:destination:mode:writable:propagation`, of which the source alone
/// may hold a colon.
fn split(mount: &str) -> Option<[&str; 5]> {
    let mut parts = mount.rsplitn(5, ':');
    let mut next = || parts.next();
    let (propagation, writable, mode, destination) = (next()?, next()?, next()?, next()?);
    Some([next()?, destination, mode, writable, propagation])
}

fn paths(batch: &RecordBatch, which: PathOf) -> Option<Column> {
    let types = text_column(batch.column_by_name("evt_type")?)?;
    let arguments: &ListArray = batch.column_by_name("evt_arg")?.as_list_opt()?;
    let (names, values) = pair_columns(arguments)?;
    let cwds = batch.column_by_name("proc_cwd").and_then(text_column);
    let fd_names = batch.column_by_name("fd_name").and_then(text_column);
    let results = ints(batch, "evt_rawres")?;
    let path = |row: usize| {
        let evt_type = types.text(row)?;
        let (_, argument) = which.calls().iter().find(|(call, _)| *call == evt_type)?;
        let result = results.is_valid(row).then(|| results.value(row));
        if !which.is_there(evt_type, result) {
            return None;
        }
        if *argument == "*" {
            return fd_names.as_ref()?.text(row).map(str::to_owned);
        }
        let (start, end) = share(arguments, row);
        let at = (start..end).find(|at| names.is_valid(*at) && names.value(*at) == *argument)?;
        let text = values.is_valid(at).then(|| values.value(at))?;
        let cwd = cwds.as_ref().and_then(|cwds| cwds.text(row)).unwrap_or("/");
        Some(if text.starts_with('/') { text.to_owned() } else { normal(&format!("{cwd}/{text}")) })
    };
    Some(texts((0..batch.num_rows()).map(path)))
}

/// A path without `.`, `..` and doubled slashes.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

// === impl DevicePart, PathOf ===

impl DevicePart {
    /// As `st_dev` is laid out.
    fn of(self, device: i64) -> i64 {
        match self {
            Self::Major => (device >> 8 & 0xfff) | (device >> 32 & !0xfff),
            Self::Minor => (device & 0xff) | (device >> 12 & 0xffff_ff00),
        }
    }
}

impl PathOf {
    fn calls(self) -> Paths {
        match self {
            Self::Name => NAME,
            Self::Source => SOURCE,
            Self::Target => TARGET,
            Self::AbsoluteSource => ABSOLUTE_SOURCE,
            Self::AbsoluteTarget => ABSOLUTE_TARGET,
        }
    }

    /// The `fs.path` fields are of calls that went through. For Falco an open
    /// has failed only if its descriptor is -1, which is EPERM's number.
    fn is_there(self, evt_type: &str, result: Option<i64>) -> bool {
        match self {
            Self::AbsoluteSource | Self::AbsoluteTarget => true,
            _ if evt_type.starts_with("open") => result.is_some_and(|result| result != -1),
            _ => result == Some(0),
        }
    }
}
