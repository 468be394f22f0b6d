# make demo   set up, run the study `digits` on this machine, write reports/digits/index.html
# make test   set up, run every check
# make check  the same checks without the slow tests, in an environment that stands
# make gpu    on a machine with a GPU: its tests and benchmarks, within eight minutes; needs torch, installs nothing
# make docs   the documentation, build/docs/index.html
# make clean  remove the environment; what was recorded in runs/ stays

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Bytecode is written where it is used: compiling all of it would be half of an installation.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile \
    --constraint constraints.txt

export RAY_USAGE_STATS_ENABLED := 0
export MLFLOW_DISABLE_TELEMETRY := true
# Without bytecode each process compiles all that it imports: a launch costs three times as much.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check checks gpu docs clean

demo: $(VENV)/installed
	$(BIN)/study launch digits
	$(BIN)/study report digits

test: $(VENV)/installed-test
	$(MAKE) --no-print-directory checks SELECTED=

check:
	$(MAKE) --no-print-directory checks SELECTED='-m "not slow and not gpu"'

checks:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(SELECTED)

# Such a machine may have a Python of its own with torch, and nothing else of this environment.
gpu:
	$(firstword $(wildcard $(BIN)/python) $(PYTHON)) benchmarks/gpu.py

docs: $(VENV)/installed-test
	$(BIN)/sphinx-build --fail-on-warning --quiet docs build/docs

define PREPARE
test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
$(BIN)/python -c 'import sys; ok = (3, 11) <= sys.version_info < (3, 13); \
    sys.exit(None if ok else f"Python {sys.version.split()[0]} in $(VENV): needs 3.11 or 3.12; say make PYTHON=python3.12")'
endef

$(VENV)/installed: pyproject.toml constraints.txt
	$(PREPARE)
	$(PIP) --editable .
	touch $@

$(VENV)/installed-test: pyproject.toml constraints.txt
	$(PREPARE)
	$(PIP) --editable '.[test]'
	touch $(VENV)/installed $@

clean:
	rm -rf $(VENV)
