"""What several tools and tests use: argument parsers, processes, the processor and runs."""
from __future__ import annotations

import argparse
import importlib.metadata
import struct
import sys
from pathlib import Path
from typing import Any

from dcgan_mx.runs.run import Run
from dcgan_mx.system.cpu import ISA, check_bfloat16, cpu_flags, cpu_model, physical_cores

TRAIN = [sys.executable, "-m", "dcgan_mx", "train"]


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help begins with a module's first line and shows all defaults."""
    return argparse.ArgumentParser(description=(description or "").splitlines()[0],
                                   formatter_class=argparse.ArgumentDefaultsHelpFormatter)


def find_pytorch() -> str | None:
    """Return the version of PyTorch; None if it is not installed."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None


def has_bfloat16() -> bool:
    """Return whether bfloat16 training is possible here; print the reason if not."""
    try:
        check_bfloat16(gpu=False)
    except ValueError as error:
        print(f"bfloat16 is skipped: {error}")
        return False
    return True


def print_processor() -> None:
    """Print the processor's name, its cores and its instruction sets that matter for bfloat16."""
    print(f"on {cpu_model()}, {physical_cores()} cores, "
          + (", ".join(name for name in ISA if name in cpu_flags()) or "no AVX-512"), flush=True)


def read_status(name: str, pid: int | str = "self") -> float:
    """Return a number of /proc/PID/status, in MB where it is a size; 0 if the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    fields = next((line.split() for line in lines if line.startswith(f"{name}:")), ["", "0"])
    return int(fields[1]) / (1e3 if fields[-1] == "kB" else 1)


def read_numbers(run_dir: Path) -> list[dict[str, Any]]:
    """Return a run's log without its times."""
    return [{name: value for name, value in record.items()
             if name not in ("images_per_s", "seconds")} for record in Run(run_dir).read_log()]


def read_events(run_dir: Path) -> list[Any]:
    """Return the events that TensorBoard shows; a START hides earlier events of later steps."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog
    events: list[Any] = []
    for path in sorted((run_dir / "tensorboard").iterdir()):
        raw = path.read_bytes()
        while len(raw) >= 8:  # length, checksum, content, checksum; the last may be truncated
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
