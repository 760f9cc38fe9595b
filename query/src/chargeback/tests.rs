use proptest::prelude::*;

use super::*;

const HOUR_US: i64 = 3_600_000_000;

fn at(us: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(us).unwrap()
}

/// `hours` of one core and one GiB, in the given span.
fn steady(tenant: &str, start_us: i64, end_us: i64) -> Usage {
    let us = i128::from(end_us - start_us);
    let used = Amounts {
        cpu_ns: us * 1_000,
        // A GiB divided by a million is no whole number, so 10⁶ bytes it is.
        mem_byte_s: us,
        io_r_b: us,
        io_w_b: 2 * us,
        covered_us: us,
        interval_us: us,
    };
    Usage { tenant: tenant.to_owned(), start_us, end_us, used }
}

fn priced(list: &[(i64, &str)]) -> Prices {
    let mut text = String::from("currency: EUR\nprices:\n");
    for (from_us, cpu) in list {
        let from = at(*from_us).to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
        text += &format!(
            "  - {{ from: \"{from}\", cpu_core_hour: {cpu}, memory_gib_hour: 0.004237, io_read_gib: 0.1, io_write_gib: 0.2 }}\n"
        );
    }
    Prices::parse("p.yaml", &text).unwrap()
}

#[test]
fn an_hour_of_a_core_costs_its_price() {
    let prices = Prices::built_in().unwrap();
    let mut usage = steady("acme", 0, 2 * HOUR_US);
    usage.used.mem_byte_s = GIB * 7_200;
    let report = charge(&prices, at(0), at(HOUR_US), [usage]).unwrap();
    let row = &report.rows[0];
    let texts = [
        row.cpu_core_hours,
        row.memory_gib_hours,
        row.cpu_cost,
        row.memory_cost,
        row.io_cost,
        row.total_cost,
        row.coverage,
    ];
    assert_eq!(
        texts.map(|number| number.to_string()),
        ["1.000000", "1.000000", "0.031611", "0.004237", "0.000000", "0.035848", "1.000000"]
    );
    assert_eq!(
        (report.total, report.currency.as_str(), report.prices.as_str()),
        (row.total_cost, "USD", "built-in")
    );
}

#[test]
fn a_price_counts_from_its_moment_on() {
    let prices = priced(&[(0, "1"), (HOUR_US / 2, "3")]);
    let report = charge(&prices, at(0), at(HOUR_US), [steady("a", 0, HOUR_US)]).unwrap();
    assert_eq!(report.rows[0].cpu_cost.to_string(), "2.000000");
}

#[test]
fn a_period_without_a_price_is_no_free_period() {
    let prices = priced(&[(HOUR_US, "1")]);
    let error = charge(&prices, at(0), at(2 * HOUR_US), []).unwrap_err().to_string();
    assert!(error.contains("p.yaml") && error.contains("1970-01-01T00:00:00"), "{error}");
}

#[test]
fn a_wrong_price_file_names_line_and_field() {
    let right =
        "currency: EUR\nprices:\n  - from: 2026-01-01\n    cpu_core_hour: 0.5\n    memory_gib_hour: 1\n";
    assert_eq!(Prices::parse("p.yaml", right).unwrap().list[0].cpu_core_hour_nano, 500_000_000);
    for (from, to, parts) in [
        ("0.5", "-0.5", ["p.yaml:4", "cpu_core_hour"]),
        ("0.5", "1e3", ["p.yaml:4", "cpu_core_hour"]),
        ("0.5", "2000000", ["p.yaml:4", "cpu_core_hour"]),
        ("0.5", "0.0000000001", ["p.yaml:4", "cpu_core_hour"]),
        ("2026-01-01", "soon", ["p.yaml:3", "from"]),
        ("cpu_core_hour", "cpu_hour", ["p.yaml:", "cpu_hour"]),
        ("currency: EUR", "currency: ''", ["p.yaml:1", "currency"]),
        ("prices:", "price:", ["p.yaml:", "price"]),
    ] {
        let error = Prices::parse("p.yaml", &right.replace(from, to)).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
    let twice = format!("{right}{}", right.lines().skip(2).collect::<Vec<_>>().join("\n"));
    assert!(Prices::parse("p.yaml", &twice).unwrap_err().to_string().contains("p.yaml:6: field from"));
}

#[test]
fn json_is_a_price_file_too() {
    let json = r#"{"currency": "EUR", "prices": [{"from": "2026-01-01T00:00:00Z", "cpu_core_hour": 0.031611, "memory_gib_hour": "0.1"}]}"#;
    let prices = Prices::parse("request", json).unwrap();
    assert_eq!(prices.list[0].cpu_core_hour_nano, 31_611_000);
    assert_eq!(prices.list[0].memory_gib_hour_nano, 100_000_000);
}

/// Goal: the sums by tenant are OpenCost's. Method: the containers of its own
/// allocation test (case 1b, without idle), one unit of each resource costing
/// one; GPU, volumes, network and load balancers stand in as bytes read.
#[test]
fn costs_by_namespace_are_opencosts() {
    let containers = [("namespace1", 11), ("namespace1", 1), ("namespace1", 1)];
    let containers = containers.into_iter().chain([("namespace2", 1); 6]).chain([("namespace3", 1); 3]);
    let usage = containers.map(|(namespace, ram)| {
        let used =
            Amounts { cpu_ns: HOUR_NS, mem_byte_s: ram * GIB_HOUR, io_r_b: 4 * GIB, ..Amounts::default() };
        Usage { tenant: namespace.to_owned(), start_us: 0, end_us: 24 * HOUR_US, used }
    });
    let text =
        "currency: c\nprices: [{from: 1970-01-01, cpu_core_hour: 1, memory_gib_hour: 1, io_read_gib: 1}]";
    let report = charge(&Prices::parse("p", text).unwrap(), at(0), at(24 * HOUR_US), usage).unwrap();
    let totals: Vec<_> =
        report.rows.iter().map(|row| (row.tenant.as_str(), row.total_cost.micros() / 1_000_000)).collect();
    assert_eq!(totals, [("namespace1", 28), ("namespace2", 36), ("namespace3", 18)]);
}

fn usage() -> impl Strategy<Value = Usage> {
    let amount = 0..1_000_000_000_000_000_000i128;
    ("[abc]", -HOUR_US..4 * HOUR_US, 0..HOUR_US, prop::array::uniform4(amount)).prop_map(
        |(tenant, start_us, length, [cpu_ns, mem_byte_s, io_r_b, io_w_b])| {
            let interval_us = i128::from(length);
            let used = Amounts { cpu_ns, mem_byte_s, io_r_b, io_w_b, covered_us: interval_us, interval_us };
            Usage { tenant, start_us, end_us: start_us + length, used }
        },
    )
}

proptest! {
    #[test]
    fn rows_and_columns_add_up_as_printed(usage in prop::collection::vec(usage(), 0..20)) {
        let prices = priced(&[(0, "0.031611"), (HOUR_US, "0.123456789")]);
        let report = charge(&prices, at(0), at(3 * HOUR_US), usage).unwrap();
        for row in &report.rows {
            prop_assert_eq!(row.total_cost, [row.cpu_cost, row.memory_cost, row.io_cost].into_iter().sum());
            prop_assert!(row.coverage.micros() <= 1_000_000);
        }
        prop_assert_eq!(report.total, report.rows.iter().map(|row| row.total_cost).sum());
    }

    /// However an interval was cut on its way here, it costs the same.
    #[test]
    fn splitting_an_interval_changes_nothing(
        start in 0..2 * HOUR_US, length in 1..HOUR_US, cuts in prop::collection::vec(0.0..1.0f64, 0..5),
    ) {
        let prices = priced(&[(0, "0.031611"), (HOUR_US, "0.5"), (HOUR_US + 12_345_678, "0.123456789")]);
        let whole = steady("a", start, start + length);
        let mut ends: Vec<i64> = cuts.iter().map(|cut| start + (length as f64 * cut) as i64).collect();
        ends.extend([start, start + length]);
        ends.sort_unstable();
        ends.dedup();
        let parts = ends.windows(2).map(|ends| steady("a", ends[0], ends[1]));
        let report = |usage: Vec<Usage>| charge(&prices, at(0), at(2 * HOUR_US), usage).unwrap();
        prop_assert_eq!(report(parts.collect()), report(vec![whole]));
    }

    /// Two periods that meet charge what one over both does, to the nanosecond.
    #[test]
    fn parts_of_a_whole_are_the_whole(usage in usage(), cut in -HOUR_US..5 * HOUR_US) {
        let mut sum = usage.within(i64::MIN / 2, cut);
        sum += usage.within(cut, i64::MAX / 2);
        prop_assert_eq!(sum, usage.used);
    }
}
