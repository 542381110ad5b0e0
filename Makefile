# The two main commands are `make demo` and `make test`. They require only Python 3.11 or newer and make.
PYTHON ?= python3
BIN := .venv/bin

# On Linux, torch from PyPI is the CUDA build of several gigabytes. By default, the CPU build is installed from PyTorch's
# own index, unless pip is configured to use another index. For an NVIDIA GPU: make install TORCH_INDEX=
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

CONTAINERS ?= docker
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' semsearch/version.py)

CLIENTS := openai llama_index haystack litellm

.PHONY: help install install-dev demo test test-slow crashes test-clients test-frameworks test-wheel lint docs image pictures lock bench clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.* ## /\1\t/p' Makefile | expand -t 18

install: .venv/.installed ## create the environment with semsearch and the default checkpoint
install-dev: .venv/.installed-dev ## the same with what tests, linters and documentation need

# Create a virtual environment with torch: $(call environment,FOLDER)
define environment
	test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
	@$(1)/bin/python -c 'import sys; v = "%d.%d" % sys.version_info[:2]; sys.version_info >= (3, 11) or \
	sys.exit("error: $(1) has Python " + v + "; semsearch needs 3.11 or newer: delete $(1), then run make PYTHON=python3.12")'
	$(1)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	if [ "$$(uname)" = Linux ] && [ -n '$(TORCH_INDEX)' ] && ! $(1)/bin/python -m pip config list | grep -qE 'find-links|index-url'; \
	then $(1)/bin/python -m pip install --quiet --constraint requirements.lock --index-url '$(TORCH_INDEX)' torch; fi
endef

.venv/.installed: pyproject.toml requirements.lock
	$(call environment,.venv)
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[pdf,eval,report]'
	touch $@

.venv/.installed-dev: .venv/.installed
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --group dev --editable '.[all,ray]'
	touch $@

.venv-bench/.installed: pyproject.toml constraints.txt
	$(call environment,.venv-bench)
	.venv-bench/bin/python -m pip install --quiet --constraint constraints.txt --group bench --editable '.[eval,int8,serve]'
	touch $@

.venv-infinity/.installed: constraints.txt # separate, because it needs another version of typer
	$(call environment,.venv-infinity)
	grep '^torch' constraints.txt > .venv-infinity/torch.txt
	.venv-infinity/bin/python -m pip install --quiet --constraint .venv-infinity/torch.txt 'infinity-emb[server,torch]==0.0.78'
	touch $@

demo: install ## index the sample corpus and answer three queries
	$(BIN)/semsearch demo

test: install-dev ## run the tests, except for the slow ones
	$(BIN)/python -m pytest -n auto --dist worksteal -m 'not slow'

test-slow: install-dev ## run the slow tests: training, conversion, published scores, killed runs, fuzzing, and browsers
	$(BIN)/python -m pytest -n auto --dist worksteal -m slow

crashes: install-dev ## kill, damage and overload indexes for some ten minutes; CRASHES=5000 for longer
	SEMSEARCH_CRASHES=$(or $(CRASHES),520) $(BIN)/python -m pytest -s tests/integration/test_crashes.py \
	tests/integration/test_damage.py tests/integration/test_many_readers.py

test-clients: test-frameworks $(CLIENTS:%=test-clients-%) ## test third-party clients of semsearch, each in its own environment

test-frameworks: .venv-clients/frameworks/.installed
	.venv-clients/frameworks/bin/python -m pytest tests/clients/frameworks

.venv-clients/frameworks/.installed: tests/clients/frameworks/requirements.txt pyproject.toml constraints.txt
	$(call environment,.venv-clients/frameworks)
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

test-wheel: install-dev ## test the wheel in an empty environment with the first commands of the README
	PYTHON='$(PYTHON)' $(BIN)/python tests/wheel/try_wheel.py

lint: install-dev ## run the linters and the type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: install-dev ## build the documentation in site/, with warnings as errors
	$(BIN)/python docs/generate.py
	$(BIN)/zensical build --clean --strict

image: ## build the container image of the server with $(CONTAINERS), docker or podman
	$(CONTAINERS) build --file Containerfile --build-arg TORCH_INDEX='$(TORCH_INDEX)' --tag semsearch:$(VERSION) .

pictures: install-dev ## take the pictures for the README and the documentation from the real program
	$(BIN)/python docs/pictures/take.py

lock: ## write the versions that CI tests to requirements.lock
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	.venv-lock/bin/python -m pip install --quiet --constraint constraints.txt --group dev --editable '.[all,ray]'
	{ echo '# Versions that CI tests; made by `make lock`.'; \
	.venv-lock/bin/python -m pip freeze --exclude-editable | sed 's/+cpu$$//'; } > requirements.lock
	rm -rf .venv-lock

bench: .venv-bench/.installed .venv-infinity/.installed ## run all benchmarks, with peers in a separate environment
	.venv-bench/bin/python bench/run.py

clean: ## delete the environments and everything that was built
	rm -rf .venv .venv-* site tests/clients/node/node_modules build dist .pytest_cache .mypy_cache .ruff_cache
