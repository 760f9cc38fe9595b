//! Ingest as it runs: real gRPC on loopback, a real lake, a store that can be
//! made to fail. Rows are numbers, so that "each once" can be counted.

mod access;
mod bad_input;
mod delivery;
mod failing_store;
mod moves;
pub(crate) mod rig;
pub(crate) mod rows;
mod simulation;
pub(crate) mod store;
mod stores;
mod tail;
pub(crate) mod takeover;
