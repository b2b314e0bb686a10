# `make demo` answers the first question on this machine, `make down` stops what it started, `make test` checks it all.
PYTHON ?= python3
VENV ?= .venv
OPTIONS ?=
BIN := $(VENV)/bin

.PHONY: help demo down test format install

help:
	@echo "make demo     set up, start the local stack, answer the first question, print where to look"
	@echo "              (OPTIONS='--help' lists ports, data and scale; as in OPTIONS='--ray-port 9000')"
	@echo "make down     stop what make demo started; the results stay in .workbench"
	@echo "make test     set up, then formatting, lint, types, import rules, tests"
	@echo "make format   lay the code out as make test wants it"
	@echo "PYTHON=python3.12 chooses the interpreter, VENV=path where everything is installed (default .venv)"

demo: install
	@$(BIN)/python -m pipelines.demo $(OPTIONS)

down:
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m pipelines.stack down; else echo "nothing is installed in $(VENV)"; fi

test: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: $(VENV)/.installed

# Installed again only when what is to be installed has changed.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: PYTHON: $(PYTHON) given; Python 3.11 or newer is needed"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "error: PYTHON: $(PYTHON) cannot make virtual environments; install them (Debian: python3-venv)"; exit 1; }
	@echo "installing into $(VENV): a few minutes"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[test]'
	@touch $@
