//! Between batches and processes.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::common::internal_datafusion_err;
use datafusion::error::Result as DfResult;

use super::links::{Event, Links, Place};
use super::{COLUMNS, schema};

/// Beyond it all stand below each other.
const MAX_INDENT: usize = 60;

/// What is known of one process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) exec_id: Option<String>,
    pub(super) cluster: Option<String>,
    pub(super) node: Option<String>,
    pub(super) pid: Option<i64>,
    pub(super) start_us: Option<i64>,
    /// When something was first seen of it.
    pub(super) seen_us: Option<i64>,
    tenant: Option<String>,
    name: Option<String>,
    exepath: Option<String>,
    cmdline: Option<String>,
    user_uid: Option<i64>,
    user_name: Option<String>,
    container_id: Option<String>,
    container_name: Option<String>,
    k8s_ns_name: Option<String>,
    k8s_pod_name: Option<String>,
    programs: Option<i64>,
    end_us: Option<i64>,
    exit_code: Option<i64>,
}

/// An ancestor as a row names it.
#[derive(Debug, Clone, Default)]
pub(super) struct Ancestor {
    pid: Option<i64>,
    name: Option<String>,
    exepath: Option<String>,
    cmdline: Option<String>,
}

/// A line of the tree.
#[derive(Debug, Clone)]
pub(super) struct Line {
    depth: i64,
    /// How far it is indented: the eldest is not.
    indent: usize,
    parent: Option<String>,
    process: Process,
}

/// Columns of a batch by name, in plain types.
struct Cells<'a>(&'a RecordBatch);

struct Texts(StringArray);
struct Numbers(Int64Array);

// === impl Cells ===

impl Cells<'_> {
    fn texts(&self, name: &str) -> DfResult<Texts> {
        let column = cast(self.column(name)?, &DataType::Utf8)?;
        Ok(Texts(column.as_string::<i32>().clone()))
    }

    /// Numbers; of times their microseconds.
    fn numbers(&self, name: &str) -> DfResult<Numbers> {
        let column = cast(self.column(name)?, &DataType::Int64)?;
        Ok(Numbers(column.as_primitive::<Int64Type>().clone()))
    }

    fn column(&self, name: &str) -> DfResult<&ArrayRef> {
        self.0.column_by_name(name).ok_or_else(|| internal_datafusion_err!("a statement without {name}"))
    }
}

impl Texts {
    fn get(&self, row: usize) -> Option<&str> {
        self.0.is_valid(row).then(|| self.0.value(row))
    }

    fn owned(&self, row: usize) -> Option<String> {
        self.get(row).map(str::to_owned)
    }
}

impl Numbers {
    fn get(&self, row: usize) -> Option<i64> {
        self.0.is_valid(row).then(|| self.0.value(row))
    }
}

/// The processes of a batch.
pub(super) fn processes(batch: &RecordBatch) -> DfResult<Vec<Process>> {
    let cells = Cells(batch);
    let (exec_id, cluster, node) = (cells.texts("exec_id")?, cells.texts("cluster")?, cells.texts("node")?);
    let (tenant, user_name) = (cells.texts("tenant")?, cells.texts("user_name")?);
    let (name, exepath) = (cells.texts("proc_name")?, cells.texts("proc_exepath")?);
    let (cmdline, container_id) = (cells.texts("proc_cmdline")?, cells.texts("container_id")?);
    let (container_name, k8s_ns_name) = (cells.texts("container_name")?, cells.texts("k8s_ns_name")?);
    let k8s_pod_name = cells.texts("k8s_pod_name")?;
    let (pid, user_uid, programs) =
        (cells.numbers("proc_pid")?, cells.numbers("user_uid")?, cells.numbers("programs")?);
    let (start, seen) = (cells.numbers("start_time")?, cells.numbers("seen")?);
    let (end, exit_code) = (cells.numbers("end_time")?, cells.numbers("exit_code")?);
    let process = |row| Process {
        exec_id: exec_id.owned(row),
        cluster: cluster.owned(row),
        node: node.owned(row),
        pid: pid.get(row),
        start_us: start.get(row),
        seen_us: seen.get(row),
        tenant: tenant.owned(row),
        name: name.owned(row),
        exepath: exepath.owned(row),
        cmdline: cmdline.owned(row),
        user_uid: user_uid.get(row),
        user_name: user_name.owned(row),
        container_id: container_id.owned(row),
        container_name: container_name.owned(row),
        k8s_ns_name: k8s_ns_name.owned(row),
        k8s_pod_name: k8s_pod_name.owned(row),
        programs: programs.get(row),
        end_us: end.get(row),
        exit_code: exit_code.get(row),
    };
    Ok((0..batch.num_rows()).map(process).collect())
}

/// The ancestors that the batch's one row names, the parent first.
pub(super) fn ancestors(batch: &RecordBatch) -> DfResult<Vec<Ancestor>> {
    let cells = Cells(batch);
    let lists = cells.column("ancestors")?.as_list_opt::<i32>();
    let list = lists.filter(|lists| !lists.is_empty() && lists.is_valid(0)).map(|lists| lists.value(0));
    let Some(list) = list.as_ref().and_then(|list| list.as_struct_opt()) else { return Ok(Vec::new()) };
    let batch = RecordBatch::from(list);
    let cells = Cells(&batch);
    let (pid, name) = (cells.numbers("pid")?, cells.texts("name")?);
    let (exepath, cmdline) = (cells.texts("exepath")?, cells.texts("cmdline")?);
    let ancestor = |row| Ancestor {
        pid: pid.get(row),
        name: name.owned(row),
        exepath: exepath.owned(row),
        cmdline: cmdline.owned(row),
    };
    Ok((0..batch.num_rows()).map(ancestor).collect())
}

/// Adds a batch's events to the links.
pub(super) fn link(batch: &RecordBatch, links: &mut Links) -> DfResult<()> {
    let cells = Cells(batch);
    let (exec_id, evt_type) = (cells.texts("exec_id")?, cells.texts("evt_type")?);
    let (pid, ppid) = (cells.numbers("proc_pid")?, cells.numbers("proc_ppid")?);
    let (made, time) = (cells.numbers("evt_rawres")?, cells.numbers("time")?);
    let start = cells.numbers("proc_start_time")?;
    for row in 0..batch.num_rows() {
        let (Some(exec_id), Some(time_us)) = (exec_id.get(row), time.get(row)) else { continue };
        let forks = evt_type.get(row).is_some_and(|kind| kind.starts_with("clone") || kind.ends_with("fork"));
        let child = made.get(row).filter(|child| forks && *child > 0);
        let (pid, ppid, start_us) = (pid.get(row), ppid.get(row), start.get(row));
        links.add(&Event { exec_id, pid, ppid, time_us, start_us, child });
    }
    Ok(())
}

// === impl Ancestor ===

impl Ancestor {
    /// As far as it is known; it lived where its descendant did.
    pub(super) fn process(self, of: &Process) -> Process {
        Process {
            pid: self.pid,
            name: self.name,
            exepath: self.exepath,
            cmdline: self.cmdline,
            cluster: of.cluster.clone(),
            node: of.node.clone(),
            ..Process::default()
        }
    }
}

// === impl Process ===

impl Process {
    /// What `other` knows, and where it knows nothing what is known already.
    fn updated(self, other: Self) -> Self {
        Self {
            exec_id: other.exec_id.or(self.exec_id),
            cluster: other.cluster.or(self.cluster),
            node: other.node.or(self.node),
            pid: other.pid.or(self.pid),
            start_us: [other.start_us, self.start_us].into_iter().flatten().min(),
            seen_us: [other.seen_us, self.seen_us].into_iter().flatten().min(),
            tenant: other.tenant.or(self.tenant),
            name: other.name.or(self.name),
            exepath: other.exepath.or(self.exepath),
            cmdline: other.cmdline.or(self.cmdline),
            user_uid: other.user_uid.or(self.user_uid),
            user_name: other.user_name.or(self.user_name),
            container_id: other.container_id.or(self.container_id),
            container_name: other.container_name.or(self.container_name),
            k8s_ns_name: other.k8s_ns_name.or(self.k8s_ns_name),
            k8s_pod_name: other.k8s_pod_name.or(self.k8s_pod_name),
            programs: other.programs.or(self.programs),
            end_us: other.end_us.or(self.end_us),
            exit_code: other.exit_code.or(self.exit_code),
        }
    }

    fn label(&self) -> &str {
        let told = [self.cmdline.as_deref(), self.name.as_deref()];
        told.into_iter().flatten().find(|text| !text.is_empty()).unwrap_or("?")
    }
}

/// The tree's lines: the eldest first, then the process, then what came of it.
/// `ancestors` has the parent first.
pub(super) fn assembled(
    asked: Process,
    ancestors: Vec<Process>,
    places: Vec<Place>,
    mut known: HashMap<String, Process>,
) -> Vec<Line> {
    let mut lines = Vec::with_capacity(ancestors.len() + 1 + places.len());
    let above = ancestors.len();
    let parents: Vec<Option<String>> = ancestors.iter().map(|process| process.exec_id.clone()).collect();
    for (up, ancestor) in ancestors.into_iter().enumerate().rev() {
        let later = ancestor.exec_id.as_ref().and_then(|id| known.remove(id)).unwrap_or_default();
        lines.push(Line {
            depth: -1 - i64::try_from(up).unwrap_or_default(),
            indent: above - 1 - up,
            parent: parents.get(up + 1).cloned().flatten(),
            // How it was when it made its child says more than how it is now.
            process: later.updated(ancestor),
        });
    }
    let mut by_id: HashMap<String, Process> = HashMap::new();
    by_id.extend(asked.exec_id.clone().map(|id| (id, asked.clone())));
    lines.push(Line { depth: 0, indent: above, parent: parents.first().cloned().flatten(), process: asked });
    for place in places {
        let process = match place.exec_id.as_ref().and_then(|id| known.remove(id)) {
            Some(process) => process,
            None => only_forked(&place, by_id.get(&place.parent)),
        };
        by_id.extend(place.exec_id.clone().map(|id| (id, process.clone())));
        lines.push(Line {
            depth: i64::try_from(place.depth).unwrap_or_default(),
            indent: above + place.depth,
            parent: Some(place.parent),
            process,
        });
    }
    lines
}

/// A child of which only the fork was seen runs its parent's program.
fn only_forked(place: &Place, parent: Option<&Process>) -> Process {
    let parent = parent.cloned().unwrap_or_default();
    Process {
        exec_id: place.exec_id.clone(),
        pid: Some(place.pid),
        start_us: Some(place.start_us),
        programs: Some(0),
        end_us: None,
        exit_code: None,
        ..parent
    }
}

/// The function's rows.
pub(super) fn batch(lines: &[Line]) -> DfResult<RecordBatch> {
    let texts = |text: &dyn Fn(&Line) -> Option<String>| -> ArrayRef {
        Arc::new(lines.iter().map(text).collect::<StringArray>())
    };
    let of = |text: fn(&Process) -> &Option<String>| texts(&|line| text(&line.process).clone());
    let numbers = |number: fn(&Line) -> Option<i64>| -> ArrayRef {
        Arc::new(lines.iter().map(number).collect::<Int64Array>())
    };
    let times = |time: fn(&Line) -> Option<i64>| -> ArrayRef {
        Arc::new(lines.iter().map(time).collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
    };
    let positions = (1..).take(lines.len()).collect::<Int64Array>();
    let columns = vec![
        Arc::new(positions),
        numbers(|line| Some(line.depth)),
        texts(&|line| Some("  ".repeat(line.indent.min(MAX_INDENT)) + line.process.label())),
        of(|process| &process.exec_id),
        texts(&|line| line.parent.clone()),
        numbers(|line| line.process.pid),
        of(|process| &process.name),
        of(|process| &process.exepath),
        of(|process| &process.cmdline),
        numbers(|line| line.process.programs),
        numbers(|line| line.process.user_uid),
        of(|process| &process.user_name),
        times(|line| line.process.start_us),
        times(|line| line.process.end_us),
        numbers(|line| line.process.exit_code),
        of(|process| &process.container_id),
        of(|process| &process.container_name),
        of(|process| &process.k8s_ns_name),
        of(|process| &process.k8s_pod_name),
        of(|process| &process.cluster),
        of(|process| &process.node),
        of(|process| &process.tenant),
    ];
    Ok(RecordBatch::try_new(schema(COLUMNS), columns)?)
}
