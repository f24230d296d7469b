"""The folder of a run: one process at a time, its settings, its log, its grids, its checkpoints."""
from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import json
import os
import re
import shlex
import shutil
import time
from pathlib import Path
from typing import Any, Callable, Iterator, TypeVar

import numpy as np

from ..system.command_line import command_line
from ..system.files import StrPath, append, parse_json, sync_directory, write_atomic
from ..visual import make_grid, save_image
from .checkpoint_folders import list_checkpoints, recover, step_of
from .config import FORMAT, Settings, read_flags
from .evaluation import decode_evaluation
from .grids import KINDS, choose
from .json_files import read_small
from .log import METRICS, read_log
from .stop_reason import StopReason, parse_stop_reason

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
    `grids/`; `tensorboard/`; `checkpoints/`; `result.json`, how the last training ended;
    `evaluation.json` and `evaluation.png`; `lock`. What cannot be read or written raises OSError;
    what is read and is none of a run, ValueError.
    """

    def __init__(self, path: StrPath) -> None:
        self.path = Path(path)

    @classmethod
    def create(cls, path: StrPath | None, config: dict[str, Any]) -> Run:
        """Make the folder, with config.json in it or not at all.

        Where `path` is None, it is `runs/DATASET-TIME`, with a number behind it where that is
        taken; `run_dir` in the config's flags becomes its name.
        """
        dataset = config["flags"]["dataset"]
        wanted = unique = Path(path or f"runs/{dataset}-{time.strftime('%Y%m%d-%H%M')}")
        temporary = wanted.with_name(f".{wanted.name}.{os.getpid()}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir(parents=True)
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
            error.filename, error.filename2 = str(unique), None
            raise
        return cls(unique)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Have the folder for this process, and clear up what a killed one left half-done.

        The folder is free again at the end, or when the process ends, however it ends. Raises
        ValueError if another process has it.
        """
        # No link is followed, here and below: what it leads to is not the run's.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        with open(os.open(self.path / "lock", flags, 0o644), "r+") as f:
            try:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                other = f.read(20).strip() or "that has just begun"
                raise ValueError(f"--run-dir {self.path}: process {other} is at work in it: wait "
                                 "for it, stop it, or give another directory") from None
            f.truncate(0)
            f.write(f"{os.getpid()}\n")
            f.flush()
            recover(self.path)
            for folder in (self.path, self.path / "grids"):
                if folder == self.path or not folder.is_symlink():
                    for path in folder.glob(".*.tmp"):
                        path.unlink()
            yield

    def write_config(self, config: dict[str, Any]) -> None:
        """Write config.json: `flags`, and whatever else explains the run."""
        content = json.dumps({**config, "format": FORMAT}, indent=2).encode() + b"\n"
        write_atomic(self.path / "config.json", content, sync=True)

    def read_config(self) -> dict[str, Any]:
        """Read config.json; of its `flags` not yet sure is that there are such flags."""
        path = self.path / "config.json"
        try:
            config: dict[str, Any] = parse_json(read_small(path))
            good = all(isinstance(value, (str, int, float, bool, type(None)))
                       for value in dict.values(config["flags"]))
        except (ValueError, KeyError, TypeError):
            good = False
        if not good:
            raise ValueError(f"{path} is not the config.json of a run: give another run directory")
        if config.get("format") != FORMAT:
            raise ValueError(f"{path} has format {config.get('format')}, expected {FORMAT}: it is "
                             "of another version of dcgan-mx: use that version, or start a new run "
                             "(--init-from takes the weights of its checkpoints)")
        return config

    def read_settings(self) -> Settings:
        """Read the settings in config.json."""
        return read_flags(self.read_config()["flags"], self.path / "config.json")

    def log(self, record: dict[str, Any]) -> None:
        """Add a line to log.jsonl, and return only when the disk has it."""
        append(self.path / "log.jsonl", json.dumps(record).encode() + b"\n", sync=True)

    def read_log(self) -> list[dict[str, Any]]:
        """Read the lines of log.jsonl, but for the last if it was cut off while it was written."""
        return read_log(self.path / "log.jsonl")

    def draw(self, kind: str, step: int, images: np.ndarray) -> None:
        """Write a grid of images, (N, C, H, W), in [-1, 1], to grids/KIND-<step>.png."""
        folder = self.path / "grids"
        folder.mkdir(exist_ok=True)
        save_image(folder / f"{kind}-{step:08d}.png", make_grid(images))

    def list_grids(self, kind: str, most: int | None = None) -> dict[int, Path]:
        """Return the files of the grids whose names begin with `kind`, by step, in its order.

        Of more than `most`, that many, evenly chosen, the last among them.
        """
        found = ((re.fullmatch(rf"{kind}-([0-9]{{8,18}})\.png", path.name), path)
                 for path in (self.path / "grids").glob(f"{kind}-*.png"))
        grids = sorted((int(match[1]), path) for match, path in found if match)
        if most is not None and len(grids) > most:
            # From the last backwards, so that it is there even where it is the only one.
            places = np.linspace(len(grids) - 1, 0, most).round().astype(int)[::-1]
            grids = [grids[i] for i in places]
        return dict(grids)

    def prune_grids(self, newest: int, begun: int) -> None:
        """Remove the older grids but for those that `grids.choose` names.

        What would have stayed at a checkpoint, be it on the disk or just begun, stays, too, so that
        a run that goes on from there has the grids of one that had never gone further.
        """
        saved = max(map(step_of, self.list_checkpoints()), default=0)
        for kind in KINDS:
            grids = self.list_grids(kind)
            stay = choose([*grids], newest)
            for end in (saved, begun):
                stay |= choose([step for step in grids if step <= end], newest)
            for step in grids.keys() - stay:
                grids[step].unlink()

    def list_checkpoints(self) -> list[Path]:
        """Return the folders of the checkpoints, oldest first, good or damaged."""
        return list_checkpoints(self.path)

    def rewind(self, step: int) -> float:
        """Forget all that was logged and drawn after a step: the run goes on from there.

        What the end of a training wrote out of turn is forgotten, too. TensorBoard forgets when the
        training begins: see `EventFile`. Returns the seconds of the last line that is left, or 0.
        """
        records = self.read_log()
        kept = [record for record in records if record["step"] <= step and not record.get("last")]
        write_atomic(self.path / "log.jsonl", "".join(
            json.dumps(record) + "\n" for record in kept).encode(), sync=True)
        drawn, still = ({record["step"] for record in lines if not {*METRICS} & {*record}}
                        for lines in (records, kept))
        for kind in KINDS:
            for drawn_at, path in self.list_grids(kind).items():
                if drawn_at > step or drawn_at in drawn - still:
                    path.unlink()
        with contextlib.suppress(FileNotFoundError):
            (self.path / "result.json").unlink()
        return float(kept[-1]["seconds"]) if kept else 0.0

    def write_evaluation(self, result: dict[str, Any], picture: np.ndarray) -> None:
        """Write evaluation.json, and evaluation.png from pixels, (H, W, C), uint8."""
        save_image(self.path / "evaluation.png", picture)
        write_atomic(self.path / "evaluation.json", json.dumps(result).encode() + b"\n")

    def read_evaluation(self) -> dict[str, Any] | None:
        """Return what `write_evaluation` wrote; None if nothing has been evaluated."""
        return self._read("evaluation.json", decode_evaluation)

    def end(self, ending: StopReason) -> None:
        """Note how the training ended."""
        write_atomic(self.path / "result.json", ending.encode())

    def read_result(self) -> StopReason | None:
        """Return how the last training ended; None if it has not, or nobody could note it."""
        return self._read("result.json", parse_stop_reason)

    def _read(self, name: str, decode: Callable[[bytes], _Read]) -> _Read | None:
        """Return what a small file says; None if it is not there."""
        path = self.path / name
        try:
            return decode(read_small(path))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ValueError(f"{path} {error}: remove it") from None

    def resume_command(self, *flags: str) -> str:
        """Return the line to type to go on with the run, with more flags at its end."""
        launch = self.read_config().get("launched_by")
        words = [command_line("train"), "--resume", "--run-dir", shlex.quote(str(self.path)), *flags]
        return " ".join([f"{launch} --"] * isinstance(launch, str) + words)
