//! SQL functions that PostgreSQL clients and Grafana's macros expect of a server, and one of our own.
//!
//! ```text
//!   time_bucket('5 minutes', time)      Grafana with the TimescaleDB switch      time_bucket
//!   version(), current_setting('…')     constants of this server                 server
//!   has_table_privilege(…, 'SELECT')    reading yes, everything else no          privilege
//!   pg_table_is_visible(…), …           one answer for every row                 fixed
//!   to_regclass('syscalls'), …          names and their object ids               names
//!   format('%I', …), set_config(…)      clients' texts                           texts
//!   to_char(time, 'YYYY-MM-DD')         times as texts                           to_char
//!   timezone('Europe/Berlin', time)     AT TIME ZONE                             timezone
//!   json_build_object('a', 1), a -> 'b' documents                                json, operators
//!   like_any(text, patterns, false)     LIKE ANY                                 like_any
//!   obj_description(oid, 'pg_class')    what the tables' own page says           describe
//!   replace(…), a || b, …               the engine's, of bounded answers         growth
//!   a + b, a - b, a * b, sum(a)         whole numbers, right or refused          exact, exact_sum
//!   event_argument(evt_arg, 'flags')    a system call's argument by its name     event_argument
//! ```
//!
//! They add to what DataFusion and `datafusion-pg-catalog` bring, and take the
//! place of the latter's where its answer would be untrue here. None of them
//! reads a row, a file or the clock.

mod describe;
mod event_argument;
pub(crate) mod exact;
pub(crate) mod exact_sum;
mod fixed;
pub(crate) mod growth;
mod json;
mod like_any;
pub(crate) mod names;
mod narrow;
mod operators;
mod privilege;
mod server;
mod texts;
mod time_bucket;
mod timezone;
mod to_char;

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::Array;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};
use datafusion::prelude::SessionContext;
use datafusion_pg_catalog::pg_catalog as upstream;
use growth::Growth;

pub(crate) use server::{setting, settings};

/// Built once: a session takes them up by cloning an `Arc`.
static FUNCTIONS: LazyLock<Vec<ScalarUDF>> = LazyLock::new(|| {
    let mut functions = upstream_functions();
    functions.extend(fixed::functions());
    functions.extend(privilege::functions());
    functions.extend(server::functions());
    functions.extend(describe::functions());
    functions.extend(names::functions());
    functions.extend(texts::functions());
    functions.extend([
        time_bucket::function(),
        timezone::function(),
        growth::bounded(to_char::function(), Growth::Sum),
    ]);
    functions.extend([growth::bounded(json::build_object(), Growth::Lists), like_any::function()]);
    functions
});

/// Adds the functions to a session.
pub(crate) fn register(session: &SessionContext) {
    for function in FUNCTIONS.iter() {
        session.register_udf(function.clone());
    }
    let state = session.state_ref();
    let mut state = state.write();
    let added = state
        .register_expr_planner(Arc::new(operators::Operators))
        .and_then(|()| state.register_function_rewrite(Arc::new(operators::Meanings)));
    if let Err(error) = added {
        tracing::warn!(%error, "operators of PostgreSQL are not known");
    }
}

/// What views are written with, beside the engine's own.
pub(crate) fn of_views() -> ScalarUDF {
    event_argument::function()
}

/// Functions that say who is asking.
pub(crate) fn of_principal(name: &str) -> [ScalarUDF; 3] {
    ["current_user", "session_user", "user"]
        .map(|function| fixed::Fixed::function(function, 0, ScalarValue::from(name)))
}

/// Those of `datafusion-pg-catalog` whose answers hold here.
fn upstream_functions() -> Vec<ScalarUDF> {
    vec![
        upstream::create_current_schema_udf(),
        upstream::create_current_schemas_udf(),
        upstream::pg_get_expr_udf::create_pg_get_expr_udf(),
        upstream::create_pg_get_partkeydef_udf(),
        upstream::create_pg_get_statisticsobjdef_columns_udf(),
        upstream::create_pg_get_constraintdef(),
        upstream::create_pg_get_partition_ancestors_udf(),
        upstream::quote_ident_udf::create_quote_ident_udf(),
        upstream::quote_ident_udf::create_parse_ident_udf(),
        upstream::array_bounds_udf::create_array_upper_udf(),
        upstream::array_bounds_udf::create_array_lower_udf(),
    ]
}

/// The arguments' number of rows: one if they are all constants.
fn rows(arguments: &[ColumnarValue]) -> usize {
    let array = |argument: &ColumnarValue| match argument {
        ColumnarValue::Array(array) => Some(array.len()),
        ColumnarValue::Scalar(_) => None,
    };
    arguments.iter().find_map(array).unwrap_or(1)
}

/// A function's answer: one value if its arguments are all constants, else a column.
fn answer(arguments: &[ColumnarValue], made: impl Array + 'static) -> Result<ColumnarValue> {
    match arguments.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_))) {
        true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&made, 0)?)),
        false => Ok(ColumnarValue::Array(Arc::new(made))),
    }
}

#[cfg(test)]
mod tests;
