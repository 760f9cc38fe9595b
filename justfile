# Recipes for people; `.ci/run` is the gate.

# Everything in one process, over ./bailiwick-data.
up *args:
    cargo run -- up {{args}}

# Harmless suspicious things, and what Bailiwick saw of them.
demo:
    cargo run -- demo

test:
    cargo test --workspace

# Looks for bytes that break what reads them, each target for so many seconds.
fuzz seconds="20" *targets:
    fuzz/run {{seconds}} {{targets}}

lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# Builds the kernel programs again and fails if the committed object differs.
bpf-check:
    collector-ebpf/build.sh --check

# Builds the kernel programs again into the committed object.
bpf:
    collector-ebpf/build.sh

# Writes the gRPC code that proto/contracts generate.
proto:
    BAILIWICK_UPDATE=1 cargo test -p bailiwick --test it generated

# Rows per second through the whole write path.
bench:
    cargo run --release -p bailiwick-benches --bin write_path

deny:
    cargo deny check bans licenses sources
