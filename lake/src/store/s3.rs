//! A bucket of an S3 service: from its configuration to a store that answers.
//!
//! ```text
//!   s3://name/prefix + [s3] + environment ─▶ AmazonS3 ─▶ PrefixStore ─▶ one listing, to see that it is there
//! ```
//!
//! Retries inside of a request are few. Whoever asked tries again for as long
//! as it takes, and recognises its own put whose reply was lost; a put that is
//! repeated down here can only look like somebody else's.

mod credentials;
mod diagnosis;

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig};
use url::Url;

use super::{BucketConfig, S3Config};
use crate::LakeError;
use credentials::KeyFiles;

/// Where else an endpoint or a region may come from, the first one that is set.
const ENDPOINT_VARIABLES: [&str; 2] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];
const REGION_VARIABLES: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];
const DEFAULT_REGION: &str = "us-east-1";
/// What of the environment says who we are. Nothing else of it is taken, so
/// that no variable weakens what the configuration says.
const CREDENTIAL_VARIABLES: [(&str, AmazonS3ConfigKey); 9] = [
    ("AWS_ACCESS_KEY_ID", AmazonS3ConfigKey::AccessKeyId),
    ("AWS_SECRET_ACCESS_KEY", AmazonS3ConfigKey::SecretAccessKey),
    ("AWS_SESSION_TOKEN", AmazonS3ConfigKey::Token),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", AmazonS3ConfigKey::WebIdentityTokenFile),
    ("AWS_ROLE_ARN", AmazonS3ConfigKey::RoleArn),
    ("AWS_ROLE_SESSION_NAME", AmazonS3ConfigKey::RoleSessionName),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", AmazonS3ConfigKey::ContainerCredentialsRelativeUri),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", AmazonS3ConfigKey::ContainerCredentialsFullUri),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", AmazonS3ConfigKey::ContainerAuthorizationTokenFile),
];

/// A variable of the environment, if it is set to something.
type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Opens the bucket that `config.url` names. Nothing is asked of it yet.
pub(super) fn open(config: &BucketConfig) -> Result<Arc<dyn ObjectStore>, LakeError> {
    open_in(config, &|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

/// Asks for what lies at the top, which tells most of what may be wrong.
pub(super) async fn answers(store: &dyn ObjectStore, config: &BucketConfig) -> Result<(), LakeError> {
    let asked = store.list_with_delimiter(None).await;
    asked.map(drop).map_err(|source| diagnosis::of(config, source))
}

fn open_in(config: &BucketConfig, environment: Environment<'_>) -> Result<Arc<dyn ObjectStore>, LakeError> {
    let (name, prefix) = address(config)?;
    let s3 = &config.s3;
    let refused = |field, reason: String| refused(config, field, reason);
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&name)
        .with_region(setting(&s3.region, &REGION_VARIABLES, environment).unwrap_or(DEFAULT_REGION.into()))
        .with_virtual_hosted_style_request(!s3.path_style)
        .with_retry(retries(s3))
        .with_client_options(client(config)?);
    if let Some(endpoint) = setting(&s3.endpoint, &ENDPOINT_VARIABLES, environment) {
        let endpoint = endpoint_url(&endpoint, s3, &name).map_err(|reason| refused("endpoint", reason))?;
        // A plain one was allowed above.
        builder = builder.with_allow_http(endpoint.scheme() == "http");
        builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/'));
    }
    builder = match KeyFiles::of(s3).map_err(|(field, reason)| refused(field, reason))? {
        Some(files) => builder.with_credentials(Arc::new(files)),
        None => {
            CREDENTIAL_VARIABLES.into_iter().fold(builder, |builder, (name, key)| match environment(name) {
                Some(value) => builder.with_config(key, value),
                None => builder,
            })
        }
    };
    let store = builder.build().map_err(|error| refused("", error.to_string()))?;
    Ok(if prefix.as_ref().is_empty() { Arc::new(store) } else { Arc::new(PrefixStore::new(store, prefix)) })
}

/// A bucket's name and the prefix of every key in it.
fn address(config: &BucketConfig) -> Result<(String, Path), LakeError> {
    let refused = |reason: &str| LakeError::Address { url: config.url.clone(), reason: reason.to_owned() };
    let rest = config.url.strip_prefix("s3://").ok_or_else(|| refused("not s3://"))?;
    if rest.contains(['@', '?', '#']) {
        return Err(refused(
            "only a name and a prefix belong in it; keys come from the environment or files",
        ));
    }
    let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if name.len() < 3 || name.len() > 63 || !name.chars().all(allowed) {
        return Err(refused("the name of an S3 bucket has 3 to 63 letters, digits, dots or dashes"));
    }
    let prefix = Path::parse(prefix).map_err(|error| refused(&error.to_string()))?;
    Ok((name.to_owned(), prefix))
}

/// A field, or what the environment says in its place.
fn setting(field: &str, variables: &[&str], environment: Environment<'_>) -> Option<String> {
    let given = (!field.is_empty()).then(|| field.to_owned());
    given.or_else(|| variables.iter().find_map(|name| environment(name)))
}

fn endpoint_url(endpoint: &str, s3: &S3Config, bucket: &str) -> Result<Url, String> {
    let mut url = Url::parse(endpoint).map_err(|error| format!("{error}; write https://host:port"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it holds a user or password; keys come from the environment or files".to_owned());
    }
    match url.scheme() {
        "https" => {}
        "http" if s3.allow_http || is_loopback(&url) => {}
        "http" => return Err("plain http to another machine; use https, or set s3.allow_http".to_owned()),
        other => return Err(format!("scheme {other} is not supported; write https://host:port")),
    }
    if !s3.path_style {
        let host = format!("{bucket}.{}", url.host_str().unwrap_or_default());
        url.set_host(Some(&host)).map_err(|error| format!("{host}: {error}; set s3.path_style"))?;
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn retries(s3: &S3Config) -> RetryConfig {
    let (init_backoff, max_backoff) = (Duration::from_millis(100), Duration::from_secs(1));
    RetryConfig {
        backoff: BackoffConfig { init_backoff, max_backoff, base: 2.0 },
        max_retries: s3.retries,
        retry_timeout: Duration::from_millis(s3.retry_for_ms),
    }
}

fn client(config: &BucketConfig) -> Result<ClientOptions, LakeError> {
    let s3 = &config.s3;
    let options = ClientOptions::new()
        .with_connect_timeout(Duration::from_millis(s3.connect_timeout_ms.max(1)))
        .with_timeout(Duration::from_millis(s3.request_timeout_ms.max(1)))
        .with_pool_max_idle_per_host(s3.idle_connections);
    let Some(file) = &s3.ca_file else { return Ok(options) };
    let certificates = certificates(file).map_err(|reason| refused(config, "ca_file", reason))?;
    Ok(certificates.into_iter().fold(options, ClientOptions::with_root_certificate))
}

fn certificates(file: &FilePath) -> Result<Vec<Certificate>, String> {
    let named = |reason: String| format!("{}: {reason}; name a file of PEM certificates", file.display());
    let pem = std::fs::read(file).map_err(|error| named(error.to_string()))?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|error| named(error.to_string()))?;
    if found.is_empty() { Err(named("no certificate in it".to_owned())) } else { Ok(found) }
}

fn refused(config: &BucketConfig, field: &'static str, reason: String) -> LakeError {
    let field = if field.is_empty() { "s3".to_owned() } else { format!("s3.{field}") };
    LakeError::Refused { url: config.url.clone(), field, reason }
}

#[cfg(test)]
mod tests;
