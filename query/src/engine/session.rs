//! Sessions: one a query, made from one template, over one principal's catalog.

use std::sync::Arc;
use std::time::Duration;

use bailiwick_lake::Lake;
use bailiwick_proto::Table;
use datafusion::common::exec_datafusion_err;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::optimizer::{Analyzer, AnalyzerRule, Optimizer};
use datafusion::prelude::{SessionConfig, SessionContext};
use object_store::ObjectStore;
use url::Url;

use super::interrupt;
use crate::catalog;
use crate::grants::{GRANTS, GrantBook, Grants};
use crate::history::{FALCO_MATCHES, FalcoMatches, RulesInUse};
use crate::report::ServerPrices;
use crate::{Config, Principal, QueryError, functions, pg_catalog, views};

/// Functions whose result can be as big as a number in the statement says:
/// they escape every limit, because a single value is computed at once.
const UNBOUNDED: [&str; 8] =
    ["repeat", "lpad", "rpad", "array_repeat", "array_resize", "range", "generate_series", "array_append_n"];

/// How long the bucket may take to show that it answers.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// A DataFusion session that can name only what its principal may read.
pub struct Session {
    context: SessionContext,
}

/// What all sessions have in common.
pub(super) struct Template {
    lake: Arc<Lake>,
    state: Arc<SessionState>,
    /// Store and caches; memory and disk are an account's.
    pub(super) environment: Arc<RuntimeEnv>,
    prices: ServerPrices,
    pub(super) rules: RulesInUse,
    grants: Arc<GrantBook>,
}

/// The one store that there is. The engine's own registry would also reach
/// the server's file system.
#[derive(Debug)]
struct OnlyTheBucket {
    store: Arc<dyn ObjectStore>,
}

// === impl Session ===

impl Session {
    /// The engine's session. Statements must pass [`super::Engine::run`]: a
    /// session by itself allows everything.
    pub fn context(&self) -> &SessionContext {
        &self.context
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

// === impl Template ===

impl Template {
    pub(super) fn new(config: &Config, lake: Arc<Lake>, grants: Arc<GrantBook>) -> Result<Self, QueryError> {
        let environment = RuntimeEnvBuilder::new()
            .with_object_store_registry(Arc::new(OnlyTheBucket { store: lake.store() }))
            .with_metadata_cache_limit(config.footer_cache_bytes)
            .build_arc()?;
        let state = SessionStateBuilder::new()
            .with_default_features()
            // Neither reads files nor makes tables.
            .with_file_formats(vec![])
            .with_table_factories(std::collections::HashMap::new())
            .with_config(session_config())
            .with_runtime_env(Arc::clone(&environment))
            .with_optimizer_rules(interrupt::optimizer(Optimizer::new().rules))
            .with_physical_optimizer_rules(interrupt::physical(super::pushdown::rules()))
            .with_expr_planners(functions::growth::planners())
            .with_analyzer_rules(interrupt::analyzer(analyzer_rules()))
            .build();
        let mut state = state;
        for name in UNBOUNDED {
            state.deregister_udf(name)?;
        }
        functions::growth::bound(&mut state)?;
        state.register_udaf(Arc::new(functions::exact_sum::function()))?;
        state.register_udf(Arc::new(functions::of_views()))?;
        let (state, prices) = (Arc::new(state), ServerPrices::open(config.prices_file.clone())?);
        Ok(Self { lake, state, environment, prices, rules: RulesInUse::default(), grants })
    }

    pub(super) fn session(
        &self,
        principal: &Principal,
        environment: &Arc<RuntimeEnv>,
    ) -> Result<Session, QueryError> {
        let (catalogs, planner) = catalog::of(&self.lake, principal, &self.state)?;
        let state = SessionStateBuilder::new_from_existing(SessionState::clone(&self.state))
            .with_runtime_env(Arc::clone(environment))
            .with_catalog_list(catalogs)
            .build();
        let context = SessionContext::new_with_state(state);
        functions::register(&context);
        let matches = FalcoMatches::new(planner.tables().clone(), self.rules.clone());
        context.register_udtf(FALCO_MATCHES, Arc::new(matches));
        let grants = Grants::new(Arc::clone(&self.grants), principal.clone());
        context.register_udtf(GRANTS, Arc::new(grants));
        views::register(&context, &planner, &self.prices);
        pg_catalog::install(&context, principal)?;
        Ok(Session { context })
    }

    /// Whether the bucket answers.
    pub(super) async fn is_ready(&self) -> bool {
        let look = self.lake.table(Table::Queries).snapshot();
        matches!(tokio::time::timeout(READY_WITHIN, look).await, Ok(Ok(_)))
    }
}

/// The engine's own, and ours before and after them.
fn analyzer_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn AnalyzerRule + Send + Sync>> = vec![Arc::new(super::far_times::FarTimes)];
    rules.extend(Analyzer::new().rules);
    rules.push(Arc::new(super::projections::KeptApart));
    rules.push(Arc::new(super::exact::ExactNumbers));
    rules
}

fn session_config() -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(catalog::CATALOG, catalog::SCHEMA)
        .with_create_default_catalog_and_schema(false);
    let options = config.options_mut();
    // Columns of rows that no condition keeps are not read. Conditions go in their written order:
    // what one of them guards the next against stays guarded.
    options.execution.parquet.pushdown_filters = true;
    options.execution.parquet.reorder_filters = false;
    // A time with a zone is one, and not a time of an unknown place.
    options.execution.time_zone = Some("UTC".to_owned());
    config
}

// === impl OnlyTheBucket ===

impl ObjectStoreRegistry for OnlyTheBucket {
    fn register_store(&self, _url: &Url, _store: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    fn get_store(&self, url: &Url) -> datafusion::error::Result<Arc<dyn ObjectStore>> {
        match url.as_str().starts_with(catalog::STORE_URL) {
            true => Ok(Arc::clone(&self.store)),
            false => Err(exec_datafusion_err!("there is no such store")),
        }
    }
}
