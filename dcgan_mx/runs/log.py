"""log.jsonl and evaluation.json: the metrics of a run."""
from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path
from typing import Any

from ..system.files import name_errors, open_regular, parse_json
from ..system.memory import check_memory
from .json_files import MAX_BYTES, matches_schema

METRICS = ("frechet", "precision", "recall", "swd", "ms_ssim")  # of an evaluation


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read a log; see `Run.read_log`."""
    records: list[dict[str, Any]] = []
    with contextlib.suppress(FileNotFoundError), name_errors(path), open_regular(path) as f:
        # Lines of nested empty values take 28 times their length.
        check_memory(str(path), 30 * os.fstat(f.fileno()).st_size, "remove lines")
        while line := f.readline(MAX_BYTES):
            if not line.endswith(b"\n") and not f.read(1):
                break
            try:
                record = parse_json(line)
                wrong = [value for value in (record["step"], *record.values())
                         if type(value) is int and not matches_schema(value, int)]
                if wrong or type(record["step"]) is not int or type(record["seconds"]) is not float:
                    raise ValueError
            except (ValueError, KeyError, TypeError, AttributeError):
                raise ValueError(f"{path}, line {len(records) + 1}: not a log record: fix the line "
                                 "or remove the file") from None
            records.append(record)
    return records


def find_best(records: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the evaluation closest to real images, or None if there is none.

    The distance is the Fréchet distance if the data set has one, else the sliced Wasserstein
    distance. Evaluations with another classifier than the last one's are not comparable with it,
    and ignored.
    """
    for name in ("frechet", "swd"):
        found = [record for record in records
                 if isinstance(value := record.get(name), float) and math.isfinite(value)]
        if found:
            classifier = found[-1].get("classifier")
            return min((record for record in found if record.get("classifier") == classifier),
                       key=lambda record: record[name])
    return None


def parse_evaluation(raw: bytes) -> dict[str, Any]:
    """Read evaluation.json; ValueError if `step`, `images`, `baseline` or a metric is invalid."""
    try:
        result = parse_json(raw)
        images, errors = result["images"], result.get("svm_errors", {}).values()
        wrong = [type(result["step"]) is not int, type(images) is not int or not 0 < images < 2**31,
                 *(type(error) is not float for error in errors)]
        for part in (result, result["baseline"]):
            wrong += [type(part.get(name, 0.0)) is not float for name in METRICS]
            wrong += [type(count) is not int or not 0 <= count <= images
                      for count in part.get("class_counts", [])]
        if any(wrong):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError("not the result of an evaluation") from None
    return dict(result)
