# `make run` and `make test` are all that a new user needs; both want Python 3.11+ and make only.
PYTHON ?= python3
BIN := .venv/bin
SERVE ?=

.PHONY: run test test-fast lint bench docs clean

run: .venv/.installed
	$(BIN)/trunkline serve $(SERVE)

test: lint
	$(BIN)/pytest

test-fast: .venv/.tested
	$(BIN)/pytest -m "not slow"

lint: .venv/.tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/docs.py --check

bench: .venv/.tested
	$(BIN)/python benchmarks/run.py

docs: .venv/.tested
	$(BIN)/python tools/docs.py

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.installed: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/.tested: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test]"
	touch $@ .venv/.installed

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
