"""A checkpoint's files, each byte of them verified, and its folder, which changes atomically."""
from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any, Sequence

import numpy as np

from ..system.files import StrPath, name_errors, open_regular, parse_json, sync_directory
from .json_files import matches_schema, read_small
from .params import parse_params

FORMAT = 1
LATENT = "normal"  # the distribution of `RandIter`'s latent vectors: N(0, 1)
STATE = "state.json"
SYMBOLS = ("G-symbol.json", "D-symbol.json")
PARAMS = ("G-0000.params", "D-0000.params", "G-optimizer.params", "D-optimizer.params")
REPLICAS = "replicas.params"  # only with several copies of the networks
AVERAGE = "G-ema.params"  # only if G's weights are averaged
OPTIONAL = (REPLICAS, AVERAGE)
COUNTERS: dict[str, Any] = {
    "step": int, "epoch": int, "nbatch": int, "batch_size": int, "workers": int,
    "updates": {"G": int, "D": int},
    "metrics": {"sums": {"acc": float, "d_entropy": float, "g_entropy": float},
                "counts": {"d": int, "g": int}}}
# Errors if a file is missing, or not a regular file. Others, as of a bad disk, can be transient.
_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.ENXIO)


class CheckpointError(ValueError):
    """A checkpoint is missing or damaged, or belongs to another run."""


def encode_state(metadata: dict[str, Any]) -> bytes:
    """Return the content of state.json: canonical JSON with a checksum of itself."""
    def dump(value: dict[str, Any]) -> bytes:
        return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()

    return dump({**metadata, "sha256": hashlib.sha256(dump(metadata)).hexdigest()})


def decode_state(raw: bytes) -> dict[str, Any]:
    """Return the metadata that `encode_state` wrote; ValueError if the checksum is wrong."""
    metadata = parse_json(raw)
    if (not isinstance(metadata, dict) or not isinstance(metadata.pop("sha256", None), str)
            or encode_state(metadata) != raw):
        raise ValueError("wrong checksum")
    return metadata


def read_files(folder: Path, names: Sequence[str] | None = None
               ) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the metadata in state.json, and the content of files by name; None: all files.

    The content is the text of a symbol, or the arrays of a .params file. Optional files that the
    checkpoint does not have are omitted. Raises CheckpointError if a file is missing, a link, or
    damaged, and OSError, which names the file, if it cannot be read.
    """
    path = folder / STATE
    contents: dict[str, Any] = {}
    try:
        metadata = decode_state(read_small(path))
        files = metadata.get("files")
        optional = {*OPTIONAL} & {*(files if isinstance(files, dict) else ())}
        if metadata.get("format") != FORMAT or not matches_schema(metadata, {
                "format": int, "latent": str, "seed": None, **COUNTERS,
                "files": dict.fromkeys((*SYMBOLS, *PARAMS, *optional), str)}):
            raise CheckpointError(f"{path} is of another version, or lists other files")
        for name in metadata["files"] if names is None else {*names} & {*metadata["files"]}:
            path = folder / name
            with name_errors(path), open_regular(path) as f:
                raw = f.read()
            if hashlib.sha256(raw).hexdigest() != metadata["files"][name]:
                raise ValueError("wrong checksum")
            if name in SYMBOLS:
                contents[name] = raw.decode()
                continue
            contents[name] = arrays = parse_params(raw, path)
            for array_name, array in arrays.items():
                if not np.isfinite(array).all():
                    raise CheckpointError(f"{path}: {array_name} is not finite")
    except OSError as error:
        if error.errno not in _MISSING:
            raise
        raise CheckpointError(f"{path}: {error.strerror}") from None
    except CheckpointError:
        raise
    except ValueError:
        raise CheckpointError(f"{path} is damaged") from None
    return metadata, contents


def list_checkpoints(run_dir: StrPath) -> list[Path]:
    """Return the folders of a run's checkpoints, oldest first, valid or damaged."""
    folder = Path(run_dir) / "checkpoints"
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):  # else a run would start again from step 0
        names = []
    return sorted((folder / name for name in names if re.fullmatch(r"step-[0-9]{8,18}", name)),
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
    if old:
        shutil.rmtree(old, ignore_errors=True)


def remove(folder: Path) -> None:
    """Remove a folder; a power cut never leaves part of it under its name."""
    old = _move_aside(folder)
    sync_directory(old.parent)
    shutil.rmtree(old, ignore_errors=True)


def _move_aside(folder: Path) -> Path:
    """Rename a folder to a temporary name that `recover` knows."""
    old = folder.with_name(f".old-{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(old, ignore_errors=True)
    return folder.rename(old)


def recover(run_dir: StrPath) -> None:
    """Clean up the checkpoints after a killed process.

    A complete checkpoint under a temporary name gets its final name, unless that is taken;
    everything else under such a name is removed.
    """
    parent = Path(run_dir) / "checkpoints"
    left = [(match[1], path) for path in parent.glob(".*.tmp") if (match := re.fullmatch(
        r"\.(?:old-)?(step-[0-9]{8,18})\.[0-9]+\.tmp", path.name))]
    # A new checkpoint, which only lacked its name, before the old one that was moved aside for it.
    for name, path in sorted(left, key=lambda item: item[1].name.startswith(".old-")):
        if path.is_symlink() or not path.is_dir():
            path.unlink()
            continue
        if not (parent / name).exists():
            with contextlib.suppress(CheckpointError):
                read_files(path)
                path.rename(parent / name)
                continue
        shutil.rmtree(path)
    if left:
        sync_directory(parent)
