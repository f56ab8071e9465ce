# make demo    installs into .venv, fits the rat's choices, writes pictures and the fit to demo/
# make test    installs into .venv, then formatting, lint, types, doctests, tests, tutorials
# make format  rewrites the code as black and isort want it
# make bench   the benchmarks of speed; the others in benchmarks/ are run one by one

PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
STAMP   = $(VENV)/.installed
CODE    = glmhmm_pyro tests benchmarks setup.py

.PHONY: demo test lint unit format bench clean

$(STAMP): setup.cfg setup.py .ci/constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .ci/constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .ci/constraints.txt -e '.[test]'
	touch $@

demo: $(STAMP)
	$(BIN)/python -m glmhmm_pyro.demo demo

test: lint unit

lint: $(STAMP)
	$(BIN)/black --quiet --check $(CODE)
	$(BIN)/isort --quiet --check $(CODE)
	$(BIN)/flake8 $(CODE)
	$(BIN)/mypy

unit: $(STAMP)
	$(BIN)/python -m pytest -n 2 -q

format: $(STAMP)
	$(BIN)/isort --quiet $(CODE)
	$(BIN)/black --quiet $(CODE)

bench: $(STAMP)
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf $(VENV) demo build .pytest_cache .mypy_cache .hypothesis *.egg-info
