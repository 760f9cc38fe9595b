//! Passes over a real lake: rows stay what they were, whatever happens on the
//! way. Rows are numbers, so that "each once" can be counted.

mod crashes;
mod passes;
mod rig;
