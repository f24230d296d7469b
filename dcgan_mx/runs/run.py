"""The folder of a run: one process at a time, its settings, its log, its grids, its checkpoints."""
from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shlex
import shutil
import time
from pathlib import Path
from typing import Any, Callable, Iterator, TypeVar

import numpy as np

from ..machine.files import (
    StrPath,
    append,
    open_plain,
    parse_json,
    sync_directory,
    write_atomic,
)
from ..machine.typed import typed
from ..visual import save_image
from .checkpoint_folders import list_checkpoints, recover, step_of
from .ending import Ending, decode_ending
from .evaluation import decode_evaluation
from .events import cut_events
from .grids import draw_grid, forget_grids, list_grids, thin_grids
from .log import FIGURES, MAX_LINE_BYTES, RunError, read_log
from .settings import Settings, read_flags

_MAX_CONFIG_BYTES = 1 << 16
_Read = TypeVar("_Read")


class Run:
    """A run's folder, which may still be empty.

    Parameters
    ----------
    path
        Of the folder. Nothing is read or written yet.

    Attributes
    ----------
    path : pathlib.Path

    Notes
    -----
    What it holds: `config.json`, the settings and what else explains the numbers; `log.jsonl`;
    `grids/`; `tensorboard/`; `checkpoints/`; `ended.json`, how the last training ended;
    `evaluation.json` and `evaluation.png`; `lock`.
    """

    def __init__(self, path: StrPath) -> None:
        self.path = Path(path)

    @classmethod
    def create(cls, path: StrPath | None, config: dict[str, Any]) -> Run:
        """Make the folder, with config.json in it or not at all.

        Parameters
        ----------
        path
            None: `runs/DATASET-TIME`, with a number behind it where that is taken.
        config
            As `write_config` takes it; `run_dir` in its flags becomes the folder's name.

        Raises
        ------
        OSError
            If the folder cannot be made.
        """
        dataset = config["flags"]["dataset"]
        wanted = Path(path or f"runs/{dataset}-{time.strftime('%Y%m%d-%H%M')}")
        temporary = wanted.with_name(f".{wanted.name}.{os.getpid()}.tmp")
        unique, n = wanted, 1
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir(parents=True)
            while True:
                flags = {**config["flags"], "run_dir": str(unique)}
                cls(temporary).write_config({**config, "flags": flags})
                try:
                    temporary.rename(unique)
                    sync_directory(unique.parent)
                    return cls(unique)
                except OSError as error:
                    if path is not None or error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                        raise
                    n += 1
                    unique = wanted.with_name(f"{wanted.name}-{n}")
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            error.filename, error.filename2 = str(unique), None
            raise

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Have the folder for this process, and clear up what a killed one left half-done.

        The folder is free again at the end, or when the process ends, however it ends.

        Raises
        ------
        RunError
            If another process has it.
        OSError
            If the file `lock` cannot be written.
        """
        # No link is followed, here and below: what it leads to is not the run's.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        with open(os.open(self.path / "lock", flags, 0o644), "r+") as f:
            try:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                other = f.read(20).strip() or "that has just begun"
                raise RunError(f"--run-dir {self.path}: process {other} is at work in it: wait for "
                               "it, stop it, or give another directory") from None
            f.truncate(0)
            f.write(f"{os.getpid()}\n")
            f.flush()
            self._clear_up()
            yield

    def _clear_up(self) -> None:
        recover(self.path)
        for folder in (self.path, self.path / "grids", self.path / "tensorboard"):
            if folder != self.path and folder.is_symlink():
                continue
            for path in folder.glob(".*.tmp"):
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()

    def write_config(self, config: dict[str, Any]) -> None:
        """Write config.json: `flags`, and whatever else explains the run."""
        write_atomic(self.path / "config.json", json.dumps(config, indent=2).encode() + b"\n",
                     sync=True)

    def read_config(self) -> dict[str, Any]:
        """Read config.json.

        Returns
        -------
        dict
            `flags`, by name, not yet checked against what the flags take, and whatever else is
            there.

        Raises
        ------
        RunError
            If the file is none of a run.
        OSError
            If it cannot be read.
        """
        path = self.path / "config.json"
        with open_plain(path) as f:
            raw = f.read(_MAX_CONFIG_BYTES + 1)
        try:
            config: dict[str, Any] = parse_json(raw)
            flags = config["flags"]
            if len(raw) > _MAX_CONFIG_BYTES or not isinstance(flags, dict):
                raise ValueError
            if not all(isinstance(value, (str, int, float, bool, type(None)))
                       for value in flags.values()):
                raise ValueError
        except (ValueError, KeyError, TypeError):
            raise RunError(f"{path} is not the config.json of a run: give another run directory"
                           ) from None
        return config

    def read_settings(self) -> Settings:
        """Read the settings in config.json; errors are those of `read_config`, and ValueError."""
        return read_flags(self.read_config()["flags"], self.path / "config.json")

    def log(self, record: dict[str, Any]) -> None:
        """Add a line to log.jsonl, and return only when the disk has it."""
        append(self.path / "log.jsonl", json.dumps(record).encode() + b"\n", sync=True)

    def read_log(self) -> list[dict[str, Any]]:
        """Read log.jsonl.

        Returns
        -------
        list of dict
            One for each line, without the last if it was cut off while it was written; none if
            there is no file.

        Raises
        ------
        RunError
            If a line is none of a run's.
        OSError
            If the file cannot be read.
        """
        return read_log(self.path / "log.jsonl")

    def draw(self, kind: str, step: int, images: np.ndarray) -> None:
        """Write a grid of images, (N, C, H, W), in [-1, 1], to grids/KIND-<step>.png."""
        draw_grid(self.path, kind, step, images)

    def list_grids(self, kind: str, most: int | None = None) -> dict[int, Path]:
        """Return the files of the grids whose names begin with `kind`, by step, in its order.

        Of more than `most`, that many, evenly chosen, the last among them.
        """
        return list_grids(self.path, kind, most)

    def thin_grids(self, newest: int, begun: int) -> None:
        """Keep the newest grids, and some of all before; see `grids.thin_grids`.

        `begun` is the step of a checkpoint that may not be on the disk yet.
        """
        saved = max(map(step_of, self.list_checkpoints()), default=0)
        thin_grids(self.path, newest, (saved, begun))

    def list_checkpoints(self) -> list[Path]:
        """Return the folders of the checkpoints, oldest first, good or damaged."""
        return list_checkpoints(self.path)

    def rewind(self, step: int) -> float:
        """Forget all that was logged and drawn after a step: the run goes on from there.

        What the end of a training wrote out of turn is forgotten, too.

        Returns
        -------
        float
            The seconds of the last line of the log that is left; 0 if there is none.

        Raises
        ------
        RunError, OSError
            As `read_log`.
        """
        records = self.read_log()
        kept = [record for record in records if record["step"] <= step and not record.get("last")]
        write_atomic(self.path / "log.jsonl", "".join(
            json.dumps(record) + "\n" for record in kept).encode(), sync=True)
        drawn_at, still = ({record["step"] for record in lines if not {*FIGURES} & {*record}}
                           for lines in (records, kept))
        gone = drawn_at - still

        def forget(n: int, figures: bool = False) -> bool:
            return n > step or (n in gone and not figures)
        forget_grids(self.path, forget)
        cut_events(self.path / "tensorboard", forget)
        with contextlib.suppress(FileNotFoundError):
            (self.path / "ended.json").unlink()
        return float(kept[-1]["seconds"]) if kept else 0.0

    def write_evaluation(self, result: dict[str, Any], picture: np.ndarray) -> None:
        """Write evaluation.json, and evaluation.png from pixels, (H, W, C), uint8."""
        save_image(self.path / "evaluation.png", picture)
        write_atomic(self.path / "evaluation.json", json.dumps(result).encode() + b"\n")

    def read_evaluation(self) -> dict[str, Any] | None:
        """Return what `write_evaluation` wrote; None if nothing has been evaluated.

        Raises
        ------
        RunError
            If evaluation.json is damaged.
        """
        return self._read_json("evaluation.json", decode_evaluation)

    def end(self, ending: Ending) -> None:
        """Note how the training ended."""
        write_atomic(self.path / "ended.json", ending.encode())

    def read_ending(self) -> Ending | None:
        """Return how the last training ended; None if it has not, or nobody could note it.

        Raises
        ------
        RunError
            If ended.json is damaged.
        """
        return self._read_json("ended.json", decode_ending)

    def _read_json(self, name: str, decode: Callable[[bytes], _Read]) -> _Read | None:
        """Return what a small file says; None if it is not there."""
        path = self.path / name
        try:
            with open_plain(path) as f:
                return decode(f.read(MAX_LINE_BYTES))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise RunError(f"{path} {error}: remove it") from None

    def resume_command(self, *flags: str) -> str:
        """Return the line to type to go on with the run, with more flags at its end."""
        launch = self.read_config().get("launched_by")
        words = [typed("train"), "--resume", "--run-dir", shlex.quote(str(self.path)), *flags]
        return " ".join([f"{launch} --"] * isinstance(launch, str) + words)
