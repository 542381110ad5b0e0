# Two commands do everything: `make demo` and `make test`. Python 3.11 or newer and make are all they need.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install install-dev demo test test-fast test-clients test-frameworks lint bench clean

install: .venv/.installed ## the environment with semsearch and the default checkpoint
install-dev: .venv/.installed-dev

.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[model,pdf,eval,report]'
	touch $@

.venv/.installed-dev: .venv/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

.venv-bench/.installed: pyproject.toml constraints.txt
	test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	touch $@

demo: install ## index the sample corpus and answer three queries
	$(BIN)/semsearch demo

test: install-dev ## every test
	$(BIN)/python -m pytest -n auto

test-fast: install-dev ## the quicker tests
	$(BIN)/python -m pytest -n auto -m 'not slow'

test-clients: test-frameworks ## what other people's programs make of semsearch, in environments of their own

test-frameworks: .venv-clients/frameworks/.installed
	.venv-clients/frameworks/bin/python -m pytest tests/clients/frameworks

.venv-clients/frameworks/.installed: tests/clients/frameworks/requirements.txt pyproject.toml constraints.txt
	test -x .venv-clients/frameworks/bin/python || $(PYTHON) -m venv .venv-clients/frameworks
	.venv-clients/frameworks/bin/python -m pip install --quiet --constraint constraints.txt --requirement $<
	touch $@

lint: install-dev ## linters and the type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv-bench/.installed ## every measurement, against peers in an environment of their own
	.venv-bench/bin/python bench/run.py

clean:
	rm -rf .venv .venv-bench .venv-clients build dist .pytest_cache .mypy_cache .ruff_cache
