#!/bin/sh
# Builds the kernel programs into collector-ebpf/bailiwick.bpf.o, the same bytes
# on every machine that has the same compiler.
#
#   build.sh                    build, and replace the committed object
#   build.sh --check            build, and fail if the committed object differs
#   build.sh --install-linker   install bpf-linker if it is missing, then stop
#
# Needs the Debian packages rustc-web libstd-rust-web-dev-bpf, and for the linker
# llvm-22-dev libpolly-22-dev libzstd-dev zlib1g-dev. RUSTC_BPF names another
# compiler, BPF_LINKER another linker, LLVM_PREFIX another LLVM.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
object=$here/bailiwick.bpf.o
linker_home=${BPF_LINKER_HOME:-/opt/bpf-linker}
linker_version=0.13.0
rustc=${RUSTC_BPF:-/usr/bin/rustc}
llvm=${LLVM_PREFIX:-/usr/lib/llvm-22}

fail() { echo "build.sh: $*" >&2; exit 1; }

find_linker() {
    linker=${BPF_LINKER:-}
    [ -n "$linker" ] || linker=$(command -v bpf-linker || true)
    [ -n "$linker" ] || linker=$linker_home/bin/bpf-linker
    [ -x "$linker" ]
}

case "${1:-}" in
    "" | --check) mode=${1:-} ;;
    --install-linker)
        find_linker && { echo "build.sh: $linker is there"; exit 0; }
        [ -d "$llvm" ] || fail "no LLVM at $llvm: install llvm-22-dev libpolly-22-dev libzstd-dev zlib1g-dev"
        LLVM_PREFIX=$llvm RUSTFLAGS="-L$llvm/lib" CARGO_TARGET_DIR=$root/target/bpf-linker \
            exec cargo install bpf-linker --version "$linker_version" --locked --root "$linker_home" \
            --no-default-features --features llvm-22
        ;;
    *) fail "unknown argument $1; use --check or --install-linker" ;;
esac

[ -x "$rustc" ] || fail "no compiler at $rustc: install rustc-web libstd-rust-web-dev-bpf"
[ -d "$("$rustc" --print sysroot)/lib/rustlib/bpfel-unknown-none" ] ||
    fail "$rustc has no bpfel-unknown-none: install libstd-rust-web-dev-bpf"
find_linker || fail "no bpf-linker: run $0 --install-linker"

# Nothing of where the build happens may reach the object.
cargo_home=${CARGO_HOME:-$HOME/.cargo}
build=$root/target/bpf
# Separated by 0x1f, since a path may hold a space.
sep=$(printf '\037')
# The project's own code has no warnings; those of others are not shown.
flags="--remap-path-prefix=$root=/bailiwick${sep}--remap-path-prefix=$cargo_home=/cargo${sep}-Dwarnings"

cd "$root"
# The compiler is a stable one; only the target makes it ask for permission.
env -u RUSTFLAGS -u RUSTC_WRAPPER \
    RUSTC_BOOTSTRAP=1 RUSTC="$rustc" CARGO_TARGET_DIR="$build" CARGO_ENCODED_RUSTFLAGS="$flags" \
    CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER="$linker" CARGO_INCREMENTAL=0 \
    CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 CARGO_PROFILE_RELEASE_OPT_LEVEL=3 \
    CARGO_PROFILE_RELEASE_DEBUG=false CARGO_PROFILE_RELEASE_STRIP=none CARGO_PROFILE_RELEASE_PANIC=abort \
    cargo build --locked --quiet --release --target bpfel-unknown-none \
    -p bailiwick-collector-ebpf --bin bailiwick-bpf
built=$build/bpfel-unknown-none/release/bailiwick-bpf

if [ "$mode" = --check ]; then
    cmp "$built" "$object" || fail "$object is not what its source gives: run $0 and commit it"
    echo "build.sh: the committed object is what its source gives"
else
    cp "$built" "$object"
    echo "build.sh: wrote $object, $(wc -c <"$object") bytes, sha256 $(sha256sum "$object" | cut -c1-16)"
fi
