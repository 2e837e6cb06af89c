# Everything a newcomer, a developer and CI do. `make` or `make help` lists it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# An environment of its own: a peer asks for an older uuid-utils than everything else uses.
BENCH_VENV := $(VENV)/bench
BENCH_READY := $(BENCH_VENV)/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# More than two cores need: many tests wait for processes that start, stop or are killed.
WORKERS ?= 4
SCHEDULES ?= 100000
# The tests start hundreds of Python processes, which shall not compile the same modules each time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup secrets demo test test-upgrade test-rabbitmq simulate chaos chaos-mixed chaos-mutants drill bench check format lock \
	clean alerts dashboard

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Make .venv with everything that is needed, from the lock file

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "setting up $(VENV) (once) ..."
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "this Python cannot make environments; on Debian: apt-get install python3-venv"; exit 1; }
	@$(PIP) install --require-hashes --requirement requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

# Without a newline: KEDA takes a Secret as it is, and Redis would refuse that password.
secrets: ## Write random passwords for docker-compose.yml to secrets/; those that exist stay
	@umask 022; mkdir -p -m 700 secrets; for name in postgres redis grafana; do \
		test -s secrets/$${name}_password || \
		$(PYTHON) -c 'import secrets; print(secrets.token_hex(32), end="")' >secrets/$${name}_password; \
	done

demo: $(READY) ## See real data go through broker, workers and store, with a worker killed half-way
	@$(BIN)/zdk demo $(DEMO)

test: $(READY) ## Run all tests, against servers that they start themselves
	@$(BIN)/python -m pytest --quiet --numprocesses $(WORKERS) --dist loadgroup $(TESTS)

test-upgrade: $(READY) ## Run releases side by side, from git's history
	@ZDK_TEST_UPGRADE=1 $(BIN)/python -m pytest --quiet --numprocesses 2 tests/integration/test_upgrade.py

test-rabbitmq: $(READY) ## Run what is about the broker over RabbitMQ (apt-get install rabbitmq-server)
	@ZDK_TEST_BROKER=rabbitmq $(BIN)/python -m pytest --quiet --numprocesses 2 --dist loadgroup \
		--timeout 300 \
		tests/rabbitmq tests/conformance tests/integration/test_poison.py \
		tests/integration/test_workers_away.py tests/integration/test_shutdown.py \
		tests/integration/test_trouble.py tests/integration/test_doctor.py $(TESTS)

simulate: $(READY) ## Run simulated schedules: SCHEDULES=100000, or REPLAY=<hex> for one of them
	@ZDK_SCHEDULES=$(SCHEDULES) ZDK_REPLAY=$(REPLAY) $(BIN)/python -m pytest --quiet \
		--numprocesses $(WORKERS) tests/simulation $(if $(REPLAY),-k test_replay)

bench: $(BENCH_READY) ## Measure beside peers (BENCH="--only latency", "--list", "--help")
	@$(BENCH_VENV)/bin/python -m benchmarks $(BENCH)

$(BENCH_READY): requirements-bench.lock $(READY)
	@echo "setting up $(BENCH_VENV) (once) ..."
	@$(PYTHON) -m venv $(BENCH_VENV)
	@$(BENCH_VENV)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes \
		--requirement requirements-bench.lock
	@$(BENCH_VENV)/bin/python -m pip --disable-pip-version-check --quiet install --no-deps \
		--no-build-isolation --editable .
	@touch $@

check: $(READY) ## Lint, types, import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

chaos: $(READY) ## Attack real processes with faults and audit what is left (CHAOS="--seed 7 --minutes 10")
	@$(BIN)/python -m tests.faults $(CHAOS)

chaos-mixed: $(READY) ## The same with workers and clients of the previous release (or MIXED=REF) beside this one's
	@$(BIN)/python -m tests.faults --mixed $(MIXED) $(CHAOS)

chaos-mutants: $(READY) ## Switch off one protection at a time: each must turn the audit red
	@$(BIN)/python -m tests.faults.mutants $(MUTANTS)

alerts: $(READY) ## See each alert fire in a real Prometheus, and end (some three minutes)
	@$(BIN)/python -m tests.alerts

dashboard: $(BENCH_READY) ## Draw the dashboard from a real Prometheus (some three minutes)
	@$(BENCH_VENV)/bin/python -m tests.dashboard $(DASHBOARD)

drill: $(READY) ## Back up under load, destroy, restore, and account for every operation (DRILL=--help)
	@$(BIN)/python -m tests.drill $(DRILL)

format: $(READY) ## Format the code and mend what can be mended
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: ## Resolve the lock files anew (needs uv: pip install uv)
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --no-annotate --upgrade --quiet --output-file requirements.lock
	uv pip compile pyproject.toml --extra worker --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --no-annotate --quiet --constraint requirements.lock \
		--output-file requirements-worker.lock
	uv pip compile pyproject.toml --extra dev --extra bench --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --no-annotate --upgrade --quiet \
		--output-file requirements-bench.lock

clean: ## Remove what setup and tests have made
	rm -rf $(VENV) build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
