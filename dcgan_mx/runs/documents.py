"""JSON files that a stranger may have written: plain files, of bounded size and known content."""
from __future__ import annotations

from pathlib import Path
from typing import Any

from ..machine.files import open_plain, parse_json

MAX_BYTES = 1 << 16  # of a JSON file, and of a line of log.jsonl
FIGURES = ("frechet", "precision", "recall", "swd", "ms_ssim")  # what an evaluation measures
_MAX_IMAGES = 2**31


def read_small(path: Path) -> bytes:
    """Read a file that is no link; raises ValueError if it is larger than `MAX_BYTES`."""
    with open_plain(path) as f:
        raw = f.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise ValueError("is too large")
    return raw


def fits(value: Any, pattern: Any) -> bool:
    """Whether a value of JSON has exactly the keys and the types of a pattern; None is any."""
    if isinstance(pattern, dict):
        return (isinstance(value, dict) and value.keys() == pattern.keys()
                and all(fits(value[name], part) for name, part in pattern.items()))
    if pattern is int:
        return type(value) is int and 0 <= value < 2**53
    return pattern is None or type(value) is pattern


def decode_evaluation(raw: bytes) -> dict[str, Any]:
    """Return the content of evaluation.json; raises ValueError if it is none of an evaluation."""
    try:
        result: dict[str, Any] = parse_json(raw)
        images, parts = result["images"], (result, result["floor"])
        good = (fits(images, int) and 0 < images < _MAX_IMAGES and fits(result["step"], int)
                and all(type(part.get(name, 0.0)) is float for part in parts for name in FIGURES)
                and all(fits(count, int) and count <= images
                        for part in parts for count in part.get("classes", []))
                and all(type(error) is float for error in result.get("svm_errors", {}).values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        good = False
    if not good:
        raise ValueError("is none of an evaluation")
    return result
