# Everything a contributor types. Needs python3 (3.11 or later) and make; all it makes stays in this folder.
#
#   make demo        a whole campaign through Airflow, against the sandbox
#   make ui          Airflow's own UI with the sandbox behind it
#   make test        the tests          make test-slow   the exhaustive ones too
#   make lint types  style and types    make bench       the measurements
#   make torture     kill senders again and again, by a vendor that fails in every way (half an hour)
#   make clean       remove what the above made

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SCRATCH := $(CURDIR)/.ci-home

# Without .pyc files every Airflow process starts three times slower, and there are many.
export PYTHONDONTWRITEBYTECODE :=
# Tests and tools must find the clone's own Airflow home, and never somebody's real one.
export AIRFLOW_HOME := $(SCRATCH)
export AIRFLOW__CORE__LOAD_EXAMPLES := False

PYTEST := $(BIN)/python -m pytest --basetemp=$(SCRATCH)/pytest
# Four processes suit two cores, for many tests wait for Airflow more than they work; JOBS=0 takes none.
# A file's tests stay together, and files begin in the order that tests/conftest.py gives them.
JOBS ?= 4
PARALLEL := -n $(JOBS) --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := test
.PHONY: venv test test-slow lint types bench torture demo ui constraints clean

venv: $(VENV)/.installed

# pip, not a faster installer: it is there, and it honours whatever index this machine is set up with.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or later is needed: make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-cache-dir --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

test: venv
	@mkdir -p $(SCRATCH)
	$(PYTEST) $(PARALLEL) -m 'not slow'

test-slow: venv
	@mkdir -p $(SCRATCH)
	$(PYTEST) $(PARALLEL)

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: venv
	$(BIN)/mypy

bench: venv
	@mkdir -p $(SCRATCH)
	@for script in tests/benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

# Every scene prints a line. TORTURE_SEED=… repeats the kills of an earlier run.
torture: venv
	@mkdir -p $(SCRATCH)
	$(BIN)/python -m tests.torture
	$(PYTEST) tests/torture

demo: venv
	$(BIN)/python -m airflow_sms_flow.demo

ui: venv
	$(BIN)/python -m airflow_sms_flow.demo ui --folder .ui

# The newest versions that fit pyproject.toml, in a venv of their own; run the tests before committing them.
constraints:
	rm -rf $(SCRATCH)/newest
	$(PYTHON) -m venv $(SCRATCH)/newest
	$(SCRATCH)/newest/bin/python -m pip install --quiet --no-cache-dir --disable-pip-version-check -e '.[dev]'
	{ echo "# Every version that the tests run with. Renew with: make constraints"; \
	  $(SCRATCH)/newest/bin/python -m pip freeze --exclude-editable | grep '==' | LC_ALL=C sort -f; } > constraints.txt
	rm -rf $(SCRATCH)/newest

clean:
	rm -rf $(VENV) $(SCRATCH) .demo .ui .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
