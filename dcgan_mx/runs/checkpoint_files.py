"""What a checkpoint is made of, and how each byte of it is verified."""
from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Sequence

from ..system.files import open_regular, parse_json
from .json_files import matches_schema, read_small

FORMAT = 1
LATENT = "normal"  # what `RandIter` draws the latent vectors from: N(0, 1)
STATE = "state.json"
SYMBOLS = ("G-symbol.json", "D-symbol.json")
PARAMS = ("G-0000.params", "D-0000.params", "G-optimizer.params", "D-optimizer.params")
REPLICAS = "replicas.params"  # where there are several copies of the networks
AVERAGE = "G-ema.params"  # where G's weights are averaged
OPTIONAL = (REPLICAS, AVERAGE)
COUNTERS: dict[str, Any] = {
    "step": int, "epoch": int, "nbatch": int, "batch_size": int, "workers": int,
    "updates": {"G": int, "D": int},
    "metrics": {"sums": {"acc": float, "d_entropy": float, "g_entropy": float},
                "counts": {"d": int, "g": int}}}


class CheckpointError(ValueError):
    """A checkpoint is damaged, is none, or belongs to another training."""


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
    """Return the content of state.json, and of files of a checkpoint by name; None: of all.

    Raises CheckpointError if a file is missing, a link, or not what was written.
    """
    path = folder / STATE
    try:
        document = decode_state(read_small(path))
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from None
    except ValueError:
        raise CheckpointError(f"{path} is damaged") from None
    files = document.get("files")
    optional = {*OPTIONAL} & {*(files if isinstance(files, dict) else ())}
    if document.get("format") != FORMAT or not matches_schema(document, {
            "format": int, "latent": str, "seed": None, **COUNTERS,
            "files": dict.fromkeys((*SYMBOLS, *PARAMS, *optional), str)}):
        raise CheckpointError(f"{path} is not of this version, or names other files")
    contents = {}
    for name in document["files"] if names is None else names:
        path = folder / name
        try:
            with open_regular(path) as f:
                contents[name] = f.read()
        except OSError as error:
            raise CheckpointError(f"{path}: {error.strerror}") from None
        if hashlib.sha256(contents[name]).hexdigest() != document["files"][name]:
            raise CheckpointError(f"{path} is damaged")
    return document, contents
