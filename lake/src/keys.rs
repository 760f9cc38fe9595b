//! Every object key of a bucket, printed and parsed here and nowhere else.
//!
//! ```text
//! wal/<ingester>/<number, 20 digits>.wal
//! tables/<table>/_delta_log/…
//! tables/<table>/tenant=<tenant>/date=<yyyy-mm-dd>/<ingester>-<unique>-<crc32c, 8 hex digits>.parquet
//! staging/<table>/<ingester>-<unique>.parquet
//! damaged/<ingester>/<number, 20 digits>.wal
//! damaged/tables/<table>/tenant=<tenant>/date=<yyyy-mm-dd>/<name>.parquet
//! orders/<tenant>/<number, 20 digits>.json
//! grants/<id>/given.json, grants/<id>/revoked.json
//! quarantine/<collector>/<incarnation>-<seq>.<table>.ipc
//! checkpoints/<name>
//! probes/<name>/…
//! ```
//!
//! Numbers are padded so that the order of keys is the order of numbers. A data
//! file's name ends with the checksum of its bytes; files of before that was so
//! have none.

use bailiwick_proto::{CollectorId, IngesterId, Table, TenantId};
use chrono::NaiveDate;
use object_store::path::Path;

const WAL: &str = "wal";
const TABLES: &str = "tables";
const DAMAGED: &str = "damaged";
const QUARANTINE: &str = "quarantine";
const CHECKPOINTS: &str = "checkpoints";
const PROBES: &str = "probes";
const STAGING: &str = "staging";
const ORDERS: &str = "orders";
const GRANTS: &str = "grants";

/// One object of a write-ahead log.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WalKey {
    /// Whose log.
    pub ingester: IngesterId,
    /// Its place in that log, consecutive from 1.
    pub number: u64,
}

/// A batch that could not be read, kept as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantineKey {
    /// Who sent it.
    pub collector: CollectorId,
    /// Under which numbering.
    pub incarnation: u64,
    /// Under which number.
    pub seq: u64,
    /// The table it was meant for; `None` when it named one that does not exist.
    pub table: Option<Table>,
}

/// Where a data file lies within its table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataKey {
    /// The table.
    pub table: Table,
    /// The partition's tenant.
    pub tenant: TenantId,
    /// The partition's day.
    pub date: NaiveDate,
    /// The file's name without `.parquet`: letters, digits, `.`, `_`, `-`.
    pub name: String,
}

/// What a person ordered about a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderKey {
    /// About whom.
    pub tenant: TenantId,
    /// Its place among the orders about that tenant, consecutive from 1.
    pub number: u64,
}

/// What a person wrote about a right that somebody has for a while.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GrantKey {
    /// Unlike any other grant's: letters, digits and `-`; sorts by time.
    pub id: String,
    /// Whether it says that the grant is over, and not what is granted.
    pub revoked: bool,
}

/// The folder that holds every ingester's log.
pub fn wal_root() -> Path {
    Path::from(WAL)
}

/// The folder of one ingester's log.
pub fn wal_folder(ingester: &IngesterId) -> Path {
    Path::from(format!("{WAL}/{ingester}"))
}

/// The root of a Delta table, without a slash at its end.
pub fn table_root(table: Table) -> Path {
    Path::from(format!("{TABLES}/{table}"))
}

/// The folder of a table's data files of one tenant.
pub fn tenant_folder(table: Table, tenant: &TenantId) -> Path {
    table_root(table).join(format!("tenant={tenant}"))
}

/// The folder of what was set aside of a table's files of one tenant.
pub fn aside_folder(table: Table, tenant: &TenantId) -> Path {
    Path::from(format!("{DAMAGED}/{}", tenant_folder(table, tenant)))
}

/// Where files wait whose checksum is not known yet, by table.
pub fn staging_folder(table: Table) -> Path {
    Path::from(format!("{STAGING}/{table}"))
}

/// Where one file waits until its checksum is known.
pub fn staging(table: Table, ingester: &IngesterId, unique: &str) -> Path {
    staging_folder(table).join(format!("{ingester}-{unique}.parquet"))
}

/// The folder that holds the orders about all tenants.
pub fn orders_root() -> Path {
    Path::from(ORDERS)
}

/// The folder that holds all grants.
pub fn grants_root() -> Path {
    Path::from(GRANTS)
}

/// After which keys the grants follow whose ids are not below this one.
pub fn grants_before(id: &str) -> Path {
    Path::from(format!("{GRANTS}/{id}"))
}

/// The name of a data file whose bytes have this CRC-32C.
pub fn data_name(ingester: &IngesterId, unique: &str, crc32c: u32) -> String {
    format!("{ingester}-{unique}-{crc32c:08x}")
}

/// Where a component keeps a small state of its own between runs.
pub fn checkpoint(name: &str) -> Path {
    Path::from(CHECKPOINTS).join(name)
}

/// The folder in which one look at the store's promises leaves its objects for a moment.
pub fn probe(name: &str) -> Path {
    Path::from(PROBES).join(name)
}

// === impl WalKey ===

impl WalKey {
    /// The object's key.
    pub fn path(&self) -> Path {
        Path::from(format!("{WAL}/{}/{:020}.wal", self.ingester, self.number))
    }

    /// Where the object goes when its bytes are not what was written.
    pub fn aside(&self) -> Path {
        Path::from(format!("{DAMAGED}/{}/{:020}.wal", self.ingester, self.number))
    }

    /// Reads a key; `None` when it is not a WAL object's.
    pub fn parse(path: &Path) -> Option<Self> {
        let rest = path.as_ref().strip_prefix(WAL)?.strip_prefix('/')?;
        let (ingester, file) = rest.split_once('/')?;
        let number = padded_number(file.strip_suffix(".wal")?)?;
        Some(Self { ingester: ingester.parse().ok()?, number })
    }
}

// === impl QuarantineKey ===

impl QuarantineKey {
    /// The object's key.
    pub fn path(&self) -> Path {
        let Self { collector, incarnation, seq, .. } = self;
        let table = self.table.map_or("unknown", Table::name);
        Path::from(format!("{QUARANTINE}/{collector}/{incarnation}-{seq}.{table}.ipc"))
    }

    /// Reads a key; `None` when it is not a quarantined batch's.
    pub fn parse(path: &Path) -> Option<Self> {
        let rest = path.as_ref().strip_prefix(QUARANTINE)?.strip_prefix('/')?;
        let (collector, file) = rest.split_once('/')?;
        let (numbers, table) = file.strip_suffix(".ipc")?.split_once('.')?;
        let (incarnation, seq) = numbers.split_once('-')?;
        let table = if table == "unknown" { None } else { Some(table.parse().ok()?) };
        let collector = collector.parse().ok()?;
        Some(Self { collector, incarnation: incarnation.parse().ok()?, seq: seq.parse().ok()?, table })
    }
}

// === impl DataKey ===

impl DataKey {
    /// The path below the table's root, as the Delta log names it.
    pub fn relative(&self) -> String {
        let Self { tenant, date, name, .. } = self;
        format!("tenant={tenant}/date={date}/{name}.parquet")
    }

    /// The object's key.
    pub fn path(&self) -> Path {
        Path::from(format!("{TABLES}/{}/{}", self.table, self.relative()))
    }

    /// Where the object goes when its bytes are not what was written.
    pub fn aside(&self) -> Path {
        Path::from(format!("{DAMAGED}/{}", self.path()))
    }

    /// The checksum that the name ends with, if it has one.
    pub fn crc32c(&self) -> Option<u32> {
        let (_, digits) = self.name.rsplit_once('-')?;
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_checksum = digits.len() == 8 && digits.bytes().all(hex);
        is_checksum.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
    }

    /// Reads a key; `None` when it is not a data file's.
    pub fn parse(path: &Path) -> Option<Self> {
        let rest = path.as_ref().strip_prefix(TABLES)?.strip_prefix('/')?;
        let mut parts = rest.split('/');
        let table = parts.next()?.parse().ok()?;
        let tenant = parts.next()?.strip_prefix("tenant=")?.parse().ok()?;
        let date = parts.next()?.strip_prefix("date=")?.parse().ok()?;
        let name = parts.next()?.strip_suffix(".parquet")?.to_owned();
        parts.next().is_none().then_some(Self { table, tenant, date, name })
    }
}

// === impl OrderKey ===

impl OrderKey {
    /// The object's key.
    pub fn path(&self) -> Path {
        Path::from(format!("{ORDERS}/{}/{:020}.json", self.tenant, self.number))
    }

    /// Reads a key; `None` when it is not an order's.
    pub fn parse(path: &Path) -> Option<Self> {
        let rest = path.as_ref().strip_prefix(ORDERS)?.strip_prefix('/')?;
        let (tenant, file) = rest.split_once('/')?;
        let number = padded_number(file.strip_suffix(".json")?)?;
        Some(Self { tenant: tenant.parse().ok()?, number })
    }
}

// === impl GrantKey ===

impl GrantKey {
    /// The object's key.
    pub fn path(&self) -> Path {
        let what = if self.revoked { "revoked" } else { "given" };
        Path::from(format!("{GRANTS}/{}/{what}.json", self.id))
    }

    /// Reads a key; `None` when it is not a grant's.
    pub fn parse(path: &Path) -> Option<Self> {
        let rest = path.as_ref().strip_prefix(GRANTS)?.strip_prefix('/')?;
        let (id, file) = rest.split_once('/')?;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let is_id = (1..=64).contains(&id.len()) && id.bytes().all(allowed);
        let revoked = match file {
            "given.json" => false,
            "revoked.json" => true,
            _ => return None,
        };
        is_id.then(|| Self { id: id.to_owned(), revoked })
    }
}

fn padded_number(text: &str) -> Option<u64> {
    let padded = text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    padded.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table() -> impl Strategy<Value = Table> {
        prop::sample::select(Table::ALL.to_vec())
    }

    proptest! {
        #[test]
        fn a_wal_key_reads_as_it_was_printed(ingester in "[A-Za-z0-9_-][A-Za-z0-9._-]{0,30}", number: u64) {
            let key = WalKey { ingester: ingester.parse().unwrap(), number };
            prop_assert_eq!(WalKey::parse(&key.path()), Some(key));
        }

        #[test]
        fn wal_keys_sort_like_their_numbers(a: u64, b: u64) {
            let key = |number| WalKey { ingester: "i".parse().unwrap(), number }.path();
            prop_assert_eq!(key(a).cmp(&key(b)), a.cmp(&b));
        }

        #[test]
        fn a_quarantine_key_reads_as_it_was_printed(
            collector in "[A-Za-z0-9_-][A-Za-z0-9._-]{0,30}", incarnation: u64, seq: u64, table in prop::option::of(table()),
        ) {
            let key = QuarantineKey { collector: collector.parse().unwrap(), incarnation, seq, table };
            prop_assert_eq!(QuarantineKey::parse(&key.path()), Some(key));
        }

        #[test]
        fn a_data_key_reads_as_it_was_printed(
            table in table(), tenant in "[a-z0-9][a-z0-9._-]{0,20}", day in 1i32..80_000, name in "[a-z0-9-]{1,40}",
        ) {
            let date = NaiveDate::from_num_days_from_ce_opt(700_000 + day).unwrap();
            let key = DataKey { table, tenant: tenant.parse().unwrap(), date, name };
            prop_assert_eq!(DataKey::parse(&key.path()), Some(key));
        }

        #[test]
        fn an_order_key_reads_as_it_was_printed(tenant in "[a-z0-9][a-z0-9._-]{0,20}", number: u64) {
            let key = OrderKey { tenant: tenant.parse().unwrap(), number };
            prop_assert_eq!(OrderKey::parse(&key.path()), Some(key));
        }

        #[test]
        fn a_grant_key_reads_as_it_was_printed(id in "[A-Za-z0-9-]{1,64}", revoked: bool) {
            let key = GrantKey { id, revoked };
            prop_assert_eq!(GrantKey::parse(&key.path()), Some(key));
        }

        #[test]
        fn a_name_gives_its_checksum_back_and_one_without_gives_none(
            ingester in "[A-Za-z0-9_-][A-Za-z0-9._-]{0,30}", unique in "[0-9a-f]{32}", crc32c: u32,
        ) {
            let ingester: IngesterId = ingester.parse().unwrap();
            let date = NaiveDate::from_ymd_opt(2026, 11, 24).unwrap();
            let key = |name: String| DataKey { table: Table::Losses, tenant: TenantId::host(), date, name };
            prop_assert_eq!(key(data_name(&ingester, &unique, crc32c)).crc32c(), Some(crc32c));
            prop_assert_eq!(key(format!("{ingester}-{unique}")).crc32c(), None);
        }

        #[test]
        fn no_path_panics(text in "\\PC{0,80}") {
            let path = Path::from(text);
            let _ = (WalKey::parse(&path), QuarantineKey::parse(&path), DataKey::parse(&path), OrderKey::parse(&path));
            let _ = GrantKey::parse(&path);
        }
    }

    #[test]
    fn what_is_not_a_wal_object_is_passed_over() {
        for path in
            ["wal/i/1.wal", "wal/i/00000000000000000001.tmp", "wal/i", "tables/i/00000000000000000001.wal"]
        {
            assert_eq!(WalKey::parse(&Path::from(path)), None, "{path}");
        }
    }
}
