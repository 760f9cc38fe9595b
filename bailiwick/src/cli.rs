//! What a person types: subcommands, flags, examples.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  bailiwick demo                       see what it does, in 30 seconds, harmless
  sudo bailiwick up                    watch this machine
  bailiwick sql \"SELECT evt_type, count(*) FROM syscalls GROUP BY 1\"
  bailiwick report chargeback --since 1h --prices prices.yaml

Exit codes: 0 done, 1 the answer is no or something failed, 2 wrong usage,
69 a service is not reachable, 71 this kernel lacks what is needed, 77 privileges
are missing, 78 the configuration is wrong.";

/// Security, audit and chargeback for shared Kubernetes clusters.
#[derive(Debug, Parser)]
#[command(name = "bailiwick", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every subcommand takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Configuration file [default: ./bailiwick.toml, then /etc/bailiwick/bailiwick.toml]
    #[arg(long, global = true, env = "BAILIWICK_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where bucket, spool and the operator's token live [default: ./bailiwick-data]
    #[arg(long, global = true, env = "BAILIWICK_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// What to log, e.g. `info`, `warn,bailiwick_ingest=debug`. The Delta library repeats errors that
    /// Bailiwick handles, so it is off
    #[arg(
        long,
        global = true,
        env = "BAILIWICK_LOG",
        value_name = "FILTER",
        default_value = "warn,delta_kernel=off"
    )]
    pub(crate) log: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything in one process over a directory: collector, ingest, query, detect
    Up(Up),
    /// Run only the collector and ship to an ingester elsewhere (one a node)
    Collect(Collect),
    /// Run everything but the collector (one a cluster)
    Serve(Serve),
    /// Ask a question in SQL
    #[command(after_help = SQL_EXAMPLES)]
    Sql(Sql),
    /// Print a report
    Report {
        #[command(subcommand)]
        report: Report,
    },
    /// Make, list and revoke the tokens that people and tools log in with
    #[command(after_help = TOKEN_EXAMPLES)]
    Token {
        #[command(subcommand)]
        token: Token,
    },
    /// Give somebody rights for a while, for a reason
    #[command(after_help = GRANT_EXAMPLES)]
    Grant {
        #[command(subcommand)]
        grant: Grant,
    },
    /// Hold, delete and list what the bucket has of each tenant
    #[command(after_help = TENANT_EXAMPLES)]
    Tenant {
        #[command(subcommand)]
        tenant: Tenant,
    },
    /// Look after the tables once, now, and say what was done
    #[command(after_help = UPKEEP_EXAMPLES)]
    Upkeep(Upkeep),
    /// Check rule files before they go live, and try them on what is stored
    #[command(after_help = RULES_EXAMPLES)]
    Rules {
        #[command(subcommand)]
        rules: Rules,
    },
    /// Do harmless suspicious things in a temporary place and show what was seen
    Demo(Demo),
    /// Record what this machine's collector captures, for replay
    Record(Record),
    /// Say what can be captured here, what is missing, and how to get it
    #[command(after_help = DOCTOR_HELP)]
    Doctor(Doctor),
}

const SQL_EXAMPLES: &str = "\
Examples:
  bailiwick sql \"SELECT time, proc_cmdline, fd_name FROM syscalls ORDER BY time DESC LIMIT 10\"
  bailiwick sql --format csv \"SELECT * FROM alerts\" > alerts.csv
  bailiwick sql -f questions.sql -o answers.txt
  echo 'SELECT 1' | bailiwick sql
  bailiwick sql                        talk: line editing, completion, \\d, \\watch, \\x; \\? lists all

Exit codes: 0 every answer is whole and written; 1 a statement failed, or an answer was cut at the
server's limits (standard error says so), or could not be written; 69 the server does not answer;
78 a file or flag is wrong; 130 ended by Ctrl-C.";

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Also write each alert to this file, one line each: Falco's JSON, or as detect.alert_file_format says
    #[arg(long, value_name = "FILE")]
    pub(crate) alert_file: Option<PathBuf>,
    /// Also post each alert to this URL: Falco's JSON, or as detect.webhook_format says
    #[arg(long, value_name = "URL")]
    pub(crate) webhook: Option<String>,
    /// Follow this Kubernetes audit log
    #[arg(long, value_name = "FILE")]
    pub(crate) audit_log: Option<PathBuf>,
    /// Falco rule files to run instead of the built-in ones
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: Vec<PathBuf>,
    /// The file that says which namespace, cgroup and user belongs to which tenant
    #[arg(long, value_name = "FILE")]
    pub(crate) tenants: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Collect {
    /// Where ingest listens, e.g. http://bailiwick.bailiwick.svc:4150
    #[arg(long, env = "BAILIWICK_INGEST_ENDPOINT", value_name = "URL")]
    pub(crate) endpoint: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The file that says which namespace, cgroup and user belongs to which tenant
    #[arg(long, value_name = "FILE")]
    pub(crate) tenants: Option<PathBuf>,
}

/// How to reach a running Bailiwick.
#[derive(Debug, Args)]
pub(crate) struct Server {
    /// Where the HTTP API listens
    #[arg(long, env = "BAILIWICK_URL", value_name = "URL")]
    pub(crate) url: Option<String>,
    /// The token to log in with [default: the operator's, from the data directory]
    #[arg(long, env = "BAILIWICK_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    /// A table for people
    Table,
    /// Comma-separated values
    Csv,
    /// One JSON document
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SqlFormat {
    /// A table for people
    Table,
    /// A column a line, for people
    Expanded,
    /// Comma-separated values
    Csv,
    /// One JSON document a statement
    Json,
    /// A JSON object a row
    Ndjson,
}

#[derive(Debug, Args)]
pub(crate) struct Sql {
    /// Statements, or `-` to read them from standard input; without any, a conversation
    pub(crate) statement: Option<String>,
    /// Run the statements of this file; repeat for several
    #[arg(long, short, value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,
    /// How to print answers
    #[arg(long, short = 'F', value_enum, default_value = "table")]
    pub(crate) format: SqlFormat,
    /// Write answers to this file
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Report {
    /// What each tenant used and what it costs
    #[command(after_help = CHARGEBACK_EXAMPLES)]
    Chargeback(Chargeback),
}

const CHARGEBACK_EXAMPLES: &str = "\
Examples:
  bailiwick report chargeback --since 1h
  bailiwick report chargeback --since 30d --prices prices.yaml --format csv > november.csv
  bailiwick report chargeback --from 2026-11-01T00:00:00Z --to 2026-12-01T00:00:00Z --format json";

#[derive(Debug, Args)]
pub(crate) struct Chargeback {
    /// Length of the period that ends now, e.g. 30m, 1h, 30d
    #[arg(long, default_value = "1h", value_name = "SPAN", conflicts_with_all = ["from", "to"])]
    pub(crate) since: String,
    /// Start of the period, RFC 3339
    #[arg(long, requires = "to", value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// End of the period, RFC 3339
    #[arg(long, requires = "from", value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// Price file to calculate with instead of the server's
    #[arg(long, value_name = "FILE")]
    pub(crate) prices: Option<PathBuf>,
    /// How to print the report
    #[arg(long, short, value_enum, default_value = "table")]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) server: Server,
}

const TOKEN_EXAMPLES: &str = "\
Examples:
  bailiwick token create grafana-acme --tenant acme --ttl 90d
  bailiwick token create --tenant acme --role tenant --ttl 90d      named after its tenant
  bailiwick token create alice --role auditor
  bailiwick token revoke grafana-acme

Works on the token file of the configuration, so on the server's machine. A revoked token ends its
open connections with their next query.";

#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Make a token; its secret is printed once and stored nowhere
    Create(TokenCreate),
    /// List the tokens that exist
    List,
    /// Withdraw a token: it opens nothing any more, and its connections answer no further query
    Revoke {
        /// Whose token
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct TokenCreate {
    /// Whose it is, as it will appear in the `queries` table [default: the tenant's name, else the role's]
    pub(crate) name: Option<String>,
    /// What it may do
    #[arg(long, value_enum, default_value = "tenant")]
    pub(crate) role: Role,
    /// Which tenants it may see; repeat for several
    #[arg(long, value_name = "TENANT", required_if_eq("role", "tenant"))]
    pub(crate) tenant: Vec<String>,
    /// Which namespaces of these tenants it may see, e.g. shop or 'shop-*'; all where none is named
    #[arg(long, value_name = "NAMESPACE")]
    pub(crate) namespace: Vec<String>,
    /// For how long, e.g. 90d; without it the token does not expire
    #[arg(long, value_name = "SPAN")]
    pub(crate) ttl: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Sees its own tenants
    Tenant,
    /// Sees every tenant
    Auditor,
    /// Sees every tenant and operates the server
    Admin,
}

const GRANT_EXAMPLES: &str = "\
Examples:
  bailiwick grant create --to alice --tenant acme --for 2h --why 'incident 42'
  bailiwick grant create --to oidc:bob@example.com --role auditor --for 1d --why 'yearly audit'
  bailiwick grant list
  bailiwick grant revoke 20261128T140000-0123456789ab
  bailiwick sql \"SELECT * FROM grants()\"

Works on the bucket of the configuration, for every server over it. A grant adds to what somebody may
do and ends by itself, also in open connections. Who uses one is in the table `queries`.";

#[derive(Debug, Subcommand)]
pub(crate) enum Grant {
    /// Give a grant; prints its id
    Create(GrantCreate),
    /// List the grants that count now
    List {
        /// Also those that have expired or were revoked
        #[arg(long)]
        all: bool,
    },
    /// End a grant before its time
    Revoke {
        /// Which one, see `bailiwick grant list`
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct GrantCreate {
    /// Whom: the name of a token, or of a principal as the `queries` table has it
    #[arg(long, value_name = "NAME")]
    pub(crate) to: String,
    /// What may be done by it
    #[arg(long, value_enum, default_value = "tenant")]
    pub(crate) role: Role,
    /// Which tenants it opens; repeat for several
    #[arg(long, value_name = "TENANT", required_if_eq("role", "tenant"))]
    pub(crate) tenant: Vec<String>,
    /// For how long, e.g. 2h; 31d at most
    #[arg(long = "for", value_name = "SPAN")]
    pub(crate) span: String,
    /// Why; kept for those who ask later
    #[arg(long, value_name = "TEXT")]
    pub(crate) why: String,
}

const TENANT_EXAMPLES: &str = "\
Examples:
  bailiwick tenant list
  bailiwick tenant hold acme --reason 'case 17, asked for by legal'
  bailiwick tenant release acme --reason 'case 17 is closed'
  bailiwick tenant delete acme --reason 'contract ended 2026-10-31' --yes
  bailiwick tenant history acme

Works on the bucket of the configuration; a running server honours it with its next
pass. A hold wins over everything, a deletion over retention; see docs/retention.md.";

#[derive(Debug, Subcommand)]
pub(crate) enum Tenant {
    /// What there is of each tenant, for how long it is kept, and what is ordered about it
    List,
    /// Nothing of this tenant may go until the hold is released; ends a deletion that is under way
    Hold(TenantOrder),
    /// The hold is over: retention counts again
    Release(TenantOrder),
    /// Delete every row that has arrived for this tenant, in all tables
    Delete(TenantDelete),
    /// What was ordered about this tenant, by whom and why
    History {
        /// Whose history
        tenant: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct TenantOrder {
    /// About whom; also _host, _cluster, _unassigned
    pub(crate) tenant: String,
    /// Why; kept for those who ask later
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct TenantDelete {
    #[command(flatten)]
    pub(crate) order: TenantOrder,
    /// Do it; without it only what would go is printed
    #[arg(long)]
    pub(crate) yes: bool,
}

const UPKEEP_EXAMPLES: &str = "\
Examples:
  bailiwick upkeep                 one pass, as a running server makes every minute
  bailiwick upkeep --scrub         also compare every file with its checksum

Safe beside running servers. Exit code 1: something failed, or a file is damaged.";

#[derive(Debug, Args)]
pub(crate) struct Upkeep {
    /// Read every data file and compare it with its checksum
    #[arg(long)]
    pub(crate) scrub: bool,
}

const RULES_EXAMPLES: &str = "\
Examples:
  bailiwick rules check rules.yaml rules_test.yaml     what is wrong with them, and do their tests pass
  bailiwick rules test rules.yaml --since 30d          what they would have found in a month
  bailiwick rules test --since 1d                      the same for the rules that run now
  bailiwick rules test --compare old.yaml new.yaml --since 7d --json > change.json";

const RULES_TEST_EXAMPLES: &str = "\
Examples:
  bailiwick rules test rules.yaml --since 30d
  bailiwick rules test rules.yaml --since 7d --tenant acme --tenant globex
  bailiwick rules test falco_rules.yaml --compare old_local.yaml new_local.yaml --since 7d
  bailiwick sql \"SELECT * FROM falco_matches('Terminal shell in container')\"

The rules run on the server over what the token may see. Ctrl-C ends them there as well.

Exit codes: 0 done, whatever was found; 1 a rule file has an error or the server refused;
69 the server does not answer; 130 ended by Ctrl-C.";

#[derive(Debug, Subcommand)]
pub(crate) enum Rules {
    /// Load files as `up` would, print what is wrong with them and run their tests; exit 1 on an error
    Check {
        /// Falco rule files, in the order in which they load, and files of tests for them (`*_test.yaml`)
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Print JSON instead of text
        #[arg(long)]
        json: bool,
    },
    /// Run rules over what is stored and print what they would have found; nothing is alerted
    #[command(after_help = RULES_TEST_EXAMPLES)]
    Test(RulesTest),
}

#[derive(Debug, Args)]
pub(crate) struct RulesTest {
    /// Falco rule files, in the order in which they load [default: the rules that the server runs]
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Length of the period that ends now, e.g. 1h, 30d
    #[arg(long, default_value = "1d", value_name = "SPAN", conflicts_with_all = ["from", "to"])]
    pub(crate) since: String,
    /// Start of the period, RFC 3339
    #[arg(long, requires = "to", value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// End of the period, RFC 3339
    #[arg(long, requires = "from", value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// Only this tenant's events; repeat for several
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: Vec<String>,
    /// Show which alerts NEW adds to and removes from those of OLD, each loaded after the FILEs
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"])]
    pub(crate) compare: Vec<PathBuf>,
    /// Print JSON instead of text
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Replay the shipped recording even where capture is possible
    #[arg(long)]
    pub(crate) replay: bool,
    /// Keep the temporary directory and say where it is
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Record {
    /// The recording to write
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// For how long, e.g. 10s, 5m
    #[arg(long, default_value = "30s", value_name = "SPAN")]
    pub(crate) r#for: String,
    /// Keep only rows of cgroups whose path contains this text
    #[arg(long, value_name = "TEXT")]
    pub(crate) cgroup: Option<String>,
}

const DOCTOR_HELP: &str = "\
Exit codes: 0 all that is configured can be captured, and the bucket keeps its promises;
1 a source does not work; 69 the bucket does not answer; 78 it breaks a promise, or its
configuration is wrong; 71 this kernel lacks what capturing system calls needs; 77 it
could with more privileges. 71 and 77 only where collector.syscalls.enabled is not
\"off\". Of several, the bucket's comes first.";

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// How to print what was found
    #[arg(long, short, value_enum, default_value = "text")]
    pub(crate) format: DoctorFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum DoctorFormat {
    /// Tables for people
    Text,
    /// One JSON document
    Json,
}
