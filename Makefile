# Every target sets up what it needs in .venv; PYTHON names the interpreter to make it with.
PYTHON ?= python3
ARGS ?=
BIN = .venv/bin

.PHONY: help train test test-all check faults benchmark clean

help:
	@echo "make train      train on MNIST for one epoch; more flags: ARGS=\"--batch-size 32\""
	@echo "make test       run the tests"
	@echo "make check      lint and check types"
	@echo "make faults     kill a run 100 times, resume it, compare the end"
	@echo "make benchmark  measure speed and memory; PyTorch takes part if .venv has it"
	@echo "make test-all   test what depends on Python's version on 3.8 to 3.13"

train: .venv/.package
	$(BIN)/python scripts/train.py --dataset mnist --gpu 0 --num-epochs 1 $(ARGS)

test: .venv/.test
	$(BIN)/python -m pytest $(ARGS)

check: .venv/.check
	$(BIN)/ruff check .
	$(BIN)/mypy

faults: .venv/.package
	$(BIN)/python scripts/faults.py $(ARGS)

benchmark: .venv/.package
	$(BIN)/python scripts/benchmark.py $(ARGS)

test-all: .venv/.nox
	$(BIN)/nox --no-error-on-missing-interpreters $(ARGS)

clean:
	rm -rf .venv .nox .mypy_cache .pytest_cache .ruff_cache .hypothesis build dcgan_mx.egg-info

.venv/.package: setup.py pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable .
	touch $@

.venv/.test .venv/.check: .venv/.%: .venv/.package
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable '.[$*]'
	touch $@

.venv/.nox: .venv/.package
	$(BIN)/python -m pip install --disable-pip-version-check --quiet nox
	touch $@
