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
