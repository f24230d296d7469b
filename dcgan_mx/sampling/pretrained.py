"""Bundled generators: NAME.params, and NAME.json with metadata and checksums."""
from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Mapping

import numpy as np

from ..runs.checkpoint_files import LATENT, decode_state
from ..runs.config import DEFAULTS, Settings, check_settings
from ..runs.json_files import matches_schema
from ..runs.params import parse_params
from ..system.files import StrPath, open_regular

FOLDER = Path(__file__).parent.parent / "pretrained"
PREFIX = "pretrained:"
FORMAT = 1
MAX_BYTES = 8_000_000  # of one generator, so that the package stays small
_NETWORK = ("size", "nc", "nz", "ngf")
_SCHEMA = {"format": int, "dataset": str, "latent": str, "step": int, "weights": str,
           **dict.fromkeys(_NETWORK, int)}
_REINSTALL = "install the package again"


def is_pretrained(source: StrPath) -> bool:
    """Whether `source` is `pretrained:NAME`."""
    return str(source).startswith(PREFIX)


def check_run_dir(source: StrPath) -> None:
    """Raise ValueError if `source` is a bundled generator, where a run directory is needed."""
    if is_pretrained(source):
        raise ValueError(f"{source} is only a generator, without D and without a run: give a run "
                         "directory")


def list_pretrained() -> list[str]:
    """Return the names of all bundled generators."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def read_pretrained(source: StrPath) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read and verify `pretrained:NAME`: its metadata (see `_SCHEMA`) and float32 parameters."""
    name = str(source)[len(PREFIX):]
    if name not in list_pretrained():
        names = ", ".join(PREFIX + known for known in list_pretrained()) or "none"
        raise ValueError(f"{source}: there is no such bundled generator: choose from {names}")
    json_path, params_path = (FOLDER / f"{name}.{suffix}" for suffix in ("json", "params"))
    raw_json, raw_params = _read(json_path), _read(params_path)
    path = json_path
    try:
        metadata = decode_state(raw_json)
        if (not matches_schema(metadata, {**_SCHEMA, "files": {params_path.name: str}})
                or (metadata["format"], metadata["latent"]) != (FORMAT, LATENT)):
            raise ValueError
        check_settings(dataset=metadata["dataset"], **{part: metadata[part] for part in _NETWORK})
        path = params_path
        if hashlib.sha256(raw_params).hexdigest() != metadata.pop("files")[path.name]:
            raise ValueError
        params = parse_params(raw_params, path)
    except ValueError:
        raise ValueError(f"{path} is damaged or of another version: {_REINSTALL}") from None
    return metadata, {key: array.astype(np.float32) for key, array in params.items()}


def find_settings(metadata: Mapping[str, Any]) -> Settings:
    """Return the training settings of a bundled generator: those in its metadata, else defaults."""
    return DEFAULTS.replace({name: metadata[name] for name in ("dataset", *_NETWORK)})


def _read(path: Path) -> bytes:
    """Read a file of the package, which some installers replace by a link."""
    try:
        with open_regular(path, follow=True) as f:
            return f.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}: {_REINSTALL}") from None
