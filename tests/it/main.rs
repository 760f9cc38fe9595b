//! The one integration-test binary: walls, style, generated code, and the real
//! binary end to end.

#![allow(clippy::print_stdout, reason = "a skipped test says so")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where; all of this is tests")]

mod access;
mod alerts;
mod buckets;
mod clients;
mod cluster;
mod crash;
mod demo;
mod disk;
mod docs;
mod falco;
mod flow;
mod generated;
mod harness;
mod history;
mod matrix;
mod names;
mod protect;
mod sessions;
mod talk;
mod tidy;
mod upkeep;
mod walls;
