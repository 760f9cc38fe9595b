//! The engine: from a principal and a text to a stream of that principal's rows.
//!
//! ```text
//!   principal, sql ─▶ gate ─▶ admission ─▶ session ─▶ plan ─▶ stream ─▶ Running ─▶ row of `queries`
//!                     one allowed  a place   only its    └── on threads ──┘   rows, bytes,
//!                     statement    to run    partitions     of its tenant     time limited
//! ```
//!
//! Planning and execution run on threads, and in memory, of the tenant's
//! account: a query that computes without pause can hold up others of its
//! tenant, never the listeners, and its time limit is kept by whoever waits for it.

mod account;
mod admission;
mod lane;
mod memory;
mod pushdown;
mod running;
mod session;
mod work;

use std::sync::Arc;
use std::time::Duration;

use bailiwick_lake::Lake;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::DataFrame;
use futures::StreamExt;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub use running::Running;
pub use session::Session;

use crate::gate::{self, Admitted};
use crate::identity::{Identity, Owners, Refused};
use crate::metrics::Metrics;
use crate::record::QueryRecorder;
use crate::{Code, Config, Principal, QueryError, RulesInUse};
use account::{Account, Accounts};
use admission::{Admission, Place, Places};
use lane::Lane;
use running::Limits;
use session::Template;
use work::Work;

/// Batches that wait for a slow client before its query pauses.
const BATCHES_AHEAD: usize = 2;
/// Rows passed on at once: a listener writes a batch out without a pause.
const ROWS_AT_ONCE: usize = 1_024;

/// Scheduled queries that run at once, beside everybody else's: nobody's
/// questions can delay detection.
const SCHEDULED_PLACES: usize = 2;
/// Their account.
const SCHEDULED_ACCOUNT: &str = "_scheduled";

/// How long whoever presents a wrong secret waits for the answer, so that one
/// connection cannot try many.
const REFUSED_AFTER: Duration = Duration::from_millis(100);

/// By which way a query came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `POST /api/v1/sql`.
    Http,
    /// PostgreSQL's protocol.
    Pgwire,
    /// Bailiwick's own detections; neither rows nor bytes are limited.
    Scheduled,
    /// A report's own statements; neither rows nor bytes are limited.
    Report,
}

/// Answers SQL over one bucket.
pub struct Engine {
    config: Config,
    template: Template,
    identity: Identity,
    accounts: Arc<Accounts>,
    admission: Admission,
    scheduled: Admission,
    recorder: QueryRecorder,
    metrics: Metrics,
}

/// One statement, ready to be planned and run. It holds its place to the end,
/// also when nobody waits for it any more.
struct Job {
    session: Session,
    admitted: Admitted,
    params: Vec<ScalarValue>,
    place: Place,
    /// The threads that it runs on.
    lane: Arc<Lane>,
    /// Cancelled when nobody wants its rows any more.
    ended: CancellationToken,
}

/// When an answer must have started, and the client's own limit if that is why.
#[derive(Debug, Clone, Copy)]
struct StartBy {
    at: Instant,
    client_limit: Option<Duration>,
}

/// A job that is planned; its rows arrive.
struct Started {
    schema: SchemaRef,
    batches: mpsc::Receiver<Result<RecordBatch, QueryError>>,
    work: Work,
}

/// A statement's columns, and the types of its parameters.
type Described = (SchemaRef, Vec<Option<DataType>>);

// === impl Endpoint ===

impl Endpoint {
    /// The name, as it stands in `queries`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Pgwire => "pgwire",
            Self::Scheduled => "scheduled",
            Self::Report => "report",
        }
    }
}

// === impl Engine ===

impl Engine {
    /// An engine over a bucket. Reads the token file; starts its threads.
    pub fn new(
        config: &Config,
        lake: Arc<Lake>,
        recorder: QueryRecorder,
        registry: &mut Registry,
    ) -> Result<Arc<Self>, QueryError> {
        config.check()?;
        let metrics = Metrics::register(registry);
        let identity = Identity::open(config, Arc::clone(&lake), metrics.clone())?;
        let template = Template::new(lake, Arc::clone(identity.grants()))?;
        let at_once = config.max_concurrent + 1;
        let base = Arc::clone(&template.environment);
        let scheduled = Places::alone(SCHEDULED_PLACES, config.max_queued);
        Ok(Arc::new(Self {
            accounts: Accounts::new(config, at_once, base, metrics.clone())?,
            template,
            identity,
            admission: Admission::new(Places::of(config), metrics.clone()),
            scheduled: Admission::new(scheduled, metrics.clone()),
            recorder: recorder.counted_by(metrics.clone()),
            metrics,
            config: config.clone(),
        }))
    }

    /// Who presents this secret: a token of Bailiwick's, a JWT of an issuer, a token
    /// that Kubernetes knows; `None` if nobody who may. Why is not told, and not at once.
    pub async fn authenticate(&self, secret: &str) -> Option<Principal> {
        let principal = self.identity.by_secret(secret).await.ok();
        if principal.is_none() {
            tokio::time::sleep(REFUSED_AFTER).await;
        }
        principal
    }

    /// Who presents this certificate, DER, whose chain was checked; `None` if nobody who may.
    pub async fn authenticate_certificate(&self, der: &[u8]) -> Option<Principal> {
        self.identity.by_certificate(der).await.ok()
    }

    /// Tells whose namespaces and users are whose, for principals of Kubernetes; once.
    pub fn set_owners(&self, owners: Arc<dyn Owners>) {
        self.identity.set_owners(owners);
    }

    /// A session whose catalog holds only the principal's partitions. A table
    /// is pinned when it is first scanned and stays so for the session.
    pub async fn session(&self, principal: &Principal) -> Result<Session, QueryError> {
        let principal = self.current(principal).await?;
        self.template.session(&principal, self.account(&principal)?.environment())
    }

    /// Runs one statement. The answer starts once it is planned; dropping it
    /// cancels. It is recorded in `queries` however it ends.
    pub async fn run(
        &self,
        principal: &Principal,
        endpoint: Endpoint,
        sql: &str,
    ) -> Result<Running, QueryError> {
        self.run_with(principal, endpoint, sql, Vec::new()).await
    }

    /// The same with values for `$1`, `$2` and so on.
    pub async fn run_with(
        &self,
        principal: &Principal,
        endpoint: Endpoint,
        sql: &str,
        params: Vec<ScalarValue>,
    ) -> Result<Running, QueryError> {
        self.run_within(principal, endpoint, sql, params, None).await
    }

    /// The same for a client that waits at most `limit` until the answer starts.
    pub(crate) async fn run_within(
        &self,
        principal: &Principal,
        endpoint: Endpoint,
        sql: &str,
        params: Vec<ScalarValue>,
        limit: Option<Duration>,
    ) -> Result<Running, QueryError> {
        let deadline = Instant::now() + Duration::from_millis(self.config.query_timeout_ms);
        let start_by = StartBy::new(deadline, limit);
        let current = self.current(principal).await;
        let entry = self.recorder.begin(current.as_ref().unwrap_or(principal), endpoint, sql);
        let principal = &match current {
            Ok(principal) => principal,
            Err(error) => return Err(entry.refused(error)),
        };
        let admitted = match self.admit(principal, sql) {
            Ok(admitted) => admitted,
            Err(error) => return Err(entry.refused(error)),
        };
        let (admission, account) = match endpoint {
            Endpoint::Scheduled => (&self.scheduled, SCHEDULED_ACCOUNT.to_owned()),
            _ => (&self.admission, account::name_of(principal)),
        };
        let place = match timeout_at(start_by.at, admission.enter(&account)).await {
            Ok(Ok(place)) => place,
            Ok(Err(error)) => return Err(entry.refused(error)),
            Err(_) => return Err(entry.failed(self.too_late(start_by))),
        };
        let started = match self.session_on(principal, &account) {
            Ok((session, lane)) => {
                let ended = CancellationToken::new();
                self.start(Job { session, admitted, params, place, lane, ended }, start_by).await
            }
            Err(error) => Err(error),
        };
        match started {
            Ok(Started { schema, batches, work }) => {
                let limits = Limits::of(&self.config, endpoint, deadline);
                Ok(Running::new(schema, batches, work, limits, entry))
            }
            Err(error) => Err(entry.failed(error)),
        }
    }

    /// The columns that a statement would answer with, and its parameters'
    /// types as far as they follow from it. Runs nothing.
    pub async fn describe(&self, principal: &Principal, sql: &str) -> Result<Described, QueryError> {
        let current = self.current(principal).await;
        let entry = self.recorder.begin(current.as_ref().unwrap_or(principal), Endpoint::Pgwire, sql);
        let principal = &match current {
            Ok(principal) => principal,
            Err(error) => return Err(entry.refused(error)),
        };
        let admitted = match self.admit(principal, sql) {
            Ok(admitted) => admitted,
            Err(error) => return Err(entry.refused(error)),
        };
        let described = match self.session_on(principal, &account::name_of(principal)) {
            Ok((session, lane)) => self.look_at(session, &lane, admitted).await,
            Err(error) => Err(error),
        };
        match described {
            Ok(described) => {
                entry.forget();
                Ok(described)
            }
            Err(error) => Err(entry.failed(error)),
        }
    }

    /// Records a statement that an endpoint refuses by itself, and answers with
    /// the error, which names its record from then on.
    pub(crate) fn refuse(
        &self,
        principal: &Principal,
        endpoint: Endpoint,
        sql: &str,
        error: QueryError,
    ) -> QueryError {
        self.recorder.begin(principal, endpoint, sql).refused(error)
    }

    /// How the engine was configured.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The rules that `falco_matches` knows by name.
    pub fn rules(&self) -> &RulesInUse {
        &self.template.rules
    }

    /// Whether the bucket answers.
    pub(crate) async fn is_ready(&self) -> bool {
        self.template.is_ready().await
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What a principal may do now, or that it may not any more.
    async fn current(&self, principal: &Principal) -> Result<Principal, QueryError> {
        self.identity.current(principal).await.map_err(|refused| match refused {
            Refused::Unavailable | Refused::Busy => {
                QueryError::new(Code::Unavailable, "it cannot be checked now who asks, try again")
            }
            _ => QueryError::new(Code::Unauthenticated, "the token has expired or was withdrawn"),
        })
    }

    fn admit(&self, principal: &Principal, sql: &str) -> Result<Admitted, QueryError> {
        if sql.len() > self.config.max_sql_bytes {
            let limit = self.config.max_sql_bytes;
            return Err(QueryError::new(Code::TooLarge, format!("a statement may have {limit} bytes")));
        }
        gate::admit(principal.role(), sql)
    }

    /// Puts a job on the engine's threads and waits until it is planned.
    async fn start(&self, job: Job, start_by: StartBy) -> Result<Started, QueryError> {
        let (planned, when_planned) = oneshot::channel();
        let (sender, batches) = mpsc::channel(BATCHES_AHEAD);
        let (lane, ended) = (Arc::clone(&job.lane), job.ended.clone());
        let work = Work::start(&lane, ended, job.run(planned, sender));
        match timeout_at(start_by.at, when_planned).await {
            Ok(Ok(schema)) => Ok(Started { schema: schema?, batches, work }),
            Ok(Err(gone)) => Err(QueryError::internal(gone)),
            Err(_) => Err(self.too_late(start_by)),
        }
    }

    async fn look_at(
        &self,
        session: Session,
        lane: &Lane,
        admitted: Admitted,
    ) -> Result<Described, QueryError> {
        let deadline = Instant::now() + Duration::from_millis(self.config.query_timeout_ms);
        let planning = AbortOnDropHandle::new(lane.handle().spawn(async move {
            let (_, plan) = plan(&session, admitted).await?;
            let columns = Arc::new(plan.schema().as_arrow().clone());
            Ok((columns, parameters(&plan)?))
        }));
        match timeout_at(deadline, planning).await {
            Ok(Ok(described)) => described,
            Ok(Err(panic)) => Err(QueryError::internal(panic)),
            Err(_) => Err(self.too_slow()),
        }
    }

    /// The account that a principal's work is done on.
    pub(crate) fn account(&self, principal: &Principal) -> Result<Arc<Account>, QueryError> {
        self.accounts.of(&account::name_of(principal))
    }

    fn session_on(&self, principal: &Principal, account: &str) -> Result<(Session, Arc<Lane>), QueryError> {
        let account = self.accounts.of(account)?;
        Ok((self.template.session(principal, account.environment())?, account.lane()?))
    }

    fn too_late(&self, start_by: StartBy) -> QueryError {
        start_by.client_limit.map_or_else(|| self.too_slow(), QueryError::statement_timeout)
    }

    fn too_slow(&self) -> QueryError {
        running::too_slow(self.config.query_timeout_ms)
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

// === impl StartBy ===

impl StartBy {
    fn new(deadline: Instant, limit: Option<Duration>) -> Self {
        match limit.map(|limit| (Instant::now() + limit, limit)) {
            Some((at, limit)) if at < deadline => Self { at, client_limit: Some(limit) },
            _ => Self { at: deadline, client_limit: None },
        }
    }
}

// === impl Job ===

impl Job {
    /// Plans, says how that went, then sends batches until nobody listens.
    async fn run(
        self,
        planned: oneshot::Sender<Result<SchemaRef, QueryError>>,
        batches: mpsc::Sender<Result<RecordBatch, QueryError>>,
    ) {
        let Self { session, admitted, params, place, lane, ended } = self;
        let mut stream = match open(&session, admitted, params, &ended).await {
            Ok(stream) => stream,
            Err(error) => {
                // Whoever asked may be gone, and then nobody needs the reason.
                let _ = planned.send(Err(error));
                return;
            }
        };
        if planned.send(Ok(stream.schema())).is_err() {
            return;
        }
        while let Some(batch) = stream.next().await {
            if !pass_on(batch.map_err(QueryError::from), &batches).await {
                break;
            }
        }
        // What still computes ends before its place and threads are another's.
        drop(stream);
        drop((place, lane));
    }
}

/// Passes a batch on in parts; `false` once nobody listens.
async fn pass_on(
    batch: Result<RecordBatch, QueryError>,
    batches: &mpsc::Sender<Result<RecordBatch, QueryError>>,
) -> bool {
    let batch = match batch {
        Ok(batch) if batch.num_rows() > ROWS_AT_ONCE => batch,
        whole => return batches.send(whole).await.is_ok(),
    };
    for from in (0..batch.num_rows()).step_by(ROWS_AT_ONCE) {
        let part = batch.slice(from, ROWS_AT_ONCE.min(batch.num_rows() - from));
        if batches.send(Ok(part)).await.is_err() {
            return false;
        }
    }
    true
}

async fn open(
    session: &Session,
    admitted: Admitted,
    params: Vec<ScalarValue>,
    ended: &CancellationToken,
) -> Result<SendableRecordBatchStream, QueryError> {
    let (state, plan) = plan(session, admitted).await?;
    let (wanted, given) = (parameters(&plan)?.len(), params.len());
    if wanted > given {
        let message = format!("the statement has {wanted} parameters and {given} values came with it");
        return Err(QueryError::new(Code::InvalidQuery, message));
    }
    let plan = match params.is_empty() {
        true => plan,
        false => plan.with_param_values(params)?,
    };
    let task = state.task_ctx();
    let physical = DataFrame::new(state, plan).create_physical_plan().await?;
    Ok(execute_stream(work::endable(physical, ended)?, task)?)
}

async fn plan(session: &Session, admitted: Admitted) -> Result<(SessionState, LogicalPlan), QueryError> {
    let state = session.context().state();
    let plan = state.statement_to_plan(admitted.into_statement()).await?;
    // The gate has decided already; this holds if it ever errs.
    let only_reads =
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    only_reads.verify_plan(&plan)?;
    Ok((state, plan))
}

/// The types of `$1`, `$2` and so on, as far as they are known.
fn parameters(plan: &LogicalPlan) -> Result<Vec<Option<DataType>>, QueryError> {
    let mut found: Vec<(usize, Option<DataType>)> = Vec::new();
    for (name, kind) in plan.get_parameter_types()? {
        let number =
            name.strip_prefix('$').and_then(|number| number.parse().ok()).filter(|n| (1..=1_000).contains(n));
        let named = || QueryError::new(Code::NotSupported, format!("parameter {name}: use $1 to $1000"));
        found.push((number.ok_or_else(named)?, kind));
    }
    let count = found.iter().map(|(number, _)| *number).max().unwrap_or(0);
    let mut types = vec![None; count];
    for (number, kind) in found {
        types[number - 1] = kind;
    }
    Ok(types)
}

#[cfg(test)]
pub(crate) mod tests;
