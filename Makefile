# Two commands matter: `make demo` shows what skep does, `make test` runs everything. Each installs the Debian packages
# that it lacks, and says so; a second run is quick. The others: build, bench, check, clean.
#
# The release binary is static and not position-independent: no dynamic loader, no relocations at start, and fewer
# private pages in every monitor (docs/performance.md has the figures). `--target` is named although it is the host's,
# because without it the flags would reach the proc-macros too, which cannot be static.

SHELL        := bash
.SHELLFLAGS  := -euo pipefail -c
.DEFAULT_GOAL := build

TRIPLE       := $(shell rustc -vV | sed -n 's/^host: //p')
TARGET_DIR   := $(or $(CARGO_TARGET_DIR),target)
STATIC       := -C target-feature=+crt-static -C relocation-model=static
BUILD_NEEDS  := gcc libc6-dev libseccomp-dev
DEMO_NEEDS   := $(BUILD_NEEDS) mmdebstrap
TEST_NEEDS   := $(BUILD_NEEDS) busybox-static python3 skopeo umoci podman libdevmapper1.02.1 runc criu strace \
                e2fsprogs iproute2 dbus-daemon openssl curl
# Unpacked below target/peers: installed, they would start services.
TEST_PEERS   := docker.io containerd docker-registry
BENCH_NEEDS  := $(BUILD_NEEDS) busybox-static crun runc podman skopeo libdevmapper1.02.1

# Where Debian keeps libseccomp.a: overrides the x86_64 path that .cargo/config.toml holds for plain `cargo` calls.
export LIBSECCOMP_LIB_PATH := /usr/lib/$(shell uname -m)-linux-gnu
export SKEP_BIN := $(abspath target/skep)

.PHONY: build demo test test-vm test-v2 bench check clean

build:
	@xtask/install-packages $(BUILD_NEEDS)
	RUSTFLAGS="$(STATIC)" cargo build --release --target $(TRIPLE) --bin skep
	@mkdir -p target && cp -f $(TARGET_DIR)/$(TRIPLE)/release/skep target/skep.new && mv -f target/skep.new target/skep
	@if readelf --program-headers target/skep | grep -q INTERP; then echo "target/skep is not static" >&2; exit 1; fi
	@echo "built target/skep ($$(stat -c %s target/skep) bytes, static)"

demo:
	@xtask/install-packages $(DEMO_NEEDS)
	@$(MAKE) --no-print-directory build
	@demo/demo.sh

test:
	@xtask/install-packages $(TEST_NEEDS)
	@xtask/fetch-peers target/peers $(TEST_PEERS)
	@$(MAKE) --no-print-directory build
	xtask/test

# The same binary in a VM: cgroup v2 only, and Debian 12's own kernel. The lane installs what it needs.
test-vm: build
	@mkdir -p target/vm && cp target/skep tests/vm/smoke.sh target/vm/
	tests/vm/lane.sh target/vm bash smoke.sh

# What touches the kernel, tested in that VM with systemd as process 1: tests/vm/test-v2.sh has which tests; TESTS=runtime.launch
# runs one of them alone.
test-v2: build
	tests/vm/test-v2.sh $(TESTS)

bench:
	@xtask/install-packages $(BENCH_NEEDS)
	@xtask/fetch-peers target/peers $(TEST_PEERS)
	@$(MAKE) --no-print-directory build
	PATH="$$PATH:$(abspath target/peers)/usr/sbin:$(abspath target/peers)/usr/bin" cargo xtask bench

check:
	@xtask/install-packages $(BUILD_NEEDS)
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo test --quiet --test architecture
	@if cargo deny --version >/dev/null 2>&1; then cargo deny check licenses bans sources; \
	 else echo "cargo-deny is not installed: the architecture test has checked licences and banned crates by itself"; fi

clean:
	cargo clean
