//! What the benches share: events as a node makes them, and measures.
//!
//! ```text
//!   events (seeded) ──▶ bins: write_path …  ──▶ figures, and a ratio to a baseline
//!                         │                       measured in the same run
//!                         └─ cpu (this process), duckdb (a Python of its own)
//! ```
//!
//! A figure alone says more about the machine than about the program, so every
//! bench also runs somebody else's program over the same rows.

pub mod cpu;
pub mod duckdb;
pub mod events;
pub mod percentile;
