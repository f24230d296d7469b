"""A run directory: lock, settings, log, grids, checkpoints and results."""
from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import json
import os
import re
import shutil
import stat
import time
import warnings
from pathlib import Path
from typing import Any, BinaryIO, Callable, Iterator, TypeVar

import numpy as np

from ..system.command_line import command_line, flag_name, quote_path
from ..system.errors import ArgumentError
from ..system.files import (
    UNSUPPORTED,
    StrPath,
    append,
    list_stale,
    name_errors,
    open_regular,
    parse_json,
    sync_directory,
    write_atomic,
)
from ..visual import make_grid, save_image
from .checkpoint_files import list_checkpoints, recover, step_of
from .config import FORMAT, Settings, parse_settings
from .grids import KINDS, select_steps
from .json_files import read_small
from .launch_flags import add_launcher
from .log import METRICS, parse_evaluation, read_log
from .stop_reason import StopReason, parse_stop_reason

_Parsed = TypeVar("_Parsed")


def _flock(file: BinaryIO) -> None:
    """Lock a file; raises BlockingIOError if another process keeps it locked."""
    for pause in (0.01, 0.1):  # `dcgan-mx runs` locks it for a moment
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(pause)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


class Run:
    """The run directory `path`, which may still be empty.

    It contains `config.json` (settings and environment), `log.jsonl`, `grids/`, `tensorboard/`,
    `checkpoints/`, `result.json` (how the last training stopped), `evaluation.json`,
    `evaluation.png` and `lock`. Methods raise OSError if a file cannot be read or written, and
    ValueError if its content is invalid.
    """

    def __init__(self, path: StrPath) -> None:
        self.path = Path(path)
        self._log_size: int | None = None  # of log.jsonl, without what a failed append left

    @classmethod
    def create(cls, path: StrPath | None, config: dict[str, Any]) -> Run:
        """Create the directory together with its config.json, atomically; remove killed attempts.

        The default path is `runs/DATASET-TIME`, with a number appended if that exists. `run_dir`
        in the config's flags is set to the path.
        """
        dataset = config["flags"]["dataset"]
        wanted = unique = Path(path or f"runs/{dataset}-{time.strftime('%Y%m%d-%H%M')}")
        temporary = wanted.with_name(f".{wanted.name}.{os.getpid()}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        for left in list_stale(wanted.parent, is_kind=stat.S_ISDIR):
            # Another program may use such names, too: only what this function leaves is removed.
            with contextlib.suppress(OSError):
                if all(re.fullmatch(r"config\.json|lock|\.config\.json\.[0-9]+\.tmp", path.name)
                       for path in left.iterdir()):
                    shutil.rmtree(left)
        try:
            temporary.mkdir(parents=True)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".* no locks")  # the next lock warns again
                with cls(temporary).lock():  # if this fails, nothing is left behind
                    pass
            for n in itertools.count(2):
                flags = {**config["flags"], "run_dir": str(unique)}
                cls(temporary).write_config({**config, "flags": flags})
                try:
                    temporary.rename(unique)
                    break
                except OSError as error:
                    if path is not None or error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                        raise
                    unique = wanted.with_name(f"{wanted.name}-{n}")
            sync_directory(unique.parent)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            error.filename = str(unique)
            del error.filename2
            raise
        return cls(unique)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the directory for this process, and remove what a killed process left behind.

        The system releases the lock when the process ends, for whatever reason. Raises
        ArgumentError if another process holds the lock, or a folder of the run is a link.
        """
        for name in ("checkpoints", "grids", "tensorboard"):
            if (self.path / name).is_symlink():  # of a stranger: it may lead anywhere
                raise ArgumentError("run_dir", f"{self.path / name} is a link: replace it with the "
                                    "folder; only the run directory itself may be a link")
        with open_regular(self.path / "lock", write=True) as f:
            try:
                _flock(f)
            except BlockingIOError:
                process = f"process {f.read(20).decode(errors='replace').strip()}".strip()
                raise ArgumentError("run_dir", f"{self.path} is in use by {process}: wait until it "
                                    "ends, stop it, or choose another directory") from None
            except OSError as error:
                if error.errno not in UNSUPPORTED:
                    raise
                warnings.warn(f"{self.path}: this file system has no locks ({error.strerror}): do "
                              "not use this run in two processes", RuntimeWarning, stacklevel=3)
            with name_errors(self.path / "lock"):  # unbuffered: closing must not write again
                os.truncate(f.fileno(), 0)
                os.write(f.fileno(), b"%d\n" % os.getpid())
            recover(self.path)
            for path in (*list_stale(self.path), *list_stale(self.path / "grids")):
                path.unlink()
            yield

    def write_config(self, config: dict[str, Any]) -> None:
        """Write config.json: `flags`, and further facts that explain the run."""
        content = json.dumps({**config, "format": FORMAT}, indent=2).encode() + b"\n"
        write_atomic(self.path / "config.json", content, sync=True)

    def read_config(self) -> dict[str, Any]:
        """Read config.json; the names and values of its `flags` are not checked yet."""
        path = self.path / "config.json"
        try:
            config: dict[str, Any] = parse_json(read_small(path))
            if any(isinstance(value, (dict, list)) for value in dict.values(config["flags"])):
                raise ValueError
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{path}: not the config.json of a run: choose another run directory"
                             ) from None
        if config.get("format") != FORMAT:
            raise ValueError(f"{path} has format {config.get('format')}, expected {FORMAT}: use "
                             "the version of dcgan-mx that wrote it, or start a new run from the "
                             "weights of its checkpoints")
        return config

    def read_settings(self) -> Settings:
        """Read and check the settings in config.json."""
        return parse_settings(self.read_config()["flags"], self.path / "config.json")

    def log(self, record: dict[str, Any]) -> None:
        """Append a record to log.jsonl, and return once it is on the disk."""
        path, line = self.path / "log.jsonl", json.dumps(record).encode() + b"\n"
        if self._log_size is None:
            try:
                self._log_size = path.stat().st_size
            except FileNotFoundError:
                self._log_size = 0
        append(path, line, self._log_size, sync=True)
        self._log_size += len(line)

    def read_log(self) -> list[dict[str, Any]]:
        """Read the records of log.jsonl, except a last one that was not completely written."""
        return read_log(self.path / "log.jsonl")

    def draw(self, kind: str, step: int, images: np.ndarray) -> None:
        """Write a grid of images, (N, C, H, W), in [-1, 1], to grids/KIND-<step>.png."""
        folder = self.path / "grids"
        folder.mkdir(exist_ok=True)
        save_image(folder / f"{kind}-{step:08d}.png", make_grid(images))

    def list_grids(self, kind: str, most: int | None = None) -> dict[int, Path]:
        """Return the grid files of a kind by step, in order; at most `most`, evenly spaced."""
        found = ((re.fullmatch(rf"{kind}-([0-9]{{8,18}})\.png", path.name), path)
                 for path in (self.path / "grids").glob(f"{kind}-*.png"))
        grids = sorted((int(match[1]), path) for match, path in found if match)
        if most is not None and len(grids) > most:
            # Backwards, so that the last grid is included even if `most` is 1.
            chosen = np.linspace(len(grids) - 1, 0, most).round().astype(int)[::-1]
            grids = [grids[i] for i in chosen]
        return dict(grids)

    def prune_grids(self, newest: int, begun: int) -> None:
        """Remove all grids except those that `grids.select_steps` selects.

        Grids that were selected at the last checkpoint, on the disk or `begun`, are kept as well: a
        run resumed from it then has the same grids as an uninterrupted one.
        """
        saved = max(map(step_of, self.list_checkpoints()), default=0)
        for kind in KINDS:
            grids = self.list_grids(kind)
            kept = select_steps([*grids], newest)
            for end in (saved, begun):
                kept |= select_steps([step for step in grids if step <= end], newest)
            for step in grids.keys() - kept:
                grids[step].unlink()

    def list_checkpoints(self) -> list[Path]:
        """Return the folders of the checkpoints, oldest first, valid or damaged."""
        return list_checkpoints(self.path)

    def rewind(self, step: int) -> float:
        """Remove all records, grids and results later than a step.

        Records and grids that were written only because the run stopped are removed too.
        TensorBoard rewinds when the training starts: see `EventFile`. Returns the elapsed seconds
        up to this step, or 0.
        """
        records, self._log_size = self.read_log(), None
        kept = [record for record in records if record["step"] <= step and not record.get("last")]
        write_atomic(self.path / "log.jsonl", "".join(
            json.dumps(record) + "\n" for record in kept).encode(), sync=True)
        steps_drawn, steps_kept = ({record["step"] for record in lines
                                    if not {*METRICS} & {*record}} for lines in (records, kept))
        for kind in KINDS:
            for drawn_at, path in self.list_grids(kind).items():
                if drawn_at > step or drawn_at in steps_drawn - steps_kept:
                    path.unlink()
        with contextlib.suppress(FileNotFoundError):
            (self.path / "result.json").unlink()
        return max((record["seconds"] for record in records if record["step"] <= step), default=0.0)

    def write_evaluation(self, result: dict[str, Any], image: np.ndarray) -> None:
        """Write evaluation.json, and evaluation.png from pixels, (H, W, C), uint8."""
        save_image(self.path / "evaluation.png", image)
        write_atomic(self.path / "evaluation.json", json.dumps(result).encode() + b"\n")

    def read_evaluation(self) -> dict[str, Any] | None:
        """Read evaluation.json; None if the run has not been evaluated."""
        return self._read("evaluation.json", parse_evaluation)

    def write_result(self, reason: StopReason) -> None:
        """Write result.json: how the training stopped."""
        write_atomic(self.path / "result.json", reason.encode(), sync=True)

    def read_result(self) -> StopReason | None:
        """Read result.json; None if the run is training, or was killed before it was written."""
        return self._read("result.json", parse_stop_reason)

    def _read(self, name: str, parse: Callable[[bytes], _Parsed]) -> _Parsed | None:
        """Read and parse a small file; None if it does not exist."""
        path = self.path / name
        try:
            return parse(read_small(path))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ValueError(f"{path}: {error}: remove it") from None

    def resume_command(self, reason: StopReason | None = None) -> str:
        """Return the command that resumes the run, or, if it is finished, doubles its limit."""
        words = [command_line("train"), flag_name("resume"), flag_name("run_dir"),
                 quote_path(self.path)]
        if reason and reason.finished:
            words += [flag_name(reason.reason), str(2 * int(reason.detail or 1))]
        return " ".join(add_launcher(words, self.read_config().get("launched_by")))
