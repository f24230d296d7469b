"""The folder of a run: one process at a time, its settings, its log."""
import contextlib
import errno
import fcntl
import json
import os
import re
import shlex
import shutil
import time
from pathlib import Path

from ..machine.files import open_plain, sync_directory, write_atomic

_MAX_CONFIG_BYTES = 1 << 16
_MAX_LINE_BYTES = 1 << 12


class RunDirError(ValueError):
    """A run directory is in use, or holds something else than a run."""


def create(run_dir, dataset, config):
    """Create a run directory, with config.json in it or not at all.

    Parameters
    ----------
    run_dir : str, os.PathLike or None
        None: `runs/DATASET-TIME`, with a number behind it where that is taken.
    dataset : str
    config : dict
        As `write_config` takes it; `run_dir` in its flags becomes the directory's name.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    OSError
        If the directory cannot be made.
    """
    path = Path(run_dir or f"runs/{dataset}-{time.strftime('%Y%m%d-%H%M')}")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    unique, n = path, 1
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        while True:
            flags = {**config["flags"], "run_dir": str(unique)}
            write_config(temporary, {**config, "flags": flags})
            try:
                temporary.rename(unique)
                sync_directory(unique.parent)
                return unique
            except OSError as error:
                if run_dir is not None or error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                n += 1
                unique = path.with_name(f"{path.name}-{n}")
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        error.filename, error.filename2 = str(unique), None
        raise


def lock(run_dir):
    """Take a run directory for this process, and remove what a killed one left half-written.

    Parameters
    ----------
    run_dir : str or os.PathLike

    Returns
    -------
    file object
        The directory is free again when it is closed, or when the process ends, however it ends.

    Raises
    ------
    RunDirError
        If another process has it.
    OSError
        If the file `lock` cannot be written.
    """
    run_dir = Path(run_dir)
    # No link is followed, here and below: what it leads to is not the run's.
    descriptor = os.open(run_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    f = open(descriptor, "r+")  # noqa: SIM115  open for as long as the run lasts
    try:
        fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        f.seek(0)
        owner = f.read(20).strip()
        f.close()
        raise RunDirError(f"--run-dir {run_dir}: process {owner} is at work in it: wait for it, "
                          "stop it, or give another directory") from None
    f.truncate(0)
    f.write(f"{os.getpid()}\n")
    f.flush()
    for folder in (run_dir, run_dir / "grids", run_dir / "checkpoints"):
        if folder != run_dir and folder.is_symlink():
            continue
        for path in folder.glob(".*.tmp"):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
    return f


def write_config(run_dir, config):
    """Write config.json.

    Parameters
    ----------
    run_dir : str or os.PathLike
    config : dict
        `flags`, and whatever else explains the run.
    """
    write_atomic(Path(run_dir) / "config.json", json.dumps(config, indent=2).encode() + b"\n",
                 sync=True)


def read_config(run_dir):
    """Read config.json.

    Parameters
    ----------
    run_dir : str or os.PathLike

    Returns
    -------
    dict
        `flags`, a dict of str to (str, int, float, bool or None), not yet checked against what
        the flags take, and whatever else is there.

    Raises
    ------
    RunDirError
        If the file is none of a run.
    OSError
        If it cannot be read.
    """
    path = Path(run_dir) / "config.json"
    with open_plain(path) as f:
        raw = f.read(_MAX_CONFIG_BYTES + 1)
    try:
        config = json.loads(raw)
        flags = config["flags"]
        if len(raw) > _MAX_CONFIG_BYTES or not isinstance(flags, dict):
            raise ValueError
        if not all(isinstance(value, (str, int, float, bool, type(None)))
                   for value in flags.values()):
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise RunDirError(f"{path} is not the config.json of a run: give another run "
                          "directory"
                          ) from None
    return config


def resume_command(run_dir, config):
    """Return the line to type to go on with a run.

    Parameters
    ----------
    run_dir : str or os.PathLike
    config : dict
        As `read_config` returns it.

    Returns
    -------
    str
    """
    job = str(config["flags"].get("kv_store")).startswith("dist")
    launch = f"python scripts/launch.py -n {config.get('workers')} -- " if job else ""
    return f"{launch}python scripts/train.py --resume --run-dir {shlex.quote(str(run_dir))}"


def read_log(run_dir):
    """Read log.jsonl.

    Parameters
    ----------
    run_dir : str or os.PathLike

    Returns
    -------
    list of dict
        One for each line, without the last if it was cut off while it was written; none if there
        is no file.

    Raises
    ------
    RunDirError
        If a line is none of a run's.
    OSError
        If the file cannot be read.
    """
    path = Path(run_dir) / "log.jsonl"
    records = []
    with contextlib.suppress(FileNotFoundError), open_plain(path) as f:
        while line := f.readline(_MAX_LINE_BYTES):
            if not line.endswith(b"\n") and not f.read(1):
                break
            try:
                record = json.loads(line)
                if type(record["step"]) is not int or type(record["seconds"]) is not float:
                    raise ValueError
            except (ValueError, KeyError, TypeError, RecursionError):
                raise RunDirError(f"{path}, line {len(records) + 1}, is no line of a run's log: "
                                  "mend or remove the file") from None
            records.append(record)
    return records


def cut_log(run_dir, step):
    """Remove the lines after a step from log.jsonl.

    Parameters
    ----------
    run_dir : str or os.PathLike
    step : int

    Raises
    ------
    RunDirError, OSError
        As `read_log`.

    Returns
    -------
    float
        The seconds of the last line that is left; 0 if there is none.
    """
    records = [record for record in read_log(run_dir) if record["step"] <= step]
    write_atomic(Path(run_dir) / "log.jsonl",
                 "".join(json.dumps(record) + "\n" for record in records).encode(), sync=True)
    return records[-1]["seconds"] if records else 0.0


def list_grids(run_dir, kind):
    """Find the grids of one kind.

    Parameters
    ----------
    run_dir : str or os.PathLike
    kind : str
        What their names begin with: gout, fixed, diff or data.

    Returns
    -------
    dict of int to pathlib.Path
        Step to file, by step.
    """
    found = ((re.fullmatch(rf"{kind}-([0-9]{{8,18}})\.png", path.name), path)
             for path in (Path(run_dir) / "grids").glob(f"{kind}-*.png"))
    return dict(sorted((int(match[1]), path) for match, path in found if match))
