//! What a person asks for, made of the session's own tables.
//!
//! ```text
//!   file_changes                    one statement over tables                            ┐ planned when
//!   sessions, network_flows         the same, read for the asked time only  (bounded)    ├ they are named
//!   audit_trail(tenant, from, to)   the same, with values                   (planner)    ┘
//!   process_tree(exec_id)           statements, and a tree made of their rows  ┐ computed when
//!   chargeback(from, to)            a statement, and the arithmetic of bills   ┘ the plan runs
//! ```
//!
//! Each is a statement that the principal could have written, over the catalog
//! of its session: it shows nobody a row that the tables do not. Nothing is kept
//! between two questions.

mod arguments;
mod audit_trail;
mod bounded;
mod chargeback;
mod computed;
mod file_changes;
mod network_flows;
mod planner;
mod process_tree;
mod sessions;

use std::sync::Arc;

use bailiwick_proto::Column;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{TableFunctionImpl, TableProvider};
use datafusion::error::Result as DfResult;
use datafusion::prelude::SessionContext;

use crate::report::ServerPrices;
use bounded::Period;
pub(crate) use planner::Planner;

/// A view that is a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// What changed files.
    FileChanges,
    /// Who spoke with whom over the network.
    NetworkFlows,
    /// Who entered which container through the API, and what ran there because of it.
    Sessions,
}

/// A function that stands where a table does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableFunction {
    /// All that concerns a tenant, on one time line.
    AuditTrail,
    /// What each tenant used and what it costs.
    Chargeback,
    /// A process, where it came from and what came of it.
    ProcessTree,
}

/// A view's statement and which of its times bound what it reads.
#[derive(Debug)]
struct Definition {
    name: &'static str,
    doc: &'static str,
    columns: &'static [Column],
    sql: &'static str,
    /// Of views that read for the asked time only.
    bounds: Option<&'static bounded::Bounds>,
}

/// Functions by which people call for the rest.
pub(crate) const TABLE_FUNCTIONS: [&str; 3] =
    [TableFunction::AuditTrail.name(), TableFunction::Chargeback.name(), TableFunction::ProcessTree.name()];

/// The type of an argument of one of the functions that make a table, by position;
/// `None` of other functions.
pub(crate) fn argument_type(function: &str, position: usize) -> Option<DataType> {
    let text = DataType::Utf8;
    if function == crate::history::FALCO_MATCHES {
        return Some(text);
    }
    let named = |known: TableFunction| known.name() == function;
    if named(TableFunction::Chargeback) {
        return Some(bounded::time_type());
    }
    let is_ours = named(TableFunction::AuditTrail) || named(TableFunction::ProcessTree);
    is_ours.then(|| if position == 0 { text } else { bounded::time_type() })
}

// === impl View ===

impl View {
    /// Every one, in an order that stays.
    pub const ALL: [Self; 3] = [Self::FileChanges, Self::NetworkFlows, Self::Sessions];

    const fn definition(self) -> &'static Definition {
        match self {
            Self::FileChanges => &file_changes::VIEW,
            Self::NetworkFlows => &network_flows::VIEW,
            Self::Sessions => &sessions::VIEW,
        }
    }

    /// The name in SQL.
    pub const fn name(self) -> &'static str {
        self.definition().name
    }

    /// One sentence for people: what a row is.
    pub const fn doc(self) -> &'static str {
        self.definition().doc
    }

    /// Its columns in order.
    pub const fn columns(self) -> &'static [Column] {
        self.definition().columns
    }

    /// The view over a session's tables.
    pub(crate) fn provider(self, planner: &Planner) -> DfResult<Arc<dyn TableProvider>> {
        let definition = self.definition();
        match definition.bounds {
            Some(bounds) => Ok(Arc::new(bounded::Bounded::new(definition, bounds, planner.clone()))),
            None => planner.view(definition, Period::ALL.values()),
        }
    }
}

// === impl TableFunction ===

impl TableFunction {
    /// Every one, by name.
    pub const ALL: [Self; 3] = [Self::AuditTrail, Self::Chargeback, Self::ProcessTree];

    /// The name in SQL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AuditTrail => "audit_trail",
            Self::Chargeback => "chargeback",
            Self::ProcessTree => "process_tree",
        }
    }

    /// How it is called.
    pub const fn usage(self) -> &'static str {
        match self {
            Self::AuditTrail => audit_trail::USAGE,
            Self::Chargeback => chargeback::USAGE,
            Self::ProcessTree => process_tree::USAGE,
        }
    }

    /// One sentence for people: what a row is.
    pub const fn doc(self) -> &'static str {
        match self {
            Self::AuditTrail => audit_trail::VIEW.doc,
            Self::Chargeback => "what each tenant used and what it costs, at the server's prices",
            Self::ProcessTree => "a process with its ancestors and descendants, in the order of a tree",
        }
    }

    /// The columns of its rows.
    pub const fn columns(self) -> &'static [Column] {
        match self {
            Self::AuditTrail => audit_trail::VIEW.columns,
            Self::Chargeback => chargeback::COLUMNS,
            Self::ProcessTree => process_tree::COLUMNS,
        }
    }
}

/// Adds the functions to a session.
pub(crate) fn register(context: &SessionContext, planner: &Planner, prices: &ServerPrices) {
    let add = |function: TableFunction, made: Arc<dyn TableFunctionImpl>| {
        context.register_udtf(function.name(), made);
    };
    add(TableFunction::AuditTrail, Arc::new(audit_trail::AuditTrail::new(planner.clone())));
    add(TableFunction::Chargeback, Arc::new(chargeback::Charges::new(planner.clone(), prices.clone())));
    add(TableFunction::ProcessTree, Arc::new(process_tree::ProcessTree::new(planner.clone())));
}

/// Columns as Arrow has them.
fn schema(columns: &[Column]) -> SchemaRef {
    let field = |column: &Column| Field::new(column.name, column.kind.public_type(), true);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests;
