# Everything a newcomer needs: `make demo`, `make test`, `make serve`. `make help` lists the rest.

PYTHON ?= python3
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
SWIFT_VENV := .swift-venv
BIN := $(VENV)/bin

# What `make demo`, `make serve` and `make corpus` take.
PHOTOS ?=
STORE ?= local
HOST ?= 127.0.0.1
PORT ?= 8000
CORPUS ?=
# Test processes; the tests of crashes start servers of their own.
JOBS ?= auto

.PHONY: help
help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

.PHONY: setup
setup: $(VENV)/.done $(SWIFT_VENV)/.done  ## build the virtual environments; quick when nothing changed

$(VENV)/.done: requirements.txt pyproject.toml scripts/setup
	scripts/setup $(PYTHON) $(VENV) requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(SWIFT_VENV)/.done: requirements-swift.txt scripts/setup
	scripts/setup $(PYTHON) $(SWIFT_VENV) requirements-swift.txt
	touch $@

.PHONY: demo
demo: setup  ## the main job end to end (PHOTOS=folder, STORE=swift)
	$(BIN)/imagerepo demo --store $(STORE) $(if $(PHOTOS),--photos "$(PHOTOS)")

.PHONY: test
test: setup lint  ## the whole suite, on a real Swift too; a skipped test fails it
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

.PHONY: lint
lint: setup  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: serve
serve: setup  ## leave a server running (HOST, PORT), on a local store or on IMAGEREPO_STORE_URL
	exec $(BIN)/imagerepo serve --host $(HOST) --port $(PORT)

.PHONY: corpus
corpus: setup  ## push a folder of good, bad and edge images (CORPUS=folder) and check each answer
	@test -n "$(CORPUS)" || { echo "say which: make corpus CORPUS=folder" >&2; exit 2; }
	$(BIN)/python -m imagerepo.testing.corpus "$(CORPUS)"

# Hours on two cores. After a part that failed: `make soak-that-part`, or `make --keep-going soak` from the first.
SOAK := model deaths stories storms repairs starts planted
.PHONY: soak $(SOAK:%=soak-%)
soak: $(SOAK:%=soak-%)  ## the long runs, of which each is a target of its own: soak-model, soak-deaths and the rest

soak-model: setup  # the protocol's model, explored widely
	$(BIN)/python -m tests.model.soak

soak-deaths: setup  # second deaths, power cuts, stores that fail at each call, histories and drifts: nothing left out
	IMAGEREPO_SOAK=1 $(BIN)/python -m pytest -v -n $(JOBS) --dist worksteal --timeout 0 tests/crash/test_second_death.py \
		tests/crash/test_repairs.py tests/strace \
		tests/durability/test_faults.py tests/contracts/test_faults_of_three.py \
		tests/durability/test_pruned_histories.py tests/reconcile/test_drifts.py

soak-stories: setup  # any stories of clients, servers, deaths, rests and repairs
	$(BIN)/python -m tests.machine.soak

soak-storms: setup  # power cuts under writers and readers
	$(BIN)/python -m tests.load.soak

soak-repairs: setup  # a thousand drifts and deaths while writers commit; commits beside repairs, on a real Swift
	$(BIN)/python -m tests.reconcile.drifts.soak
	$(BIN)/python -m tests.load.beside.soak

soak-starts: setup  # two servers on a real Swift, of which one rests anywhere; many starts at once
	IMAGEREPO_SOAK=1 $(BIN)/python -m pytest -v tests/real/test_reigns.py
	$(BIN)/python -m tests.real.soak

soak-planted: setup  # each planted bug must be caught
	$(BIN)/python -m tests.planted

.PHONY: bench
bench: setup  ## measure everything into bench/RESULTS.md (some minutes, some GB of disk)
	for each in uploads snapshots commits ingest restore reconcile; do $(BIN)/python bench/$$each.py --write; done

.PHONY: lock
lock:  ## resolve the dependencies anew into requirements*.txt
	$(PYTHON) -m venv .lock-venv
	.lock-venv/bin/python -m pip install --quiet --upgrade pip pip-tools
	scripts/lock .lock-venv/bin/pip-compile
	rm -rf .lock-venv
