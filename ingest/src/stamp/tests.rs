use arrow::array::{StringDictionaryBuilder, new_null_array};
use proptest::prelude::*;

use super::*;

const NOW_US: i64 = 1_790_000_000_000_000;

type Row = (Option<&'static str>, Option<&'static str>, Option<&'static str>, Option<i64>);

fn text(values: impl Iterator<Item = Option<&'static str>>) -> ArrayRef {
    let mut column = StringDictionaryBuilder::<Int32Type>::new();
    values.for_each(|value| column.append_option(value));
    Arc::new(column.finish())
}

fn syscalls(rows: &[Row]) -> RecordBatch {
    let schema = Table::Syscalls.wire_schema();
    let column = |field: &Arc<arrow::datatypes::Field>| -> ArrayRef {
        match field.name().as_str() {
            "k8s_ns_name" => text(rows.iter().map(|row| row.0)),
            "cgroup_path" => text(rows.iter().map(|row| row.1)),
            "container_id" => text(rows.iter().map(|row| row.2)),
            "time" => {
                let times = TimestampMicrosecondArray::from_iter(rows.iter().map(|row| row.3));
                Arc::new(times.with_timezone("UTC"))
            }
            _ => new_null_array(field.data_type(), rows.len()),
        }
    };
    RecordBatch::try_new(schema.clone(), schema.fields().iter().map(column).collect()).unwrap()
}

fn mapping() -> Mapping {
    let text = "tenants:\n- tenant: past\n  effective_to: 2026-09-01\n  namespaces: [shop]\n\
                - tenant: shop\n  namespaces: [shop, shop-*]\n  cgroups: [/shop/*]\n\
                - tenant: ops\n  cgroups: [/sys/*, /shop/x]\n";
    Mapping::parse("t", text).unwrap()
}

/// The rule as a person would say it, one row at a time.
fn owner_of_row(row: &Row, mapping: &Mapping) -> String {
    let believable = row.3.filter(|time| (EARLIEST_US..NOW_US + AHEAD_US).contains(time));
    let time_us = believable.unwrap_or(NOW_US);
    let by = |claim, value: Option<&str>| {
        mapping.in_effect(&mapping.candidates(claim, value?), time_us).map(ToString::to_string)
    };
    let contained = row.2.is_some_and(|id| !id.is_empty() && id != "host");
    let otherwise = if contained { "_unassigned" } else { "_host" };
    by(Claim::Namespace, row.0).or_else(|| by(Claim::Cgroup, row.1)).unwrap_or_else(|| otherwise.into())
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let pick = |values: &'static [&'static str]| prop::option::of(prop::sample::select(values));
    let day = 86_400_000_000;
    let time = prop::option::of(prop_oneof![NOW_US - 60 * day..NOW_US + 4 * day, any::<i64>()]);
    let row = (
        pick(&["shop", "shop-1", "else", ""]),
        pick(&["/shop/x", "/sys/y", "/z"]),
        pick(&["host", "", "abc"]),
        time,
    );
    prop::collection::vec(row, 0..60)
}

proptest! {
    #[test]
    fn stamping_by_dictionary_is_stamping_row_by_row(rows in rows()) {
        let mapping = mapping();
        let stamped = stamp(Table::Syscalls, &syscalls(&rows), &mapping, NOW_US).unwrap();
        let tenants = stamped.batch.column_by_name("tenant").unwrap().as_dictionary::<Int32Type>();
        let tenants = tenants.downcast_dict::<StringArray>().unwrap();
        let found: Vec<String> = tenants.into_iter().map(|tenant| tenant.unwrap().to_owned()).collect();
        let expected: Vec<String> = rows.iter().map(|row| owner_of_row(row, &mapping)).collect();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(stamped.batch.schema(), Table::Syscalls.stamped_schema());
    }
}

#[test]
fn a_row_without_a_believable_time_gets_the_day_of_its_arrival() {
    let day = |us: i64| us.div_euclid(DAY_US) as i32;
    let times = [None, Some(0), Some(i64::MAX), Some(NOW_US - 3 * DAY_US)];
    let rows: Vec<Row> = times.map(|time| (None, None, None, time)).to_vec();
    let stamped = stamp(Table::Syscalls, &syscalls(&rows), &Mapping::default(), NOW_US).unwrap();
    let dates = stamped.batch.column_by_name("date").unwrap();
    let dates = dates.as_primitive::<arrow::datatypes::Date32Type>().values().to_vec();
    assert_eq!(dates, [day(NOW_US), day(NOW_US), day(NOW_US), day(NOW_US) - 3]);
    assert_eq!(stamped.undated, 3);
}

#[test]
fn a_batch_without_rows_can_be_stamped_for_every_table() {
    for table in Table::ALL {
        let empty = RecordBatch::new_empty(table.wire_schema());
        let stamped = stamp(table, &empty, &mapping(), NOW_US).unwrap();
        assert_eq!(stamped.batch.schema(), table.stamped_schema());
    }
}

#[test]
fn an_alert_of_somebody_elses_belongs_to_its_namespace() {
    let owners = [Some("ops"), None, None, None, None];
    let fields = [
        Some(r#"{"k8s.ns.name":"shop"}"#),
        Some(r#"{"k8s.ns.name":"shop"}"#),
        Some(r#"{"ka.target.namespace":"shop-1","k8s.ns.name":null}"#),
        Some(r#"{"k8s.ns.name":"else"}"#),
        Some("no JSON"),
    ];
    let schema = Table::Alerts.wire_schema();
    let column = |field: &Arc<arrow::datatypes::Field>| -> ArrayRef {
        match field.name().as_str() {
            "owner" => text(owners.into_iter()),
            "output_fields" => text(fields.into_iter()),
            _ => new_null_array(field.data_type(), owners.len()),
        }
    };
    let batch = RecordBatch::try_new(schema.clone(), schema.fields().iter().map(column).collect()).unwrap();
    let stamped = stamp(Table::Alerts, &batch, &mapping(), NOW_US).unwrap();
    let tenants = stamped.batch.column_by_name("tenant").unwrap().as_dictionary::<Int32Type>();
    let found: Vec<_> = tenants.downcast_dict::<StringArray>().unwrap().into_iter().flatten().collect();
    assert_eq!(found, ["ops", "shop", "shop", "_unassigned", "_unassigned"]);
}
