"""What an evaluation of a run has found, as it stands on the disk."""
from __future__ import annotations

from typing import Any

from ..machine.files import parse_json
from .log import FIGURES

_MOST_IMAGES = 2**31


def decode_evaluation(raw: bytes) -> dict[str, Any]:
    """Read the content of evaluation.json.

    Returns
    -------
    dict
        `step`, `images`, `floor`; in it and beside it some of `FIGURES`, and `classes`.

    Raises
    ------
    ValueError
        If it is damaged.
    """
    try:
        result = parse_json(raw)
        images = result["images"]
        if type(images) is not int or not 0 < images < _MOST_IMAGES:
            raise ValueError
        for part in (result, result["floor"]):
            if any(type(part.get(name, 0.0)) is not float for name in FIGURES):
                raise ValueError
            if not all(type(count) is int and 0 <= count <= images
                       for count in part.get("classes", [])):
                raise ValueError
        errors = result.get("svm_errors", {}).values()
        if type(result["step"]) is not int or not all(type(error) is float for error in errors):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError("is none of an evaluation") from None
    return dict(result)
