# `make demo` and `make test` work from a fresh clone: they make .venv and install into it first.
# Another interpreter: make PYTHON=python3.12 test

PYTHON ?= python3
# test modules that run at the same time, on two cores: some wait for SLURM, a walltime or a network file system, and
# runs wait for their workers to start
JOBS ?= 4
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# libraries that read our outputs; their versions of shared dependencies are not ours
VALIDATORS := .venv-validators
BENCHMARKS := $(filter-out benchmarks/_%,$(wildcard benchmarks/*.py))

# the tests start a thousand processes: without bytecode on disk each would compile what it imports, twice the time
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test validators qt lint types docs bench clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

demo: $(STAMP)  ## solve an embedded example and compare with its truth
	$(BIN)/ssi demo --output demo-output

test: $(STAMP)  ## run all tests; SSI_LONG=1 make test: the long form, with more repetitions
	$(BIN)/python -m pytest -n $(JOBS) --dist loadscope --no-loadscope-reorder

validators: $(VALIDATORS)/.installed  ## install the libraries with which the tests open our outputs

qt: $(VENV)/.qt  ## install the Qt with which the tests open a window of napari

lint: $(STAMP)  ## check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  ## check types
	$(BIN)/mypy

docs: $(STAMP)  ## build the site into build/site, strictly; runs the notebook
	$(BIN)/python docs/site/build.py

bench: $(STAMP)  ## run every benchmark in its short form
	@set -e; for benchmark in $(BENCHMARKS); do \
	  echo "== $$benchmark"; PYTHONPATH=tests $(BIN)/python $$benchmark --short; \
	done

clean:  ## remove what the other targets made, .venv included
	rm -rf $(VENV) $(VALIDATORS) demo-output build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: give another, make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1): give another, make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# the stamp is newer than what it was made from, or everything is installed again
$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	@touch $@

$(VENV)/.qt: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[view]'
	@touch $@

$(VALIDATORS)/.installed: tests/validators/requirements.txt
	$(PYTHON) -m venv $(VALIDATORS)
	$(VALIDATORS)/bin/python -I -m pip install --quiet --disable-pip-version-check --no-compile -r $<
	@touch $@
