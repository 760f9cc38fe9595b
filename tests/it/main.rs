//! The one integration-test binary: walls, generated code, and the real binary end to end.

mod generated;
