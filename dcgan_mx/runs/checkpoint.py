"""The whole state of a training on disk: all of it or nothing, verified, and free of code."""
import hashlib
import os
import re
import shutil
import warnings
from pathlib import Path

import numpy as np

from .checkpoint_files import (
    COUNTERS,
    FORMAT,
    LATENT,
    PARAMS,
    REPLICAS,
    STATE,
    SYMBOLS,
    CheckpointError,
    encode_state,
    read_files,
)
from ..machine.files import sync_directory, write_atomic
from .params import ParamsError, dump_params, parse_params


def save(run_dir, trainer, seed=None, keep=0):
    """Write a trainer's whole state into `checkpoints/step-<global_step>` of a run directory.

    Parameters
    ----------
    run_dir : str or os.PathLike
    trainer : Trainer
    seed : int, optional
        Of weights, noise and order, noted in the checkpoint.
    keep : int
        Newest checkpoints to keep, this one counted; 0 keeps all.

    Returns
    -------
    pathlib.Path
        The new folder. `mx.model.load_checkpoint(folder / "G", 0)` reads a network from it.

    Raises
    ------
    OSError
        If a file cannot be written; nothing is left behind then, and older checkpoints are as
        they were.
    DivergenceError
        If a parameter or a moment is not finite; nothing is written.
    """
    return write(run_dir, trainer.get_state(), seed, keep)


def write(run_dir, state, seed=None, keep=0):
    """Write a `state` that `Trainer.get_state` returned; all else is as in `save`."""
    folder = Path(run_dir) / "checkpoints" / f"step-{state['counters']['step']:08d}"
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    if not folder.parent.exists():
        folder.parent.mkdir()
        sync_directory(run_dir)
    contents = {**{name: [state["symbols"][name[0]].encode()] for name in SYMBOLS},
                **{name: dump_params(state[_part(name)]) for name in (*PARAMS, REPLICAS)
                   if state[_part(name)] or name != REPLICAS}}
    digests = {}
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        for name, chunks in contents.items():
            digest = hashlib.sha256()
            write_atomic(temporary / name, _hashed(chunks, digest), sync=True)
            digests[name] = digest.hexdigest()
        document = {"format": FORMAT, "latent": LATENT, "seed": seed, **state["counters"],
                    "files": digests}
        write_atomic(temporary / STATE, encode_state(document), sync=True)
        sync_directory(temporary)
        _replace(temporary, folder)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(folder), None
        raise
    sync_directory(folder.parent)
    if keep:
        for old in [path for path in list(run_dir) if _step(path) <= _step(folder)][:-keep]:
            _remove(old)
    return folder


def _replace(temporary, folder):
    """Put a folder in its place; one that is there already makes room, and goes last."""
    old = _aside(folder) if folder.exists() else None
    temporary.rename(folder)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _remove(folder):
    """Remove a folder so that no moment leaves half of it under its name."""
    shutil.rmtree(_aside(folder), ignore_errors=True)


def _aside(folder):
    """Rename a folder to what the next process that locks the run removes."""
    aside = folder.with_name(f".old-{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    return folder.rename(aside)


def _step(folder):
    return int(folder.name[5:])


def list(run_dir):  # noqa: A001  checkpoint.list says it
    """Return the folders of a run's checkpoints, oldest first, good or damaged.

    Parameters
    ----------
    run_dir : str or os.PathLike

    Returns
    -------
    list of pathlib.Path
    """
    folder = Path(run_dir) / "checkpoints"
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted((path for path in found if re.fullmatch(r"step-[0-9]{8,18}", path.name)),
                  key=_step)


def verify(folder):
    """Check every byte of a checkpoint.

    Parameters
    ----------
    folder : str or os.PathLike

    Returns
    -------
    dict
        The content of state.json: `step`, `epoch`, `nbatch`, `updates`, `metrics`, `seed`,
        `latent`.

    Raises
    ------
    CheckpointError
        If a file is missing, a link, or not what was written; the message names it.
    """
    return read_files(Path(folder))[0]


def load(folder, trainer):
    """Put a trainer into the state of a checkpoint.

    Parameters
    ----------
    folder : str or os.PathLike
    trainer : Trainer
        Made with the same networks.

    Raises
    ------
    CheckpointError
        If the checkpoint is damaged, or of other networks; the trainer is as it was.
    """
    folder = Path(folder)
    document, contents = read_files(folder)
    state = {"counters": {name: document[name] for name in COUNTERS}, _part(REPLICAS): {}}
    for name in (*PARAMS, REPLICAS):
        if name not in contents:
            continue
        try:
            state[_part(name)] = parse_params(contents.pop(name), folder / name)
        except ParamsError as error:
            raise CheckpointError(str(error)) from None
        for array_name, array in state[_part(name)].items():
            if not np.isfinite(array).all():
                raise CheckpointError(f"{folder / name}: {array_name} is not finite")
    try:
        trainer.set_state(state)
    except ValueError as error:
        raise CheckpointError(f"{folder}: {error}") from None


def load_network(folder, network):
    """Read one network of a checkpoint, which may lack the other and the optimizers.

    Parameters
    ----------
    folder : str or os.PathLike
    network : {'G', 'D'}

    Returns
    -------
    symbol : str
        JSON text.
    params : dict of str to np.ndarray, float32
        Under arg:NAME and aux:NAME.
    document : dict
        As `verify` returns it.

    Raises
    ------
    CheckpointError
        If one of these files is missing or damaged.
    """
    folder, names = Path(folder), (f"{network}-symbol.json", f"{network}-0000.params")
    document, contents = read_files(folder, names)
    try:
        return contents[names[0]].decode(), parse_params(contents[names[1]], folder / names[1]), \
            document
    except (ParamsError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{folder}: {error}") from None


def load_latest(run_dir, trainer):
    """Put a trainer into the state of the newest good checkpoint of a run.

    Parameters
    ----------
    run_dir : str or os.PathLike
        Only the first worker's is looked at; all get what is found there.
    trainer : Trainer

    Returns
    -------
    pathlib.Path or None
        The checkpoint's folder; None if the run has none, and on all workers but the first.

    Raises
    ------
    CheckpointError
        If there are checkpoints and none can be loaded.

    Warns
    -----
    RuntimeWarning
        For each newer checkpoint that could not be loaded, with the reason. If an older one could,
        they are renamed to end in .damaged: the run will write its own in their place.
    """
    folders = list(run_dir) if trainer.workers.rank == 0 else []
    if trainer.workers.gather([len(folders)])[0, 0] and not folders:
        trainer.set_state(None)
        return None
    for folder in reversed(folders):
        try:
            load(folder, trainer)
        except CheckpointError as error:
            warnings.warn(f"{error}; trying the checkpoint before it", RuntimeWarning,
                          stacklevel=2)
        else:
            for newer in folders[folders.index(folder) + 1:]:
                _set_aside(newer)
            return folder
    if folders:
        raise CheckpointError(f"{Path(run_dir) / 'checkpoints'}: none of the {len(folders)} "
                              "checkpoints can be loaded: start a new run")
    return None


def _set_aside(folder):
    damaged = folder.with_name(f"{folder.name}.damaged")
    if damaged.exists():
        shutil.rmtree(damaged)
    folder.rename(damaged)


def _part(name):
    """G-0000.params holds the part G of a trainer's state, G-optimizer.params G-optimizer."""
    return name.rsplit(".", 1)[0].replace("-0000", "")


def _hashed(chunks, digest):
    for chunk in chunks:
        digest.update(chunk)
        yield chunk
