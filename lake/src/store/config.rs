//! Where the bucket is and how it is reached, as a person configures it.

use std::path::PathBuf;

use serde::Deserialize;

/// A bucket's address, with what is needed to reach it.
#[derive(Debug, Clone, Default)]
pub struct BucketConfig {
    /// A folder's path, `file:///path`, `s3://name/prefix` or `memory://`.
    pub url: String,
    /// For `s3://` alone.
    pub s3: S3Config,
}

/// How an S3 service is reached. Secrets are not in it, only the names of
/// files; without those they come from the environment or the machine.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3Config {
    /// The service's URL without the bucket; empty: `AWS_ENDPOINT_URL_S3`,
    /// `AWS_ENDPOINT_URL`, else AWS in the region.
    pub endpoint: String,
    /// Empty: `AWS_REGION`, `AWS_DEFAULT_REGION`, else `us-east-1`.
    pub region: String,
    /// The bucket's name is in the path of a URL; otherwise in its host.
    pub path_style: bool,
    /// Plain http to another machine is taken too.
    pub allow_http: bool,
    /// Holds the access key's id.
    pub access_key_id_file: Option<PathBuf>,
    /// Holds the access key's secret.
    pub secret_access_key_file: Option<PathBuf>,
    /// Holds the session's token, for temporary keys.
    pub session_token_file: Option<PathBuf>,
    /// Certificates that an https endpoint is checked against as well, PEM.
    pub ca_file: Option<PathBuf>,
    /// How long a connection may take.
    pub connect_timeout_ms: u64,
    /// How long a request may take, bodies included.
    pub request_timeout_ms: u64,
    /// How often a request is tried again by itself. Few: who asked tries on,
    /// and knows what it asked for.
    pub retries: usize,
    /// No new try begins so long after the first one.
    pub retry_for_ms: u64,
    /// Connections that are kept open while nothing uses them.
    pub idle_connections: usize,
}

// === impl BucketConfig ===

impl BucketConfig {
    /// A bucket that needs nothing but its address.
    pub fn at(url: &str) -> Self {
        Self { url: url.to_owned(), s3: S3Config::default() }
    }
}

// === impl S3Config ===

impl Default for S3Config {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            region: String::new(),
            path_style: true,
            allow_http: false,
            access_key_id_file: None,
            secret_access_key_file: None,
            session_token_file: None,
            ca_file: None,
            connect_timeout_ms: 5_000,
            request_timeout_ms: 60_000,
            retries: 2,
            retry_for_ms: 10_000,
            idle_connections: 32,
        }
    }
}
