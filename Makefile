# Two commands do everything: `make demo` and `make test`. Python 3.11 or newer and make are all they need.
PYTHON ?= python3
BIN := .venv/bin

# On Linux, PyPI has torch for CUDA: several gigabytes. The CPU build is in PyTorch's own index, unless pip is configured
# with another one. For an NVIDIA GPU: make install TORCH_INDEX=
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

CLIENTS := openai llama_index haystack litellm

.PHONY: install install-dev demo test test-fast test-clients test-frameworks test-wheel lint docs pictures lock bench clean

install: .venv/.installed ## the environment with semsearch and the default checkpoint
install-dev: .venv/.installed-dev

# A virtual environment with torch: $(call environment,FOLDER)
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
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --group dev --editable '.[all]'
	touch $@

.venv-bench/.installed: pyproject.toml constraints.txt
	$(call environment,.venv-bench)
	.venv-bench/bin/python -m pip install --quiet --constraint constraints.txt --group bench --editable '.[eval,int8,serve]'
	touch $@

.venv-infinity/.installed: constraints.txt # an environment of its own: it needs another typer
	$(call environment,.venv-infinity)
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

test-wheel: install-dev ## the wheel in an empty environment, with the README's first commands
	PYTHON='$(PYTHON)' $(BIN)/python tests/wheel/try_wheel.py

lint: install-dev ## linters and the type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: install-dev ## the documentation, into site/; a warning is an error
	$(BIN)/python docs/generate.py
	$(BIN)/zensical build --clean --strict

pictures: install-dev ## the pictures of README and documentation, from the real program
	$(BIN)/python docs/pictures/take.py

lock: ## the versions that CI tests, into requirements.lock
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	.venv-lock/bin/python -m pip install --quiet --constraint constraints.txt --group dev --editable '.[all]'
	{ echo '# Versions that CI tests; made by `make lock`.'; \
	.venv-lock/bin/python -m pip freeze --exclude-editable | sed 's/+cpu$$//'; } > requirements.lock
	rm -rf .venv-lock

bench: .venv-bench/.installed .venv-infinity/.installed ## every measurement, against peers in an environment of their own
	.venv-bench/bin/python bench/run.py

clean:
	rm -rf .venv .venv-* site tests/clients/node/node_modules build dist .pytest_cache .mypy_cache .ruff_cache
