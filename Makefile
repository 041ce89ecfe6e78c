# Every check of the project. CI calls these targets; `make check` runs them all.

PYTHON ?= python3
VENV ?= .venv
BACKENDS_VENV ?= .venv-backends
LOWEST_VENV ?= .venv-lowest
UV ?= uv
LOCK_FLAGS ?=

BIN := $(VENV)/bin
BENCHMARKS := engine start planners xlstm http_backend llamacpp checking_pays paraphrase \
        adapters mcp_tools approvals
LOCK := $(UV) pip compile pyproject.toml --universal --generate-hashes --no-annotate --no-header \
        --no-emit-index-url --no-emit-find-links --quiet $(LOCK_FLAGS)

.DEFAULT_GOAL := help
.PHONY: help install install-thorough format lint types imports test test-hf test-durability test-nightly test-backends test-lowest coverage check lock bench verifytypes clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

install: ## the locked tools and the project itself, editable, into $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --no-compile --require-hashes -r requirements/dev.txt # what is imported is compiled then
	$(BIN)/pip install --no-deps --no-build-isolation -e .

install-thorough: ## what only the targets `test-durability` and `verifytypes` use, which is large
	$(BIN)/pip install --quiet --require-hashes -r requirements/thorough.txt

format: ## rewrite what ruff can
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

lint: ## ruff's rules and its formatting
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: ## mypy, strict
	$(BIN)/mypy

imports: ## the walls between the packages
	$(BIN)/lint-imports

test: ## the test suite
	$(BIN)/pytest -n auto --dist loadfile

test-hf: ## the backend `hf` and our xLSTM beside others' own code, with torch and transformers (large)
	$(BIN)/pip install torch==2.13.0 -e '.[hf]'
	$(BIN)/pytest tests/backends -k 'hf or xlstm'

test-durability: install-thorough ## crashes, kill loops and what else goes wrong, in full, with a real PostgreSQL (Debian's) and Temporal
	SCAFFOLD_THOROUGH=1 $(BIN)/pytest -p no:randomly --timeout=1800 --durations=10 tests/durability tests/workers

test-nightly: ## 10,000 seeds of the simulation
	SCAFFOLD_SEEDS=10000 $(BIN)/pytest tests/durability/test_simulation.py

test-backends: ## our traces in Phoenix and in MLflow themselves, on loopback, in $(BACKENDS_VENV) (850 MB each)
	test -d $(BACKENDS_VENV) || $(PYTHON) -m venv $(BACKENDS_VENV)
	$(BACKENDS_VENV)/bin/python -m pip install -q 'arize-phoenix==20.26.*' 'mlflow==3.17.*'
	SCAFFOLD_TRACING_BACKENDS=$(abspath $(BACKENDS_VENV)) $(BIN)/pytest tests/projections/test_backends.py

test-lowest: ## the test suite with the oldest versions that pyproject.toml allows, in $(LOWEST_VENV) (needs uv)
	test -d $(LOWEST_VENV) || $(PYTHON) -m venv $(LOWEST_VENV)
	$(UV) pip install --quiet --python $(LOWEST_VENV)/bin/python --resolution lowest-direct -e '.[dev]'
	$(LOWEST_VENV)/bin/pytest -n auto --dist loadfile

coverage: ## the test suite, with branches measured
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

check: lint types imports test ## all of the above that CI insists on

lock: ## resolve requirements/ anew; LOCK_FLAGS=--upgrade for the newest versions (needs uv: pip install uv)
	$(LOCK) --output-file requirements/base.txt
	$(LOCK) --extra dev --constraints requirements/base.txt --output-file requirements/dev.txt
	$(LOCK) --extra thorough --constraints requirements/dev.txt --output-file requirements/thorough.txt

bench: ## the benchmarks that take minutes, one JSON line a row; benchmarks/README.md has the commands of the longer ones
	@set -e; for benchmark in $(BENCHMARKS); do $(BIN)/python benchmarks/$$benchmark.py; done

verifytypes: install-thorough ## does pyright, too, know the types of all that a user's program meets?
	$(BIN)/pyright --pythonpath $(BIN)/python tests/core/test_public_types.py

clean: ## remove what the checks leave behind
	rm -rf dist build .coverage .coverage.* htmlcov .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
