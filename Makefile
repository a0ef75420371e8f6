# The two commands a newcomer needs are `run` and `test`. Everything else says what it measures.
#
# Needed: Debian 12 or its like, the Rust toolchain of rust-toolchain.toml, make, gcc, python3.
# The suite of JavaScript and `make page` need Node 20.19 or newer with npm.
# What else a target needs is installed by tests/setup/install: Debian packages (as root), a Python environment in .tools.

CARGO ?= cargo
PYTHON = .tools/venv/bin/python
# How long `make fuzz` gives to each target.
SECONDS_EACH ?= 60
# Decides what is left to chance in `make drill-chat`.
SEED ?= 1
# How many machines there are in `make drill-chat`; with several, PostgreSQL and NATS are started for them (tests/setup/install test).
NODES ?= 1

.DEFAULT_GOAL := help
.PHONY: help run test rust-test third-party page pictures bench bench-quick bench-pool bench-apps bench-chat drill-chat hostile soak fuzz clean-tools

help: ## what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

run: ## build Madang and start examples/quickstart; Ctrl-C ends it
	$(CARGO) build --locked -p madang
	@exec target/debug/madang run -c examples/quickstart/madang.toml

test: ## install what the tests need, then format, lints, Rust tests and the suites of others
	tests/setup/install test
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	tests/setup/rust-tests
	$(CARGO) build --locked -p madang -p madang-drills
	target/debug/madang-chat-drill crash --madang target/debug/madang --clients 12 --messages 1500 --kills 4
	target/debug/madang-chat-drill crash --madang target/debug/madang --clients 12 --messages 1500 --kills 7 --nodes 3 --outage-max 2 || test $$? = 3
	$(PYTHON) tests/third_party/run.py --madang target/debug/madang
	$(PYTHON) tests/soak/soak.py --madang target/debug/madang --reloads 20 --upgrades 3 --allowed-growth-mib 16
	$(PYTHON) benches/apps/constant.py --madang target/debug/madang --deploys 3 --kills 3 --scales 3 --rollbacks 3 --watch 1
	$(PYTHON) benches/apps/crash.py --madang target/debug/madang --kills 6

rust-test: ## only the Rust tests
	tests/setup/rust-tests

third-party: ## only the suites of others: HTTP/2 conformance, nginx and HAProxy behind us, clients, a browser, lint, TLS scan
	tests/setup/install test
	$(CARGO) build --locked -p madang
	$(PYTHON) tests/third_party/run.py --madang target/debug/madang

page: ## build the chat's page into roles/chat/page/dist (Node 20.19); the result is committed
	tests/setup/install test
	cd console/chat && npm run --silent check && npm run --silent build

pictures: ## the pictures of the chat in docs/pictures, by a headless browser
	tests/setup/install test
	$(CARGO) build --locked -p madang
	cd clients/javascript && npm run --silent build
	node --experimental-websocket --no-warnings console/chat/tests/pictures.mjs

bench: ## beside nginx, HAProxy and Caddy in one run; the table and JSON go to bench-results/. ONLY=proxy: only such works
	tests/setup/install bench
	$(CARGO) build --locked --release -p madang
	$(PYTHON) benches/peers/bench.py --madang target/release/madang --only "$(ONLY)"

bench-quick: ## the same in six minutes, rougher
	tests/setup/install bench
	$(CARGO) build --locked --profile quick -p madang
	$(PYTHON) benches/peers/bench.py --madang target/quick/madang --quick --only "$(ONLY)"

bench-pool: ## three servers beside one, servers killed under load, 10,000 clients over 100 connections (8 minutes)
	tests/setup/install bench
	$(CARGO) build --locked --release -p madang
	$(PYTHON) benches/pool/three.py --madang target/release/madang --kills 50
	$(PYTHON) benches/pool/crowd.py --madang target/release/madang

bench-apps: ## apps under constant load: deploys, kills, scaling, broken versions; Madang itself killed; 512 MiB; scaling (20 minutes)
	tests/setup/install bench
	$(CARGO) build --locked --release -p madang
	$(PYTHON) benches/apps/constant.py --madang target/release/madang
	$(PYTHON) benches/apps/crash.py --madang target/release/madang
	$(PYTHON) benches/apps/small.py --madang target/release/madang
	$(PYTHON) benches/apps/wave.py --madang target/release/madang
	$(PYTHON) benches/apps/per_connection.py --madang target/release/madang

bench-chat: ## chat beside socket.io, ngircd, mosquitto and the floor: CPU per delivery, p99, memory (8 minutes). ONLY=busy: only such works
	tests/setup/install bench
	$(CARGO) build --locked --release -p madang -p madang-drills
	$(PYTHON) benches/chat/bench.py --madang target/release/madang --drill target/release/madang-chat-drill --only "$(ONLY)"
	test -n "$(ONLY)" || $(PYTHON) benches/chat/slow.py --madang target/release/madang --drill target/release/madang-chat-drill

drill-chat: ## 50 clients, 100,000 messages, 20 kills: is every acknowledged message there, once, in order? SEED=7: another run; NODES=3: three machines
	$(CARGO) build --locked --release -p madang -p madang-drills
	target/release/madang-chat-drill crash --madang target/release/madang --seed $(SEED) --nodes $(NODES)

hostile: ## 2,000 idle, slow and never-reading clients: does a good client keep 80 % of its rate?
	tests/setup/install bench
	$(CARGO) build --locked --release -p madang
	$(PYTHON) benches/hostile/hostile.py --madang target/release/madang

soak: ## 200 reloads and 20 upgrades under load: no failed request, no growth
	tests/setup/install bench
	$(CARGO) build --locked --release -p madang
	$(PYTHON) tests/soak/soak.py --madang target/release/madang --reloads 200 --upgrades 20 --pressure

fuzz: ## every fuzz target for SECONDS_EACH seconds (needs cargo-fuzz and a nightly toolchain)
	fuzz/run-all $(SECONDS_EACH)

clean-tools: ## forget the installed Python environment and suites
	rm -rf .tools
