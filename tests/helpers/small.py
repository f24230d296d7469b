"""Small trainers, and small runs as commands make them."""
import hashlib
import json
import subprocess
import sys
import time

import numpy as np
from helpers.common import ROOT

from dcgan_mx import Trainer, make_dcgan_sym
from dcgan_mx.runs.checkpoint_files import encode_state
from dcgan_mx.runs.params import parse_params
from dcgan_mx.runs.run import Run
from dcgan_mx.system.runtime import mx

SMALL = ("--dataset", "synthetic", "--size", 16, "--ngf", 4, "--ndf", 4, "--batch-size", 64)
PHOTOS = ("--size", 32, "--ngf", 4, "--ndf", 4, "--disp-batches", 2)


def small_trainer(batch_size=4, nc=3, seed=0, channels=4, **options):
    """A trainer on 16x16 images, with reproducible weights."""
    mx.random.seed(seed)
    syms = make_dcgan_sym(channels, channels, nc, size=16)
    return Trainer(*syms, batch_size, (nc, 16, 16), nz=5, **options)


def step_and_resume(trainer, resumed, batches, at):
    """Step `trainer`, and from step `at` also `resumed`, which takes its state; yield each step."""
    for i, pair in enumerate(batches, 1):
        trainer.step(*pair)
        if i > at:
            resumed.step(*pair)
        elif i == at:
            resumed.set_state(trainer.get_state())
        yield i, pair


def assert_same_arrays(first, second):
    """Two dicts of arrays are bit-identical."""
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


def assert_same_state(first, second):
    """Two states of trainers are bit-identical."""
    assert first["counters"] == second["counters"]
    for part in ("G", "D", "G-optimizer", "D-optimizer", "G-ema", "replicas"):
        assert_same_arrays(first[part], second[part])


def rewrite_state(folder, **changes):
    """Rewrite state.json with changed values and valid checksums, as an attacker could."""
    state = json.loads((folder / "state.json").read_bytes())
    del state["sha256"]
    for name in state["files"]:
        state["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "state.json").write_bytes(encode_state({**state, **changes}))


def final(run_dir):
    """The parameters of a run's last checkpoint."""
    folder = Run(run_dir).list_checkpoints()[-1]
    paths = [folder / f"{prefix}-0000.params" for prefix in "GD"]
    return {name: value for path in paths
            for name, value in parse_params(path.read_bytes(), path).items()}


def start_training(*args, **kwargs):
    """Start scripts/train.py; return when the training begins."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / "train.py"), *map(str, args)], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs)
    assert any(line.startswith("writing to") for line in process.stdout)
    return process


def wait_for_log(run_dir, lines):
    """Wait until a run's log has this many lines."""
    path = run_dir / "log.jsonl"
    deadline = time.monotonic() + 180
    while not path.exists() or len(path.read_bytes().splitlines()) < lines:
        assert time.monotonic() < deadline
        time.sleep(0.005)
