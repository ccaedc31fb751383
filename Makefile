# Everything from a fresh clone: `make demo` and `make test` set up .venv by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint quick bench schemas clean

demo: $(READY)
	rm -rf demo
	$(BIN)/cxredge demo --out demo

# Lint, types and all tests, the slow ones included; a file's tests share what they build.
test: lint
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

# The tests that take less than ten seconds each.
quick: $(READY)
	$(BIN)/python -m pytest -m "not slow"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# JSON Schemas of the files that cxredge writes, from the records that read them.
schemas: $(READY)
	$(BIN)/python -m tools.schemas

# Times of this machine, kept in benchmarks/results/speed; BENCH="--images DIR --model MODEL" for your own.
bench: $(READY)
	$(BIN)/python -m pytest benchmarks --benchmark-only --benchmark-autosave $(BENCH)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "cxredge needs Python 3.10 or newer; say which: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,dev,rtx,mlperf,openvino]'
	touch $(READY)

clean:
	rm -rf $(VENV) demo
