//! The protocol through real clients: psql for texts and catalogs, bare messages for everything else.

mod bucket;
mod clients;
mod copying;
mod cursors;
mod dashboards;
mod hostile;
pub(crate) mod messages;
pub(crate) mod psql;
pub(crate) mod raw;
mod types;
