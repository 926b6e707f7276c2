# make demo    install into .venv and run the main job on a shipped photo
# make test    install and run the tests in JOBS=2 processes (ARGS="-k rasterizer" picks some; JOBS=0: in one, for --pdb)
# make lint    install and run what CI runs: ruff, format, spelling, types
# make bench   install and measure (ARGS="--suite rasterizer")
# make benchmarks  install, measure all tables of speed in docs/benchmarks.md (half an hour) and write them there
# make docs    install and build the site of docs/ into build/site; a warning is an error
# make clean   remove everything these commands made
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO_STAMP := $(VENV)/.installed-demo
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
ARGS ?=
JOBS ?= 2

# Python 3.10 to 3.12: mediapipe 0.10.21 has no wheel beyond. PYTHON=... chooses another.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.10 python3; do \
  $$python -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null \
  && echo $$python && break; done)

.PHONY: help venv demo test bench benchmarks docs lint lint-ruff lint-format lint-spelling lint-types wheel clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

venv: $(STAMP)

# torch comes first and by its own line, so that a machine's own choice of torch index (PIP_EXTRA_INDEX_URL) is the only
# thing that decides which build is taken. setuptools: see [build-system] in pyproject.toml. The demo waits for what it
# needs alone; the other targets add the rest to the same environment.
$(DEMO_STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: no Python 3.10, 3.11 or 3.12 found; install one or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "installing into $(VENV) with $(PYTHON); a minute or two, once"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet -c constraints.txt torch numpy setuptools
	$(PIP) install --quiet -c constraints.txt --no-build-isolation -e '.[mediapipe]'
	@touch $@

$(STAMP): $(DEMO_STAMP)
	$(PIP) install --quiet -c constraints.txt --no-build-isolation -e '.[mediapipe,cluster,train,view,docs,export,dev]'
	@touch $@

demo: $(DEMO_STAMP)
	$(BIN)/headwarp demo --output outputs/demo $(ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

bench: $(STAMP)
	$(BIN)/headwarp bench --json outputs/bench.json $(ARGS)

# A step that cannot run here, for want of a browser or of footage, is told in the page.
benchmarks: $(STAMP)
	-$(BIN)/python -m headwarp.tools.bench.whole --report outputs/benchmarks.json $(ARGS)
	$(BIN)/python -m headwarp.tools.bench.whole_tables outputs/benchmarks.json

# The variable: a notice that MkDocs 2 will not take this theme; constraints.txt pins MkDocs 1. Not --quiet: what is not
# shown is not counted, and --strict would let it pass.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "build/site/index.html"

lint: lint-ruff lint-format lint-spelling lint-types

lint-ruff: $(STAMP)
	$(BIN)/ruff check .

lint-format: $(STAMP)
	$(BIN)/ruff format --check .

lint-spelling: $(STAMP)
	$(BIN)/codespell

# mypy sees what a user gets: the built wheel, unpacked, and beside it the examples that use it. A forgotten package or
# py.typed shows here.
lint-types: wheel
	rm -rf build/types
	$(BIN)/python -m zipfile --extract dist/headwarp-*.whl build/types
	cp -r examples build/types/examples
	cd build/types && ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache -p headwarp
	cd build/types && ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache examples

# build/lib is removed because setuptools would pack modules that were deleted since.
wheel: $(STAMP)
	rm -rf build/lib build/bdist.* dist
	$(BIN)/python -m build --wheel --no-isolation --outdir dist . >/dev/null

clean:
	rm -rf $(VENV) build dist outputs headwarp.egg-info .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
