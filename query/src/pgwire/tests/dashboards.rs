//! What Grafana's files ask, sent as Grafana sends it: every panel, variable,
//! annotation and alert rule of every file below `deploy/grafana`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::bucket::Served;
use super::psql::Psql;
use crate::Config;
use crate::engine::tests::scene;

/// The time range of a panel: a morning, in which the scene plays.
const FROM: &str = "2026-11-24T08:00:00Z";
const TO: &str = "2026-11-24T13:00:00.123Z";
/// Of a point in a graph.
const INTERVAL_MS: u64 = 30_000;

/// Panels that draw one value, or a value a row.
const OF_VALUES: [&str; 4] = ["stat", "bargauge", "gauge", "piechart"];

/// An answer: names, then rows.
struct Answer {
    names: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// Something that Grafana asks.
struct Asked {
    place: String,
    sql: String,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Panel { panel: String, format: String },
    Annotation,
    AlertRule,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/grafana")
}

/// Files of a kind, in any folder below.
fn files(folder: &Path, kind: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path, kind)),
            false if path.extension().is_some_and(|ending| ending == kind) => found.push(path),
            false => {}
        }
    }
    found.sort();
    found
}

fn dashboards() -> Vec<(String, Value)> {
    let read = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap())
    };
    let found: Vec<_> = files(&folder(), "json").into_iter().map(read).collect();
    assert!(found.len() >= 7, "{}", found.len());
    found
}

fn provisioned() -> Vec<(String, Value)> {
    let read = |path: PathBuf| {
        let value = serde_saphyr::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        (path.strip_prefix(folder()).unwrap().display().to_string(), value)
    };
    files(&folder(), "yaml").into_iter().map(read).collect()
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// Macros as the PostgreSQL data source expands them with TimescaleDB, then variables.
fn expanded(sql: &str, variables: &BTreeMap<String, String>) -> String {
    let mut text = sql.to_owned();
    let replace = |text: &mut String, name: &str, by: &dyn Fn(&[&str]) -> String| {
        while let Some(start) = text.find(&format!("{name}(")) {
            let open = start + name.len();
            let close = open + text[open..].find(')').unwrap();
            let arguments: Vec<&str> = text[open + 1..close].split(',').map(str::trim).collect();
            let by = by(&arguments);
            text.replace_range(start..=close, &by);
        }
    };
    replace(&mut text, "$__timeFilter", &|column| format!("{} BETWEEN '{FROM}' AND '{TO}'", column[0]));
    replace(&mut text, "$__timeFrom", &|_| format!("'{FROM}'"));
    replace(&mut text, "$__timeTo", &|_| format!("'{TO}'"));
    let bucket = |column: &[&str]| format!("time_bucket('{}.000s',{})", INTERVAL_MS / 1000, column[0]);
    replace(&mut text, "$__timeGroupAlias", &|column| bucket(column) + " AS \"time\"");
    replace(&mut text, "$__timeGroup", &bucket);
    text = text.replace("$__interval_ms", &INTERVAL_MS.to_string()).replace("$__interval", "30s");
    for (name, value) in variables {
        text = text.replace(&format!("${name}"), value);
    }
    assert!(!text.contains('$'), "{text}");
    text
}

/// An answer of psql's, read as CSV.
async fn answer(psql: &Psql, sql: &str) -> Answer {
    let output = psql.run_with(&[], sql).await.unwrap_or_else(|error| panic!("{sql}\n{error}"));
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(output.as_bytes());
    let mut rows: Vec<Vec<String>> =
        reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
    let names = rows.remove(0);
    Answer { names, rows }
}

/// A dashboard's variables with every value that they could have. `exec_id`
/// and `pod` are what somebody would type.
async fn variables(psql: &Psql, dashboard: &Value) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for variable in list(dashboard, "/templating/list") {
        let name = text(&variable["name"]);
        let value = match text(&variable["type"]).as_str() {
            "query" => {
                let sql = expanded(&text(&variable["query"]), &values);
                let found = answer(psql, &sql).await;
                assert_eq!(found.names, ["__text", "__value"], "{sql}");
                assert!(!found.rows.is_empty(), "{sql} offers nothing");
                assert!(found.rows.iter().all(|row| !row[1].is_empty()), "{sql} offers nothing to choose");
                found.rows.iter().map(|row| format!("'{}'", row[1])).collect::<Vec<_>>().join(",")
            }
            "textbox" if name == "exec_id" => "b-202-4".to_owned(),
            "textbox" => text(&variable["query"]),
            "datasource" => continue,
            other => panic!("variable {name} of type {other}"),
        };
        values.insert(name, value);
    }
    values
}

fn asked(name: &str, dashboard: &Value) -> Vec<Asked> {
    let mut all = Vec::new();
    for panel in list(dashboard, "/panels") {
        let kind = text(&panel["type"]);
        let targets: Vec<_> = list(panel, "/targets").collect();
        assert_eq!(targets.is_empty(), kind == "row", "{name}: {}", panel["title"]);
        for target in targets {
            let format = text(&target["format"]);
            let place = format!("{name}: {}", panel["title"]);
            let kind = Kind::Panel { panel: kind.clone(), format };
            all.push(Asked { place, sql: text(&target["rawSql"]), kind });
        }
    }
    for annotation in list(dashboard, "/annotations/list") {
        let place = format!("{name}: {}", annotation["name"]);
        all.push(Asked { place, sql: text(&annotation["target"]["rawSql"]), kind: Kind::Annotation });
    }
    all
}

/// Whether Grafana can draw an answer as it is asked to.
fn check(asked: &Asked, sql: &str, answer: &Answer) {
    let place = format!("{}\n{sql}\n{:?}\n{:?}", asked.place, answer.names, answer.rows.first());
    assert!(!answer.rows.is_empty(), "{place} answers nothing");
    let column = |name: &str| answer.names.iter().position(|known| known == name);
    let is_number =
        |at: &usize| answer.rows.iter().all(|row| row[*at].is_empty() || row[*at].parse::<f64>().is_ok());
    let numbers = (0..answer.names.len()).filter(is_number).count();
    let unique: std::collections::BTreeSet<_> = answer.names.iter().collect();
    assert_eq!(unique.len(), answer.names.len(), "{place}\ntwo columns of one name");
    match &asked.kind {
        Kind::Panel { panel, format } if format == "time_series" => {
            assert_eq!(panel, "timeseries", "{place}");
            let time = column("time").unwrap_or_else(|| panic!("{place}\nhas no time"));
            assert!(answer.rows.is_sorted_by(|a, b| a[time] <= b[time]), "{place}\nis not in order of time");
            assert!(answer.rows.iter().all(|row| row[time].starts_with("2026-11-24 ")), "{place}");
            let names_it = |at: &usize| *at == time || Some(*at) == column("metric");
            let values: Vec<usize> = (0..answer.names.len()).filter(|at| !names_it(at)).collect();
            assert!(!values.is_empty() && values.iter().all(is_number), "{place}\nis no series");
        }
        Kind::Panel { panel, .. } if OF_VALUES.contains(&panel.as_str()) => {
            assert!(numbers >= 1, "{place}\nhas no number");
        }
        Kind::Panel { panel, .. } => assert_eq!(panel, "table", "{place}"),
        Kind::Annotation => assert!(column("time").is_some() && column("text").is_some(), "{place}"),
        // A number, and texts that become labels.
        Kind::AlertRule => assert_eq!(numbers, 1, "{place}\nis not one number"),
    }
}

async fn scene() -> (Served, crate::engine::tests::bucket::Bucket) {
    let (bucket, _) = scene::served().await;
    (Served::over(std::sync::Arc::clone(&bucket.lake), Config::default()).await, bucket)
}

/// psql that answers in CSV.
fn psql(served: &Served) -> Option<Psql> {
    Psql::of(served.addr, &served.admin).map(Psql::in_csv)
}

/// Goal: no panel of any dashboard is broken or draws nothing. Method: each
/// statement runs over the server's own protocol, on a bucket in which there is
/// something of everything, and the answer has what the panel draws.
#[tokio::test(flavor = "multi_thread")]
async fn every_panel_variable_and_annotation_has_an_answer() {
    let (served, _bucket) = scene().await;
    let Some(psql) = psql(&served) else { return };
    let mut count = 0;
    for (name, dashboard) in dashboards() {
        let variables = variables(&psql, &dashboard).await;
        for asked in asked(&name, &dashboard) {
            let sql = expanded(&asked.sql, &variables);
            check(&asked, &sql, &answer(&psql, &sql).await);
            count += 1;
        }
    }
    assert!(count > 80, "{count}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_alert_rule_asks_for_a_number() {
    let (served, _bucket) = scene().await;
    let Some(psql) = psql(&served) else { return };
    let known: Vec<(String, Value)> = dashboards();
    let mut uids = Vec::new();
    for (file, value) in provisioned() {
        for rule in list(&value, "/groups").flat_map(|group| list(group, "/rules").collect::<Vec<_>>()) {
            uids.push(text(&rule["uid"]));
            let steps: Vec<_> = list(rule, "/data").collect();
            assert!(steps.iter().any(|step| step["refId"] == rule["condition"]), "{file}: {}", rule["uid"]);
            let questions = steps.iter().filter_map(|step| step.pointer("/model/rawSql").map(text));
            for sql in questions {
                let asked = Asked { place: format!("{file}: {}", rule["uid"]), sql, kind: Kind::AlertRule };
                let sql = expanded(&asked.sql, &BTreeMap::new());
                check(&asked, &sql, &answer(&psql, &sql).await);
            }
            // The panel that it leads to is there.
            let annotations = &rule["annotations"];
            let (uid, panel) = (&annotations["__dashboardUid__"], text(&annotations["__panelId__"]));
            let dashboard = known.iter().find(|(_, dashboard)| dashboard["uid"] == *uid).unwrap();
            let panel: u64 = panel.parse().unwrap();
            assert!(
                list(&dashboard.1, "/panels").any(|known| known["id"] == panel),
                "{file}: {}",
                rule["uid"]
            );
            // Grafana expands variables of the environment in the other fields.
            assert!(!annotations.to_string().contains('$'), "{file}: {}", rule["uid"]);
        }
    }
    let count = uids.len();
    uids.sort();
    uids.dedup();
    assert!(count >= 5 && uids.len() == count, "{uids:?}");
}

#[test]
fn dashboards_are_what_grafana_expects() {
    let mut uids = Vec::new();
    for (name, dashboard) in dashboards() {
        assert_eq!(dashboard["uid"], format!("bailiwick-{name}"));
        assert_eq!(dashboard["schemaVersion"], 40, "{name}");
        uids.push(text(&dashboard["uid"]));
        let mut ids = Vec::new();
        for panel in list(&dashboard, "/panels") {
            ids.push(panel["id"].as_u64().unwrap());
            let place = |part: &str| panel["gridPos"][part].as_u64().unwrap();
            assert!(place("x") + place("w") <= 24 && place("h") > 0, "{name}: {}", panel["title"]);
            for target in list(panel, "/targets") {
                assert_eq!(target["datasource"], panel["datasource"], "{name}: {}", panel["title"]);
                assert_eq!(target["datasource"]["type"], "grafana-postgresql-datasource");
                assert_eq!(target["rawQuery"], true);
            }
        }
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "{name}");
    }
    let sources: Vec<Value> = provisioned().into_iter().map(|(_, value)| value).collect();
    let named: Vec<String> = sources
        .iter()
        .flat_map(|value| list(value, "/datasources").map(|source| text(&source["uid"])).collect::<Vec<_>>())
        .collect();
    assert_eq!(named, ["bailiwick"]);
}

/// Goal: what ships is what the generator writes, and its other output is YAML
/// that Grafana reads.
#[test]
fn what_is_generated_is_committed() {
    let run = |program: &str, arguments: &[&str]| {
        Command::new(program).current_dir(folder()).args(arguments).output()
    };
    match run("python3", &["generate.py", "--check"]) {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => {
            assert!(std::env::var_os("BAILIWICK_REQUIRE_CLIENTS").is_none(), "needs python3: {error}");
            println!("skipped: needs python3");
        }
    }
    let made = run("sh", &["tenant-datasource.sh", "acme-shop.eu", "7"]).unwrap();
    let source: Value = serde_saphyr::from_str(std::str::from_utf8(&made.stdout).unwrap()).unwrap();
    let source = &source["datasources"][0];
    assert_eq!((&source["uid"], &source["orgId"]), (&"bailiwick-acme-shop-eu".into(), &7.into()));
    assert_eq!(source["secureJsonData"]["password"], "$BAILIWICK_TOKEN_ACME_SHOP_EU");
    for wrong in [["a b", "1"], ["a", "x"], ["a\n  x: y", "1"]] {
        let mut arguments = vec!["tenant-datasource.sh"];
        arguments.extend(wrong);
        assert!(!run("sh", &arguments).unwrap().status.success(), "{wrong:?}");
    }
}
