//! `bailiwick token`, and the token that this machine's operator gets by itself.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bailiwick_proto::TenantId;
use bailiwick_query::{Namespaces, Role, tokens};
use chrono::Utc;

use crate::cli;
use crate::config::Config;
use crate::failure::{Failure, chain};
use crate::say::{complain, say};
use crate::span;
use crate::table;
use crate::terminal::printable;

/// The operator's name in the token file and in `queries`.
const OPERATOR: &str = "operator";

/// How the person who started the server logs in.
pub(crate) struct Operator {
    /// The file that holds the secret, readable by its owner alone.
    pub(crate) file: PathBuf,
    /// The secret itself.
    pub(crate) secret: String,
}

/// Makes, lists or revokes tokens.
pub(crate) fn run(config: &Config, command: cli::Token) -> Result<(), Failure> {
    let file = tokens_file(config);
    match command {
        cli::Token::Create(args) => create(&file, &args),
        cli::Token::List => list(&file),
        cli::Token::Revoke { name } => revoke(&file, &name),
    }
}

/// Gives the server a token file if it has none, and the operator a token that
/// the file knows.
pub(crate) fn ensure_operator(config: &mut Config) -> Result<Operator, Failure> {
    let tokens = tokens_file(config);
    config.query.tokens_file = Some(tokens.clone());
    fs::create_dir_all(&config.data_dir).map_err(|error| refused(&config.data_dir, &error))?;
    let file = config.operator_token_file();
    if let Ok(secret) = fs::read_to_string(&file)
        && tokens::holds(&tokens, secret.trim()).map_err(|error| unusable(&error))?
    {
        return Ok(Operator { file, secret: secret.trim().to_owned() });
    }
    tokens::remove(&tokens, OPERATOR).map_err(|error| unusable(&error))?;
    let made = tokens::create(&tokens, OPERATOR, Role::Admin, [], None, Utc::now());
    let secret = made.map_err(|error| unusable(&error))?;
    write_secret(&file, &secret).map_err(|error| refused(&file, &error))?;
    Ok(Operator { file, secret })
}

/// The role that a flag names.
pub(crate) fn role(role: cli::Role) -> Role {
    match role {
        cli::Role::Tenant => Role::Tenant,
        cli::Role::Auditor => Role::Auditor,
        cli::Role::Admin => Role::Admin,
    }
}

fn create(file: &Path, args: &cli::TokenCreate) -> Result<(), Failure> {
    let role = role(args.role);
    let tenants = args.tenant.iter().map(|name| name.parse::<TenantId>()).collect::<Result<Vec<_>, _>>();
    let tenants = tenants.map_err(|error| Failure::config(format!("--tenant: {error}")))?;
    let now = Utc::now();
    let expires = args.ttl.as_deref().map(|ttl| span::after(now, ttl)).transpose()?;
    let name = args.name.clone().unwrap_or_else(|| default_name(role, &tenants));
    let namespaces = args.namespace.iter().map(|name| name.parse()).collect::<Result<Vec<_>, _>>();
    let namespaces = namespaces.map_err(|error| Failure::config(format!("--namespace: {error}")))?;
    let sight = (tenants, Namespaces::new(namespaces));
    let made = tokens::create_limited(file, &name, role, sight, expires, now);
    let secret = made.map_err(|error| unusable(&error))?;
    say!("{secret}");
    complain(format_args!(
        "shown once and stored only as a hash, in {}; the server takes it up within a second",
        file.display()
    ));
    Ok(())
}

/// A token that nobody named is called like what it opens.
fn default_name(role: Role, tenants: &[TenantId]) -> String {
    match tenants {
        [] => role.to_string(),
        tenants => tenants.iter().map(TenantId::as_str).collect::<Vec<_>>().join("-").replace('_', "-"),
    }
}

fn revoke(file: &Path, name: &str) -> Result<(), Failure> {
    if !tokens::list(file).map_err(|error| unusable(&error))?.iter().any(|token| token.name == name) {
        return Err(Failure::failed(format!(
            "there is no token {}; `bailiwick token list` has their names",
            printable(name)
        )));
    }
    tokens::remove(file, name).map_err(|error| unusable(&error))?;
    say!("{name} is revoked: it opens nothing any more, within a second also on a running server");
    Ok(())
}

fn list(file: &Path) -> Result<(), Failure> {
    let header = ["name", "role", "tenants", "namespaces", "created", "expires"].map(str::to_owned);
    let rows: Vec<Vec<String>> = tokens::list(file)
        .map_err(|error| unusable(&error))?
        .iter()
        .map(|token| {
            let tenants = token.tenants.iter().map(TenantId::as_str).collect::<Vec<_>>().join(", ");
            let expires = token.expires.map_or_else(|| "never".to_owned(), day_and_time);
            let namespaces = token.namespaces.as_ref().map_or_else(String::new, |namespaces| {
                namespaces.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            });
            let (name, role) = (token.name.clone(), token.role.to_string());
            vec![name, role, tenants, namespaces, day_and_time(token.created), expires]
        })
        .collect();
    say!("{}", table::render(&header, &[false; 6], &rows));
    Ok(())
}

fn day_and_time(time: chrono::DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M").to_string()
}

fn tokens_file(config: &Config) -> PathBuf {
    let beside = || config.data_dir.join("tokens.yaml");
    config.query.tokens_file.clone().unwrap_or_else(beside)
}

/// Written beside and moved into place, so that a crash leaves the old secret or the new one.
fn write_secret(file: &Path, secret: &str) -> std::io::Result<()> {
    let beside = file.with_extension("new");
    let mut options = fs::OpenOptions::new();
    let mut out = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    writeln!(out, "{secret}")?;
    out.sync_all()?;
    fs::rename(&beside, file)
}

fn refused(path: &Path, error: &std::io::Error) -> Failure {
    Failure::config(format!("{}: {error}", path.display()))
}

fn unusable(error: &dyn std::error::Error) -> Failure {
    Failure::config(chain(error))
}
