//! A whole server, and every way to ask it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bailiwick_proto::ship::{MemoryOutbox, Outbox};
use bailiwick_proto::{Table, wire};
use bailiwick_rules::{RuleText, load};
use futures::FutureExt;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::flight;
use super::lake::{self, Who, Whose};
use crate::pgwire::tests::messages::{bind, execute, parse, query, sync};
use crate::pgwire::tests::raw::Raw;
use crate::{Config, Engine, MetricsText, Namespaces, Query, QueryRecorder, Role, tokens};

/// How long a statement may take: some never end by themselves.
const TIMEOUT_MS: u64 = 1_500;

/// A way to ask. Another endpoint is added here, in `ask` and in `is_pgwire`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    HttpJson,
    HttpCsv,
    PgwireSimple,
    PgwireExtended,
    Flight,
    FlightPrepared,
}

/// How much of an answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// All of it.
    Whole,
    /// An error, before anything ran.
    Refused,
    /// An error of what ran.
    Failed,
}

/// What came back.
pub(super) struct Reply {
    pub(super) came: Came,
    /// A line a row, cells separated by blanks.
    pub(super) rows: Vec<String>,
    /// Every byte that can be read: headers, names, rows, errors.
    pub(super) everything: String,
}

/// A server with everybody's rows, and a token for each who asks.
pub(super) struct Server {
    pub(super) tokens_file: std::path::PathBuf,
    http: String,
    pgwire: SocketAddr,
    client: reqwest::Client,
    tokens: [String; 4],
    registry: Arc<Mutex<Registry>>,
    records: MemoryOutbox,
    taken: u64,
    stop: CancellationToken,
    _query: Query,
    _folder: tempfile::TempDir,
}

// === impl Door ===

impl Door {
    pub(super) const ALL: [Self; 6] = [
        Self::HttpJson,
        Self::HttpCsv,
        Self::PgwireSimple,
        Self::PgwireExtended,
        Self::Flight,
        Self::FlightPrepared,
    ];

    /// Whether it speaks PostgreSQL's protocol.
    pub(super) fn is_pgwire(self) -> bool {
        matches!(self, Self::PgwireSimple | Self::PgwireExtended)
    }
}

// === impl Came ===

impl Came {
    /// By the stable code of an error.
    pub(super) fn by_code(code: Option<&str>) -> Self {
        match code {
            Some("execution_failed" | "timeout" | "too_large") => Self::Failed,
            _ => Self::Refused,
        }
    }
}

// === impl Reply ===

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let everything: String = self.everything.chars().take(300).collect();
        write!(f, "{:?}, {} rows: {everything}", self.came, self.rows.len())
    }
}

// === impl Server ===

impl Server {
    /// Over a lake of these rows.
    pub(super) async fn start(everybody: &[Whose]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens.yaml");
        let now = chrono::Utc::now();
        let (acme, globex) = ("acme".parse().unwrap(), "globex".parse().unwrap());
        let shop = Namespaces::new(["shop".parse().unwrap(), "shop-*".parse().unwrap()]);
        let made = |name, role, tenants, namespaces| {
            tokens::create_limited(&file, name, role, (tenants, namespaces), None, now).unwrap()
        };
        let tokens = [
            made("anna", Role::Tenant, vec![acme], None),
            made("shop", Role::Tenant, vec!["acme".parse().unwrap()], shop),
            made("gina", Role::Tenant, vec![globex], None),
            made("olga", Role::Admin, vec![], None),
        ];
        let config = Config {
            tokens_file: Some(file.clone()),
            http_listen: ([127, 0, 0, 1], 0).into(),
            pgwire_listen: ([127, 0, 0, 1], 0).into(),
            query_timeout_ms: TIMEOUT_MS,
            memory_bytes: 64 << 20,
            ..Config::default()
        };
        let bucket = lake::bucket(everybody).await;
        Self::over(bucket, config, tokens, folder).await
    }

    async fn over(
        bucket: crate::engine::tests::bucket::Bucket,
        config: Config,
        tokens: [String; 4],
        folder: tempfile::TempDir,
    ) -> Self {
        let (sender, records) = MemoryOutbox::new(1, 64 << 20);
        let recorder = QueryRecorder::new(sender, "node-1", "test");
        let mut registry = Registry::default();
        let engine = Engine::new(&config, Arc::clone(&bucket.lake), recorder, &mut registry).unwrap();
        let rules = "- rule: Own\n  desc: d\n  condition: evt.type = execve\n  output: o\n  priority: INFO\n";
        let rules = load(&[RuleText { name: "rules.yaml".into(), text: rules.into() }]);
        engine.rules().set(Arc::new(rules.rules));
        let registry = Arc::new(Mutex::new(registry));
        let metrics_text: MetricsText = Arc::new(String::new);
        let stop = CancellationToken::new();
        let tokens_file = config.tokens_file.clone().unwrap();
        let query = Query::start(config, engine, metrics_text, stop.clone()).await.unwrap();
        // Whichever test comes first installs it for all.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            tokens_file,
            http: format!("http://{}", query.http_addr()),
            pgwire: query.pgwire_addr(),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            tokens,
            registry,
            records,
            taken: 0,
            stop,
            _query: query,
            _folder: folder,
        }
    }

    pub(super) fn token(&self, who: Who) -> &str {
        &self.tokens[who as usize]
    }

    /// Where PostgreSQL's protocol is spoken.
    pub(super) fn pgwire_addr(&self) -> SocketAddr {
        self.pgwire
    }

    /// What `/metrics` would tell.
    pub(super) fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry.lock().unwrap()).unwrap();
        text
    }

    /// What was recorded since the last time.
    pub(super) fn records(&mut self) -> Vec<BTreeMap<String, String>> {
        let mut records = Vec::new();
        while let Some(batch) = self.records.next(self.taken).now_or_never() {
            let batch = batch.unwrap().unwrap();
            self.taken += 1;
            assert_eq!(batch.table, Table::Queries);
            let batch = wire::decode(&batch.arrow_ipc, batch.crc32c, &Table::Queries.wire_schema()).unwrap();
            let schema = batch.schema();
            let columns = schema.fields().iter().zip(batch.columns());
            let value = |column| datafusion::arrow::util::display::array_value_to_string(column, 0).unwrap();
            records.push(columns.map(|(field, column)| (field.name().clone(), value(column))).collect());
        }
        records
    }

    /// Asks through a door. A token that does not get in is an answer too.
    pub(super) async fn ask(&self, door: Door, token: &str, sql: &str) -> Reply {
        match door {
            Door::HttpJson => self.http(token, sql, "json").await,
            Door::HttpCsv => self.http(token, sql, "csv").await,
            Door::PgwireSimple => self.pgwire(token, &[query(sql)]).await,
            Door::PgwireExtended => {
                let messages = [parse("", sql, &[]), bind("", &[], (&[], &[])), execute(0), sync()];
                self.pgwire(token, &messages).await
            }
            Door::Flight => flight::ask(&self.http, token, sql, false).await,
            Door::FlightPrepared => flight::ask(&self.http, token, sql, true).await,
        }
    }

    async fn http(&self, token: &str, sql: &str, format: &str) -> Reply {
        let url = format!("{}/api/v1/sql?format={format}", self.http);
        let response = self.client.post(url).bearer_auth(token).body(sql.to_owned()).send().await.unwrap();
        let status = response.status();
        let mut everything = format!("{status} {:?} ", response.headers());
        let Ok(body) = response.text().await else {
            return Reply { came: Came::Failed, rows: vec![], everything };
        };
        everything += &body;
        let rows = match format {
            "json" => json_rows(&body),
            _ => body.lines().skip(1).map(|line| line.replace(',', " ")).collect(),
        };
        let code = body.split("\"code\":\"").nth(1).and_then(|rest| rest.split('"').next());
        let came = if status.is_success() { Came::Whole } else { Came::by_code(code) };
        Reply { came, rows, everything }
    }

    async fn pgwire(&self, token: &str, messages: &[pgwire::messages::PgWireFrontendMessage]) -> Reply {
        let (lines, got_in) = match Raw::log_in(self.pgwire, &[("database", "bailiwick")], token).await {
            Ok(mut raw) => (raw.ask(messages).await, true),
            Err(refused) => (vec![format!("error {refused}")], false),
        };
        let error = lines.iter().find_map(|line| line.strip_prefix("error "));
        let came = match error.map(|error| error.split(' ').next().unwrap_or_default()) {
            None => Came::Whole,
            // That is a setting's value.
            Some("22023") => Came::Refused,
            Some(code) if got_in && (code.starts_with("22") || ["57014", "53200"].contains(&code)) => {
                Came::Failed
            }
            Some(_) => Came::Refused,
        };
        let rows = lines.iter().filter_map(|line| line.strip_prefix("row ")).map(str::to_owned).collect();
        Reply { came, rows, everything: lines.join("\n") }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn json_rows(body: &str) -> Vec<String> {
    let Ok(answer) = serde_json::from_str::<Value>(body) else { return vec![] };
    let rows = answer["rows"].as_array().cloned().unwrap_or_default();
    let cell = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Number(number)
            if number.as_f64().is_some_and(|real| real.fract() == 0.0) && number.is_f64() =>
        {
            format!("{}", number.as_f64().unwrap_or_default())
        }
        other => other.to_string(),
    };
    let row = |row: &Value| row.as_array().into_iter().flatten().map(cell).collect::<Vec<_>>().join(" ");
    rows.iter().map(row).collect()
}
