"""Untrusted JSON files: regular files of bounded size and known structure."""
from __future__ import annotations

from pathlib import Path
from typing import Any

from ..system.files import name_errors, open_regular

MAX_BYTES = 1 << 16  # of a JSON file, and of a line of log.jsonl


def read_small(path: Path) -> bytes:
    """Read a regular file; ValueError if it is larger than `MAX_BYTES`."""
    with name_errors(path), open_regular(path) as f:
        raw = f.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise ValueError("too large")
    return raw


def matches_schema(value: Any, schema: Any) -> bool:
    """Whether a JSON value has exactly the keys and types of a schema; None matches anything."""
    if isinstance(schema, dict):
        return (isinstance(value, dict) and value.keys() == schema.keys()
                and all(matches_schema(value[name], part) for name, part in schema.items()))
    if schema is int:
        return type(value) is int and 0 <= value < 2**53
    return schema is None or type(value) is schema
