# From a fresh clone, `make demo` and `make test` create .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Options that measure coverage of the tests; `make test COVERAGE=` runs them without.
COVERAGE ?= --cov --cov-report=term
WHEEL_VENV := dist/venv

.PHONY: demo test lint quick bench campaign wheel schemas clean

demo: $(READY)
	rm -rf demo
	$(BIN)/cxredge demo --out demo

# Lint, types and all tests, including slow ones. Tests of one file share fixtures, so one process
# runs them all. A process computes with one thread, because the processes share the cores.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile $(COVERAGE)

# Tests that take less than ten seconds each.
quick: $(READY)
	$(BIN)/python -m pytest -m "not slow"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# JSON Schemas of the files that cxredge writes, from the records that read them.
schemas: $(READY)
	$(BIN)/python -m tools.schemas

# Timings on this machine, stored in benchmarks/results/speed. Other images and models:
# make bench BENCH="--images DIR --model MODEL"
bench: $(READY)
	$(BIN)/python -m pytest benchmarks --benchmark-only --benchmark-autosave $(BENCH)

# Hostile inputs, crashes and full disks, counted in benchmarks/results/campaign.md. Some parts only:
# make campaign PARTS="images fuzz"
campaign: $(READY)
	$(BIN)/python -m benchmarks.campaign $(PARTS)

# Build the wheel, install it with the dependencies of a device in a new environment, and run it
# outside the source tree, so that a module or data file missing from the wheel is noticed.
wheel:
	rm -rf dist build
	$(PYTHON) -m venv $(WHEEL_VENV)
	$(WHEEL_VENV)/bin/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	rm -rf build
	$(WHEEL_VENV)/bin/python -m pip install --quiet --constraint constraints.txt dist/cxredge-*.whl
	cd dist && venv/bin/cxredge --version && venv/bin/cxredge --help && venv/bin/cxredge targets

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "cxredge needs Python 3.10 or newer. Choose one: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,dev,rtx,mlperf,openvino,ray,s3,triton]'
	$(BIN)/python -m tools.tritonserver
	touch $(READY)

clean:
	rm -rf $(VENV) demo dist build
