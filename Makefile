# `make study` and `make test` do their own set-up, in .venv; each finished step leaves a stamp there and is not repeated.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMPS := $(VENV)/stamps
LOG    := $(VENV)/setup.log
ARGS   ?=
WORKERS ?= 2
SHELL  := /bin/bash

# By these the libraries add up in another order: threads, and the instructions of MKL, PyTorch and oneDNN. Commas: at once.
OLDEST    := OMP_NUM_THREADS=3,MKL_CBWR=COMPATIBLE,ATEN_CPU_CAPABILITY=default,ONEDNN_MAX_CPU_ISA=SSE41
VARIANTS  := OMP_NUM_THREADS=1 OMP_NUM_THREADS=2 OMP_NUM_THREADS=3 MKL_CBWR=COMPATIBLE \
             ATEN_CPU_CAPABILITY=default ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 $(OLDEST)
NUMERICAL := tests/test_variants.py tests/spectral tests/losses tests/distill tests/doctor tests/config/test_norms.py \
             $(patsubst %,tests/engine/test_%.py,run amp accumulation recompute ranks spectra_hook teacher_maps_hook)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# $(call step,what it does,command): one line for the reader, the rest into the log; the log's end when it fails
define step
@echo "set-up: $(1)"
@mkdir -p $(STAMPS)
@{ $(2); } >>$(LOG) 2>&1 || { tail -n 15 $(LOG); echo "set-up failed at: $(1). All of its output: $(LOG)" >&2; exit 1; }
@touch $@
endef

.PHONY: help setup study test test-variants test-all soak lint format bench clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMPS)/package  ## everything into .venv, mmcv's operators included (about 4 minutes the first time)

study: setup  ## tune the default distillation and write its report; ARGS="--trials 20" passes options on
	@$(BIN)/python sweeps/run.py study $(ARGS)

test: setup  ## the tests by two processes, about 17 minutes on two cores; ARGS="-k fourier" passes options on
	@env OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

test-variants: setup  ## the numerical tests with 1 to 3 threads and as older processors compute (about 20 minutes)
	@failed=; for variant in $(VARIANTS); do \
	  echo "variant $$variant"; \
	  env OMP_WAIT_POLICY=PASSIVE $${variant//,/ } $(BIN)/python -m pytest -n $(WORKERS) $(NUMERICAL) $(ARGS) || failed="$$failed $$variant"; \
	done; \
	if [ "$$failed" ]; then echo "red:$$failed" >&2; exit 1; fi

test-all: setup  ## the slow tests too
	@$(BIN)/python -m pytest -m "not soak" $(ARGS)

soak: setup  ## only the tests that do minutes of real work
	@$(BIN)/python -m pytest -m soak $(ARGS)

lint: setup  ## ruff, mypy and the import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: setup  ## let ruff write what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup  ## the benchmarks; BENCH_JSON=FILE keeps their numbers
	@$(BIN)/python -m pytest benchmarks $(if $(BENCH_JSON),--benchmark-json=$(BENCH_JSON)) $(ARGS)

clean:  ## remove .venv and caches; runs, data and the wheel cache stay
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .benchmarks
	find fourierkd sweeps tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' || \
	  { echo "Python must be 3.10 to 3.12; name one: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
	  { echo "$(PYTHON) has no venv module; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	$(call step,virtual environment,$(BIN)/python --version)

# alone and first: whatever depends on torch would otherwise choose its own build of it
$(STAMPS)/torch: $(STAMPS)/venv
	$(call step,torch,$(BIN)/python -m pip install torch==2.13.0)

# before the rest, whose source distributions are then built with these and not with whatever is newest
$(STAMPS)/tools: constraints.txt $(STAMPS)/torch
	$(call step,build tools,$(BIN)/python -m pip install --no-deps -c constraints.txt setuptools wheel packaging ninja)

$(STAMPS)/locked: $(STAMPS)/tools
	$(call step,the packages of constraints.txt,$(BIN)/python -m pip install --no-compile --no-deps --no-build-isolation -r constraints.txt)

$(STAMPS)/mmcv: tools/build_ops.py tools/check_ops.py $(STAMPS)/locked
	@echo "set-up: mmcv with its operators"
	@$(BIN)/python -I tools/build_ops.py 2>>$(LOG) || { echo "set-up failed. All output: $(LOG)" >&2; exit 1; }
	@touch $@

$(STAMPS)/package: pyproject.toml $(STAMPS)/mmcv
	$(call step,fourierkd itself,$(BIN)/python -m pip install --no-deps --no-build-isolation -e .)
