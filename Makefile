# Paratope's tasks. Each works from a bare clone: what needs the environment builds it first.
# Needed on the machine: Python 3.11 or newer with pip, and make.

VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# Where the public data are, for tests, benchmarks and the default model; set it to your own folder.
ifneq ($(wildcard ../shared/data),)
export PARATOPE_DATA ?= $(abspath ../shared/data)
endif

# The first Python of at least 3.11 that really runs; `make setup PYTHON=/path/to/python` overrides.
PYTHON ?= $(shell for name in python3 python3.11 python3.12 python3.13 python3.14 python; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& command -v "$$name" && break; done)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-threads lint format documents audit default-model pins clean

help: ## list the tasks
	@sed -nE 's/^([a-z-]+)(%?):.*## /\1\2\t/p' $(MAKEFILE_LIST) | sed 's/%/TOPIC/' \
	| awk -F '\t' '{ printf "make %-18s %s\n", $$1, $$2 }'

setup: $(STAMP) ## build .venv with everything tested, at pinned versions

# Where Python has no ensurepip, the machine's own pip fills the environment.
$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer was not found; set PYTHON=..." >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV) || { "$(PYTHON)" -m venv --clear --without-pip $(VENV) \
	&& "$(PYTHON)" -m pip --python $(BIN)/python install -c constraints.txt pip; }

$(STAMP): $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt --upgrade "pip>=25.1"
	$(BIN)/python -m pip install -q -c constraints.txt --editable ".[all]" --group dev
	@touch $@

demo: $(STAMP) ## predict a dozen well-known antibodies with the default model
	$(BIN)/paratope predict examples/pairs.csv -o demo.csv
	@$(BIN)/python scripts/show_table.py demo.csv

test: $(STAMP) ## the fast tests (at most six minutes on two cores)
	$(BIN)/pytest -m "not slow" -n 2 --dist loadfile

test-slow: $(STAMP) ## the heavier tests, on two processes
	$(BIN)/pytest -m slow -n 2 --dist loadfile

test-threads: $(STAMP) ## what computes, at the default number of threads, as users run it
	PARATOPE_TEST_THREADS=default $(BIN)/pytest -m "not slow" tests/test_golden.py tests/test_network.py \
	tests/test_checkpoints.py tests/test_predictor.py tests/test_gaussian_process.py tests/test_campaign_model.py

lint: $(STAMP) ## style, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright

format: $(STAMP) ## put the code into the one format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

benchmark-%: $(STAMP) ## run benchmarks/benchmark_TOPIC.py, as in make benchmark-speed
	@test -f benchmarks/benchmark_$(subst -,_,$*).py || { \
	echo "no such benchmark; there are:" $(patsubst benchmarks/benchmark_%.py,%,$(wildcard benchmarks/benchmark_*.py)) >&2; exit 2; }
	$(BIN)/python benchmarks/benchmark_$(subst -,_,$*).py

documents: $(STAMP) ## put the newest numbers into README.md and docs/
	$(BIN)/python scripts/fill_documents.py

audit: $(STAMP) ## known vulnerabilities of what is installed, or at least a list of it
	$(BIN)/python scripts/audit_dependencies.py -o docs/dependency-audit.md

default-model: $(STAMP) ## train the model that ships (needs the public data)
	$(BIN)/python scripts/build_default_model.py

pins: $(STAMP) ## write constraints.txt from what is installed
	@{ sed -n '/^#/p' constraints.txt; $(BIN)/python -m pip freeze --all --exclude paratope \
	| sed -E 's/\+cpu$$//' | LC_ALL=C sort -f; } > constraints.new
	@mv constraints.new constraints.txt

clean: ## remove the environment and everything the tasks wrote
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis build dist demo.csv
	find src tests benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} +
