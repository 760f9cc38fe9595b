//! Kubernetes API audit events: from a file that the API server writes, or from
//! the API server itself.
//!
//! ```text
//!   audit.log ──▶ file ────┐
//!                          ├─▶ event + body (pure) ─▶ rows ─▶ Outlet
//!   API server ─▶ webhook ─┘        │
//!                                   └ malformed: counted, neighbours kept
//! ```

mod body;
mod bookmark;
mod event;
pub(crate) mod file;
mod follow;
mod rows;
#[cfg(test)]
pub(crate) mod spooled;
pub(crate) mod webhook;

/// Reads an event, for fuzzing.
#[cfg(fuzzing)]
pub(crate) fn read(json: &[u8]) {
    let origin = rows::Origin { source: "file", node: "node".to_owned(), cluster: "cluster".to_owned() };
    let mut rows = rows::Rows::new(origin);
    let _ = rows.push(json, 0);
    assert!(rows.finish().is_ok(), "what was taken is a batch");
}
