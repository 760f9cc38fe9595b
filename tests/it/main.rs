//! The one integration-test binary: walls, style, generated code, and the real
//! binary end to end.

mod docs;
mod flow;
mod generated;
mod harness;
mod tidy;
mod walls;
