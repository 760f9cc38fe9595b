//! Tokens: who may log in, and the file that says so.
//!
//! ```yaml
//! tokens:
//!   - name: "grafana-acme"
//!     role: tenant                # tenant, auditor or admin
//!     tenants: ["acme"]           # whose rows a tenant's token sees
//!     namespaces: ["shop", "shop-*"]  # optional: of these rows no others
//!     hash: "sha256:9f86…"        # of the whole token
//!     created: 2026-11-01T00:00:00Z
//!     expires: 2027-02-01T00:00:00Z   # optional
//! ```
//!
//! A token reads `bwk_<name>_<secret>`. Its secret has 256 random bits, so a
//! plain SHA-256 of it cannot be searched for; a slow hash would only let
//! strangers keep the server busy. The token itself is stored nowhere.

mod store;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use bailiwick_proto::TenantId;
use chrono::{DateTime, SecondsFormat, Utc};
use rand::TryRngCore;
use serde::Deserialize;
use serde_saphyr::Spanned;
use sha2::{Digest, Sha256};

use crate::{Namespace, Namespaces, Role};

pub(crate) use store::TokenStore;

/// How every token begins.
pub(crate) const PREFIX: &str = "bwk_";
const SECRET_BYTES: usize = 32;
/// Files beyond this are not token files.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// One token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Whose it is, as it stands in `queries`.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Whose rows it sees if its role is [`Role::Tenant`].
    pub tenants: BTreeSet<TenantId>,
    /// The namespaces of these tenants that it sees; all where there are none named.
    pub namespaces: Option<Namespaces>,
    /// SHA-256 of the whole token.
    pub hash: [u8; 32],
    /// When it was made.
    pub created: DateTime<Utc>,
    /// From when on it is not accepted any more.
    pub expires: Option<DateTime<Utc>>,
}

/// A token file cannot be used or written.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file system refuses.
    #[error("token file {}: cannot {operation}: {source}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
    /// It is no YAML, or not of this shape.
    #[error("token file {file}:{line}: {reason}")]
    Shape {
        /// The file.
        file: String,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong; names the field.
        reason: String,
    },
    /// A new token's field has a value that cannot be.
    #[error("token {field}: {reason}")]
    New {
        /// The field.
        field: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    tokens: Vec<RawToken>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawToken {
    name: Spanned<String>,
    role: Role,
    #[serde(default)]
    tenants: Vec<Spanned<String>>,
    namespaces: Option<Spanned<Vec<String>>>,
    hash: Spanned<String>,
    created: Spanned<String>,
    expires: Option<Spanned<String>>,
}

/// Makes a token, adds it to the file and returns it. It cannot be shown again.
/// A token of the same name is replaced only once it has expired.
pub fn create(
    file: &Path,
    name: &str,
    role: Role,
    tenants: impl Into<Vec<TenantId>>,
    expires: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<String, TokenError> {
    create_limited(file, name, role, (tenants.into(), None), expires, now)
}

/// The same with what of its tenants' rows the token sees: with namespaces,
/// those of these and no others.
pub fn create_limited(
    file: &Path,
    name: &str,
    role: Role,
    (tenants, namespaces): (Vec<TenantId>, Option<Namespaces>),
    expires: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<String, TokenError> {
    let refused = |field, reason: &str| TokenError::New { field, reason: reason.to_owned() };
    if !is_name(name) {
        return Err(refused("name", "use 1 to 63 of a-z A-Z 0-9 . -"));
    }
    if role == Role::Tenant && tenants.is_empty() {
        return Err(refused("tenants", "a tenant's token needs at least one tenant to see"));
    }
    if role != Role::Tenant && !tenants.is_empty() {
        return Err(refused("tenants", "auditors and admins see every tenant: name none"));
    }
    if role != Role::Tenant && namespaces.is_some() {
        return Err(refused("namespaces", "auditors and admins see every namespace: name none"));
    }
    if expires.is_some_and(|expires| expires <= now) {
        return Err(refused("expires", "it would have expired already"));
    }
    let mut tokens = list_if_there(file)?;
    tokens.retain(|token| token.name != name || !token.expired(now));
    if tokens.iter().any(|token| token.name == name) {
        return Err(refused(
            "name",
            "a token of this name is in the file; take another name or remove it there",
        ));
    }
    let secret = secret().map_err(|source| TokenError::File {
        file: file.to_owned(),
        operation: "get random bytes for it",
        source,
    })?;
    let token = format!("{PREFIX}{name}_{secret}");
    let tenants = tenants.into_iter().collect();
    let name = name.to_owned();
    tokens.push(Token { name, role, tenants, namespaces, hash: hash(&token), created: now, expires });
    write(file, &tokens)?;
    Ok(token)
}

/// Whether a file knows this token, expired or not. A file that is not there knows none.
pub fn holds(file: &Path, token: &str) -> Result<bool, TokenError> {
    let presented = hash(token);
    Ok(list_if_there(file)?.iter().any(|known| known.hash == presented))
}

/// Withdraws the token of this name; that there is none is no error.
pub fn remove(file: &Path, name: &str) -> Result<(), TokenError> {
    let mut tokens = list_if_there(file)?;
    let before = tokens.len();
    tokens.retain(|token| token.name != name);
    match tokens.len() == before {
        true => Ok(()),
        false => write(file, &tokens),
    }
}

/// The tokens of a file, in its order.
pub fn list(file: &Path) -> Result<Vec<Token>, TokenError> {
    let failed = |source| TokenError::File { file: file.to_owned(), operation: "read it", source };
    let size = fs::metadata(file).map_err(failed)?.len();
    if size > MAX_FILE_BYTES {
        return Err(failed(std::io::Error::other(format!("it has {size} bytes, too many for a token file"))));
    }
    parse(&file.display().to_string(), &fs::read_to_string(file).map_err(failed)?)
}

fn list_if_there(file: &Path) -> Result<Vec<Token>, TokenError> {
    match list(file) {
        Err(TokenError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Ok(Vec::new())
        }
        done => done,
    }
}

/// Reads a token file's text; `file` is only for messages.
pub(crate) fn parse(file: &str, text: &str) -> Result<Vec<Token>, TokenError> {
    let raw: Option<RawFile> = serde_saphyr::from_str(text).map_err(|error| TokenError::Shape {
        file: file.to_owned(),
        line: error.location().map_or(1, |location| location.line()),
        reason: error.without_snippet().to_string(),
    })?;
    let mut tokens: Vec<Token> = Vec::new();
    for raw in raw.map(|raw| raw.tokens).unwrap_or_default() {
        let token = raw.token(file)?;
        if tokens.iter().any(|known| known.name == token.name) {
            return Err(wrong(file, &raw.name, "name", "it stands in the file twice"));
        }
        tokens.push(token);
    }
    Ok(tokens)
}

/// SHA-256 of a whole token.
pub(crate) fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// The name in a token, if it has the form of one.
pub(crate) fn name_in(token: &str) -> Option<&str> {
    let (name, secret) = token.strip_prefix(PREFIX)?.rsplit_once('_')?;
    (is_name(name) && secret.len() == 2 * SECRET_BYTES).then_some(name)
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(allowed)
}

fn secret() -> Result<String, std::io::Error> {
    let mut bytes = [0; SECRET_BYTES];
    rand::rngs::OsRng.try_fill_bytes(&mut bytes).map_err(std::io::Error::other)?;
    Ok(hex::encode(bytes))
}

/// Writes the file anew beside the old one and swaps them, so that a reader
/// sees one or the other; only its owner may read it.
fn write(file: &Path, tokens: &[Token]) -> Result<(), TokenError> {
    let failed = |operation| move |source| TokenError::File { file: file.to_owned(), operation, source };
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(failed("create its folder"))?;
    let mut beside = file.as_os_str().to_owned();
    beside.push(format!(".{}", uuid::Uuid::new_v4().simple()));
    let beside = PathBuf::from(beside);
    let written = write_new(&beside, &print(tokens)).and_then(|()| fs::rename(&beside, file));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written.map_err(failed("write it"))
}

fn write_new(file: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut new = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    new.write_all(text.as_bytes())?;
    new.sync_all()
}

/// The file's text. Every value is of a checked alphabet, so quotes suffice.
fn print(tokens: &[Token]) -> String {
    let mut text =
        String::from("# Made by `bailiwick token create`. Remove an entry to withdraw a token.\ntokens:\n");
    if tokens.is_empty() {
        text = text.replace("tokens:\n", "tokens: []\n");
    }
    let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Micros, true);
    for Token { name, role, tenants, namespaces, hash, created, expires } in tokens {
        let tenants: Vec<String> = tenants.iter().map(|tenant| format!("\"{tenant}\"")).collect();
        text += &format!("  - name: \"{name}\"\n    role: {role}\n    tenants: [{}]\n", tenants.join(", "));
        if let Some(namespaces) = namespaces {
            let namespaces: Vec<String> = namespaces.iter().map(|name| format!("\"{name}\"")).collect();
            text += &format!("    namespaces: [{}]\n", namespaces.join(", "));
        }
        text += &format!("    hash: \"sha256:{}\"\n    created: \"{}\"\n", hex::encode(hash), time(*created));
        if let Some(expires) = expires {
            text += &format!("    expires: \"{}\"\n", time(*expires));
        }
    }
    text
}

fn wrong<T>(file: &str, at: &Spanned<T>, field: &str, reason: &str) -> TokenError {
    let line = at.referenced.line();
    TokenError::Shape { file: file.to_owned(), line, reason: format!("field {field}: {reason}") }
}

// === impl Token ===

impl Token {
    /// Whether it is not accepted any more.
    pub fn expired(&self, now: DateTime<Utc>) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

// === impl RawToken ===

impl RawToken {
    fn token(&self, file: &str) -> Result<Token, TokenError> {
        let Self { name, role, tenants, namespaces, hash, created, expires } = self;
        if !is_name(&name.value) {
            return Err(wrong(file, name, "name", "use 1 to 63 of a-z A-Z 0-9 . -"));
        }
        let tenant = |tenant: &Spanned<String>| {
            tenant.value.parse().map_err(|error: bailiwick_proto::InvalidId| {
                wrong(file, tenant, "tenants", &error.to_string())
            })
        };
        let tenants = tenants.iter().map(tenant).collect::<Result<BTreeSet<TenantId>, _>>()?;
        if *role == Role::Tenant && tenants.is_empty() {
            return Err(wrong(file, name, "tenants", "a tenant's token needs at least one"));
        }
        let namespaces = namespaces.as_ref().map(|at| namespaces_of(file, *role, at)).transpose()?;
        let mut bytes = [0; 32];
        let hex = hash.value.strip_prefix("sha256:").unwrap_or_default();
        hex::decode_to_slice(hex, &mut bytes)
            .map_err(|_| wrong(file, hash, "hash", "write sha256: and 64 hexadecimal digits"))?;
        let time = |field, at: &Spanned<String>| {
            let time = DateTime::parse_from_rfc3339(&at.value);
            time.map(|time| time.to_utc())
                .map_err(|_| wrong(file, at, field, "write a time as 2026-11-01T00:00:00Z"))
        };
        let created = time("created", created)?;
        let expires = expires.as_ref().map(|at| time("expires", at)).transpose()?;
        let name = name.value.clone();
        Ok(Token { name, role: *role, tenants, namespaces, hash: bytes, created, expires })
    }
}

/// A list that is there must name something: an empty one would read as a limit
/// and be none.
fn namespaces_of(file: &str, role: Role, at: &Spanned<Vec<String>>) -> Result<Namespaces, TokenError> {
    let refused = |reason: &str| wrong(file, at, "namespaces", reason);
    if role != Role::Tenant {
        return Err(refused("auditors and admins see every namespace: name none"));
    }
    let named = at.value.iter().map(|text| text.parse::<Namespace>()).collect::<Result<Vec<_>, _>>();
    let named = named.map_err(|error| refused(&error.to_string()))?;
    Namespaces::new(named).ok_or_else(|| refused("name at least one, or leave the field out"))
}

#[cfg(test)]
mod tests;
