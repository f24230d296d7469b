"""Helpers of many tests."""
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from dcgan_mx.runs.run import Run
from dcgan_mx.system.cpu import cpu_flags

ROOT = Path(__file__).parents[2]
# Name, compute capability and memory of the GPUs of the stub driver.
CARDS = [("NVIDIA GeForce RTX 3060", (8, 6), 12 * 2**30), ("NVIDIA H100", (9, 0), 80 * 2**30)]


def read_numbers(run_dir):
    """Return a run's log without its times."""
    return [{name: value for name, value in record.items()
             if name not in ("images_per_s", "seconds")} for record in Run(run_dir).read_log()]


def read_events(run_dir):
    """Return the events that TensorBoard shows; a START hides earlier events of later steps."""
    events = []
    for path in sorted((run_dir / "tensorboard").iterdir()):
        raw = path.read_bytes()
        while raw:  # length, checksum, content, checksum; a truncated file ends here
            length, = struct.unpack("<Q", raw[:8])
            if len(raw) < length + 16:
                break
            event = Event.FromString(raw[12:12 + length])
            if event.session_log.status == SessionLog.START:
                events = [earlier for earlier in events if earlier.step < event.step]
            elif not event.file_version:
                events.append(event)
            raw = raw[16 + length:]
    return events


def read_scalars(run_dir):
    """Return the scalars of a run in TensorBoard by tag and step."""
    return {(value.tag, event.step): value.simple_value for event in read_events(run_dir)
            for value in event.summary.value if not value.HasField("image")}


def require(packages, *programs):
    """Skip a test if programs are missing; fail it if CI is set."""
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        reason = f"{' and '.join(missing)} missing: apt install {packages}"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


def build_library(path, code=""):
    """Build a shared library from C code."""
    require("gcc libc6-dev", "gcc")
    subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(path)], input=code,
                   text=True, check=True)


needs_bfloat16 = pytest.mark.skipif(not cpu_flags() & {"avx512_bf16", "amx_bf16"},
                                    reason="the processor does not support bfloat16")
