"""log.jsonl: a line for each time that a run's numbers were shown."""
from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from ..system.files import open_regular, parse_json
from .json_files import MAX_BYTES

METRICS = ("frechet", "precision", "recall", "swd", "ms_ssim")  # what an evaluation measures


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read a log; see `Run.read_log`."""
    records: list[dict[str, Any]] = []
    with contextlib.suppress(FileNotFoundError), open_regular(path) as f:
        while line := f.readline(MAX_BYTES):
            if not line.endswith(b"\n") and not f.read(1):
                break
            try:
                record = parse_json(line)
                if type(record["step"]) is not int or type(record["seconds"]) is not float:
                    raise ValueError
            except (ValueError, KeyError, TypeError):
                raise ValueError(f"{path}, line {len(records) + 1}, is no line of a run's log: "
                                 "mend or remove the file") from None
            records.append(record)
    return records


def find_best(records: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the evaluation with the least distance from real images; None if there was none.

    That is the Fréchet distance, where the data set has one, else the sliced Wasserstein distance.
    """
    for name in ("frechet", "swd"):
        found = [record for record in records if isinstance(record.get(name), float)]
        if found:
            return min(found, key=lambda record: record[name])
    return None
