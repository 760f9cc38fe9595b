//! The HTTP API from the outside, for subcommands that ask a running Bailiwick.

use std::time::Duration;

use http_body_util::BodyExt;
use reqwest::header::TE;
use reqwest::{Body, Client, RequestBuilder, Response, StatusCode};
use serde::Deserialize;

use crate::cli;
use crate::config::Config;
use crate::failure::{Failure, chain};

/// Longer than any limit of the server, so that its own error is what is shown.
const PATIENCE: Duration = Duration::from_secs(600);

/// A trial of rules may look at a year.
const LONGEST_TRIAL: Duration = Duration::from_secs(7 * 24 * 3600);

/// A server and the token to log in with.
pub(crate) struct Api {
    client: Client,
    url: String,
    token: String,
}

/// What follows a result: whether rows were left out.
const TRUNCATED: &str = "x-bailiwick-truncated";

/// A result as the server wrote it.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) text: String,
    /// Whether a limit of the server's cut it. Not known where something in between
    /// has dropped what follows it.
    pub(crate) truncated: Option<bool>,
}

/// A result as the API's JSON has it.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    pub(crate) columns: Vec<AnswerColumn>,
    pub(crate) rows: Vec<Vec<serde_json::Value>>,
    #[serde(default)]
    pub(crate) truncated: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct AnswerColumn {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
}

/// An error as the API's JSON has it.
#[derive(Debug, Deserialize)]
struct Refusal {
    error: RefusalBody,
}

#[derive(Debug, Deserialize)]
struct RefusalBody {
    code: String,
    message: String,
    #[serde(default)]
    query_id: Option<String>,
}

// === impl Api ===

impl Api {
    /// The server named by flags, or the one that `up` runs on this machine.
    pub(crate) fn new(config: &Config, server: &cli::Server) -> Result<Self, Failure> {
        let url = server.url.clone().unwrap_or_else(|| format!("http://{}", config.query.http_listen));
        let token = match &server.token {
            Some(token) => token.clone(),
            None => operator_token(config)?,
        };
        Self::at(&url, token)
    }

    /// A server at a known address.
    pub(crate) fn at(url: &str, token: String) -> Result<Self, Failure> {
        let client = Client::builder()
            .timeout(PATIENCE)
            .build()
            .map_err(|error| Failure::failed(format!("cannot make an HTTP client: {}", chain(&error))))?;
        Ok(Self { client, url: url.trim_end_matches('/').to_owned(), token })
    }

    /// Runs a statement.
    pub(crate) async fn sql(&self, statement: &str) -> Result<Answer, Failure> {
        let written = self.sql_body(statement, &[], "json", |_| ()).await?;
        serde_json::from_str(&written.text)
            .map_err(|error| Failure::failed(format!("{} answered no table: {error}", self.url)))
    }

    /// Runs a statement and returns its result as the server wrote it; each part of
    /// it is shown to `seen` when it comes.
    pub(crate) async fn sql_body(
        &self,
        statement: &str,
        params: &[serde_json::Value],
        format: &str,
        mut seen: impl FnMut(&[u8]),
    ) -> Result<Written, Failure> {
        let url = format!("{}/api/v1/sql", self.url);
        let body = serde_json::json!({ "sql": statement, "params": params });
        let request = self.client.post(url).query(&[("format", format)]).header(TE, "trailers").json(&body);
        let mut response = Body::from(self.sent(request).await?);
        let broken =
            |error: reqwest::Error| Failure::failed(format!("the answer broke off: {}", chain(&error)));
        let (mut text, mut truncated) = (Vec::new(), None);
        while let Some(frame) = response.frame().await {
            match frame.map_err(broken)?.into_data() {
                Ok(chunk) => {
                    seen(&chunk);
                    text.extend_from_slice(&chunk);
                }
                Err(frame) => {
                    let told = frame.trailers_ref().and_then(|trailers| trailers.get(TRUNCATED));
                    truncated = told.map(|told| told == "true");
                }
            }
        }
        let text = String::from_utf8(text)
            .map_err(|error| Failure::failed(format!("{} answered no UTF-8: {error}", self.url)))?;
        Ok(Written { text, truncated })
    }

    /// Asks for the chargeback report.
    pub(crate) async fn chargeback(&self, request: &serde_json::Value) -> Result<String, Failure> {
        let url = format!("{}/api/v1/reports/chargeback", self.url);
        self.text(self.client.post(url).json(request)).await
    }

    /// Tries rules on history and hands each line of the answer over as it comes.
    pub(crate) async fn rules_test(
        &self,
        request: &serde_json::Value,
        mut line: impl FnMut(&str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let url = format!("{}/api/v1/rules/test", self.url);
        // It takes as long as there is history; between two signs of life less.
        let request = self.client.post(url).json(request).timeout(LONGEST_TRIAL);
        let mut response = self.sent(request).await?;
        let mut unread = Vec::new();
        let broken =
            |error: reqwest::Error| Failure::failed(format!("the answer broke off: {}", chain(&error)));
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            unread.extend_from_slice(&chunk);
            while let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
                let rest = unread.split_off(end + 1);
                line(&String::from_utf8_lossy(&unread))?;
                unread = rest;
            }
        }
        Ok(())
    }

    async fn text(&self, request: RequestBuilder) -> Result<String, Failure> {
        let broken =
            |error: reqwest::Error| Failure::failed(format!("the answer broke off: {}", chain(&error)));
        self.sent(request).await?.text().await.map_err(broken)
    }

    /// The answer to a request, once it is known to be a good one.
    async fn sent(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = request.bearer_auth(&self.token).send().await.map_err(|error| {
            let reason = chain(&error.without_url());
            Failure::unavailable(format!(
                "{} does not answer ({reason}); is `bailiwick up` running?",
                self.url
            ))
        })?;
        match response.status() {
            status if status.is_success() => Ok(response),
            status => Err(refused(status, response).await),
        }
    }
}

async fn refused(status: StatusCode, response: Response) -> Failure {
    let body = response.text().await.unwrap_or_default();
    match serde_json::from_str::<Refusal>(&body) {
        Ok(Refusal { error: RefusalBody { code, message, query_id } }) => {
            let query = query_id.map(|id| format!(" (query {id})")).unwrap_or_default();
            Failure::failed(format!("{message} [{code}]{query}"))
        }
        Err(_) => {
            Failure::failed(format!("the server answered {status}: {}", crate::terminal::printable(&body)))
        }
    }
}

fn operator_token(config: &Config) -> Result<String, Failure> {
    let file = config.operator_token_file();
    let token = std::fs::read_to_string(&file).map_err(|error| {
        Failure::config(format!(
            "{}: {error}; give --token, or --data-dir of the `bailiwick up` that should answer",
            file.display()
        ))
    })?;
    Ok(token.trim().to_owned())
}
