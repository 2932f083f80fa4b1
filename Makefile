# The two commands of the README are `make dev` and `make test`; the rest are their parts.
CARGO_TARGET_DIR ?= $(CURDIR)/target
export CARGO_TARGET_DIR
PROFILE ?= dev
TRACES ?= $(CURDIR)/../shared/data/traces
export CODRAFT_TRACES ?= $(if $(wildcard $(TRACES)/README.md),$(TRACES),)

.PHONY: dev test setup lint unit differential e2e browser page bench bench-gate kill fmt

## A durable cluster of three nodes and a router, and a page to edit in.
dev: page
	cargo build -q -p codraft
	@$(CARGO_TARGET_DIR)/debug/codraft dev $(ARGS)

## The page that the router serves.
page: client/dist/index.html
client/dist/index.html: client/node_modules/.package-lock.json $(wildcard client/src/*.ts client/src/*/*.ts client/page/*)
	cd client && npm run --silent build
client/node_modules/.package-lock.json: client/package-lock.json
	cd client && npm ci --no-audit --no-fund --silent

## Installs what the tests need and a fresh machine lacks.
setup:
	deploy/setup.sh

## Everything that must pass.
test: setup lint unit differential e2e browser

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings

unit: page
	cargo test --workspace --quiet --exclude codraft-e2e
	cd client && npm run --silent check && npm test --silent

## The algebra beside npm's quill-delta.
differential:
	cd tests/quill && npm ci --no-audit --no-fund --silent && node differential.mjs --cases 100000

## Real processes on loopback: traces, kill -9, bad input.
e2e: page
	cargo test --quiet -p codraft-e2e

## Two windows in a real browser, the leader killed in between.
browser: page
	cargo build -q -p codraft
	cd tests/browser && npm ci --no-audit --no-fund --silent && node failover.mjs

## kill -9 while typists type; prints the gap between two acknowledgements around each kill.
kill: page
	cargo build -q --release -p codraft -p codraft-e2e
	$(CARGO_TARGET_DIR)/release/codraft-kill $(ARGS)

## Beside the peers, in one run.
bench: page
	cargo build -q --release -p codraft
	bench/setup.sh
	bench/run.py all

bench-gate: page
	cargo build -q --release -p codraft
	bench/setup.sh
	@bench/run.py gate

fmt:
	cargo fmt --all
