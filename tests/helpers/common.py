"""What many tests use."""
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
# Name, compute capability, memory of the GPUs that a stub of the driver may list.
CARDS = [("NVIDIA GeForce RTX 3060", (8, 6), 12 * 2**30), ("NVIDIA H100", (9, 0), 80 * 2**30)]


def read_numbers(run_dir):
    """A run's log without its times."""
    return [{name: value for name, value in record.items()
             if name not in ("images_per_s", "seconds")} for record in Run(run_dir).read_log()]


def read_events(run_dir):
    """What TensorBoard shows of a run: its event files in order; a START hides what came later."""
    events = []
    for path in sorted((run_dir / "tensorboard").iterdir()):
        raw = path.read_bytes()
        while raw:  # length, its checksum, content, its checksum; a file that is cut off ends there
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
    """The scalars of a run in TensorBoard, by tag and step."""
    return {(value.tag, event.step): value.simple_value for event in read_events(run_dir)
            for value in event.summary.value if not value.HasField("image")}


def require(packages, *programs):
    """Skip a test for which programs are missing; where CI is set, fail it."""
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        reason = f"{' and '.join(missing)} missing: apt install {packages}"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


def build_library(path, code=""):
    """Build a shared library of C code."""
    require("gcc libc6-dev", "gcc")
    subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(path)], input=code,
                   text=True, check=True)


needs_bfloat16 = pytest.mark.skipif(not cpu_flags() & {"avx512_bf16", "amx_bf16"},
                                    reason="this processor has no bfloat16 (AVX512-BF16 or AMX)")
