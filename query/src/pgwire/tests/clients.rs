//! What psql's commands and Grafana send, over a bucket with rows of two tenants.

use std::fmt::Write as _;

use super::bucket::{ROWS, Served};
use super::psql::Psql;
use crate::Config;

/// The time range of a panel that covers every row.
const FROM_TO: (&str, &str) = ("2026-11-24T09:00:00Z", "2026-11-24T11:00:00.123Z");

/// psql's commands about the catalog; each must answer, and mention what is named beside it.
const COMMANDS: &[(&str, &[&str])] = &[
    ("\\dt", &["public|syscalls|table|bailiwick", "public|queries|table|bailiwick"]),
    ("\\dt+", &["public|usage|table|bailiwick", "resource use, one container and interval a row"]),
    ("\\d", &["public|api_access|table", "public|syscalls_named|view"]),
    ("\\d+", &["public|losses|table"]),
    ("\\d syscalls", &["evt_type|text", "time|timestamp with time zone", "proc_pid|bigint", "date|date"]),
    ("\\d+ usage", &["CPU time used, nanoseconds", "cpu_ns|bigint"]),
    ("\\d public.alerts", &["tags|text[]"]),
    ("\\l", &["bailiwick|bailiwick|UTF8"]),
    ("\\l+", &["bailiwick"]),
    ("\\du", &["olga", "bailiwick"]),
    ("\\dn", &["public|bailiwick"]),
    ("\\dn+", &["public"]),
    ("\\df", &["Schema|Name"]),
    ("\\dv", &["public|syscalls_named|view|bailiwick", "public|sessions|view|bailiwick"]),
    ("\\d+ sessions", &["requested|text[]", "when a program started", "ran_at|timestamp with time zone"]),
    ("\\d+ syscalls_named", &["k8s_pod_name|text", "the pod's namespace"]),
    ("\\di", &[]),
    ("\\ds", &[]),
    ("\\dm", &[]),
    ("\\dT", &[]),
    ("\\dp", &["syscalls"]),
    ("\\dx", &[]),
    ("\\d+ syscalls", &["evt_arg|record[]", "who answers for this row"]),
    ("\\d public.*", &["Table \"public.usage\"", "View \"public.syscalls_named\""]),
    ("\\dt public.sys*", &["public|syscalls|table"]),
    ("\\du+", &["olga"]),
    ("\\dg", &["olga"]),
    ("\\dv+", &["syscalls_named"]),
    ("\\df+", &[]),
    ("\\df *.upper", &["pg_catalog|upper"]),
    ("\\dfn pg_catalog.lower*", &["pg_catalog|lower"]),
    ("\\dT+", &[]),
    ("\\dT *.text", &["pg_catalog|text"]),
    ("\\z", &["public|usage|table"]),
    ("\\dC", &["bigint"]),
    ("\\dC+", &["bigint"]),
    ("\\dD", &[]),
    ("\\dD+", &[]),
    ("\\db", &["pg_default"]),
    ("\\db+", &["pg_default"]),
    ("\\dF", &["english"]),
    ("\\dF+", &["english"]),
    ("\\dFd", &["english_stem"]),
    ("\\dFp", &["default"]),
    ("\\dFt", &["simple"]),
    ("\\di+", &[]),
    ("\\dx+", &[]),
    ("\\da", &[]),
    ("\\dA", &["heap"]),
    ("\\dAc", &["btree"]),
    ("\\dAf", &["btree"]),
    ("\\dAo", &[]),
    ("\\dAp", &[]),
    ("\\dc", &[]),
    ("\\dd", &[]),
    ("\\ddp", &[]),
    ("\\des", &[]),
    ("\\det", &[]),
    ("\\deu", &[]),
    ("\\dew", &[]),
    ("\\dE", &[]),
    ("\\dl", &[]),
    ("\\dL", &[]),
    ("\\do", &[]),
    ("\\dO", &[]),
    ("\\dP", &[]),
    ("\\drds", &[]),
    ("\\dRp", &[]),
    ("\\dRs", &[]),
    ("\\dX", &[]),
    ("\\dy", &[]),
    ("\\dconfig", &[]),
    ("\\dconfig+ server_version_num", &["160006"]),
    ("\\conninfo", &["bailiwick"]),
    ("\\encoding", &["UTF8"]),
];

/// The subquery by which Grafana finds out whether a schema is in the search path.
const SEARCH_PATH: &str = "
          quote_ident(table_schema) IN (
          SELECT
            CASE WHEN trim(s[i]) = '\"$user\"' THEN user ELSE trim(s[i]) END
          FROM
            generate_series(
              array_lower(string_to_array(current_setting('search_path'),','),1),
              array_upper(string_to_array(current_setting('search_path'),','),1)
            ) as i,
            string_to_array(current_setting('search_path'),',') s
          )";

#[tokio::test(flavor = "multi_thread")]
async fn psql_lists_and_describes_the_tables() {
    let served = Served::start().await;
    let mut failures = String::new();
    for psql in Psql::of_every_version(served.addr, &served.admin) {
        for (command, mentions) in COMMANDS {
            match psql.run(command).await {
                Ok(output) => {
                    for text in mentions.iter().filter(|text| !output.contains(**text)) {
                        let version = psql.version();
                        let _ = writeln!(failures, "{version}{command} does not mention {text:?}:\n{output}");
                    }
                }
                // Without anything to list, psql says so on its error output and is content.
                Err(output) if output.starts_with("Did not find any") => {}
                Err(output) => {
                    let _ = writeln!(failures, "{}{command}: {output}", psql.version());
                }
            }
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

/// Goal: the Tab key never costs a transaction. Method: the texts that psql sent to
/// PostgreSQL 15, all of them.
#[tokio::test(flavor = "multi_thread")]
async fn psql_completes_words() {
    let served = Served::start().await;
    let mut raw = super::messages::logged_in(&served).await;
    let texts = include_str!("completion.sql").split("\n;;\n");
    let (mut count, mut failures, mut found) = (0, String::new(), String::new());
    for text in texts {
        let answer = raw.ask(&[super::messages::query(text)]).await;
        if let Some(error) = answer.iter().find(|line| line.starts_with("error")) {
            let _ = writeln!(failures, "{text}\n{error}");
        }
        found.extend(answer.into_iter().filter(|line| line.starts_with("row")));
        count += 1;
    }
    assert!(failures.is_empty() && count > 30, "{failures}");
    for word in ["syscalls_named", "usage", "statement_timeout", "timestamptz", "public"] {
        assert!(found.contains(word), "{word} is not found");
    }
}

/// psql reads in portions with `FETCH_COUNT`, and copies to a file of its own.
#[tokio::test(flavor = "multi_thread")]
async fn psql_reads_in_portions_and_copies_to_files() {
    let served = Served::start().await;
    let folder = tempfile::tempdir().unwrap();
    let Some(psql) = Psql::of(served.addr, &served.tenant) else { return };
    let file = folder.path().join("usage.csv");
    let copied = psql.run(&format!("\\copy usage (tenant, cpu_ns) TO '{}' CSV HEADER", file.display())).await;
    assert_eq!(copied.unwrap(), "COPY 600\n");
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.starts_with("tenant,cpu_ns\nacme,") && text.lines().count() == 601, "{text}");
    let output =
        psql.run_script("\\set FETCH_COUNT 7\nSELECT cpu_ns FROM usage ORDER BY 1;\n").await.unwrap();
    let numbers: Vec<i64> = output.lines().filter_map(|line| line.parse().ok()).collect();
    assert_eq!(numbers, (0..ROWS).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_shows_rows_of_every_type() {
    let served = Served::start().await;
    let Some(psql) = Psql::of(served.addr, &served.tenant) else { return };
    for table in ["syscalls", "api_access", "usage", "alerts", "losses", "queries", "containers"] {
        let output = psql.run(&format!("SELECT * FROM {table}")).await.unwrap();
        assert_eq!(i64::try_from(output.lines().count()).unwrap(), ROWS + 1, "{table}");
    }
    let output =
        psql.run("SELECT array['a', null], named_struct('a', 1), 1.5::decimal(4,2), interval '1 day'").await;
    assert!(output.unwrap().contains("{a,NULL}"));
    assert_eq!(
        psql.run("\\copy (SELECT 1 AS a, 'x' AS b) TO STDOUT CSV HEADER").await.unwrap(),
        "a,b\n1,x\n"
    );
    let output = psql.run("\\copy syscalls FROM '/dev/null'").await.unwrap_err();
    assert!(output.contains("42501"), "{output}");
}

/// libpq must find the encryption that it requires, and none where none is configured.
#[tokio::test(flavor = "multi_thread")]
async fn psql_connects_encrypted_where_a_certificate_is_configured() {
    let certificate =
        |name: &str| Some(concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/tests/test.").to_owned() + name);
    let config = Config {
        tls_cert_file: certificate("crt").map(Into::into),
        tls_key_file: certificate("key").map(Into::into),
        ..Config::default()
    };
    let required = [("PGSSLMODE", "require")];
    let served = Served::start_with(config).await;
    let Some(psql) = Psql::of(served.addr, &served.admin) else { return };
    let output = psql.run_with(&required, "\\conninfo").await.unwrap();
    assert!(output.contains("SSL connection (protocol: TLSv1.3"), "{output}");
    let served = Served::start().await;
    let psql = Psql::of(served.addr, &served.admin).unwrap();
    let error = psql.run_with(&required, "SELECT 1").await.unwrap_err();
    assert!(error.contains("does not support SSL"), "{error}");
}

/// What Grafana sends about a data source, and what it must read in the answer.
async fn explore(psql: &Psql) -> Result<(), String> {
    let tables = format!(
        "SELECT CASE WHEN {SEARCH_PATH} THEN quote_ident(table_name)
           ELSE quote_ident(table_schema) || '.' || quote_ident(table_name) END AS \"table\"
         FROM information_schema.tables
         WHERE quote_ident(table_schema) NOT IN ('information_schema', 'pg_catalog', '_timescaledb_cache',
           '_timescaledb_catalog', '_timescaledb_internal', '_timescaledb_config', 'timescaledb_information',
           'timescaledb_experimental')
         ORDER BY CASE WHEN {SEARCH_PATH} THEN 0 ELSE 1 END, 1"
    );
    let columns = |name: &str| {
        format!(
            "SELECT quote_ident(column_name) AS \"column\", data_type AS \"type\" FROM information_schema.columns
             WHERE CASE WHEN array_length(parse_ident('{name}'),1) = 2
               THEN quote_ident(table_schema) = (parse_ident('{name}'))[1]
                 AND quote_ident(table_name) = (parse_ident('{name}'))[2]
               ELSE quote_ident(table_name) = '{name}' AND {SEARCH_PATH} END"
        )
    };
    let (short, long) = (columns("usage"), columns("public.usage"));
    let asked = [
        ("-- ping", ""),
        ("SELECT current_setting('server_version_num')::int/100 as version", "1600"),
        ("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'", "extversion"),
        (
            "SELECT schema_name AS \"name\" FROM information_schema.schemata WHERE schema_name NOT IN \
             ('information_schema','pg_catalog','pg_toast') ORDER BY schema_name",
            "name\npublic\n",
        ),
        (
            &tables,
            "table\nalerts\napi_access\ncontainers\nfile_changes\nlosses\nnetwork_flows\nqueries\nsessions\nsyscalls\n\
             syscalls_named\nusage\n",
        ),
        (
            "SELECT quote_ident(table_name) AS \"table\" FROM information_schema.tables WHERE \
             quote_ident(table_schema) = 'public' ORDER BY 1",
            "syscalls",
        ),
        (&short, "time|timestamp with time zone"),
        (&long, "cpu_ns|bigint"),
        (
            "SELECT user, current_user, session_user, current_database(), version()",
            "olga|olga|olga|bailiwick|PostgreSQL 16",
        ),
        ("SET TIME ZONE 'UTC'; SELECT 1 AS a; SELECT 2 AS a", "a\n1\na\n2\n"),
    ];
    for (sql, expected) in asked {
        let output = psql.run(sql).await?;
        if !output.contains(expected) {
            return Err(format!("{sql}\nanswers\n{output}\nwithout {expected:?}"));
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn grafana_saves_tests_and_explores() {
    let served = Served::start().await;
    let Some(psql) = Psql::of(served.addr, &served.admin) else { return };
    explore(&psql).await.unwrap();
}

/// Grafana 12's query builder asks through pgx: described first, then bound, in binary.
#[tokio::test(flavor = "multi_thread")]
async fn grafana_builds_queries_in_the_extended_protocol() {
    use super::messages::{bind, execute, logged_in, parse, sync};
    let served = Served::start().await;
    let mut raw = logged_in(&served).await;
    for (sql, values, expected) in [
        (
            "SELECT schema_name FROM information_schema.schemata WHERE schema_name NOT LIKE 'pg_%' AND \
             schema_name <> 'information_schema' ORDER BY schema_name",
            &[][..],
            "row public",
        ),
        (
            "SELECT table_name FROM information_schema.tables WHERE table_schema = $1 ORDER BY table_name",
            &[b"public".as_slice()][..],
            "row syscalls_named",
        ),
        (
            "SELECT column_name, data_type, udt_name, numeric_precision, numeric_scale FROM \
             information_schema.columns WHERE table_schema = $1 AND table_name = $2 ORDER BY ordinal_position",
            &[b"public".as_slice(), b"usage"][..],
            "row cpu_ns bigint int8 0x00000040 0x00000000",
        ),
        (
            "SELECT DISTINCT \"evt_type\"::text AS v FROM \"public\".\"syscalls\" WHERE \"evt_type\" IS NOT NULL \
             UNION ALL SELECT DISTINCT \"priority\"::text FROM \"public\".\"alerts\" LIMIT 1000",
            &[][..],
            "row execve",
        ),
        (
            "SELECT count(*) AS n FROM usage WHERE time BETWEEN $1 AND $2 AND tenant = ANY($3)",
            &[b"2026-11-24 09:00:00+00".as_slice(), b"2026-11-24T11:00:00Z", b"{acme,x}"][..],
            "row 0x0000000000000258",
        ),
    ] {
        let answer =
            raw.ask(&[parse("s", sql, &[]), bind("s", values, (&[], &[1])), execute(0), sync()]).await;
        assert!(answer.contains(&expected.to_owned()), "{sql}: {answer:?}");
    }
}

/// Panel queries as Grafana's macros expand, with TimescaleDB switched off and on.
#[tokio::test(flavor = "multi_thread")]
async fn grafana_draws_what_its_macros_ask_for() {
    let served = Served::start().await;
    let Some(psql) = Psql::of(served.addr, &served.tenant) else { return };
    let (from, to) = FROM_TO;
    let filter = format!("time BETWEEN '{from}' AND '{to}'");
    let grouped = |group: &str| {
        format!(
            "SELECT {group} AS \"time\", evt_type AS metric, count(*) AS n FROM syscalls WHERE {filter} GROUP BY 1, 2 ORDER BY 1, 2 LIMIT 1"
        )
    };
    let (floor, bucket) =
        (grouped("floor(extract(epoch from time)/300)*300"), grouped("time_bucket('300.000s',time)"));
    for (sql, expected) in [
        (floor.as_str(), "time|metric|n\n1795514400"),
        (&bucket, "2026-11-24 10:00:00"),
        (
            &format!("SELECT time AS \"time\", cpu_ns FROM usage WHERE {filter} ORDER BY 1 LIMIT 1"),
            "2026-11-24 10:00:00",
        ),
        ("SELECT extract(epoch from time) as \"time\", cpu_ns FROM usage ORDER BY 1 LIMIT 1", "1795514400"),
        (
            &format!(
                "SELECT floor(extract(epoch from time)/0.5)*0.5 AS \"time\", sum(cpu_ns) FROM usage WHERE {filter} GROUP BY time ORDER BY time LIMIT 1"
            ),
            "1795514400",
        ),
        (&format!("SELECT count(*) FROM usage WHERE time >= '{from}' and time < '{to}'"), "600"),
        (
            "SELECT date_bin('5 minutes', time) AS \"time\", sum(cpu_ns) FROM usage GROUP BY 1 ORDER BY 1 LIMIT 1",
            "10:00:00",
        ),
        (
            "SELECT date_trunc('hour', time) AS \"time\", sum(cpu_ns) FROM usage GROUP BY 1 ORDER BY 1 LIMIT 1",
            "10:00:00",
        ),
        (
            "SELECT floor((cpu_ns)/60)*60 AS \"time\", count(*) FROM usage GROUP BY 1 ORDER BY 1 LIMIT 1",
            "0|60",
        ),
        ("SELECT count(*) FROM usage WHERE time > now() - interval '1 hour'", "count"),
        ("SELECT DISTINCT evt_type AS __text, evt_type AS __value FROM syscalls ORDER BY 1", "execve|execve"),
        (
            "SELECT extract(epoch from time) AS time, rule AS text, priority AS tags FROM alerts ORDER BY 1 LIMIT 1",
            "1795514400",
        ),
        ("SELECT count(*) FROM syscalls WHERE evt_type ~* 'OPEN' AND evt_type ILIKE '%at%'", "300"),
    ] {
        let output = psql.run(sql).await.unwrap();
        assert!(output.contains(expected), "{sql}\nanswers\n{output}");
    }
}
