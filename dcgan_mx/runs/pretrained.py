"""Generators that come with the package: the box, a .params file and a sealed .json for each."""
from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Mapping

import numpy as np

from ..machine.files import StrPath, open_plain, write_atomic
from .checkpoint_files import LATENT, decode_state, encode_state
from .documents import fits
from .params import dump_params, parse_params
from .settings import DEFAULTS, Settings, require_settings

FOLDER = Path(__file__).parent.parent / "pretrained"
PREFIX = "pretrained:"
FORMAT = 1
_NETWORK = ("size", "nc", "nz", "ngf")
_PATTERN = {"format": int, "dataset": str, "latent": str, "step": int, "weights": str,
            **dict.fromkeys(_NETWORK, int)}
_MOST_BYTES = 8_000_000  # of one generator: a package is no place for more


class PretrainedError(ValueError):
    """There is no such generator in the box, or it is damaged."""


def is_pretrained(source: StrPath) -> bool:
    """Whether a source of images is in the box: `pretrained:NAME`."""
    return str(source).startswith(PREFIX)


def require_run(source: StrPath) -> None:
    """Raise PretrainedError if a source is in the box, where it takes a run or a checkpoint."""
    if is_pretrained(source):
        raise PretrainedError(f"{source} is a generator alone, without D and without a run: give a "
                              "run directory")


def list_pretrained() -> list[str]:
    """Return the names of all generators in the box."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def read_pretrained(source: StrPath) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read and verify a generator of the box.

    Parameters
    ----------
    source
        `pretrained:NAME`.

    Returns
    -------
    facts
        `dataset`, the images that it learnt from; `size`, `nc`, `nz` and `ngf`, as
        `make_dcgan_sym` takes them; `latent`, what its vectors are drawn from; `step`;
        `weights`, 'ema' or 'raw'.
    params : float32
        Under arg:NAME and aux:NAME; the moving statistics are those of these weights.

    Raises
    ------
    PretrainedError
        If there is no such generator, or one of its files is missing or damaged.
    """
    name = str(source)[len(PREFIX):]
    if name not in list_pretrained():
        there = ", ".join(map(PREFIX.__add__, list_pretrained())) or "no generator"
        raise PretrainedError(f"{source}: there is no such generator in the box: there is {there}")
    facts_path, params_path = (FOLDER / f"{name}.{suffix}" for suffix in ("json", "params"))
    try:
        facts = decode_state(_read(facts_path))
        if not fits(facts, {**_PATTERN, "files": {params_path.name: str}}):
            raise ValueError
        require_settings(dataset=facts["dataset"], **{part: facts[part] for part in _NETWORK})
    except ValueError as error:
        if isinstance(error, PretrainedError):
            raise
        raise _damaged(facts_path) from None
    if (facts["format"], facts["latent"]) != (FORMAT, LATENT):
        raise PretrainedError(f"{facts_path} is of another version: install the package anew")
    raw = _read(params_path)
    if hashlib.sha256(raw).hexdigest() != facts.pop("files")[params_path.name]:
        raise _damaged(params_path)
    try:
        params = parse_params(raw, params_path)
    except ValueError:
        raise _damaged(params_path) from None
    return facts, {key: array.astype(np.float32) for key, array in params.items()}


def round_weights(params: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Round weights to float16, in which the box stores them; moving statistics stay.

    Returns
    -------
    float32

    Raises
    ------
    PretrainedError
        If a weight is too large for float16, or not finite.
    """
    with np.errstate(over="ignore"):
        rounded = {key: array.astype(np.float16).astype(np.float32) if key.startswith("arg:") else
                   array for key, array in params.items()}
    for key, array in rounded.items():
        if not np.isfinite(array).all():
            raise PretrainedError(f"{key} is not finite as float16: give another checkpoint")
    return rounded


def write_pretrained(name: str, params: Mapping[str, np.ndarray], facts: Mapping[str, Any],
                     force: bool = False) -> Path:
    """Put a generator into the box, as `read_pretrained` returns it.

    Parameters
    ----------
    name
        Of letters, digits and hyphens.
    params : float32
        As `round_weights` returns them, with the moving statistics of these weights.
    facts
    force
        Replace what is there.

    Returns
    -------
    pathlib.Path
        The .params file.

    Raises
    ------
    PretrainedError
        If there is one of that name, or the weights are not rounded, or too many.
    OSError
        If a file cannot be written.
    """
    if not name.replace("-", "").isalnum():
        raise PretrainedError(f"{name!r} is no name: give letters, digits and hyphens")
    if name in list_pretrained() and not force:
        raise PretrainedError(f"{PREFIX}{name} is there already: give another name, or --force to "
                              "replace it")
    arrays = {key: array.astype(np.float16) if key.startswith("arg:") else array
              for key, array in params.items()}
    if any((array != params[key]).any() for key, array in arrays.items()):
        raise PretrainedError("params are not rounded to float16: give what round_weights returns")
    content = b"".join(map(bytes, dump_params(arrays)))
    if len(content) > _MOST_BYTES:
        raise PretrainedError(f"{PREFIX}{name} would take {len(content)} bytes, and {_MOST_BYTES} "
                              "is the most of a generator in the package: take one of a lower "
                              "--ngf")
    path = FOLDER / f"{name}.params"
    write_atomic(path, content, sync=True)
    write_atomic(path.with_suffix(".json"), encode_state({
        "format": FORMAT, "latent": LATENT, **facts,
        "files": {path.name: hashlib.sha256(content).hexdigest()}}), sync=True)
    return path


def find_settings(facts: Mapping[str, Any]) -> Settings:
    """Return the settings of the training behind a generator of the box, as far as it knows."""
    return DEFAULTS.replace({name: facts[name] for name in ("dataset", *_NETWORK)})


def _read(path: Path) -> bytes:
    try:
        with open_plain(path, follow=True) as f:  # an installer may have made links of all files
            return f.read(_MOST_BYTES + 1)
    except OSError as error:
        raise PretrainedError(f"{path}: {error.strerror}: install the package anew") from None


def _damaged(path: Path) -> PretrainedError:
    return PretrainedError(f"{path} is damaged: install the package anew")
