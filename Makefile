# Every target that needs the environment sets it up first; that costs a moment when it is in place.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# PYTHON=python3.12 picks the interpreter; otherwise set-up finds a supported one itself.
PYTHON ?=
# Arguments for the program that a target runs: make demo ARGS=--json
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
BOOT := $(or $(PYTHON),$(shell command -v python3 2>/dev/null))

.PHONY: help demo test test-web test-parquet check test-sandbox sim sim-ci sim-scale sim-plants rediscover fmt setup pins clean

help: ## Show this list
	@echo "swarm-node: make TARGET [ARGS='...'] [PYTHON=python3.12]"
	@grep -hE '^[a-z%-]+:.*## ' $(firstword $(MAKEFILE_LIST)) \
	    | sed -E 's/^([a-z%-]+):.*## (.*)/  \1\t\2/' | expand -t 18

demo: setup ## Found a swarm of three nodes here and watch it improve its training script
	@$(BIN)/swarm-node demo $(ARGS)

test: check ## Set up, then run every check and test

check: setup ## ruff, mypy, import contract and tests (ARGS go to pytest)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --platform darwin --no-warn-unreachable --cache-dir .mypy_cache/darwin \
	    -p protocol -p gossip -p swarm -p trainer -p node
	$(BIN)/lint-imports
	@scripts/tests.sh $(BIN)/python $(ARGS)

test-sandbox: setup ## Attack every sandbox in every way, and print the table
	$(BIN)/python -m tests.hostile $(ARGS)
	$(BIN)/python -m pytest -q -m sandbox

test-web: setup ## Test the page in Chromium, installing Debian's when it is missing
	@scripts/browser.sh $(BIN)/python
	$(BIN)/python -m pytest tests/web $(ARGS)

test-parquet: setup ## Test with real Parquet files, installing pyarrow (55 MB) when it is missing
	@$(BIN)/python -c 'import pyarrow' 2>/dev/null \
	    || $(BIN)/python -m pip install --quiet --no-deps -r requirements/test-parquet.txt
	$(BIN)/python -m pytest tests/parquet $(ARGS)

sim: setup ## Simulate 1,000 swarms with faults and hostile nodes (ARGS='--seed 7 --trace' replays one)
	@$(BIN)/python -m tests.sim $(ARGS)

sim-ci: setup ## Simulate 100 swarms
	@$(BIN)/python -m tests.sim --count 100 $(ARGS)

sim-scale: setup ## Count what a node of a growing swarm stores, sends and computes in an hour
	@$(BIN)/python -m tests.sim.scale $(ARGS)

sim-plants: setup ## Plant known bugs one by one, and show what finds each
	@$(BIN)/python -m tests.sim --plant all --count 150

fmt: setup ## Format the code and fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench-%: setup ## Run one benchmark, e.g. make bench-verdict
	@$(BIN)/python -m benchmarks.$(subst -,_,$*) $(ARGS)

rediscover: setup ## Watch a swarm find sound initialisation and normalisation again, from a bad start
	@$(BIN)/python -m benchmarks.rediscover $(ARGS)

setup: ## Make .venv with every pinned requirement
ifeq ($(strip $(BOOT)),)
	@echo "setup: no python3 on PATH. Install Python 3.11, 3.12 or 3.13:" >&2
	@echo "  Debian/Ubuntu:  sudo apt-get install -y python3 python3-venv python3-dev" >&2
	@echo "  Fedora:         sudo dnf install -y python3 python3-devel" >&2
	@exit 1
else
	@$(BOOT) scripts/setup.py $(if $(PYTHON),--python $(PYTHON))
endif

pins: ## Resolve requirements/*.txt anew (python3.11 needed)
	python3.11 scripts/pin.py

clean: ## Remove .venv and everything that can be made again
	rm -rf $(VENV) build dist *.egg-info benchmarks/out .mypy_cache .ruff_cache .pytest_cache \
	    .hypothesis .import_linter_cache
	find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
