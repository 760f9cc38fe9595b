//! The one integration-test binary: walls, style, generated code, and the real
//! binary end to end.

mod clients;
mod demo;
mod disk;
mod docs;
mod flow;
mod generated;
mod harness;
mod tidy;
mod walls;
