# Every target sets up what it needs in .venv; PYTHON names the interpreter to make it with.
PYTHON ?= python3
ARGS ?=
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check --quiet
# For setup.py, every time: a pip without it would install MXNet's other build over this one.
export DCGAN_MX_GPU := $(if $(wildcard $(VENV)/.gpu),1)
# Its metadata ask for NumPy below 2; it works with NumPy 2, which Python 3.13 and newer need.
INSTALL_MXNET = $(PIP) install --no-deps mxnet$(if $(DCGAN_MX_GPU),-cu117)==1.9.1

.PHONY: help train doctor install-gpu test test-slow test-all test-cuda test-launchers check docs flags notebooks first-hour mutations benchmark quality soak endurance clean

help:
	@echo "make train        train on MNIST for one epoch; more flags: ARGS=\"--batch-size 32\""
	@echo "make doctor       say whether training can start here, and on which GPU"
	@echo "make install-gpu  put MXNet for CUDA 11.7 in the place of its build for the CPU"
	@echo "make test         run the tests, but for the slow ones"
	@echo "make test-slow    run those"
	@echo "make check        lint and check types"
	@echo "make docs         make a site of the pages in docs and of the reference"
	@echo "make flags        write docs/flags.md anew"
	@echo "make notebooks    execute docs/walkthrough.ipynb, store what it shows in both languages and pages"
	@echo "make first-hour   run every command of the README; ARGS=--quick: with short trainings"
	@echo "make soak         kill runs 1,000 times, resume them, compare the end; goes on where it was stopped"
	@echo "make mutations    feed every reader of files with 100,000 mutated ones; goes on where it was stopped"
	@echo "make endurance    train for 100,000 steps, see that nothing grows"
	@echo "make benchmark    measure speed and memory; PyTorch takes part if .venv has it"
	@echo "make quality      train three programs, compare their pictures; hours; PyTorch takes part likewise"
	@echo "make test-all     run the tests on every Python from 3.8 to 3.15 that is here, with NumPy 1 and 2"
	@echo "make test-cuda    load the build for CUDA without a GPU; downloads 1.5 GB"
	@echo "make test-launchers  train through real sshd, Open MPI and Slurm on this machine"

train: $(VENV)/.package
	$(BIN)/python scripts/train.py --dataset mnist --gpu 0 --num-epochs 1 $(ARGS)

doctor: $(VENV)/.package
	$(BIN)/dcgan-mx doctor $(ARGS)

# The two builds hold the same files: uninstalling one while the other is there would break both.
install-gpu: export DCGAN_MX_GPU = 1
install-gpu:
	@$(PYTHON) dcgan_mx/system/requirements.py
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	rm -f $(VENV)/.package
	touch $(VENV)/.gpu
	$(PIP) uninstall --yes mxnet mxnet-cu117
	$(BIN)/python -m pip --disable-pip-version-check install --editable .
	$(INSTALL_MXNET)
	touch $(VENV)/.package
	-$(BIN)/dcgan-mx doctor

test: $(VENV)/.test
	$(BIN)/python -m pytest --quiet --numprocesses auto --dist worksteal $(ARGS)

test-slow: $(VENV)/.test
	$(BIN)/python -m pytest --quiet -m slow $(ARGS)

# What a user does who trains on the CPU first, then asks for the GPU, then for another extra.
test-cuda: $(VENV)/.test
	rm -rf .venv-cuda
	$(MAKE) VENV=.venv-cuda .venv-cuda/.package
	$(MAKE) VENV=.venv-cuda install-gpu
	$(MAKE) VENV=.venv-cuda .venv-cuda/.tensorboard
	$(BIN)/python -m pytest tests/helpers/cuda_wheels.py $(ARGS)

test-launchers: $(VENV)/.test
	$(BIN)/python -m pytest --quiet tests/helpers/real_launchers.py $(ARGS)

check: $(VENV)/.check
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(VENV)/.docs
	rm -rf docs/_build
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going docs docs/_build/html
	@echo "see docs/_build/html/index.html"

flags: $(VENV)/.package
	$(BIN)/python docs/write_flags.py > docs/flags.md

notebooks: $(VENV)/.test
	$(BIN)/python docs/run_notebooks.py

first-hour:
	$(PYTHON) tests/helpers/first_hour.py $(ARGS)

soak: $(VENV)/.package
	$(BIN)/python scripts/soak.py $(ARGS)

mutations: $(VENV)/.package
	$(BIN)/python scripts/mutations.py $(ARGS)

endurance: $(VENV)/.package
	$(BIN)/python scripts/endurance.py $(ARGS)

benchmark: $(VENV)/.package
	$(BIN)/python scripts/benchmark.py $(ARGS)

quality: $(VENV)/.package
	$(BIN)/python scripts/quality.py $(ARGS)

test-all: $(VENV)/.nox
	$(BIN)/nox --no-error-on-missing-interpreters $(ARGS)

clean:
	rm -rf .venv .venv-cuda .nox .mypy_cache .pytest_cache .ruff_cache .hypothesis build docs/_build dcgan_mx.egg-info

$(VENV)/.package: setup.py pyproject.toml dcgan_mx/system/cuda.py
	@$(PYTHON) dcgan_mx/system/requirements.py
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --editable .
	$(INSTALL_MXNET)
	touch $@

$(VENV)/.test $(VENV)/.check $(VENV)/.docs $(VENV)/.tensorboard: $(VENV)/.%: $(VENV)/.package
	$(PIP) install --editable '.[$*]'
	touch $@

$(VENV)/.nox: $(VENV)/.package
	$(PIP) install nox
	touch $@
