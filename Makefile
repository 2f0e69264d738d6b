# `make run` and `make test` each work alone on a fresh machine with Python 3.11 or newer:
# the environment is made, or brought up to date, before either starts.

PYTHON ?= $(firstword $(foreach name,python3.11 python3 python3.12 python3.13 python3.14,\
  $(shell $(name) -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
    && echo $(name))))
BIN := .venv/bin
STAMP := .venv/made-for
# In several processes; tests/conftest.py says how many.
FAST_TESTS := $(BIN)/python -m pytest -m "not slow" -n auto --dist=worksteal

# Else every process, and every relayd that a test starts, would compile all modules once more.
unexport PYTHONDONTWRITEBYTECODE

# The stamp holds the path that the environment was made for: a copied or moved tree makes its own.
ifneq ($(file <$(STAMP)),$(CURDIR))
.PHONY: $(STAMP)
endif

.DEFAULT_GOAL := help
.PHONY: run test setup check fix bench help

run: $(STAMP) ## start relayd with simulated upstreams, and say what to try
	@$(BIN)/relayd serve --config etc/relayd.toml --welcome

test: $(STAMP) ## the tests, without the slow ones
	@$(FAST_TESTS)

setup: $(STAMP) ## make .venv and install the pinned dependencies

check: $(STAMP) ## lint, format, spelling, types, import rules, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(FAST_TESTS)

fix: $(STAMP) ## format, mend what ruff can mend, write the generated documents
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	$(BIN)/python -m relayd.observe.document
	$(BIN)/python -m relayd.config.document
	$(BIN)/python -m relayd.service.admin.document
	$(BIN)/python -m relayd.observe.metrics_document

bench: $(STAMP) ## load relayd, and HAProxy beside it
	@$(BIN)/python -m bench

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' Makefile

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "relayd needs Python 3.11 or newer with its venv module:" \
	  "install it (Debian: python3 and python3-venv), or name one with PYTHON=..." >&2; exit 69; }
	@test -e $@ && test "$$(cat $@)" = "$(CURDIR)" \
	  || { echo "making .venv with $(PYTHON)"; $(PYTHON) -m venv --clear .venv; }
	@echo "installing the pinned dependencies"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt setuptools
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation \
	  -c constraints.txt -e '.[dev]'
	@printf '%s' "$(CURDIR)" > $@
