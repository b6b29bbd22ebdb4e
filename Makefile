# diffsim: everything a checkout needs, in one virtual environment (.venv), nothing global.
#
#   make demo      train mass-spring robot 1 and leave pictures in runs/robot1
#   make test      lint, format check, types, floors, tests
#   make test-full the same with the whole of each sweep, a part of which `make test` tries
#   make test-forge  a core of them on Taichi Forge alone, as on Python 3.14; a part of `make test`
#   make test-gpu  the tests of `make test` on a CUDA GPU
#   make gpu       ten minutes on a CUDA GPU: core tests, robots, grids, particles; a report in benchmarks/results/
#   make bench     the yardsticks in benchmarks/
#   make docs      the documentation in site/, which opens from the file system
#   make pictures  draw the pictures of the README and the documentation anew
#   make lint      the checks of `make test` without the tests
#   make format    rewrite the code the way the format check wants it
#   make dist      a wheel and a source archive in dist/
#   make clean     remove .venv, caches and builds (runs/ stays)
#
#   make PYTHON=/path/to/python3.12 ...   the interpreter to make .venv with (3.10 to 3.14)
#   make JOBS=4 test                      test processes side by side (2 unless told)
#   make test ARGS="-k rollout"           further options for pytest

PYTHON ?=
JOBS ?= 2
ARGS ?=

BIN := .venv/bin
# a copy of the modules laid out as they are installed, for tools that read files rather than import
TREE := .cache/tree
CHECKED := diffsim kernels demos benchmarks docs tests setup.py
SOURCES = $(wildcard $(CHECKED))

.DEFAULT_GOAL := help
.PHONY: help demo test test-full test-forge test-gpu gpu bench docs pictures lint format dist clean

help:
	@sed -n 's/^#   \(.*\)/  \1/p' Makefile

# An interpreter counts when it runs, is 3.10 to 3.14, and can make virtual environments.
.venv/bin/python:
	@works='import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))'; \
	for python in $(if $(PYTHON),"$(PYTHON)",python3 python3.13 python3.12 python3.11 python3.10 python3.14 python); do \
	  if "$$python" -c "$$works" >/dev/null 2>&1; then \
	    echo "making .venv with $$("$$python" --version)"; exec "$$python" -m venv .venv; \
	  fi; \
	done; \
	echo 'diffsim needs Python 3.10 to 3.14 with the venv module, and found none$(if $(PYTHON), at $(PYTHON)); name one: make PYTHON=/path/to/python3.12' >&2; \
	exit 1

.venv/.installed: .venv/bin/python pyproject.toml setup.py
	@echo "installing diffsim in .venv (a few minutes the first time)"
	@$(BIN)/python -m ensurepip >/dev/null # for a .venv whose making was interrupted
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@$(BIN)/python -m compileall -q diffsim kernels demos # or the first run does, which someone waits for
	@touch $@

.venv/.installed-test: .venv/bin/python pyproject.toml setup.py
	@echo "installing diffsim and its test tools in .venv (a few minutes the first time)"
	@$(BIN)/python -m ensurepip >/dev/null
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch .venv/.installed $@

# Hundreds of megabytes that two tests read exports again with.
.venv/.installed-readers: .venv/.installed-test
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,readers]'
	@touch $@

# The fork of Taichi: a core of the tests runs on it alone.
.venv/.installed-forge: .venv/.installed-test
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,forge]'
	@$(BIN)/python -c 'import taichi_forge' >/dev/null 2>&1 # which needs libX11
	@touch $@

# A second `make demo` goes on with the run where it stopped, or says that there is nothing left to do.
demo: .venv/.installed
	@if [ -f runs/robot1/config.toml ]; then $(BIN)/diffsim resume runs/robot1; \
	else $(BIN)/diffsim train mass_spring --robot 1 --out runs/robot1; fi
	@echo 'open runs/robot1/report.html in a browser; compare.png, before.gif and after.gif are beside it'
	@echo '(. .venv/bin/activate makes the command diffsim known: diffsim --help)'
	@echo '(to train from the start again: rm -r runs/robot1 && make demo)'

lint: .venv/.installed-test
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check $(SOURCES)
	@rm -rf $(TREE) && mkdir -p $(TREE) && cp -Rp diffsim $(TREE)/ && cp -Rp kernels demos $(TREE)/diffsim/
	@cd $(TREE) && ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache -p diffsim
	@cd $(TREE) && ../../$(BIN)/lint-imports --config ../../pyproject.toml --no-cache --no-logo

format: .venv/.installed-test
	@$(BIN)/ruff check --fix $(SOURCES)
	@$(BIN)/ruff format $(SOURCES)

# The ten dearest tests and what each part took of its budget come before; pytest's closing line is the last that `make test` prints.
test: lint test-forge
	@DIFFSIM_TEST_ARCH=cpu $(BIN)/python -m pytest -q -n $(JOBS) $(ARGS)

test-full: export DIFFSIM_FULL = 1
test-full: .venv/.installed-readers test

test-forge: .venv/.installed-test
	@$(MAKE) --no-print-directory .venv/.installed-forge >/dev/null 2>&1 || true
	@if [ -f .venv/.installed-forge ]; then \
	  PYTHONPATH='$(CURDIR)/tests/without_taichi' DIFFSIM_COMPILER=forge DIFFSIM_TEST_ARCH=cpu \
	  $(BIN)/python -m pytest -q -n $(JOBS) -m 'compilers or forge' $(ARGS) \
	  tests/compiler tests/engine tests/ground tests/kernels tests/rollout || [ $$? = 5 ]; \
	else echo 'taichi-forge has no wheel here, or misses libX11 (libx11-6): the core of the tests is not run on it'; fi

test-gpu: .venv/.installed-test
	@DIFFSIM_TEST_ARCH=cuda $(BIN)/python -m pytest -q -n $(JOBS) $(ARGS)

# `make gpu ARGS="--arch vulkan --small --out /tmp/gpu"` rehearses it on a software driver.
gpu: .venv/.installed-test
	@$(BIN)/python -m benchmarks gpu --out benchmarks/results $(ARGS)

bench: .venv/.installed-test
	@$(BIN)/python -m benchmarks $(ARGS)

.venv/.installed-docs: .venv/bin/python pyproject.toml setup.py
	@echo "installing what the documentation is made with in .venv"
	@$(BIN)/python -m ensurepip >/dev/null
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch .venv/.installed $@

docs: .venv/.installed-docs
	@$(BIN)/python docs/build.py # warnings are errors
	@echo 'open site/index.html'

pictures: .venv/.installed
	@$(BIN)/python docs/make_pictures.py $(ARGS)

dist: .venv/.installed-test
	@rm -rf build dist
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check build
	@$(BIN)/python -m build --outdir dist .
	@rm -rf build

clean:
	@rm -rf .venv .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist site diffsim.egg-info
	@find diffsim kernels demos benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
