//! `[query]` of the configuration file.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;

use crate::{KubernetesConfig, MappingRule, OidcConfig, QueryError};

/// Where to listen, whom to let in, and how much a query may take.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where SQL is answered over HTTP.
    pub http_listen: SocketAddr,
    /// Where SQL is answered in PostgreSQL's protocol.
    pub pgwire_listen: SocketAddr,
    /// Certificate chain of both listeners, PEM; together with `tls_key_file`.
    pub tls_cert_file: Option<PathBuf>,
    /// Private key of both listeners, PEM.
    pub tls_key_file: Option<PathBuf>,
    /// Whose certificates clients may present instead of a token, PEM; nobody must.
    pub client_ca_file: Option<PathBuf>,
    /// Who may log in, see [`crate::tokens`]. Without it no token lets in.
    pub tokens_file: Option<PathBuf>,
    /// Issuers whose JWTs let in.
    pub oidc: Vec<OidcConfig>,
    /// Who gets what by a certificate; who fits no rule needs a token.
    pub certificates: Vec<MappingRule>,
    /// Whether tokens that Kubernetes knows let in.
    pub kubernetes: KubernetesConfig,
    /// What resources cost, see [`crate::Prices`]. Without it the built-in prices count.
    pub prices_file: Option<PathBuf>,
    /// Memory that all running queries share, bytes; beyond it they spill, then fail.
    pub memory_bytes: usize,
    /// Disk that all running queries share for spilling, bytes.
    pub spill_bytes: u64,
    /// Of the memory, what the queries of one tenant may have together, bytes.
    pub tenant_memory_bytes: usize,
    /// Of the disk, what the queries of one tenant may have together, bytes.
    pub tenant_spill_bytes: u64,
    /// Memory for the footers of data files that were read, bytes, beside the queries' own. A
    /// question over more files than it holds reads all their footers again each time.
    pub footer_cache_bytes: usize,
    /// How long a query may take from receipt to its last row, milliseconds.
    pub query_timeout_ms: u64,
    /// Rows after which an answer is cut and marked as truncated.
    pub max_rows: u64,
    /// Bytes of Arrow data after which an answer is cut and marked as truncated.
    pub max_bytes: u64,
    /// Queries that run at once; scheduled ones have places of their own.
    pub max_concurrent: usize,
    /// Queries that may wait for a place before new ones are refused.
    pub max_queued: usize,
    /// Of the queries that run, those of one tenant. Of four places one is kept for
    /// tenants that run nothing, unless one tenant may have all places.
    pub tenant_max_concurrent: usize,
    /// Of the queries that wait, those of one tenant.
    pub tenant_max_queued: usize,
    /// Longest statement, bytes.
    pub max_sql_bytes: usize,
    /// Connections a listener holds at once; further ones wait in the kernel.
    pub max_connections: usize,
    /// Of these, those of one address (of IPv6: of one /64): over HTTP all of them, over
    /// PostgreSQL's protocol those that have not logged in. 0 is half of `max_connections`.
    pub max_address_connections: usize,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            http_listen: (Ipv4Addr::LOCALHOST, 4180).into(),
            pgwire_listen: (Ipv4Addr::LOCALHOST, 4154).into(),
            tls_cert_file: None,
            tls_key_file: None,
            client_ca_file: None,
            tokens_file: None,
            oidc: Vec::new(),
            certificates: Vec::new(),
            kubernetes: KubernetesConfig::default(),
            prices_file: None,
            memory_bytes: 512 << 20,
            spill_bytes: 4 << 30,
            tenant_memory_bytes: 256 << 20,
            tenant_spill_bytes: 1 << 30,
            footer_cache_bytes: 128 << 20,
            query_timeout_ms: 60_000,
            max_rows: 1_000_000,
            max_bytes: 512 << 20,
            max_concurrent: 8,
            max_queued: 64,
            tenant_max_concurrent: 4,
            tenant_max_queued: 32,
            max_sql_bytes: 256 << 10,
            max_connections: 512,
            max_address_connections: 0,
        }
    }
}

impl Config {
    /// Refuses what would let strangers in or could never work.
    pub(crate) fn check(&self) -> Result<(), QueryError> {
        if self.tls_cert_file.is_some() != self.tls_key_file.is_some() {
            return Err(QueryError::config(
                "query.tls_cert_file and query.tls_key_file belong together: set both",
            ));
        }
        if self.client_ca_file.is_some() && self.tls_cert_file.is_none() {
            return Err(QueryError::config(
                "query.client_ca_file needs query.tls_cert_file and query.tls_key_file: certificates are shown in TLS",
            ));
        }
        for (field, addr) in [("http_listen", self.http_listen), ("pgwire_listen", self.pgwire_listen)] {
            let guarded = self.tls_cert_file.is_some() && self.asks_who();
            if !addr.ip().is_loopback() && !guarded {
                return Err(QueryError::config(format!(
                    "query.{field} {addr} is not loopback: set query.tls_cert_file, query.tls_key_file and \
                     query.tokens_file, or listen on 127.0.0.1"
                )));
            }
        }
        let positive = [
            ("memory_bytes", self.memory_bytes as u64),
            ("tenant_memory_bytes", self.tenant_memory_bytes as u64),
            ("tenant_max_concurrent", self.tenant_max_concurrent as u64),
            ("query_timeout_ms", self.query_timeout_ms),
            ("max_rows", self.max_rows),
            ("max_bytes", self.max_bytes),
            ("max_concurrent", self.max_concurrent as u64),
            ("max_sql_bytes", self.max_sql_bytes as u64),
            ("max_connections", self.max_connections as u64),
        ];
        match positive.iter().find(|(_, value)| *value == 0) {
            Some((field, _)) => {
                Err(QueryError::config(format!("query.{field} is 0: give it a positive number")))
            }
            None => Ok(()),
        }
    }

    /// How many connections of a listener one address may have.
    pub(crate) fn address_share(&self) -> usize {
        match self.max_address_connections {
            0 => (self.max_connections / 2).max(1),
            share => share,
        }
    }

    /// Whether there is any way by which somebody can be told from somebody else.
    fn asks_who(&self) -> bool {
        self.tokens_file.is_some()
            || !self.oidc.is_empty()
            || !self.certificates.is_empty()
            || self.kubernetes.enabled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_loopback_it_takes_tls_and_tokens() {
        let open: SocketAddr = "0.0.0.0:4180".parse().unwrap();
        let mut config = Config { http_listen: open, ..Config::default() };
        let error = config.check().unwrap_err().to_string();
        assert!(error.contains("query.http_listen 0.0.0.0:4180") && error.contains("tokens_file"), "{error}");
        config.tokens_file = Some("tokens.yaml".into());
        assert!(config.check().is_err(), "tokens would cross the network in clear text");
        (config.tls_cert_file, config.tls_key_file) = (Some("c".into()), Some("k".into()));
        assert!(config.check().is_ok());
        config.tokens_file = None;
        assert!(config.check().is_err());
    }

    #[test]
    fn half_a_certificate_and_a_limit_of_nothing_are_refused_by_name() {
        let half = Config { tls_key_file: Some("k".into()), ..Config::default() };
        assert!(half.check().unwrap_err().to_string().contains("tls_cert_file"));
        let none = Config { max_rows: 0, ..Config::default() };
        assert!(none.check().unwrap_err().to_string().contains("query.max_rows"));
    }
}
