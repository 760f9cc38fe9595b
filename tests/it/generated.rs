//! The committed gRPC code is what its contracts generate, without a `protoc`.

use std::path::Path;

const CONTRACTS: [&str; 2] = ["ship.proto", "tail.proto"];

/// Goal: nobody edits a contract without its code, or the code by hand.
/// Method: generate into a temporary folder and compare. `BAILIWICK_UPDATE=1`
/// writes the new code instead.
#[test]
fn generated_code_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto");
    let contracts = root.join("contracts");
    let descriptors = protox::compile(CONTRACTS, [&contracts]).expect("the contracts compile");
    let out = tempfile::tempdir().expect("a temporary folder");
    tonic_prost_build::configure()
        .out_dir(out.path())
        .bytes(".bailiwick.v1")
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)
        .expect("code is generated");
    let generated = std::fs::read_to_string(out.path().join("bailiwick.v1.rs")).expect("generated code");
    let committed = root.join("src/generated/bailiwick.v1.rs");
    if std::env::var_os("BAILIWICK_UPDATE").is_some() {
        std::fs::write(&committed, generated).expect("writing generated code");
        return;
    }
    let old = std::fs::read_to_string(&committed).expect("committed code");
    assert!(
        old == generated,
        "{} is not what contracts/ generates; run BAILIWICK_UPDATE=1 cargo test -p bailiwick --test it generated",
        committed.display()
    );
}
