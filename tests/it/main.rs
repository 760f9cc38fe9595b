//! The one integration-test binary: walls, style, generated code, and the real
//! binary end to end.

mod generated;
mod tidy;
mod walls;
