# Two commands do everything: `make demo` and `make test`. Python 3.11 or newer and make are all they need.
PYTHON ?= python3
BIN := .venv/bin

CLIENTS := openai llama_index haystack litellm

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

.venv-infinity/.installed: constraints.txt # an environment of its own: it needs another typer
	test -x .venv-infinity/bin/python || $(PYTHON) -m venv .venv-infinity
	grep '^torch' constraints.txt > .venv-infinity/torch.txt
	.venv-infinity/bin/python -m pip install --quiet --constraint .venv-infinity/torch.txt 'infinity-emb[server,torch]==0.0.78'
	touch $@

demo: install ## index the sample corpus and answer three queries
	$(BIN)/semsearch demo

test: install-dev ## every test
	$(BIN)/python -m pytest -n auto

test-fast: install-dev ## the quicker tests
	$(BIN)/python -m pytest -n auto -m 'not slow'

test-clients: test-frameworks $(CLIENTS:%=test-clients-%) ## what other people's programs make of semsearch, in environments of their own

test-frameworks: .venv-clients/frameworks/.installed
	.venv-clients/frameworks/bin/python -m pytest tests/clients/frameworks

.venv-clients/frameworks/.installed: tests/clients/frameworks/requirements.txt pyproject.toml constraints.txt
	test -x .venv-clients/frameworks/bin/python || $(PYTHON) -m venv .venv-clients/frameworks
	.venv-clients/frameworks/bin/python -m pip install --quiet --constraint constraints.txt --requirement $<
	touch $@

.PRECIOUS: .venv-clients/%/.installed
test-clients-%: install-dev .venv-clients/%/.installed tests/clients/node/node_modules
	.venv-clients/$*/bin/python -m pytest -c tests/clients/pytest.ini --confcutdir tests/clients tests/clients/test_clients_$*.py

.venv-clients/%/.installed: tests/clients/requirements/%.txt
	test -x .venv-clients/$*/bin/python || $(PYTHON) -m venv .venv-clients/$*
	.venv-clients/$*/bin/python -m pip install --quiet --requirement $<
	touch $@

tests/clients/node/node_modules: tests/clients/node/package.json
	if command -v npm; then cd tests/clients/node && npm install --silent --no-package-lock --no-audit --no-fund; fi
	mkdir -p $@ && touch $@

lint: install-dev ## linters and the type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv-bench/.installed .venv-infinity/.installed ## every measurement, against peers in an environment of their own
	.venv-bench/bin/python bench/run.py

clean:
	rm -rf .venv .venv-bench .venv-clients .venv-infinity tests/clients/node/node_modules build dist .pytest_cache .mypy_cache .ruff_cache
