#!/bin/bash
# test-v2.sh [BINARY,... [FILTER]]: the tests of what touches the kernel, in the lane: Debian's kernel, cgroup v2, systemd.
#
# All binaries run in one boot, with the release `skep` beside them. The debug binaries that `cargo test` makes are
# taken as they are (the VM has Debian 12's C library), without their debug information. Emulated code is slow: the
# list below has what differs on another kernel, and `skipped` what makes no sense there, each with its reason.
#
#   cargo test --no-run  ->  target/vm-tests/{skep, skipped, run-tests.sh, tests/NAME}  ->  the VM  ->  a line a binary
#
# With BINARIES (`end_to_end`, `runtime.launch,runtime.hooks`), only those, and only their tests whose names contain FILTER.
# Environment: SKEP_BIN (the static release binary), LANE_BINARY_TIMEOUT (seconds, 300), and those of lane.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Patterns of <package>.<test binary>, in the order of their worth, should the time run out. The crates' own tests, which are of
# values, are the same everywhere.
wanted=('skep\.conformance' 'runtime\..*' 'oci\..*' 'engine\.kernel' 'skep\.end_to_end')

: "${SKEP_BIN:=$PWD/target/skep}"
share=$PWD/target/vm-tests
rm -rf "$share"
mkdir -p "$share/tests"
cp "$SKEP_BIN" "$share/skep"
cp tests/vm/run-tests.sh tests/vm/skipped "$share/"

# Of Cargo's messages: the package, the kind and name of what was built, and the file.
built=$(cargo test --workspace --no-run --message-format json-render-diagnostics | grep '"test":true},"features' |
    sed -n 's/.*"package_id":"[^"]*[/#]\([a-z]*\)[#@][0-9.]*".*"kind":\["\([a-z]*\)"\].*"name":"\([a-z_]*\)","src_path.*"executable":"\([^"]*\)".*/\1 \2 \3 \4/p')
for pattern in "${wanted[@]}"; do
    while read -r package kind name path; do
        [ "$kind" = test ] || continue
        [[ "$package.$name" =~ ^$pattern$ ]] || continue
        case ",${1:-all}," in ,all, | *",$package,"* | *",$name,"* | *",$package.$name,"*) ;; *) continue ;; esac
        strip --strip-debug -o "$share/tests/$package.$name" "$path"
        echo "$package.$name" >> "$share/order"
    done <<< "$built"
done
[ -s "$share/order" ] || { echo "no such test binary: ${1:-}" >&2; exit 2; }

# Where the tests' own files are to be, by what the compiler was told.
temporary=$(realpath -m "${CARGO_TARGET_DIR:-target}")/tmp
exec tests/vm/lane.sh --systemd "$share" bash run-tests.sh "$temporary" "${LANE_BINARY_TIMEOUT:-300}" "'${2:-}'"
