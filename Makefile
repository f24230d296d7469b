# Every target installs what it needs into .venv; PYTHON names the interpreter that makes it.
PYTHON ?= python3
ARGS ?=
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check --quiet
# setup.py reads this each time: without it pip would install MXNet's CPU build over the GPU build.
export DCGAN_MX_GPU := $(if $(wildcard $(VENV)/.gpu),1)
# MXNet's metadata requires NumPy below 2. It works with NumPy 2, which Python 3.13 and newer need.
INSTALL_MXNET = $(PIP) install --no-deps mxnet$(if $(DCGAN_MX_GPU),-cu117)==1.9.1

.PHONY: help train doctor install-gpu test test-slow test-all test-cuda test-launchers check docs flags notebooks first-hour fuzz benchmark quality soak bad-disk endurance clean

help:
	@echo "make train           train on MNIST with the preset digits; add flags with ARGS=\"--seed 2\""
	@echo "make doctor          check whether training can start here, and on which GPU"
	@echo "make install-gpu     replace MXNet's CPU build with its CUDA 11.7 build"
	@echo "make test            run the tests, except the slow ones"
	@echo "make test-slow       run the slow tests"
	@echo "make check           check style, types, spelling and the layers of the package"
	@echo "make docs            build the documentation site"
	@echo "make flags           write docs/flags.md"
	@echo "make notebooks       execute the notebooks in docs and store their output"
	@echo "make first-hour      run every command of the README; ARGS=--quick trains less"
	@echo "make soak            kill and resume runs 1,000 times, and compare the results"
	@echo "make bad-disk        train on a disk that fails at random; needs Linux, FUSE 2 and root"
	@echo "make fuzz            test every file reader with mutated files, 100,000 in total"
	@echo "make endurance       train for 100,000 steps, and check that no resource grows"
	@echo "make benchmark       measure speed and memory, and PyTorch's if it is installed"
	@echo "make quality         compare the image quality of whole runs; takes hours"
	@echo "make test-all        run the tests on every installed Python, with NumPy 1 and 2"
	@echo "make test-cuda       load MXNet's CUDA build without a GPU; downloads 1.5 GB"
	@echo "make test-launchers  train through sshd, Open MPI and Slurm on this machine"

train: $(VENV)/.package
	$(BIN)/python scripts/train.py --preset digits --gpu 0 --num-epochs 1 $(ARGS)

doctor: $(VENV)/.package
	$(BIN)/dcgan-mx doctor $(ARGS)

# Both builds install the same files: uninstalling one while the other is there breaks both.
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

# The steps of a user who trains on the CPU first, then installs the GPU build, then an extra.
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
	$(BIN)/codespell
	$(BIN)/lint-imports
	$(BIN)/python tools/check_prose.py

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

# soak and fuzz continue where they were interrupted.
soak fuzz benchmark quality: $(VENV)/.package
	$(BIN)/python -m tools.$@ $(ARGS)

bad-disk: $(VENV)/.tensorboard
	$(PIP) install fusepy
	$(BIN)/python -m tools.soak.bad_disk $(ARGS)

endurance: $(VENV)/.package
	$(BIN)/python -m tools.soak.endurance $(ARGS)

test-all: $(VENV)/.nox
	$(BIN)/nox --no-error-on-missing-interpreters $(ARGS)

clean:
	rm -rf .venv .venv-cuda .nox .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist docs/_build dcgan_mx.egg-info

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
