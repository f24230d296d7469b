"""What a checkpoint is made of, and how each byte of it is verified."""
from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Sequence

from ..machine.files import open_plain, parse_json

FORMAT = 1
LATENT = "normal"  # what `RandIter` draws the latent vectors from: N(0, 1)
STATE = "state.json"
SYMBOLS = ("G-symbol.json", "D-symbol.json")
PARAMS = ("G-0000.params", "D-0000.params", "G-optimizer.params", "D-optimizer.params")
REPLICAS = "replicas.params"  # where there are several copies of the networks
AVERAGE = "G-ema.params"  # where G's weights are averaged
OPTIONAL = (REPLICAS, AVERAGE)
_MAX_STATE_BYTES = 1 << 16


class CheckpointError(ValueError):
    """A checkpoint is damaged, is none, or belongs to another training."""


COUNTERS: dict[str, Any] = {
    "step": int, "epoch": int, "nbatch": int, "batch_size": int, "workers": int,
    "updates": {"G": int, "D": int},
    "metrics": {"sums": {"acc": float, "d_entropy": float, "g_entropy": float},
                "counts": {"d": int, "g": int}}}
_DOCUMENT: dict[str, Any] = {"format": int, "latent": str, "seed": None, **COUNTERS,
             "files": dict.fromkeys((*SYMBOLS, *PARAMS), str)}


def encode_state(document: dict[str, Any]) -> bytes:
    """Return the content of state.json: one way to write it, sealed by a digest of itself."""
    def dump(value: dict[str, Any]) -> bytes:
        return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()

    return dump({**document, "sha256": hashlib.sha256(dump(document)).hexdigest()})


def decode_state(raw: bytes) -> dict[str, Any]:
    """Return the document that `encode_state` wrote; raises ValueError if it did not."""
    document = parse_json(raw)
    if not isinstance(document, dict) or not isinstance(document.pop("sha256", None), str):
        raise ValueError("is not sealed")
    if encode_state(document) != raw:
        raise ValueError("is not what was sealed")
    return document


def read_files(folder: Path, names: Sequence[str] | None = None
               ) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Read and verify files of a checkpoint.

    Parameters
    ----------
    folder
    names
        All files if left out.

    Returns
    -------
    document
        The content of state.json.
    contents
        Of the files in `names`.

    Raises
    ------
    CheckpointError
        If a file is missing, a link, or not what was written; the message names it.
    """
    path = folder / STATE
    raw = _read_file(path, limit=_MAX_STATE_BYTES)
    try:
        document = decode_state(raw)
    except ValueError:
        raise CheckpointError(f"{path} is damaged") from None
    document.setdefault("workers", 1)  # a training by one process did not always say so
    files = document.get("files")
    pattern = {**_DOCUMENT, "files": {**_DOCUMENT["files"], **{
        name: str for name in OPTIONAL if isinstance(files, dict) and name in files}}}
    if document.get("format") != FORMAT or not fits(document, pattern):
        raise CheckpointError(f"{path} is not of this version, or names other files")
    contents = {}
    for name in document["files"] if names is None else names:
        contents[name] = _read_file(folder / name)
        if hashlib.sha256(contents[name]).hexdigest() != document["files"][name]:
            raise CheckpointError(f"{folder / name} is damaged")
    return document, contents


def fits(value: Any, pattern: Any) -> bool:
    """Whether a value of JSON has exactly the keys and the types of a pattern."""
    if isinstance(pattern, dict):
        return (isinstance(value, dict) and value.keys() == pattern.keys()
                and all(fits(value[name], part) for name, part in pattern.items()))
    if pattern is int:
        return type(value) is int and 0 <= value < 2**53
    return pattern is None or type(value) is pattern


def _read_file(path: Path, limit: int | None = None) -> bytes:
    """Read a file that is no link."""
    try:
        with open_plain(path) as f:
            raw = f.read(-1 if limit is None else limit + 1)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from None
    if limit is not None and len(raw) > limit:
        raise CheckpointError(f"{path} is too large")
    return raw
