"""Checkpoints: the complete state of a run on disk; atomic, verified, without pickle."""
from __future__ import annotations

import hashlib
import os
import shutil
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ..system.files import StrPath, sync_directory, write_atomic
from .checkpoint_files import (
    AVERAGE,
    COUNTERS,
    FORMAT,
    LATENT,
    OPTIONAL,
    PARAMS,
    STATE,
    SYMBOLS,
    CheckpointError,
    encode_state,
    list_checkpoints,
    put_in_place,
    read_files,
    remove,
    step_of,
)
from .params import dump_params

_writing = threading.Lock()  # a `Saver` writes in another thread


def save(run_dir: StrPath, trainer: Any, seed: int | None = None, keep: int = 0,
         best_step: int | None = None) -> Path:
    """Write a trainer's complete state to `checkpoints/step-<global_step>` of a run directory.

    Parameters
    ----------
    run_dir, trainer
    seed
        Seed of weights, noise and data order, stored in the checkpoint.
    keep
        Newest checkpoints to keep, including this one; 0 keeps all.
    best_step
        A step whose checkpoint is also kept.

    Returns
    -------
    The new folder. `mx.model.load_checkpoint(folder / "G", 0)` reads a network from it.

    Raises
    ------
    OSError
        If a file cannot be written. Nothing is left behind, and older checkpoints do not change.
        If only the folder's name could not be synced, the new checkpoint is complete.
    DivergenceError
        If a parameter or a moment is not finite; nothing is written.
    """
    return write(run_dir, trainer.get_state(), seed, keep, best_step)


def write(run_dir: StrPath, state: dict[str, Any], seed: int | None = None, keep: int = 0,
          best_step: int | None = None) -> Path:
    """Write a state that `Trainer.get_state` returned, like `save`."""
    with _writing:
        return _write(run_dir, state, seed, keep, best_step)


def _write(run_dir: StrPath, state: dict[str, Any], seed: int | None, keep: int,
           best_step: int | None) -> Path:
    """Write a state; see `save`."""
    folder = Path(run_dir) / "checkpoints" / f"step-{state['counters']['step']:08d}"
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    checksums = {}
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        folder.parent.mkdir(exist_ok=True)
        temporary.mkdir()
        for name in (*SYMBOLS, *PARAMS, *OPTIONAL):
            if name in SYMBOLS:
                content = state["symbols"][name[0]].encode()
            elif name in PARAMS or state.get(_part(name)):
                content = b"".join(dump_params(state[_part(name)]))
            else:
                continue
            write_atomic(temporary / name, content, sync=True)
            checksums[name] = hashlib.sha256(content).hexdigest()
        write_atomic(temporary / STATE, encode_state({
            "format": FORMAT, "latent": LATENT, "seed": None if seed is None else int(seed),
            **state["counters"],
            "files": checksums}), sync=True)
        put_in_place(temporary, folder)
        sync_directory(run_dir)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError):
            error.filename = str(folder)
            del error.filename2
        raise
    if keep:
        past = [path for path in list_checkpoints(run_dir) if step_of(path) <= step_of(folder)]
        for old in past[:-keep]:
            if step_of(old) != best_step:
                remove(old)
    return folder


def verify(folder: StrPath) -> dict[str, Any]:
    """Check every byte of a checkpoint; return the metadata in state.json.

    Raises CheckpointError, which names the file, if one is missing, a link, or damaged, and OSError
    if one cannot be read.
    """
    return read_files(Path(folder))[0]


def load(folder: StrPath, trainer: Any) -> None:
    """Restore the state of a checkpoint into a trainer of the same networks.

    Raises CheckpointError if the checkpoint is damaged, and ValueError if it is of other networks;
    the trainer does not change.
    """
    folder = Path(folder)
    metadata, contents = read_files(folder)
    state: dict[str, Any] = {"counters": {name: metadata[name] for name in COUNTERS}}
    for name in (*PARAMS, *OPTIONAL):
        state[_part(name)] = contents.get(name, {})
    try:
        trainer.set_state(state)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None


def load_network(folder: StrPath, network: str
                 ) -> tuple[str, dict[str, np.ndarray], dict[str, Any]]:
    """Read 'G' or 'D' of a checkpoint; the files of the other network may be missing.

    Returns the symbol as JSON, the arrays as arg:NAME and aux:NAME, and the metadata.
    """
    symbol, params = f"{network}-symbol.json", f"{network}-0000.params"
    metadata, contents = read_files(Path(folder), (symbol, params))
    return contents[symbol], contents[params], metadata


def load_average(folder: StrPath) -> dict[str, np.ndarray]:
    """Read the averaged weights of G as arg:NAME; empty if the training did not average."""
    return dict(read_files(Path(folder), (AVERAGE,))[1].get(AVERAGE, {}))


def load_latest(run_dir: StrPath | None, trainer: Any) -> Path | None:
    """Restore the newest valid checkpoint of a run into a trainer; return its folder.

    Rank 0 reads the run, and all workers receive its state. Returns None on the other workers, and
    if there is no checkpoint. Warns about each newer checkpoint that is damaged, and renames it to
    `*.damaged`, as the resumed run will write that step again. Raises CheckpointError if there are
    checkpoints and all are damaged, ValueError if one is of other networks, and OSError if a file
    cannot be read, which can be transient: nothing is renamed then.
    """
    folders = list_checkpoints(run_dir) if run_dir is not None and not trainer.workers.rank else []
    if trainer.workers.all_gather([len(folders)])[0, 0] and not folders:
        trainer.set_state(None)
    for i, folder in reversed([*enumerate(folders)]):
        try:
            step = read_files(folder, ())[0]["step"]
            if step != step_of(folder):
                raise CheckpointError(f"{folder} has the state of step {step}")
            load(folder, trainer)
        except CheckpointError as error:
            warnings.warn(f"{error}; trying the previous checkpoint", RuntimeWarning,
                          stacklevel=2)
            continue
        for newer in folders[i + 1:]:
            damaged = newer.with_name(f"{newer.name}.damaged")
            if damaged.exists():
                shutil.rmtree(damaged)
            newer.rename(damaged)
        return folder
    if folders:
        raise CheckpointError(f"{folders[0].parent}: all {len(folders)} checkpoints are damaged: "
                              "check the disk, or start a new run")
    return None


def _part(name: str) -> str:
    """Return the part of a trainer's state in a file: G-0000.params holds G."""
    return name.rsplit(".", 1)[0].replace("-0000", "")
