"""Generators that come with the package: a .params file and a .json with a checksum for each."""
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
_PATTERN = {"format": int, "dataset": str, "latent": str, "step": int, "weights": str,
            **dict.fromkeys(_NETWORK, int)}
_MOST_BYTES = 8_000_000  # of one generator: a package is no place for more


def is_pretrained(source: StrPath) -> bool:
    """Whether a source of images is `pretrained:NAME`."""
    return str(source).startswith(PREFIX)


def check_run_dir(source: StrPath) -> None:
    """Raise ValueError if a source is a pretrained generator, where a run is needed."""
    if is_pretrained(source):
        raise ValueError(f"{source} is a generator alone, without D and without a run: give a run "
                         "directory")


def list_pretrained() -> list[str]:
    """Return the names of all pretrained generators."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def read_pretrained(source: StrPath) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read and verify `pretrained:NAME`: what `_PATTERN` lists, and float32 parameters."""
    name = str(source)[len(PREFIX):]
    if name not in list_pretrained():
        there = ", ".join(map(PREFIX.__add__, list_pretrained())) or "none"
        raise ValueError(f"{source}: no such pretrained generator: give one of {there}")
    facts_path, params_path = (FOLDER / f"{name}.{suffix}" for suffix in ("json", "params"))
    sealed, raw = _read(facts_path), _read(params_path)
    try:
        facts = decode_state(sealed)
        if not matches_schema(facts, {**_PATTERN, "files": {params_path.name: str}}):
            raise ValueError
        check_settings(dataset=facts["dataset"], **{part: facts[part] for part in _NETWORK})
    except ValueError:
        raise ValueError(f"{facts_path} is damaged: install the package again") from None
    if (facts["format"], facts["latent"]) != (FORMAT, LATENT):
        raise ValueError(f"{facts_path} is of another version: install the package again")
    try:
        if hashlib.sha256(raw).hexdigest() != facts.pop("files")[params_path.name]:
            raise ValueError
        params = parse_params(raw, params_path)
    except ValueError:
        raise ValueError(f"{params_path} is damaged: install the package again") from None
    return facts, {key: array.astype(np.float32) for key, array in params.items()}


def round_weights(params: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Round weights to float16, as they are stored, and back; moving statistics stay float32."""
    with np.errstate(over="ignore"):
        rounded = {key: array.astype(np.float16).astype(np.float32) if key.startswith("arg:") else
                   array for key, array in params.items()}
    for key, array in rounded.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{key} is not finite as float16: give another checkpoint")
    return rounded


def write_pretrained(name: str, params: Mapping[str, np.ndarray], facts: Mapping[str, Any],
                     force: bool = False) -> Path:
    """Add a generator to the package; return its .params file.

    `params` are what `round_weights` returned, with the moving statistics of these weights, and
    `facts` what `read_pretrained` is to return. `force` replaces an earlier one.
    """
    if not name.replace("-", "").isalnum():
        raise ValueError(f"{name!r} is no name: give letters, digits and hyphens")
    if name in list_pretrained() and not force:
        raise ValueError(f"{PREFIX}{name} is there already: give another name, or --force to "
                         "replace it")
    arrays = {key: array.astype(np.float16) if key.startswith("arg:") else array
              for key, array in params.items()}
    if any((array != params[key]).any() for key, array in arrays.items()):
        raise ValueError("params are not rounded to float16: give what round_weights returns")
    content = b"".join(map(bytes, dump_params(arrays)))
    if len(content) > _MOST_BYTES:
        raise ValueError(f"{PREFIX}{name} would take {len(content)} bytes, and {_MOST_BYTES} is "
                         "the most of a generator in the package: take one of a lower --ngf")
    path = FOLDER / f"{name}.params"
    write_atomic(path, content, sync=True)
    write_atomic(path.with_suffix(".json"), encode_state({
        "format": FORMAT, "latent": LATENT, **facts,
        "files": {path.name: hashlib.sha256(content).hexdigest()}}), sync=True)
    return path


def find_settings(facts: Mapping[str, Any]) -> Settings:
    """Return the settings of the training behind a pretrained generator, as far as known."""
    return DEFAULTS.replace({name: facts[name] for name in ("dataset", *_NETWORK)})


def _read(path: Path) -> bytes:
    try:
        with open_regular(path, follow=True) as f:  # an installer may have made links of all files
            return f.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}: install the package again") from None
