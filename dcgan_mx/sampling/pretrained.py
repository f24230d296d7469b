"""Bundled generators: NAME.params, and NAME.json with metadata and a checksum for each file."""
from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Mapping

import numpy as np

from ..runs.checkpoint_files import LATENT, decode_state, encode_state
from ..runs.config import DEFAULTS, Settings, check_settings
from ..runs.json_files import matches_schema
from ..runs.params import dump_params, parse_params
from ..system.files import StrPath, open_regular, write_atomic

FOLDER = Path(__file__).parent.parent / "pretrained"
PREFIX = "pretrained:"
FORMAT = 1
_NETWORK = ("size", "nc", "nz", "ngf")
_SCHEMA = {"format": int, "dataset": str, "latent": str, "step": int, "weights": str,
           **dict.fromkeys(_NETWORK, int)}
_MAX_BYTES = 8_000_000  # of one generator, so that the package stays small
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
        names = ", ".join(map(PREFIX.__add__, list_pretrained())) or "none"
        raise ValueError(f"{source}: there is no such bundled generator: choose from {names}")
    json_path, params_path = (FOLDER / f"{name}.{suffix}" for suffix in ("json", "params"))
    raw_json, raw_params = _read(json_path), _read(params_path)
    try:
        metadata = decode_state(raw_json)
        if not matches_schema(metadata, {**_SCHEMA, "files": {params_path.name: str}}):
            raise ValueError
        check_settings(dataset=metadata["dataset"], **{part: metadata[part] for part in _NETWORK})
    except ValueError:
        raise ValueError(f"{json_path} is damaged: {_REINSTALL}") from None
    if (metadata["format"], metadata["latent"]) != (FORMAT, LATENT):
        raise ValueError(f"{json_path} is of another version: {_REINSTALL}")
    try:
        if hashlib.sha256(raw_params).hexdigest() != metadata.pop("files")[params_path.name]:
            raise ValueError
        params = parse_params(raw_params, params_path)
    except ValueError:
        raise ValueError(f"{params_path} is damaged: {_REINSTALL}") from None
    return metadata, {key: array.astype(np.float32) for key, array in params.items()}


def round_weights(params: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Round weights to float16 and back, as files store them; moving statistics stay float32."""
    with np.errstate(over="ignore"):
        rounded = {key: array.astype(np.float16).astype(np.float32) if key.startswith("arg:") else
                   array for key, array in params.items()}
    for key, array in rounded.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{key} is not finite as float16: give another checkpoint")
    return rounded


def write_pretrained(name: str, params: Mapping[str, np.ndarray], metadata: Mapping[str, Any],
                     force: bool = False) -> Path:
    """Add a generator to the package; return its .params file.

    `params` are weights from `round_weights`, with moving statistics measured for these;
    `metadata` is what `read_pretrained` will return; `force` replaces an existing generator.
    """
    if not name.replace("-", "").isalnum():
        raise ValueError(f"invalid name {name!r}: use letters, digits and hyphens")
    if name in list_pretrained() and not force:
        raise ValueError(f"{PREFIX}{name} exists: give another name, or force to replace it")
    arrays = {key: array.astype(np.float16) if key.startswith("arg:") else array
              for key, array in params.items()}
    if any((array != params[key]).any() for key, array in arrays.items()):
        raise ValueError("the weights are not rounded to float16: pass them to round_weights")
    content = b"".join(map(bytes, dump_params(arrays)))
    if len(content) > _MAX_BYTES:
        raise ValueError(f"{PREFIX}{name} has {len(content)} bytes, more than the limit of "
                         f"{_MAX_BYTES}: give a generator with a lower ngf")
    path = FOLDER / f"{name}.params"
    write_atomic(path, content, sync=True)
    write_atomic(path.with_suffix(".json"), encode_state({
        "format": FORMAT, "latent": LATENT, **metadata,
        "files": {path.name: hashlib.sha256(content).hexdigest()}}), sync=True)
    return path


def find_settings(metadata: Mapping[str, Any]) -> Settings:
    """Return the training settings of a bundled generator: those in its metadata, else defaults."""
    return DEFAULTS.replace({name: metadata[name] for name in ("dataset", *_NETWORK)})


def _read(path: Path) -> bytes:
    """Read a file of the package, which some installers replace by a link."""
    try:
        with open_regular(path, follow=True) as f:
            return f.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}: {_REINSTALL}") from None
