# `make run` and `make test` are all that a new user needs; both want Python 3.11+ and make only.
PYTHON ?= python3
BIN := .venv/bin
OLD := .cache/old-clients
CONSUMERS := tests/consumers
JS := $(CONSUMERS)/js/node_modules/.installed
JAVA := .cache/consumers/java/.installed
GO := .cache/consumers/go/.installed
CELERY := .cache/consumers/celery/.installed
SERVE ?=
# Test processes at a time.
JOBS ?= 2
BENCH ?=
BIG ?=
CRASH ?=
POWERLOSS ?=
FUZZ_SECONDS ?= 600
FUZZ ?=

.PHONY: run test test-fast lint bench bench-big crash powerloss fuzz docs clean

run: .venv/.installed
	$(BIN)/trunkline serve $(SERVE)

test: lint $(OLD)/.installed $(JS) $(JAVA) $(GO) $(CELERY)
	$(BIN)/pytest -n $(JOBS)

test-fast: .venv/.tested $(OLD)/.installed
	$(BIN)/pytest -n $(JOBS) -m "not slow"

lint: .venv/.tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/docs.py --check

# Wants wrk. BENCH="--rounds 3 --json FILE" passes options on.
bench: .venv/.tested
	$(BIN)/python benchmarks/run.py $(BENCH)

# Some minutes. CRASH="--kills 200 --seed N" passes options on.
crash: .venv/.tested
	PYTHONPATH=tests/support $(BIN)/python -m crash $(CRASH)

# Wants gcc. POWERLOSS="--rounds 20 --cuts 500 --seed 1" passes options on.
powerloss: .venv/.tested
	PYTHONPATH=tests/support $(BIN)/python -m powerloss $(POWERLOSS)

# For all targets together. FUZZ="--only http" passes options on. Without atheris (no wheel for this Python) Hypothesis alone.
fuzz: .venv/.tested
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[fuzz]" || echo "atheris could not be installed (why stands above): Hypothesis alone"
	PYTHONPATH=tests/support $(BIN)/python -m fuzz --seconds $(FUZZ_SECONDS) $(FUZZ)

# Ten million messages and the like: 15 GB of disk and half an hour. BIG="--scale 0.1" makes all sizes a tenth.
bench-big: .venv/.tested
	$(BIN)/python benchmarks/big.py --json .cache/bench-big.json $(BIG)

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

# A botocore that speaks the query protocol to SQS (the last one is 1.31.80), for tests/server/test_old_clients.py alone;
# of this one the model carries the query traits as well.
$(OLD)/.installed: .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade --target $(OLD) \
		botocore==1.29.0 boto3==1.26.0
	touch $@

# Clients in other languages; where their tools are missing this says so, and their tests skip.
$(JS): $(CONSUMERS)/install.sh $(CONSUMERS)/js/package-lock.json
	$(CONSUMERS)/install.sh js

$(JAVA): $(CONSUMERS)/install.sh $(CONSUMERS)/java/pom.xml
	$(CONSUMERS)/install.sh java

$(GO): $(CONSUMERS)/install.sh $(CONSUMERS)/go/go.sum
	$(CONSUMERS)/install.sh go

$(CELERY): .venv/bin/python $(CONSUMERS)/install.sh $(CONSUMERS)/celery/requirements.txt
	PYTHON=$(BIN)/python $(CONSUMERS)/install.sh celery

clean:
	rm -rf .venv .cache $(CONSUMERS)/js/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
