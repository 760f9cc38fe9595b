//! `syscalls_named`: what was learnt of a container later is in the place of what an event did not know.

use std::sync::Arc;

use bailiwick_proto::Table;
use datafusion::arrow::array::{Array, ArrayRef, ListArray, RecordBatch, StringArray, StructArray};
use datafusion::arrow::buffer::OffsetBuffer;
use proptest::prelude::*;

use super::bucket::{Bucket, Row, Served, rows};
use super::tenant;
use crate::catalog::LATE_COLUMNS;
use crate::{Config, Principal};

const NAMES: &str = "SELECT tenant, fd_name, coalesce(k8s_ns_name, '-'), coalesce(k8s_pod_name, '-'), \
                     coalesce(container_name, '-') FROM syscalls_named";

fn event<'a>(
    tenant: &'a str,
    container: &'a str,
    file: &'a str,
    rest: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    let place = [("cluster", "c"), ("node", "n"), ("container_id", container), ("fd_name", file)];
    [("tenant", tenant)].into_iter().chain(place).chain(rest.iter().copied()).collect()
}

fn known<'a>(
    tenant: &'a str,
    container: &'a str,
    time: &'a str,
    rest: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    let place = [("cluster", "c"), ("node", "n"), ("container_id", container), ("time", time)];
    [("tenant", tenant)].into_iter().chain(place).chain(rest.iter().copied()).collect()
}

/// Half of the rows in files and half in the WAL.
async fn filled(syscalls: &[Vec<(&str, &str)>], containers: &[Vec<(&str, &str)>]) -> (Bucket, Served) {
    let mut bucket = Bucket::new().await;
    for (table, all) in [(Table::Syscalls, syscalls), (Table::Containers, containers)] {
        let (first, second) = all.split_at(all.len() / 2);
        let through = bucket.wal(&[]).await;
        let tenant_of = |row: &[(&str, &str)]| row.first().map(|(_, tenant)| (*tenant).to_owned()).unwrap();
        let files: Vec<_> = first.iter().map(|row| (tenant_of(row), rows(table, &[&row[..]]))).collect();
        let files: Vec<_> = files.iter().map(|(tenant, batch)| (tenant.as_str(), batch.clone())).collect();
        bucket.commit(table, through, &files).await;
        let waiting: Vec<Row<'_>> = second.iter().map(|row| &row[..]).collect();
        bucket.wal(&[(table, rows(table, &waiting))]).await;
    }
    let served = bucket.serve(&Config::default());
    (bucket, served)
}

const EARLY: &str = "2026-11-24T12:00:01Z";
const LATER: &str = "2026-11-24T12:00:02Z";

/// Goal: a name that came late is there, the newest one counts, what the event
/// knew itself stays, and there are as many rows as in `syscalls`. Method: rows
/// of each kind, and rows of containers whose key differs in one part.
#[tokio::test]
async fn a_late_name_is_in_the_events_place() {
    let other_node = vec![
        ("tenant", "acme"),
        ("cluster", "c"),
        ("node", "other"),
        ("container_id", "c2"),
        ("k8s_pod_name", "no"),
    ];
    let (_bucket, served) = filled(
        &[
            event("acme", "c1", "/late", &[]),
            event("acme", "c1", "/own", &[("k8s_ns_name", "was"), ("k8s_pod_name", "was-0")]),
            event("acme", "c2", "/nobody", &[]),
            event("acme", "host", "/host", &[]),
            vec![("tenant", "acme"), ("fd_name", "/nothing")],
        ],
        &[
            known("acme", "c1", LATER, &[("k8s_ns_name", "shop"), ("k8s_pod_name", "new")]),
            known(
                "acme",
                "c1",
                EARLY,
                &[("k8s_ns_name", "shop"), ("k8s_pod_name", "old"), ("container_name", "x")],
            ),
            other_node,
            known("acme", "c3", EARLY, &[("k8s_pod_name", "without-events")]),
        ],
    )
    .await;
    let text = served.text(&tenant("acme"), &format!("{NAMES} ORDER BY fd_name")).await;
    insta::assert_snapshot!(text, @r"
    acme /host - - -
    acme /late shop new -
    acme /nobody - - -
    acme /nothing - - -
    acme /own was was-0 -
    ");
}

/// Goal: a tenant's view is made of its own partitions on both sides; what is
/// nobody's is named for whoever may see everything, and stays where it is.
#[tokio::test]
async fn the_view_shows_nobody_more_than_the_tables_do() {
    let (bucket, served) = filled(
        &[
            event("_unassigned", "c1", "/before-its-name", &[]),
            event("acme", "c1", "/after-its-name", &[("k8s_ns_name", "acme-shop")]),
            event("globex", "c9", "/secret", &[]),
            event("acme", "c9", "/same-id", &[]),
        ],
        &[
            known("acme", "c1", EARLY, &[("k8s_ns_name", "acme-shop"), ("k8s_pod_name", "web-0")]),
            known("globex", "c9", LATER, &[("k8s_ns_name", "globex-secret"), ("k8s_pod_name", "vault-0")]),
        ],
    )
    .await;
    let sql = format!("{NAMES} ORDER BY tenant, fd_name");
    insta::assert_snapshot!(served.text(&tenant("acme"), &sql).await, @r"
    acme /after-its-name acme-shop web-0 -
    acme /same-id - - -
    ");
    insta::assert_snapshot!(served.text(&Principal::operator(), &sql).await, @r"
    _unassigned /before-its-name acme-shop web-0 -
    acme /after-its-name acme-shop web-0 -
    acme /same-id globex-secret vault-0 -
    globex /secret globex-secret vault-0 -
    ");
    bucket.damage(Table::Syscalls, "globex").await;
    bucket.damage(Table::Containers, "globex").await;
    bucket.damage(Table::Syscalls, "_unassigned").await;
    let cast = "SELECT count(*) FROM syscalls_named WHERE k8s_pod_name <> 'vault-0' OR k8s_pod_name IS NULL";
    assert_eq!(served.text(&tenant("acme"), cast).await, "2");
    assert_eq!(served.text(&tenant("nobody"), "SELECT count(*) FROM syscalls_named").await, "0");
}

/// Goal: conditions on time, tenant and what is not filled in leave files of
/// `syscalls` unopened, and it is the containers that a join holds in memory.
/// Method: the plan, and a damaged file that would fail if it were read.
#[tokio::test]
async fn pruning_reaches_the_system_calls() {
    let (bucket, served) = filled(
        &[
            event("acme", "c1", "/early", &[("time", "2026-11-24T01:00:00Z")]),
            event("globex", "c2", "/other", &[("time", "2026-11-24T01:00:00Z")]),
            event("acme", "c1", "/late", &[("time", "2026-11-24T23:00:00Z")]),
            event("acme", "c1", "/later", &[("time", "2026-11-24T23:30:00Z")]),
        ],
        &[known("acme", "c1", EARLY, &[("k8s_pod_name", "web-0")])],
    )
    .await;
    bucket.damage(Table::Syscalls, "globex").await;
    let operator = Principal::operator();
    for (condition, names) in [
        ("time < '2026-11-24T02:00:00Z' AND tenant = 'acme'", "/early web-0"),
        ("tenant = 'acme' AND container_id = 'c1' AND fd_name LIKE '%r'", "/later web-0"),
        ("date > '2026-11-24'", ""),
        ("time > '2026-11-24T22:00:00Z' AND k8s_pod_name = 'web-0'", "/late web-0\n/later web-0"),
    ] {
        let sql = format!("SELECT fd_name, k8s_pod_name FROM syscalls_named WHERE {condition} ORDER BY 1");
        assert_eq!(served.text(&operator, &sql).await, names, "{condition}");
    }
    let sql = "EXPLAIN SELECT fd_name, k8s_pod_name FROM syscalls_named \
               WHERE time < '2026-11-24T02:00:00Z' AND tenant = 'acme' AND k8s_pod_name = 'web-0'";
    let batches = served.ask(&operator, sql).await.unwrap();
    let plan = datafusion::arrow::util::display::array_value_to_string(batches[0].column(1), 1).unwrap();
    // How many processors there are decides on repartitioning.
    let told: Vec<_> = plan.lines().filter(|line| !line.contains("RepartitionExec")).map(told).collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    ProjectionExec
      FilterExec
        HashJoinExec
          AggregateExec
            DataSourceExec
          UnionExec
            DataSourceExec: tables/syscalls/tenant=acme/date=2026-11-24, predicate=time < 1795485600000000 AND tenant = acme
            FilterExec
              DataSourceExec
    ");
}

/// Of a plan's line what tells: the operator; of a scan of files also where they are, and the predicate.
fn told(line: &str) -> String {
    let operator = line.split([',', ':']).next().unwrap_or_default();
    let with_predicate = line.split_once(", projection=[").filter(|(_, rest)| rest.contains("predicate="));
    let Some((files, rest)) = with_predicate else { return operator.to_owned() };
    let folder = files.rsplit_once('/').map_or(files, |(folder, _)| folder);
    let folder = folder.rsplit('[').next().unwrap_or_default();
    let (_, predicate) = rest.split_once("predicate=").unwrap_or_default();
    let predicate = predicate.split(", pruning_predicate").next().unwrap_or_default();
    let mut named = String::new();
    for (n, part) in predicate.split('@').enumerate() {
        named += if n == 0 { part } else { part.trim_start_matches(|byte: char| byte.is_ascii_digit()) };
    }
    format!("{operator}: {folder}, predicate={named}")
}

#[tokio::test]
async fn the_view_has_the_columns_of_the_table() {
    let bucket = Bucket::new().await;
    let served = bucket.serve(&Config::default());
    for sql in ["SELECT * FROM syscalls_named", "SELECT * FROM syscalls"] {
        let (columns, _) = served
            .engine
            .describe(&tenant("acme"), crate::Endpoint::Http, crate::Ask::new(sql))
            .await
            .unwrap();
        let named = |schema: &datafusion::arrow::datatypes::Schema| {
            let field = |field: &Arc<datafusion::arrow::datatypes::Field>| {
                (field.name().clone(), field.data_type().clone(), field.is_nullable())
            };
            schema.fields().iter().map(field).collect::<Vec<_>>()
        };
        assert_eq!(named(&columns), named(&Table::Syscalls.public_schema()), "{sql}");
    }
    for name in LATE_COLUMNS {
        let kind = |table: Table| table.column(name).map(|column| column.kind);
        assert!(
            kind(Table::Syscalls).is_some() && kind(Table::Syscalls) == kind(Table::Containers),
            "{name}"
        );
    }
}

/// A batch with lists, which [`rows`] leaves out.
fn with_lists(mut batch: RecordBatch, mounts: Option<&str>, labels: Option<(&str, &str)>) -> RecordBatch {
    let lists = |name: &str, items: Option<ArrayRef>| -> ArrayRef {
        let kind = batch.schema().field_with_name(name).unwrap().data_type().clone();
        let datafusion::arrow::datatypes::DataType::List(element) = kind else { panic!("{name}") };
        let Some(items) = items else {
            return datafusion::arrow::array::new_null_array(
                &datafusion::arrow::datatypes::DataType::List(element),
                1,
            );
        };
        Arc::new(ListArray::new(element, OffsetBuffer::from_lengths([items.len()]), items, None))
    };
    let text = |text: &str| Arc::new(StringArray::from(vec![text.to_owned()])) as ArrayRef;
    let pair = labels.map(|(name, value)| {
        let fields = bailiwick_proto::schema::pair_fields();
        Arc::new(StructArray::new(fields, vec![text(name), text(value)], None)) as ArrayRef
    });
    let made = [
        ("container_mounts", lists("container_mounts", mounts.map(text))),
        ("k8s_pod_labels", lists("k8s_pod_labels", pair)),
    ];
    for (name, list) in made {
        let (index, _) = batch.schema().column_with_name(name).unwrap();
        let mut columns = batch.columns().to_vec();
        columns[index] = list;
        batch = RecordBatch::try_new(batch.schema(), columns).unwrap();
    }
    batch
}

#[tokio::test]
async fn lists_come_late_too() {
    let mut bucket = Bucket::new().await;
    let event = |file| rows(Table::Syscalls, &[&event("acme", "c1", file, &[])[..]]);
    let known = with_lists(
        rows(Table::Containers, &[&known("acme", "c1", EARLY, &[])[..]]),
        Some("/a:/b::true:private"),
        Some(("app", "web")),
    );
    let own = with_lists(event("/own"), None, Some(("app", "own")));
    bucket.wal(&[(Table::Syscalls, event("/late")), (Table::Containers, known)]).await;
    bucket.wal(&[(Table::Syscalls, own)]).await;
    let served = bucket.serve(&Config::default());
    let sql = "SELECT fd_name, container_mounts, k8s_pod_labels FROM syscalls_named ORDER BY 1";
    insta::assert_snapshot!(served.text(&tenant("acme"), sql).await, @r"
    /late [/a:/b::true:private] [{name: app, value: web}]
    /own [/a:/b::true:private] [{name: app, value: own}]
    ");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Goal: for any rows, every text column is the event's own value or that
    /// of the container's newest row. Method: against a look-up by hand.
    #[test]
    fn every_value_is_the_own_or_the_newest(
        events in prop::collection::vec((0..4usize, prop::option::of("[a-c]"), prop::option::of("[a-c]")), 0..12),
        learnt in prop::collection::vec((0..4usize, prop::option::of("[x-z]"), prop::option::of("[x-z]")), 0..12),
    ) {
        let ids = ["c0", "c1", "c2", "host"];
        let files: Vec<String> = (0..events.len()).map(|n| format!("/{n:02}")).collect();
        let times: Vec<String> = (0..learnt.len()).map(|n| format!("2026-11-24T12:00:{n:02}Z")).collect();
        fn two<'a>(pod: &'a Option<String>, image: &'a Option<String>) -> Vec<(&'a str, &'a str)> {
            let pod = pod.iter().map(|pod| ("k8s_pod_name", pod.as_str()));
            pod.chain(image.iter().map(|image| ("container_image", image.as_str()))).collect()
        }
        let syscalls: Vec<_> = events.iter().zip(&files)
            .map(|((id, pod, image), file)| event("acme", ids[*id], file, &two(pod, image))).collect();
        let containers: Vec<_> = learnt.iter().zip(&times).filter(|((id, ..), _)| *id < 3)
            .map(|((id, pod, image), time)| known("acme", ids[*id], time, &two(pod, image))).collect();
        let newest = |id: usize| learnt.iter().rfind(|(of, ..)| *of == id && id < 3);
        let expected: Vec<String> = events.iter().zip(&files).map(|((id, pod, image), file)| {
            let late = newest(*id);
            let pod = pod.clone().or_else(|| late.and_then(|(_, pod, _)| pod.clone()));
            let image = image.clone().or_else(|| late.and_then(|(_, _, image)| image.clone()));
            format!("{file} {} {}", pod.unwrap_or("-".into()), image.unwrap_or("-".into()))
        }).collect();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let found = runtime.block_on(async {
            let (_bucket, served) = filled(&syscalls, &containers).await;
            let sql = "SELECT fd_name, coalesce(k8s_pod_name, '-'), coalesce(container_image, '-') \
                       FROM syscalls_named ORDER BY 1";
            served.text(&tenant("acme"), sql).await
        });
        prop_assert_eq!(found, expected.join("\n"));
    }
}

/// Goal: two relations with columns of the same name, filtered after their join
/// by columns of both, answer as SQL says.
#[tokio::test]
async fn columns_of_one_name_are_not_confused() {
    let (_bucket, served) = filled(
        &[event("acme", "c1", "/a", &[]), event("acme", "c2", "/b", &[("k8s_pod_name", "own")])],
        &[
            known("acme", "c1", EARLY, &[("k8s_pod_name", "web-0")]),
            known("acme", "c2", EARLY, &[("k8s_pod_name", "web-1")]),
        ],
    )
    .await;
    for (sql, expected) in [
        (
            "SELECT s.fd_name FROM syscalls s LEFT JOIN containers c ON s.container_id = c.container_id \
             WHERE coalesce(s.k8s_pod_name, c.k8s_pod_name) = 'web-0'",
            "/a",
        ),
        (
            "SELECT s.fd_name FROM containers c RIGHT JOIN syscalls s ON s.container_id = c.container_id \
             WHERE coalesce(s.k8s_pod_name, c.k8s_pod_name) = 'web-0'",
            "/a",
        ),
        (
            "SELECT s.fd_name FROM syscalls s JOIN containers c ON s.container_id = c.container_id \
             WHERE s.k8s_pod_name IS NULL OR c.k8s_pod_name = 'web-9'",
            "/a",
        ),
        (
            "SELECT s.fd_name FROM syscalls s LEFT JOIN containers c ON s.container_id = c.container_id \
             WHERE s.k8s_pod_name IS NULL OR c.k8s_pod_name = 'web-1' ORDER BY c.k8s_pod_name LIMIT 1",
            "/a",
        ),
    ] {
        assert_eq!(served.text(&tenant("acme"), sql).await, expected, "{sql}");
    }
}
