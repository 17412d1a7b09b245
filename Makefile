# Two commands matter: `make devnet` and `make test`. Each makes .venv by itself on a bare machine with Python 3.11 or 3.12.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := install

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# A name on PATH may be a dead shim, and a system Python may lack venv: each candidate is RUN before it is believed.
define FIND_PYTHON
for candidate in $${PYTHON:-} python3.12 python3.11 python3; do \
  if "$$candidate" -c 'import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1; then \
    echo "$$candidate"; exit 0; \
  fi; \
done; \
echo "No usable Python found: Datacar needs Python 3.11 or 3.12 with the venv module" >&2; \
echo "(Debian/Ubuntu: apt-get install python3.11 python3.11-venv; or set PYTHON=/path/to/python3.11)." >&2; \
exit 1
endef

.PHONY: install
install: $(STAMP)  ## make .venv with .venv/bin/datacar

$(STAMP): requirements.txt pyproject.toml
	@python="$$($(FIND_PYTHON))" && echo "making $(VENV) with $$python ($$($$python --version))" && "$$python" -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

.PHONY: devnet
devnet: $(STAMP)  ## 4 real nodes with a live table; Ctrl-C stops them and keeps their data
	@$(BIN)/datacar devnet up

.PHONY: check
check: $(STAMP)  ## style, types and import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --config pyproject.toml

.PHONY: test
test: check  ## everything CI runs
	@$(BIN)/python -m tests

# Long hostile runs; `make test` runs a bounded share of each with fresh, printed seeds.
SEEDS ?= 200
SEED ?=
JOBS ?= 2
.PHONY: sim
sim: $(STAMP)  ## SEEDS=n runs of whole nodes on a virtual clock, network and disk; SEED=x is the first seed (SEEDS=1 SEED=x replays one)
	@$(BIN)/python -m tests.sim --seeds $(SEEDS) --jobs $(JOBS) $(if $(SEED),--seed $(SEED))

.PHONY: twins
twins: $(STAMP)  ## all 43,264 two-round scenarios of four members and a twin
	@$(BIN)/python -m tests.twins --rounds 2 --jobs $(JOBS)

.PHONY: mutants
mutants: $(STAMP)  ## plant faults in the consensus code, one at a time; each must be caught
	@$(BIN)/python -m tests.mutants --jobs $(JOBS)

CHAOS_SECONDS ?= 60
.PHONY: chaos
chaos: $(STAMP)  ## kill, pause, cut off and restart four real processes under load
	@CHAOS_SECONDS=$(CHAOS_SECONDS) $(BIN)/pytest -q --log-cli-level=INFO tests/integration/test_chaos.py

N ?=
.PHONY: diskfaults
diskfaults: $(STAMP)  ## N=n (2,000) random flips, tears and losses in LevelDB's files; SEED=x replays a run
	@$(BIN)/python -m tests.diskfaults --count $(or $(N),2000) $(if $(SEED),--seed $(SEED))

.PHONY: crashes
crashes: $(STAMP)  ## kill one real node of four at N=n (200) random points under load
	@$(BIN)/python -m tests.crashes --count $(or $(N),200) $(if $(SEED),--seed $(SEED))

.PHONY: year
year: $(STAMP)  ## a year of virtual time on four real nodes: LOANS=n (1,000) loans and ORDERS=n (1,000) standing orders, each day checked
	@$(BIN)/python -m tests.year --loans $(or $(LOANS),1000) --orders $(or $(ORDERS),1000) --days $(or $(DAYS),365) $(if $(SEED),--seed $(SEED))

.PHONY: determinism
determinism: $(STAMP)  ## CALLS=n (10,000) random calls under 20 hash seeds, several locales and time zones, live and replayed
	@DETERMINISM_SEEDS=20 DETERMINISM_CALLS=$(or $(CALLS),10000) $(BIN)/pytest -q tests/determinism

PROMISES ?=
.PHONY: promises
promises: $(STAMP)  ## measure what the network promises under faults (PROMISES="dead-backup dead-primary restart overload")
	@$(BIN)/python -m benchmarks.promises $(PROMISES)

RUNS ?= 400
.PHONY: faults
faults: $(STAMP)  ## RUNS=n hostile runs of the replica alone on a virtual network (CI runs 12)
	@FAULT_RUNS=$(RUNS) $(BIN)/pytest -q tests/property/test_consensus_faults.py

.PHONY: bench
bench: $(STAMP)  ## the figures of docs/benchmarks.md
	@$(BIN)/datacar bench hash
	@$(BIN)/datacar bench signature
	@$(BIN)/datacar bench state
	@$(BIN)/datacar bench storage
	@$(BIN)/datacar bench proof
	@$(BIN)/datacar bench sync
	@$(BIN)/datacar bench cluster

.PHONY: lock
lock: $(STAMP)  ## refresh requirements.txt (needs uv on PATH)
	@uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	  --python-version 3.11 --extra dev pyproject.toml -o requirements.txt

.PHONY: clean
clean:
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
