"""The folders of a run's checkpoints: listing, atomic replacement and removal, recovery."""
from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path

from ..system.files import StrPath, sync_directory
from .checkpoint_files import CheckpointError, read_files


def list_checkpoints(run_dir: StrPath) -> list[Path]:
    """Return the folders of a run's checkpoints, oldest first, valid or damaged."""
    folder = Path(run_dir) / "checkpoints"
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted((path for path in found if re.fullmatch(r"step-[0-9]{8,18}", path.name)),
                  key=step_of)


def step_of(folder: Path) -> int:
    """Return the step in the name of a checkpoint's folder."""
    return int(folder.name[5:])


def put_in_place(temporary: Path, folder: Path) -> None:
    """Rename a folder to its final name, and return once the name is on the disk.

    A folder that already has the name is moved aside first and removed last, so that `recover` can
    restore it. If the rename fails (OSError), it is moved back.
    """
    old = _move_aside(folder) if folder.exists() else None
    try:
        temporary.rename(folder)
    except OSError:
        if old:
            old.rename(folder)
        raise
    sync_directory(folder.parent)
    shutil.rmtree(_aside_name(folder), ignore_errors=True)


def remove(folder: Path) -> None:
    """Remove a folder; a power cut never leaves part of it under its name."""
    aside = _move_aside(folder)
    sync_directory(aside.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _move_aside(folder: Path) -> Path:
    """Rename a folder to a temporary name that `recover` knows."""
    aside = _aside_name(folder)
    shutil.rmtree(aside, ignore_errors=True)
    return folder.rename(aside)


def _aside_name(folder: Path) -> Path:
    return folder.with_name(f".old-{folder.name}.{os.getpid()}.tmp")


def recover(run_dir: StrPath) -> None:
    """Clean up the checkpoints after a killed process.

    A complete checkpoint under a temporary name gets its final name, unless that is taken;
    everything else under a temporary name is removed.
    """
    parent = Path(run_dir) / "checkpoints"
    if parent.is_symlink():
        return
    # A new checkpoint, which only lacked its name, before the old one that was moved aside for it.
    left = sorted(parent.glob(".*.tmp"), key=lambda path: path.name.startswith(".old-"))
    for path in left:
        match = re.fullmatch(r"\.(?:old-)?(step-[0-9]{8,18})\.[0-9]+\.tmp", path.name)
        if path.is_symlink() or not path.is_dir():
            path.unlink()
        elif match and not (parent / match[1]).exists() and _is_valid(path):
            path.rename(parent / match[1])
        else:
            shutil.rmtree(path)
    if left:
        sync_directory(parent)


def _is_valid(folder: Path) -> bool:
    with contextlib.suppress(CheckpointError):
        read_files(folder)
        return True
    return False
