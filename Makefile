# make demo    installs into .venv, fits the rat's choices, writes pictures and the fit to demo/
# make test    installs into .venv, then formatting, lint, types, doctests, tests, tutorials
# make test-oldest, make test-newest PYTHON=python3.13
#              the tests alone, with the oldest versions that setup.cfg allows, and with
#              the newest there are, each in an environment of its own
# make docs    the documentation as a site, in docs/_build/html
# make format  rewrites the code as black and isort want it
# make bench   the benchmarks of speed; the others in benchmarks/ are run one by one

PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
STAMP   = $(VENV)/.installed
CODE    = glmhmm_pyro tests benchmarks docs setup.py
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test test-oldest test-newest lint unit docs format bench clean

$(STAMP): setup.cfg setup.py .ci/constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) -c .ci/constraints.txt torch
	$(INSTALL) -c .ci/constraints.txt -e '.[test]'
	touch $@

demo: $(STAMP)
	$(BIN)/python -m glmhmm_pyro.demo demo

test: lint unit

lint: $(STAMP)
	$(BIN)/black --quiet --check $(CODE)
	$(BIN)/isort --quiet --check $(CODE)
	$(BIN)/flake8 $(CODE)
	$(BIN)/mypy

# Kernels are compiled once a run, for all of its workers.
RUN_TESTS = kernels=$$(mktemp -d) && trap 'rm -rf "$$kernels"' EXIT && \
	NUMBA_CACHE_DIR=$$kernels $(BIN)/python -m pytest -n 2 -q $(TESTS)

unit: $(STAMP)
	$(RUN_TESTS)

test-oldest: VENV = .venv-oldest
test-oldest:
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) -c .ci/oldest.txt torch
	$(INSTALL) -c .ci/oldest.txt -e '.[test]'
	$(RUN_TESTS) -W ignore::DeprecationWarning

test-newest: VENV = .venv-newest
test-newest:
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) --upgrade --upgrade-strategy eager torch -e '.[test]'
	$(RUN_TESTS)

docs: $(STAMP)
	$(INSTALL) -c .ci/constraints.txt -e '.[docs]'
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

format: $(STAMP)
	$(BIN)/isort --quiet $(CODE)
	$(BIN)/black --quiet $(CODE)

bench: $(STAMP)
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf $(VENV) .venv-oldest .venv-newest demo build docs/_build docs/reference docs/tutorials .pytest_cache .mypy_cache .hypothesis *.egg-info
