"""JSON files that a stranger may have written: plain files, of bounded size and known content."""
from __future__ import annotations

from pathlib import Path
from typing import Any

from ..system.files import open_regular

MAX_BYTES = 1 << 16  # of a JSON file, and of a line of log.jsonl


def read_small(path: Path) -> bytes:
    """Read a file that is no link; raises ValueError if it is larger than `MAX_BYTES`."""
    with open_regular(path) as f:
        raw = f.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise ValueError("is too large")
    return raw


def matches_schema(value: Any, pattern: Any) -> bool:
    """Whether a value of JSON has exactly the keys and the types of a pattern; None is any."""
    if isinstance(pattern, dict):
        return (isinstance(value, dict) and value.keys() == pattern.keys()
                and all(matches_schema(value[name], part) for name, part in pattern.items()))
    if pattern is int:
        return type(value) is int and 0 <= value < 2**53
    return pattern is None or type(value) is pattern
