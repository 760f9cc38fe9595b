use super::*;

/// The documented file.
const DOCUMENTED: &str = include_str!("../../../deploy/bailiwick.toml");

fn read(text: &str) -> Result<Config, Box<figment::Error>> {
    Figment::from(Toml::string(text)).extract().map_err(Box::new)
}

/// Goal: what the file says is the default is the default.
#[test]
fn the_documented_file_changes_nothing() {
    let read = read(DOCUMENTED).unwrap();
    assert_eq!(format!("{read:#?}"), format!("{:#?}", Config::default()));
}

/// Goal: nothing can be configured that the file does not tell. Method: the
/// names of all fields, from how the defaults print themselves.
#[test]
fn the_documented_file_tells_every_field() {
    // Entries of lists have fields as well.
    let printed = format!("{:#?}\n{:#?}", Config::default(), read(&with_all_set()).unwrap().query);
    let fields =
        printed.lines().filter_map(|line| line.trim().split_once(": ").map(|(name, _)| name.to_owned()));
    // Names in quotes are values: of claims.
    let fields = fields.filter(|name| !name.starts_with('"'));
    let named = |field: &str| {
        let line = |line: &str| {
            let line = line.trim_start_matches("# ");
            line.starts_with(&format!("{field} ="))
                || line == format!("[{field}]")
                || line.ends_with(&format!(".{field}]"))
                || line.ends_with(&format!(".{field}]]"))
        };
        DOCUMENTED.lines().any(line)
    };
    // Cannot be configured: for tests that count every event, and a bench.
    const UNSET: [&str; 2] = ["only_cgroup", "only_processes"];
    let missing: Vec<String> =
        fields.filter(|field| !UNSET.contains(&field.as_str()) && !named(field)).collect();
    assert!(missing.is_empty(), "deploy/bailiwick.toml does not tell {missing:?}");
}

/// Goal: the optional fields of the file exist too. Method: give them the values
/// of their comments.
#[test]
fn what_is_commented_out_can_be_set() {
    let read = read(&with_all_set()).unwrap();
    assert!(read.query.oidc.len() == 1 && read.query.oidc[0].map.len() == 2, "{:?}", read.query.oidc);
    assert!(read.query.certificates.len() == 2 && read.query.kubernetes.map.len() == 1);
}

/// The documented file with all that is commented out.
fn with_all_set() -> String {
    let is_field = |line: &str| {
        line.strip_prefix("# ")
            .and_then(|rest| rest.split_once(" = "))
            .is_some_and(|(name, _)| !name.contains(' '))
    };
    let is_section = |line: &str| line.starts_with("# [[") && line.ends_with("]]");
    let set = |line: &str| match is_field(line) || is_section(line) {
        true => line.trim_start_matches("# ").to_owned(),
        false => line.to_owned(),
    };
    DOCUMENTED.lines().map(set).collect::<Vec<_>>().join("\n")
}

#[test]
fn an_unknown_field_is_named() {
    let error = read("[ingest]\nflush_after_minutes = 1\n").unwrap_err().to_string();
    assert!(error.contains("flush_after_minutes"), "{error}");
}

/// A block of text in the cluster's ConfigMap.
fn from_the_cluster(name: &str) -> String {
    let manifest = include_str!("../../../deploy/kubernetes/configuration.yaml");
    let begin = format!("  {name}: |");
    let lines = manifest.lines().skip_while(|line| *line != begin).skip(1);
    let block = lines.take_while(|line| line.is_empty() || line.starts_with("    "));
    block.map(|line| format!("{}\n", line.trim())).collect()
}

/// Goal: what is applied to a cluster is understood by the binary that runs there.
#[test]
fn the_manifests_configurations_can_be_read() {
    let server = read(&from_the_cluster("server.toml")).unwrap();
    assert!(server.ingest.token_file.is_some() && server.ingest.tls_cert_file.is_some());
    assert!(!server.query.http_listen.ip().is_loopback());
    let collector = read(&from_the_cluster("collector.toml")).unwrap();
    assert_eq!(collector.collector.kube.enabled, bailiwick_collector::Enabled::On);
    assert!(collector.collector.endpoint.starts_with("https://"));
    assert!(collector.collector.memory_bytes > 0 && collector.drop_privileges);
}

/// Goal: no configuration deletes files under a query that may still run.
#[test]
fn a_query_may_not_outlive_what_it_reads() {
    let config =
        read("[ingest.upkeep]\nvacuum_grace_ms = 3600000\n[query]\nquery_timeout_ms = 1800000\n").unwrap();
    let refused = config.clone().complete().unwrap_err().to_string();
    assert!(refused.contains("ingest.upkeep.vacuum_grace_ms") && refused.contains("7200000"), "{refused}");
}
