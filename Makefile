# The front doors of tickbay. `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What make run takes: VENUE=sim|deribit, SECONDS=20 (empty: until Ctrl-C)
VENUE ?=
SECONDS ?=
# What make faults takes: FIGURES="r1 r3" (empty: all), DEEP=1, SEED=2
FIGURES ?=
DEEP ?=
SEED ?=

NATIVE := $(wildcard native/*.c native/*.h native/*.pyx native/*.pxd native/*.pxi)

.PHONY: always help ext check test run clean lock native-check native-test fuzz faults
.DELETE_ON_ERROR:
.NOTPARALLEL:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The lock has every dependency with its hash, the build tools among them: the steps after it need no network.
$(VENV)/.ready: requirements/dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tickbay needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/dev.lock
	@touch $@

# Editable: the command `tickbay` runs this checkout, and tickbay._native is built into engine/tickbay.
$(VENV)/.built: $(VENV)/.ready $(NATIVE) pyproject.toml $(if $(wildcard engine/tickbay/_native.*.so),,always)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --no-index --editable .
	@touch $@

ext: ## make .venv and build the compiled module in place
	@mkdir -p build
	@flock build/lock $(MAKE) --no-print-directory $(VENV)/.built

native-check: ## the C units with their tests, warnings as errors
	$(MAKE) --no-print-directory -C native check

check: ext native-check ## everything a commit needs, in under a minute
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q -m 'not slow' --numprocesses auto --dist loadfile

native-test: ## the C units under both sanitizers
	$(MAKE) --no-print-directory -C native check SAN=address,undefined
	$(MAKE) --no-print-directory -C native check SAN=thread

fuzz: ## the C units on broken input, under ASan and UBSan
	$(MAKE) --no-print-directory -C native fuzz SAN=address,undefined

test: ext native-check native-test fuzz ## everything that this machine can run; says what it skipped and why
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest

faults: ext ## break the running engine and print what was reached; DEEP=1 for hours of it, FIGURES="r1 r4", SEED=2
	$(BIN)/python -m tests.faults $(FIGURES) $(if $(DEEP),--deep) $(if $(SEED),--seed $(SEED))

run: ext ## simulated venue → engine → embedded PostgreSQL, with live status; VENUE=deribit SECONDS=20
	@$(BIN)/tickbay demo $(if $(VENUE),--venue $(VENUE)) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SINKS),--sinks $(SINKS))

# The peer has an environment of its own: it needs 30 packages that nothing else here does. Without it the benches run too.
build/peer/.ready: requirements/peer.lock
	$(PYTHON) -m venv build/peer
	build/peer/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/peer.lock
	@touch $@

bench: ext ## every bench beside its limit and its peer; the table and the plot go to bench/results
	@$(MAKE) --no-print-directory build/peer/.ready || echo "the peer cannot be installed here: the benches run without it"
	@for stage in decode ring encode journal receive copy questdb; do $(BIN)/python -m bench.bench_$$stage || exit 1; done
	@$(BIN)/python -m bench.pipeline
	@$(BIN)/python -m bench.report

lock: $(VENV)/.ready ## renew requirements/*.lock from pyproject.toml
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --no-header pyproject.toml --output-file requirements/run.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --no-header --extra dev --constraints requirements/run.lock pyproject.toml --output-file requirements/dev.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --no-header requirements/peer.in --output-file requirements/peer.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --no-header --constraints requirements/run.lock requirements/build.in --output-file requirements/build.lock

clean: ## remove what was built; recorded data stays
	$(MAKE) --no-print-directory -C native clean
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache engine/*.egg-info engine/tickbay/_native*.so
	find engine tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
