//! How fast the official rules run. Work in progress.
fn main() {
    let _ = bailiwick_rules::load(&[]);
}
