# Everything from a machine with Python 3.11 or newer, pip and make.
#   make serve ARGS="--port 9000"      make test ARGS="tests/unit -x"      make PYTHON=python3.12 test

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
# Newer than the lock and the project file: the venv holds what they say.
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help serve test check lint types unit screenshots bench load endurance faults lock install clean
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# `exec` leaves no shell between make and the service: Ctrl-C reaches the service once, make waits for
# its end and goes only then.
serve: $(INSTALLED) ## run the service until Ctrl-C
	@exec $(BIN)/counters serve $(ARGS)

test: $(INSTALLED) ## the whole suite: unit, contract, integration, short faults
	@exec $(BIN)/python -m pytest $(ARGS)

check: lint types unit ## lint, types and unit tests: what to run before a commit

lint: $(INSTALLED) ## ruff
	@$(BIN)/ruff check .

types: $(INSTALLED) ## mypy --strict on the three rooms and the Python client
	@$(BIN)/mypy

unit: $(INSTALLED)
	@exec $(BIN)/python -m pytest tests/unit $(ARGS)

faults: $(INSTALLED) ## kill things for minutes, not seconds
	@exec $(BIN)/python -m pytest tests/faults -m "" --timeout=1200 $(ARGS)

screenshots: $(INSTALLED) ## pictures of the page, into docs/screenshots
	@exec $(BIN)/python -m tests.browser.shots docs/screenshots

bench: $(INSTALLED) ## measure this service and its peers
	@exec $(BIN)/python -m loadtests.bench $(ARGS)

load: $(INSTALLED) ## locust for 30 s, on a service of its own or at COUNTERS_URL
	@exec $(BIN)/python -m loadtests $(ARGS)

endurance: $(INSTALLED) ## slow readers, reconnect storms, leaks, floods
	@exec $(BIN)/python -m loadtests.endurance $(ARGS)

lock: $(BIN)/uv ## pin the dependencies anew
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --no-emit-index-url --generate-hashes \
	  $(ARGS) pyproject.toml -o requirements.lock

install: $(INSTALLED) ## make .venv, without running anything

clean: ## remove what make and the tools made
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis tests/integration/orpc/node_modules clients/js/node_modules clients/js/dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml clients/python/pyproject.toml requirements.lock | $(BIN)/python
	@echo "installing into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable . --editable clients/python
	@touch $@

$(BIN)/uv: | $(BIN)/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: Python 3.11 or newer is needed"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) -V 2>&1)."; \
	  echo "Name another one: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
