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
mod ask;
mod exact;
mod far_times;
mod interrupt;
mod lane;
mod memory;
mod projections;
mod pushdown;
mod running;
mod session;
mod watch;
mod work;

use std::sync::Arc;
use std::time::Duration;

use bailiwick_lake::Lake;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
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

pub use ask::{Ask, Params};
pub(crate) use ask::{MAX_PARAMS, Parameter};
pub use running::Running;
pub use session::Session;
pub use watch::UnderWay;

use crate::gate::{self, Admitted};
use crate::identity::{Identity, Owners, Refused};
use crate::metrics::Metrics;
use crate::record::{Entry, QueryRecorder};
use crate::{Code, Config, Principal, QueryError, RulesInUse, text};
use account::{Account, Accounts};
use admission::{Admission, Place, Places};
use lane::Lane;
use running::Limits;
use session::Template;
use watch::{Watch, Watched};
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
    /// Arrow Flight SQL.
    Flight,
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
    watch: Arc<Watch>,
    recorder: QueryRecorder,
    metrics: Metrics,
}

/// One statement, ready to be planned and run. It holds its place to the end,
/// also when nobody waits for it any more.
struct Job {
    session: Session,
    admitted: Admitted,
    params: Params,
    place: Place,
    /// The threads that it runs on.
    lane: Arc<Lane>,
    /// Cancelled when nobody wants its rows any more.
    ended: CancellationToken,
    limits: Limits,
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

/// Why a statement did not get as far as its first row.
enum Unstarted {
    /// It was not let in.
    Refused(QueryError),
    Failed(QueryError),
}

/// A statement's columns, and its parameters.
type Described = (SchemaRef, Vec<Parameter>);

// === impl Endpoint ===

impl Endpoint {
    /// The name, as it stands in `queries`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Pgwire => "pgwire",
            Self::Flight => "flight",
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
        let template = Template::new(config, lake, Arc::clone(identity.grants()))?;
        let at_once = config.max_concurrent + 1;
        let base = Arc::clone(&template.environment);
        let scheduled = Places::alone(SCHEDULED_PLACES, config.max_queued);
        Ok(Arc::new(Self {
            accounts: Accounts::new(config, at_once, base, metrics.clone())?,
            template,
            identity,
            admission: Admission::new(Places::of(config), metrics.clone()),
            scheduled: Admission::new(scheduled, metrics.clone()),
            watch: Arc::default(),
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
        let ask = Ask { start_within: limit, ..Ask::new(sql).with(Params::Numbered(params)) };
        self.ask(principal, endpoint, ask).await
    }

    /// The same with everything that can be asked for.
    pub async fn ask(
        &self,
        principal: &Principal,
        endpoint: Endpoint,
        ask: Ask,
    ) -> Result<Running, QueryError> {
        let (principal, entry) = self.begin(principal, endpoint, &ask.sql).await?;
        let watched = self.watch.add(entry.query_id(), &principal, endpoint, &ask);
        let limits = Limits::of(&self.config, endpoint, &ask);
        let started = tokio::select! {
            biased;
            () = watched.cancelled() => Err(Unstarted::Failed(Watched::reason())),
            started = self.start(&principal, endpoint, ask, limits) => started,
        };
        match started {
            Ok(Started { schema, batches, work }) => {
                Ok(Running::new(schema, batches, work, limits, entry, watched))
            }
            Err(Unstarted::Refused(error)) => Err(entry.refused(error)),
            Err(Unstarted::Failed(error)) => Err(entry.failed(error)),
        }
    }

    /// What is under way that the principal may see.
    pub fn under_way(&self, principal: &Principal) -> Vec<UnderWay> {
        self.watch.list(principal)
    }

    /// Cancels a query: the principal's own, or anybody's if it operates the
    /// server. `false` if there is none that it may cancel.
    pub fn cancel(&self, principal: &Principal, query_id: &str) -> bool {
        self.watch.cancel(principal, query_id)
    }

    /// Cancels the principal's own queries that were asked with this handle.
    pub(crate) fn cancel_handle(&self, principal: &Principal, handle: u128) -> bool {
        self.watch.cancel_handle(principal, handle)
    }

    /// The columns that a statement would answer with, and its parameters'
    /// types as far as they follow from it. Runs nothing. With parameters the
    /// columns have the types that those give them.
    pub(crate) async fn describe(
        &self,
        principal: &Principal,
        endpoint: Endpoint,
        ask: Ask,
    ) -> Result<Described, QueryError> {
        let (principal, entry) = self.begin(principal, endpoint, &ask.sql).await?;
        let admitted = match self.admit(&principal, &ask.sql) {
            Ok(admitted) => admitted,
            Err(error) => return Err(entry.refused(error)),
        };
        let described = match self.session_on(&principal, &account::name_of(&principal)) {
            Ok((session, lane)) => self.look_at(session, &lane, admitted, ask.params).await,
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

    /// A query has been received: who asks now, and its record.
    async fn begin(
        &self,
        principal: &Principal,
        endpoint: Endpoint,
        sql: &str,
    ) -> Result<(Principal, Entry), QueryError> {
        match self.current(principal).await {
            Ok(current) => {
                let entry = self.recorder.begin(&current, endpoint, sql);
                Ok((current, entry))
            }
            Err(error) => Err(self.refuse(principal, endpoint, sql, error)),
        }
    }

    fn admit(&self, principal: &Principal, sql: &str) -> Result<Admitted, QueryError> {
        if sql.len() > self.config.max_sql_bytes {
            let limit = self.config.max_sql_bytes;
            return Err(QueryError::new(Code::TooLarge, format!("a statement may have {limit} bytes")));
        }
        gate::admit(principal.role(), sql)
    }

    /// Lets a statement in, gives it a place and waits until it is planned.
    async fn start(
        &self,
        principal: &Principal,
        endpoint: Endpoint,
        ask: Ask,
        limits: Limits,
    ) -> Result<Started, Unstarted> {
        let admitted = self.admit(principal, &ask.sql).map_err(Unstarted::Refused)?;
        let start_by = StartBy::new(limits.deadline, ask.start_within);
        let (admission, account) = match endpoint {
            Endpoint::Scheduled => (&self.scheduled, SCHEDULED_ACCOUNT.to_owned()),
            _ => (&self.admission, account::name_of(principal)),
        };
        let place = match timeout_at(start_by.at, admission.enter(&account)).await {
            Ok(Ok(place)) => place,
            Ok(Err(error)) => return Err(Unstarted::Refused(error)),
            Err(_) => return Err(Unstarted::Failed(start_by.too_late(&limits))),
        };
        let (session, lane) = self.session_on(principal, &account).map_err(Unstarted::Failed)?;
        let ended = CancellationToken::new();
        let job = Job { session, admitted, params: ask.params, place, lane, ended, limits };
        self.spawn(job, start_by).await.map_err(Unstarted::Failed)
    }

    /// Puts a job on the engine's threads and waits until it is planned.
    async fn spawn(&self, job: Job, start_by: StartBy) -> Result<Started, QueryError> {
        let limits = job.limits;
        let (planned, when_planned) = oneshot::channel();
        let (sender, batches) = mpsc::channel(BATCHES_AHEAD);
        let (lane, ended) = (Arc::clone(&job.lane), job.ended.clone());
        let work = Work::start(&lane, ended, job.run(planned, sender));
        match timeout_at(start_by.at, when_planned).await {
            Ok(Ok(schema)) => Ok(Started { schema: schema?, batches, work }),
            Ok(Err(gone)) => Err(QueryError::internal(gone)),
            Err(_) => Err(start_by.too_late(&limits)),
        }
    }

    async fn look_at(
        &self,
        session: Session,
        lane: &Lane,
        admitted: Admitted,
        params: Params,
    ) -> Result<Described, QueryError> {
        let limits = Limits::of(&self.config, Endpoint::Report, &Ask::default());
        let planning = AbortOnDropHandle::new(lane.handle().spawn(async move {
            let (admitted, arguments) = admitted.described()?;
            let (_, plan) = plan(&session, admitted).await?;
            let parameters = Parameter::all_of(&plan, arguments)?;
            let plan = match params.is_empty() {
                true => plan,
                false => params.fill(plan)?,
            };
            Ok((text::plain(plan.schema().as_arrow()), parameters))
        }));
        match timeout_at(limits.deadline, planning).await {
            Ok(Ok(described)) => described,
            Ok(Err(panic)) => Err(QueryError::internal(panic)),
            Err(_) => Err(limits.too_slow()),
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
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

// === impl StartBy ===

impl StartBy {
    fn too_late(self, limits: &Limits) -> QueryError {
        self.client_limit.map_or_else(|| limits.too_slow(), QueryError::statement_timeout)
    }

    fn new(deadline: Instant, limit: Option<Duration>) -> Self {
        match limit.map(|limit| (Instant::now() + limit, limit)) {
            Some((at, limit)) if at < deadline => Self { at, client_limit: Some(limit) },
            _ => Self { at: deadline, client_limit: None },
        }
    }
}

// === impl Job ===

impl Job {
    /// Plans, says how that went, then sends batches until nobody listens. A
    /// client that does not read holds its place no longer than a query may take.
    async fn run(
        self,
        planned: oneshot::Sender<Result<SchemaRef, QueryError>>,
        batches: mpsc::Sender<Result<RecordBatch, QueryError>>,
    ) -> Result<(), QueryError> {
        let Self { session, admitted, params, place, lane, ended, limits } = self;
        let opening = open(&session, admitted, params, &limits, &ended);
        let mut stream = match interrupt::unless_ended(&ended, opening).await {
            Ok(stream) => stream,
            Err(error) => {
                // Whoever asked may be gone, and then nobody needs the reason.
                let _ = planned.send(Err(error));
                return Ok(());
            }
        };
        if planned.send(Ok(stream.schema())).is_err() {
            return Ok(());
        }
        let sending = async {
            while let Some(batch) = stream.next().await {
                if !pass_on(batch.map_err(QueryError::from), &batches).await {
                    break;
                }
            }
        };
        let sent = timeout_at(limits.deadline, sending).await;
        // What still computes ends before its place and threads are another's.
        drop(stream);
        drop((place, lane));
        sent.map_err(|_| limits.too_slow())
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
    params: Params,
    limits: &Limits,
    ended: &CancellationToken,
) -> Result<SendableRecordBatchStream, QueryError> {
    let (state, plan) = plan(session, admitted.filled(&params)?).await?;
    let plan = limits.applied(params.fill(plan)?)?;
    let task = state.task_ctx();
    let physical = DataFrame::new(state, plan).create_physical_plan().await?;
    Ok(text::plain_stream(execute_stream(work::endable(physical, ended)?, task)?))
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

#[cfg(test)]
pub(crate) mod tests;
