# The front doors of tickbay. `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The tests start some thousand processes: where the environment (often a container's) forbids to keep bytecode, each of
# them, and each worker its tests, would compile anew what it imports.
unexport PYTHONDONTWRITEBYTECODE

# Each file's tests run on one core, and files begin in the order of tests/conftest.py: the longest first.
PYTEST := $(BIN)/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

# What make run takes: VENUE=sim|deribit, SECONDS=20 (empty: until Ctrl-C)
VENUE ?=
SECONDS ?=
# What make faults takes: FIGURES="r1 r3" (empty: all), DEEP=1, SEED=2
FIGURES ?=
DEEP ?=
SEED ?=

# Of what looks like a secret: hashes and words of tests do by their entropy or name; "secret" is the one of a test's URL.
NO_SECRETS := --no-verify --exclude-secrets '^secret$$' --exclude-files '\.lock$$' \
	$(addprefix --disable-plugin ,Base64HighEntropyString HexHighEntropyString KeywordDetector)

ON_EVERY_CORE := -j$(shell nproc)
NATIVE := $(wildcard native/*.c native/*.h native/*.pyx native/*.pxd native/*.pxi)

.PHONY: always help ext check test run clean lock native-check native-test fuzz faults bench sbom audit-deps secret-scan
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
	$(MAKE) --no-print-directory $(ON_EVERY_CORE) -C native check

check: ext native-check ## everything a commit needs, in under a minute
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST) -q -m 'not slow'

native-test: ## the C units under both sanitizers
	$(MAKE) --no-print-directory $(ON_EVERY_CORE) -C native check SAN=address,undefined
	$(MAKE) --no-print-directory $(ON_EVERY_CORE) -C native check SAN=thread

fuzz: ## the C units on broken input, under ASan and UBSan
	$(MAKE) --no-print-directory $(ON_EVERY_CORE) -C native fuzz SAN=address,undefined

test: ext native-check native-test fuzz ## everything that this machine can run; says what it skipped and why
	@$(MAKE) --no-print-directory build/audit/.ready || echo "the audit's tools cannot be installed here: their tests are skipped"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST)

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
	@for stage in decode ring encode journal receive latency copy questdb peer growth; do $(BIN)/python -m bench.bench_$$stage || exit 1; done
	@$(BIN)/python -m bench.pipeline
	@$(BIN)/python -m bench.report

# What looks at the project from outside, and at what deploys it, has an environment of its own too.
build/audit/.ready: requirements/audit.lock
	$(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/audit.lock
	@touch $@

sbom: build/audit/.ready ## what is shipped beside our own code, as CycloneDX: build/sbom.cdx.json
	build/audit/bin/cyclonedx-py requirements requirements/run.lock --pyproject pyproject.toml --output-reproducible \
		--of JSON --output-file build/sbom.cdx.json

audit-deps: build/audit/.ready ## known weaknesses of the locked dependencies; fails too where it cannot be asked
	@build/audit/bin/pip-audit --strict --progress-spinner off --require-hashes --disable-pip -r requirements/run.lock \
		|| { echo "audit-deps: either a weakness is known (listed above), or the advisories are not available from here"; exit 1; }

secret-scan: build/audit/.ready ## nothing in the repository is a key, a token or a password
	@git ls-files -z | xargs -0 build/audit/bin/detect-secrets-hook $(NO_SECRETS)

lock: $(VENV)/.ready ## renew requirements/*.lock from pyproject.toml
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --no-header pyproject.toml --output-file requirements/run.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --no-header --extra dev --constraints requirements/run.lock pyproject.toml --output-file requirements/dev.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --no-header requirements/peer.in --output-file requirements/peer.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --no-header --constraints requirements/run.lock requirements/build.in --output-file requirements/build.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --no-header requirements/audit.in --output-file requirements/audit.lock

clean: ## remove what was built; recorded data stays
	$(MAKE) --no-print-directory -C native clean
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache engine/*.egg-info engine/tickbay/_native*.so
	find engine tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
