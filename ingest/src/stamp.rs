//! Tenant, date and arrival time for every row: pure.
//!
//! Owners are looked up for the distinct values of a batch's dictionaries, not
//! for its rows; a row then only picks among the entries by its time.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, DictionaryArray, Int32Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use bailiwick_proto::{Table, TenantId};

use crate::tenants::{Claim, Mapping};

const DAY_US: i64 = 86_400_000_000;
/// 2000-01-01: nothing that is captured here is older.
const EARLIEST_US: i64 = 946_684_800_000_000;
/// A clock may run ahead by so much before it is not believed.
const AHEAD_US: i64 = 2 * DAY_US;

/// A batch of the stamped schema.
#[derive(Debug, Clone)]
pub struct Stamped {
    /// The rows.
    pub batch: RecordBatch,
    /// How many had no believable time and got the day of their arrival.
    pub undated: u64,
    /// How many are of events more than a day before their arrival.
    pub late: u64,
    /// How far the newest believable event is ahead of the arrival,
    /// microseconds; negative behind, nothing without a believable one.
    pub ahead_us: Option<i64>,
}

/// Every row's time to sort it by, and what was noticed about them.
struct Times {
    times_us: Vec<i64>,
    undated: u64,
    late: u64,
    newest_us: Option<i64>,
}

/// Stamps a batch of the table's wire schema that arrived at `now_us`.
pub fn stamp(
    table: Table,
    wire: &RecordBatch,
    mapping: &Mapping,
    now_us: i64,
) -> Result<Stamped, ArrowError> {
    let Times { times_us, undated, late, newest_us } = event_times(wire, now_us)?;
    let days = times_us.iter().map(|time_us| time_us.div_euclid(DAY_US) as i32);
    let tenant = Owners::of(table, wire, mapping)?.column(&times_us, mapping)?;
    let arrival = TimestampMicrosecondArray::from_value(now_us, wire.num_rows()).with_timezone("UTC");
    let mut stamps: HashMap<&str, ArrayRef> = HashMap::from([
        ("tenant", tenant),
        ("date", Arc::new(Date32Array::from_iter_values(days)) as ArrayRef),
        ("ingest_time", Arc::new(arrival) as ArrayRef),
    ]);
    let schema = table.stamped_schema();
    let missing = |name: &str| ArrowError::SchemaError(format!("column {name} is neither sent nor stamped"));
    let column = |field: &Arc<arrow::datatypes::Field>| {
        let name = field.name().as_str();
        stamps.remove(name).or_else(|| wire.column_by_name(name).cloned()).ok_or_else(|| missing(name))
    };
    let columns = schema.fields().iter().map(column).collect::<Result<_, _>>()?;
    let batch = RecordBatch::try_new(schema, columns)?;
    Ok(Stamped { batch, undated, late, ahead_us: newest_us.map(|newest_us| newest_us - now_us) })
}

// === impl Stamped ===

impl Stamped {
    /// Whose rows are in it.
    pub fn tenants(&self) -> Vec<&str> {
        let column =
            self.batch.column_by_name("tenant").and_then(|column| column.as_dictionary_opt::<Int32Type>());
        let names = column.and_then(|column| column.values().as_string_opt::<i32>());
        names.into_iter().flat_map(|names| names.iter().flatten()).collect()
    }
}

/// Every row's time, or its arrival's where there is none to believe.
fn event_times(wire: &RecordBatch, now_us: i64) -> Result<Times, ArrowError> {
    let times =
        wire.column_by_name("time").and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    let times = times.ok_or_else(|| ArrowError::SchemaError("column time is missing".into()))?;
    let believable = EARLIEST_US..now_us.saturating_add(AHEAD_US);
    let mut found = Times { times_us: Vec::with_capacity(times.len()), undated: 0, late: 0, newest_us: None };
    for time in times {
        match time.filter(|time| believable.contains(time)) {
            Some(time_us) => {
                found.late += u64::from(time_us < now_us - DAY_US);
                found.newest_us = found.newest_us.max(Some(time_us));
                found.times_us.push(time_us);
            }
            None => {
                found.undated += 1;
                found.times_us.push(now_us);
            }
        }
    }
    Ok(found)
}

/// How the owner of each row of one batch is found.
struct Owners<'a> {
    /// Tried in order.
    claims: Vec<Claimed>,
    otherwise: Otherwise<'a>,
}

/// One text column with the entries that claim each of its distinct values.
struct Claimed {
    keys: Int32Array,
    candidates: Vec<Vec<usize>>,
}

enum Otherwise<'a> {
    /// The same for all.
    Fixed(TenantId),
    /// The node's where there is no container, else nobody's.
    HostUnlessContained { keys: &'a Int32Array, contained: Vec<bool> },
    /// What the row says, where that is a tenant's name.
    Named { keys: &'a Int32Array, owners: Vec<TenantId> },
}

// === impl Owners ===

impl<'a> Owners<'a> {
    fn of(table: Table, wire: &'a RecordBatch, mapping: &Mapping) -> Result<Self, ArrowError> {
        let claimed = |name: &str, claim: Claim| Claimed::of(wire, name, claim, mapping);
        let (claims, otherwise) = match table {
            Table::Syscalls | Table::Usage | Table::Containers => {
                let claims =
                    vec![claimed("k8s_ns_name", Claim::Namespace)?, claimed("cgroup_path", Claim::Cgroup)?];
                let (keys, values) = texts(wire, "container_id")?;
                let contained = values.iter().map(|id| !matches!(id, None | Some("" | "host"))).collect();
                (claims, Otherwise::HostUnlessContained { keys, contained })
            }
            Table::ApiAccess => {
                let claims = vec![claimed("namespace", Claim::Namespace)?, claimed("user", Claim::User)?];
                (claims, Otherwise::Fixed(TenantId::cluster()))
            }
            Table::Alerts | Table::Queries => {
                let claims = match table {
                    Table::Alerts => vec![Claimed::of_fields(wire, mapping)?],
                    _ => vec![],
                };
                let (keys, values) = texts(wire, "owner")?;
                let owner = |name: Option<&str>| name.and_then(|name| name.parse().ok());
                let owners =
                    values.iter().map(|name| owner(name).unwrap_or_else(TenantId::unassigned)).collect();
                (claims, Otherwise::Named { keys, owners })
            }
            Table::Losses => (vec![], Otherwise::Fixed(TenantId::host())),
        };
        Ok(Self { claims, otherwise })
    }

    fn column(&self, times_us: &[i64], mapping: &Mapping) -> Result<ArrayRef, ArrowError> {
        let (host, nobody) = (TenantId::host(), TenantId::unassigned());
        let mut known: HashMap<&str, i32> = HashMap::new();
        let mut names: Vec<&str> = Vec::new();
        let mut keys = Vec::with_capacity(times_us.len());
        for (row, time_us) in times_us.iter().enumerate() {
            let claimed = self.claims.iter().find_map(|claimed| claimed.owner(row, *time_us, mapping));
            let owner = claimed.unwrap_or_else(|| self.otherwise.owner(row, &host, &nobody)).as_str();
            keys.push(*known.entry(owner).or_insert_with(|| {
                names.push(owner);
                names.len() as i32 - 1
            }));
        }
        let values = Arc::new(StringArray::from(names));
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(Int32Array::from(keys), values)?))
    }
}

impl Claimed {
    fn of(wire: &RecordBatch, name: &str, claim: Claim, mapping: &Mapping) -> Result<Self, ArrowError> {
        let (keys, values) = texts(wire, name)?;
        let candidates =
            values.iter().map(|value| value.map_or(vec![], |value| mapping.candidates(claim, value)));
        Ok(Self { keys: keys.clone(), candidates: candidates.collect() })
    }

    /// Alerts that others raised do not know tenants, only the namespace in their
    /// fields. Where an alert names its owner, that counts.
    fn of_fields(wire: &RecordBatch, mapping: &Mapping) -> Result<Self, ArrowError> {
        let (owners, _) = texts(wire, "owner")?;
        let (keys, fields) = texts(wire, "output_fields")?;
        let keys: Int32Array =
            keys.iter().zip(owners).map(|(key, owner)| key.filter(|_| owner.is_none())).collect();
        let mut candidates = vec![Vec::new(); fields.len()];
        for key in keys.iter().flatten().filter_map(|key| usize::try_from(key).ok()) {
            let namespace = namespace(fields.value(key));
            candidates[key] =
                namespace.map_or(vec![], |namespace| mapping.candidates(Claim::Namespace, &namespace));
        }
        Ok(Self { keys, candidates })
    }

    fn owner<'m>(&self, row: usize, time_us: i64, mapping: &'m Mapping) -> Option<&'m TenantId> {
        let candidates = self.candidates.get(key(&self.keys, row)?)?;
        mapping.in_effect(candidates, time_us)
    }
}

impl Otherwise<'_> {
    fn owner<'s>(&'s self, row: usize, host: &'s TenantId, nobody: &'s TenantId) -> &'s TenantId {
        match self {
            Self::Fixed(tenant) => tenant,
            Self::HostUnlessContained { keys, contained } => {
                let contained = key(keys, row).and_then(|key| contained.get(key));
                if contained == Some(&true) { nobody } else { host }
            }
            Self::Named { keys, owners } => key(keys, row).and_then(|key| owners.get(key)).unwrap_or(nobody),
        }
    }
}

/// The namespace that an alert's fields name, a system call's or a request's.
fn namespace(fields: &str) -> Option<String> {
    let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(fields).ok()?;
    let text = |name: &str| fields.get(name).and_then(serde_json::Value::as_str);
    text("k8s.ns.name").or_else(|| text("ka.target.namespace")).map(str::to_owned)
}

fn key(keys: &Int32Array, row: usize) -> Option<usize> {
    if keys.is_null(row) { None } else { usize::try_from(keys.value(row)).ok() }
}

fn texts<'a>(wire: &'a RecordBatch, name: &str) -> Result<(&'a Int32Array, &'a StringArray), ArrowError> {
    let missing = || ArrowError::SchemaError(format!("column {name} is not text"));
    let column = wire.column_by_name(name).and_then(|column| column.as_dictionary_opt::<Int32Type>());
    let column = column.ok_or_else(missing)?;
    Ok((column.keys(), column.values().as_string_opt().ok_or_else(missing)?))
}

#[cfg(test)]
mod tests;
