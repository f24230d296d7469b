"""The whole state of a training on disk: all of it or nothing, verified, and free of code."""
from __future__ import annotations

import hashlib
import os
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterable

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
    read_files,
)
from .checkpoint_folders import list_checkpoints as list  # noqa: A004  checkpoint.list says it
from .checkpoint_folders import put_in_place, remove, step_of
from .params import dump_params, parse_params

if TYPE_CHECKING:
    from ..trainer import Trainer


def save(run_dir: StrPath, trainer: Trainer, seed: int | None = None, keep: int = 0,
         spare: int | None = None) -> Path:
    """Write a trainer's whole state into `checkpoints/step-<global_step>` of a run directory.

    Parameters
    ----------
    run_dir
    trainer
    seed
        Of weights, noise and order, noted in the checkpoint.
    keep
        Newest checkpoints to keep, this one counted; 0 keeps all.
    spare
        A step whose checkpoint is kept besides.

    Returns
    -------
    pathlib.Path
        The new folder. `mx.model.load_checkpoint(folder / "G", 0)` reads a network from it.

    Raises
    ------
    OSError
        If a file cannot be written; nothing is left behind then, and older checkpoints are as
        they were. If only the folder's name cannot be synced, the checkpoint is there, and whole.
    DivergenceError
        If a parameter or a moment is not finite; nothing is written.
    """
    return write(run_dir, trainer.get_state(), seed, keep, spare)


def write(run_dir: StrPath, state: dict[str, Any], seed: int | None = None, keep: int = 0,
          spare: int | None = None) -> Path:
    """Write a `state` that `Trainer.get_state` returned; all else is as in `save`."""
    folder = Path(run_dir) / "checkpoints" / f"step-{state['counters']['step']:08d}"
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    contents: dict[str, Iterable[Any]] = {
        **{name: [state["symbols"][name[0]].encode()] for name in SYMBOLS},
        **{name: dump_params(state[_part(name)]) for name in (*PARAMS, *OPTIONAL)
           if name in PARAMS or state.get(_part(name))}}
    digests = {}
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        folder.parent.mkdir(exist_ok=True)
        temporary.mkdir()
        for name, chunks in contents.items():
            content = b"".join(chunks)
            write_atomic(temporary / name, content, sync=True)
            digests[name] = hashlib.sha256(content).hexdigest()
        write_atomic(temporary / STATE, encode_state({
            "format": FORMAT, "latent": LATENT, "seed": seed, **state["counters"],
            "files": digests}), sync=True)
        put_in_place(temporary, folder)
        sync_directory(run_dir)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(folder), None
        raise
    if keep:
        for old in [path for path in list(run_dir) if step_of(path) <= step_of(folder)][:-keep]:
            if step_of(old) != spare:
                remove(old)
    return folder


def verify(folder: StrPath) -> dict[str, Any]:
    """Check every byte of a checkpoint; return the content of state.json.

    Raises
    ------
    CheckpointError
        If a file is missing, a link, or not what was written; the message names it.
    """
    return read_files(Path(folder))[0]


def load(folder: StrPath, trainer: Trainer) -> None:
    """Put a trainer, made with the same networks, into the state of a checkpoint.

    Raises
    ------
    CheckpointError
        If the checkpoint is damaged, or of other networks; the trainer is as it was.
    """
    folder = Path(folder)
    document, contents = read_files(folder)
    state: dict[str, Any] = {"counters": {name: document[name] for name in COUNTERS}}
    for name in (*PARAMS, *OPTIONAL):
        arrays = _parse(contents.pop(name), folder / name) if name in contents else {}
        state[_part(name)] = arrays
        for array_name, array in arrays.items():
            if not np.isfinite(array).all():
                raise CheckpointError(f"{folder / name}: {array_name} is not finite")
    try:
        trainer.set_state(state)
    except ValueError as error:
        raise CheckpointError(f"{folder}: {error}") from None


def load_network(folder: StrPath, network: str
                 ) -> tuple[str, dict[str, np.ndarray], dict[str, Any]]:
    """Read 'G' or 'D' of a checkpoint, which may lack the other and the optimizers.

    Returns the symbol's JSON text, the arrays under arg:NAME and aux:NAME, and what `verify` does.
    """
    folder, names = Path(folder), (f"{network}-symbol.json", f"{network}-0000.params")
    document, contents = read_files(folder, names)
    try:
        return contents[names[0]].decode(), _parse(contents[names[1]], folder / names[1]), document
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{folder / names[0]}: {error}") from None


def load_average(folder: StrPath) -> dict[str, np.ndarray]:
    """Read the average of G's weights, under arg:NAME; nothing if the training kept none."""
    folder = Path(folder)
    if AVERAGE not in read_files(folder, ())[0]["files"]:
        return {}
    return _parse(read_files(folder, (AVERAGE,))[1][AVERAGE], folder / AVERAGE)


def load_latest(run_dir: StrPath | None, trainer: Trainer) -> Path | None:
    """Put a trainer into the state of the newest good checkpoint of a run; return its folder.

    Only the first worker's run is looked at; all get what is found there. Without a checkpoint, and
    on all workers but the first, the result is None. Warns of each newer checkpoint that could not
    be loaded; it is renamed to end in .damaged: the run will write its own in its place.

    Raises
    ------
    CheckpointError
        If there are checkpoints and none can be loaded.
    """
    folders = list(run_dir) if run_dir is not None and trainer.workers.rank == 0 else []
    if trainer.workers.all_gather([len(folders)])[0, 0] and not folders:
        trainer.set_state(None)
    for folder in reversed(folders):
        try:
            load(folder, trainer)
        except CheckpointError as error:
            warnings.warn(f"{error}; trying the checkpoint before it", RuntimeWarning,
                          stacklevel=2)
            continue
        for newer in folders[folders.index(folder) + 1:]:
            damaged = newer.with_name(f"{newer.name}.damaged")
            if damaged.exists():
                shutil.rmtree(damaged)
            newer.rename(damaged)
        return folder
    if folders:
        raise CheckpointError(f"{folders[0].parent}: none of the {len(folders)} "
                              "checkpoints can be loaded: start a new run")
    return None


def _part(name: str) -> str:
    """G-0000.params holds the part G of a trainer's state, G-optimizer.params G-optimizer."""
    return name.rsplit(".", 1)[0].replace("-0000", "")


def _parse(content: bytes, path: Path) -> dict[str, np.ndarray]:
    try:
        return parse_params(content, path)
    except ValueError as error:
        raise CheckpointError(str(error)) from None
