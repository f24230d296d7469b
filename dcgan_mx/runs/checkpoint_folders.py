"""The folders of a run's checkpoints: found, put in place, removed, recovered."""
from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path

from ..system.files import StrPath, sync_directory
from .checkpoint_files import CheckpointError, read_files


def list_checkpoints(run_dir: StrPath) -> list[Path]:
    """Return the folders of a run's checkpoints, oldest first, good or damaged."""
    folder = Path(run_dir) / "checkpoints"
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted((path for path in found if re.fullmatch(r"step-[0-9]{8,18}", path.name)),
                  key=step_of)


def step_of(folder: Path) -> int:
    """Return the step that a checkpoint's folder is named after."""
    return int(folder.name[5:])


def put_in_place(temporary: Path, folder: Path) -> None:
    """Rename a folder, and return only when the disk has the name.

    What has that name already makes room, and goes last: see `recover`. Where that fails (OSError),
    it has the name again, unless only the disk did not answer.
    """
    old = _move_aside(folder) if folder.exists() else None
    try:
        temporary.rename(folder)
    except OSError:
        if old:
            old.rename(folder)
        raise
    sync_directory(folder.parent)
    shutil.rmtree(_name_apart(folder), ignore_errors=True)


def remove(folder: Path) -> None:
    """Remove a folder so that no moment leaves half of it under its name, not even a power cut."""
    apart = _move_aside(folder)
    sync_directory(apart.parent)
    shutil.rmtree(apart, ignore_errors=True)


def _move_aside(folder: Path) -> Path:
    """Rename a folder to what `recover` knows."""
    apart = _name_apart(folder)
    shutil.rmtree(apart, ignore_errors=True)
    return folder.rename(apart)


def _name_apart(folder: Path) -> Path:
    return folder.with_name(f".old-{folder.name}.{os.getpid()}.tmp")


def recover(run_dir: StrPath) -> None:
    """Clear up what a killed process left among the checkpoints; what is whole comes back.

    A checkpoint that was whole under a temporary name gets its own, unless one has it; all else
    under temporary names is removed.
    """
    parent = Path(run_dir) / "checkpoints"
    if parent.is_symlink():
        return
    # A new one, which only lacked its name, before the old one that made room for it.
    left = sorted(parent.glob(".*.tmp"), key=lambda path: path.name.startswith(".old-"))
    for path in left:
        match = re.fullmatch(r"\.(?:old-)?(step-[0-9]{8,18})\.[0-9]+\.tmp", path.name)
        if path.is_symlink() or not path.is_dir():
            path.unlink()
        elif match and not (parent / match[1]).exists() and _is_good(path):
            path.rename(parent / match[1])
        else:
            shutil.rmtree(path)
    if left:
        sync_directory(parent)


def _is_good(folder: Path) -> bool:
    with contextlib.suppress(CheckpointError):
        read_files(folder)
        return True
    return False
