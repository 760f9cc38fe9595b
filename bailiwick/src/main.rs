//! The one binary: subcommands that wire the rooms together.
//!
//! ```text
//!   up      = collector ══▶ serve, in one process over a directory
//!   collect = collector ══▶ an ingester elsewhere
//!   serve   = ingest + query + detect over one bucket
//!   sql, report, token, grant, tenant, upkeep, rules, doctor, demo, record: for people
//! ```
//!
//! A run is a story: read the command line and the configuration, build, say
//! what was built, run until told to stop, drain, and exit with a code that a
//! script can trust.

mod alert_line;
mod allocator;
mod amount;
mod backend;
mod cli;
mod client;
mod config;
mod demo;
mod doctor;
mod failure;
mod grant;
mod node;
mod owners;
mod privileges;
mod record;
mod report;
mod rules;
mod say;
mod signals;
mod span;
mod sql;
mod table;
mod tenant;
mod terminal;
mod token;
mod trial;
mod up;
mod upkeep;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command};
use crate::config::Config;
use crate::failure::Failure;

fn main() -> ExitCode {
    allocator::set_up();
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say::complain(format_args!("bailiwick: {failure}"));
            failure.exit_code()
        }
    }
}

/// Of a thread: parsers of what others write recurse. What is not used takes no memory.
const STACK_BYTES: usize = 8 << 20;

fn run(cli: Cli) -> Result<(), Failure> {
    log_to_stderr(&cli.global.log)?;
    // One crypto provider for every TLS connection this process makes or takes.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a crypto provider was installed already");
    }
    // What is given up here, no thread that follows has.
    privileges::give_up(&cli)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK_BYTES)
        .build()
        .map_err(|error| Failure::failed(format!("cannot start threads: {error}")))?;
    // Nobody needs what a service says there.
    let is_service = matches!(cli.command, Command::Up(_) | Command::Serve(_) | Command::Collect(_));
    runtime.block_on(dispatch(cli))?;
    if is_service { Ok(()) } else { say::written() }
}

async fn dispatch(cli: Cli) -> Result<(), Failure> {
    let global = cli.global;
    match cli.command {
        Command::Up(args) => up::up(Config::load(&global)?, args).await,
        Command::Serve(args) => up::serve(Config::load(&global)?, args).await,
        Command::Collect(args) => up::collect(Config::load(&global)?, args).await,
        Command::Sql(args) => sql::run(&Config::load(&global)?, args).await,
        Command::Report { report: cli::Report::Chargeback(args) } => {
            report::chargeback(&Config::load(&global)?, args).await
        }
        Command::Token { token } => token::run(&Config::load(&global)?, token),
        Command::Grant { grant } => grant::run(&Config::load(&global)?, grant).await,
        Command::Tenant { tenant } => tenant::run(&Config::load(&global)?, tenant).await,
        Command::Upkeep(args) => upkeep::run(&Config::load(&global)?, args).await,
        Command::Rules { rules: cli::Rules::Check { files, json } } => rules::check(&files, json),
        Command::Rules { rules: cli::Rules::Test(args) } => trial::run(&Config::load(&global)?, args).await,
        Command::Demo(args) => demo::run(&args).await,
        Command::Record(args) => record::run(Config::load(&global)?, args).await,
        Command::Doctor(args) => doctor::run(Config::load(&global)?, args).await,
    }
}

fn log_to_stderr(filter: &str) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| Failure::config(format!("--log {filter:?} is not a filter: {error}")))?;
    let colours = std::io::stderr().is_terminal();
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    subscriber.with_ansi(colours).init();
    Ok(())
}
