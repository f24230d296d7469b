"""The files of a checkpoint, and how each byte of them is verified."""
from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Sequence

from ..system.files import open_regular, parse_json
from .json_files import matches_schema, read_small

FORMAT = 1
LATENT = "normal"  # the distribution of `RandIter`'s latent vectors: N(0, 1)
STATE = "state.json"
SYMBOLS = ("G-symbol.json", "D-symbol.json")
PARAMS = ("G-0000.params", "D-0000.params", "G-optimizer.params", "D-optimizer.params")
REPLICAS = "replicas.params"  # only with several copies of the networks
AVERAGE = "G-ema.params"  # only if G's weights are averaged
OPTIONAL = (REPLICAS, AVERAGE)
COUNTERS: dict[str, Any] = {
    "step": int, "epoch": int, "nbatch": int, "batch_size": int, "workers": int,
    "updates": {"G": int, "D": int},
    "metrics": {"sums": {"acc": float, "d_entropy": float, "g_entropy": float},
                "counts": {"d": int, "g": int}}}


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, or of another training."""


def encode_state(metadata: dict[str, Any]) -> bytes:
    """Return the content of state.json: canonical JSON with a checksum of itself."""
    def dump(value: dict[str, Any]) -> bytes:
        return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()

    return dump({**metadata, "sha256": hashlib.sha256(dump(metadata)).hexdigest()})


def decode_state(raw: bytes) -> dict[str, Any]:
    """Return the metadata that `encode_state` wrote; ValueError if the checksum is wrong."""
    metadata = parse_json(raw)
    if (not isinstance(metadata, dict) or not isinstance(metadata.pop("sha256", None), str)
            or encode_state(metadata) != raw):
        raise ValueError("wrong checksum")
    return metadata


def read_files(folder: Path, names: Sequence[str] | None = None
               ) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the metadata in state.json, and the content of files by name; None: all files.

    Raises CheckpointError if a file is missing, a link, or damaged.
    """
    path = folder / STATE
    try:
        metadata = decode_state(read_small(path))
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from None
    except ValueError:
        raise CheckpointError(f"{path} is damaged") from None
    files = metadata.get("files")
    optional = {*OPTIONAL} & {*(files if isinstance(files, dict) else ())}
    if metadata.get("format") != FORMAT or not matches_schema(metadata, {
            "format": int, "latent": str, "seed": None, **COUNTERS,
            "files": dict.fromkeys((*SYMBOLS, *PARAMS, *optional), str)}):
        raise CheckpointError(f"{path} is of another version, or lists other files")
    contents = {}
    for name in metadata["files"] if names is None else names:
        path = folder / name
        try:
            with open_regular(path) as f:
                contents[name] = f.read()
        except OSError as error:
            raise CheckpointError(f"{path}: {error.strerror}") from None
        if hashlib.sha256(contents[name]).hexdigest() != metadata["files"][name]:
            raise CheckpointError(f"{path} is damaged")
    return metadata, contents
