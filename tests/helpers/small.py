"""Small runs, as commands make them, and what they leave."""
import subprocess
import sys
import time

from helpers.common import ROOT

from dcgan_mx.runs.params import parse_params

SMALL = ("--dataset", "synthetic", "--size", 16, "--ngf", 4, "--ndf", 4, "--batch-size", 64)
LONG = (*SMALL, "--max-steps", 60, "--disp-batches", 1)
PHOTOS = ("--size", 32, "--ngf", 4, "--ndf", 4, "--disp-batches", 2)


def final(run_dir):
    folder = max((run_dir / "checkpoints").iterdir())
    paths = [folder / f"{prefix}-0000.params" for prefix in "GD"]
    return {name: value for path in paths
            for name, value in parse_params(path.read_bytes(), path).items()}


def start(*args, **kwargs):
    """Start scripts/train.py and return when it trains."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / "train.py"), *map(str, args)], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs)
    assert any(line.startswith("writing to") for line in process.stdout)
    return process


def wait_for_log(run_dir, lines):
    path = run_dir / "log.jsonl"
    deadline = time.monotonic() + 180
    while not path.exists() or len(path.read_bytes().splitlines()) < lines:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def mutate(content, changes):
    """Replace, insert or cut bytes at relative places."""
    for at, junk, drop in changes:
        i = int(at * len(content))
        content = content[:i] + junk + content[i + drop:]
    return content
