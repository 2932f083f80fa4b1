# The two commands of the README are `make dev` and `make test`; the rest are their parts.
# Everything of `make test` that compiles Rust names the whole workspace: another choice of
# packages is another choice of features, and builds the dependencies once more.
CARGO_TARGET_DIR ?= $(CURDIR)/target
export CARGO_TARGET_DIR
DEBUG = $(CARGO_TARGET_DIR)/debug
RELEASE = $(CARGO_TARGET_DIR)/release
NPM_CI = npm ci --no-audit --no-fund --silent

# The simulation is built apart, optimised and with the planted bugs in; product builds hold none.
SIM_ENV = RUSTFLAGS="--cfg tokio_unstable --cfg codraft_mutants" CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/simulation
SIM = $(CARGO_TARGET_DIR)/simulation/sim/codraft-simulation
PRODUCT = --workspace --exclude codraft-simulation

.PHONY: dev page test setup lint build rust client differential browser sim sim-build sim-test kill hostile bench bench-gate fmt

## A durable cluster of three nodes and a router, and a page to edit in.
dev: page
	cargo build -q -p codraft
	@$(DEBUG)/codraft dev $(ARGS)

## The page that the router serves.
page: client/dist/index.html
client/dist/index.html: client/node_modules $(wildcard client/src/*.ts client/src/*/*.ts client/page/* client/page/*/* client/*.mjs client/*.json)
	cd client && npm run --silent build
client/node_modules: client/package-lock.json
	cd client && $(NPM_CI)
	@touch $@

## Everything that must pass.
test: setup lint build rust client differential browser sim-test
	@echo "all of it passed"

## Installs what the tests need and a fresh machine lacks.
setup:
	deploy/setup.sh

lint: page
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings

build: page
	cargo build $(PRODUCT) --quiet

## Rust tests of the product: units, properties, and end to end with real processes.
rust: build
	cargo test $(PRODUCT) --quiet

client: page
	cd client && npm run --silent check && npm test --silent

## The algebra beside npm's quill-delta.
differential: build
	cd tests/quill && $(NPM_CI) && node differential.mjs --cases 100000

## Two windows in a real browser, the leader killed in between by the page's own button; then what
## people type with, and what they are told; then who was away for long, a tab that came apart, and where
## the others are; then two routers, one of which is killed, and rich documents, in all that Quill does to them.
browser: build
	cd tests/browser && $(NPM_CI) && node failover.mjs && node editing.mjs && node late.mjs && node diverged.mjs && node presence.mjs && node routers.mjs && node rich.mjs

## `make sim ARGS="run --seed 7"`: a whole cluster, its clients and its disks under one seed.
sim: sim-build
	@$(SIM) $(ARGS)

sim-build: page
	@$(SIM_ENV) cargo build --quiet --profile sim -p codraft-simulation

## Oracles on hand-made histories; then seeds twice, many once, all scenarios, and an eighth of the
## planted bugs. Which seeds and which bugs comes from the commit, so each one explores others.
sim-test: sim-build
	$(SIM_ENV) cargo test --quiet --profile sim -p codraft-simulation
	$(SIM) meta --fresh --seeds 20
	$(SIM) soak --fresh --seeds 300 --tries 20
	$(SIM) scenarios
	$(SIM) mutants --rotate commit/8

## kill -9 while a recording is typed; prints the silence around each kill.
kill: page
	cargo build --quiet --release -p codraft -p codraft-e2e
	@$(RELEASE)/codraft-kill $(ARGS)

## Clients that do their worst beside honest writers; `ARGS="--only c1 --seconds 10"`.
hostile: page
	cargo build --quiet --release -p codraft -p codraft-e2e
	@$(RELEASE)/codraft-hostile $(ARGS)

## Beside the peers, in one run; tables at its end.
bench: page
	cargo build --quiet --release -p codraft
	bench/setup.sh
	@bench/run.py all $(ARGS)

## 100 documents x 2 writers beside y-websocket; the last line is the ratios.
bench-gate: page
	cargo build --quiet --release -p codraft
	bench/setup.sh
	@bench/run.py gate $(ARGS)

fmt:
	cargo fmt --all
