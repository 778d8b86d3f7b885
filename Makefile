# Everything a person types. Each target makes its own virtual environment from hash-locked requirements.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export KLANTBEELD_HOME ?= $(CURDIR)/.klantbeeld
export KLANTBEELD_DEMO__DIR ?= $(CURDIR)/.klantbeeld-demo

PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps

.DEFAULT_GOAL := help
.PHONY: help demo ui dev test test-long check bench format lock install clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.runtime ## Start the demo's source systems, run the whole pipeline, show the result
	@$(BIN)/klantbeeld demo start
	@$(BIN)/klantbeeld run
	@$(BIN)/klantbeeld status
	@$(BIN)/klantbeeld demo status

ui: $(VENV)/.runtime ## Open the Dagster UI on 127.0.0.1:3000, with the demo's CRM running
	@$(BIN)/klantbeeld ui

dev: $(VENV)/.runtime ## A shell with plain dbt on a private copy of the current version
	@$(BIN)/klantbeeld dev shell

test: $(VENV)/.dev ## Run the test suite
	@$(BIN)/python -m pytest -m "not long" -n 3 --dist loadfile --no-loadscope-reorder

test-long: $(VENV)/.dev ## The same tests at larger counts: kills by the hundred, many rows
	@$(BIN)/python -m pytest --timeout 3600

check: $(VENV)/.dev ## Lint, types, dbt project rules, generated files
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/yamllint --strict .
	@$(BIN)/python -m tests.project_rules

format: $(VENV)/.dev ## Format the code
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

bench: $(VENV)/.dev ## Measure time and memory per stage (benchmarks/README.md)
	@$(BIN)/python -m benchmarks.pipeline

lock: $(VENV)/.dev ## Write requirements/*.lock again from pyproject.toml
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile pyproject.toml --extra build --extra demo --universal \
		--python-version 3.11 --generate-hashes --no-header --no-annotate --no-strip-extras \
		--only-binary :all: --quiet --upgrade -o requirements/runtime.lock
	@$(BIN)/uv pip compile pyproject.toml --extra build --extra demo --extra dev --universal \
		--python-version 3.11 --generate-hashes --no-header --no-annotate --no-strip-extras \
		--only-binary :all: --quiet --upgrade -c requirements/runtime.lock -o requirements/dev.lock

install: $(VENV)/.runtime ## Make the virtual environment

clean: ## Stop the demo and remove everything that was made here, the demo home included
	@test ! -x $(BIN)/klantbeeld || $(BIN)/klantbeeld demo reset --yes || true
	@rm -rf $(VENV) $(KLANTBEELD_HOME) $(KLANTBEELD_DEMO__DIR) *.egg-info \
		.pytest_cache .mypy_cache .ruff_cache .hypothesis dbt_project/target dbt_project/logs

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed; say which one with: make PYTHON=python3.12 ..."; exit 2; }
	@echo "Making a virtual environment in $(VENV) (once, a minute or two) ..."
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: $(BIN)/python requirements/runtime.lock pyproject.toml
	@$(PIP_INSTALL) --only-binary :all: --require-hashes -r requirements/runtime.lock
	@$(PIP_INSTALL) --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements/dev.lock
	@$(PIP_INSTALL) --only-binary :all: --require-hashes -r requirements/dev.lock
	@touch $@
