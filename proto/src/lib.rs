//! What two processes of Bailiwick share, and nothing else.
//!
//! ```text
//!   collector ══ Ship ══▶ ingest ══ Tail ══▶ detect        gRPC contracts   v1
//!        │                  │                                               ship
//!        └── wire schema ───┴─ stamped schema ─▶ public     Arrow schemas   schema
//!                                                           bytes           wire
//!                                                           names           ids
//!                                                           what to do      code
//! ```
//!
//! Every other room may depend on this one; it depends on none. It opens no
//! file and holds no state beyond a connection: [`ship::Outbox`] is the one
//! trait that others implement to have their rows delivered exactly once.

pub mod code;
pub mod ids;
pub mod schema;
pub mod ship;
pub mod wire;

/// The gRPC contracts, generated from `contracts/*.proto` and committed; a test
/// generates them again and compares.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
#[rustfmt::skip]
#[path = "generated/bailiwick.v1.rs"]
pub mod v1;

pub use code::Action;
pub use ids::{CollectorId, IngesterId, InvalidId, TenantId};
pub use schema::{Column, Kind, Origin, Table};
