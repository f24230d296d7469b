"""evaluation.json: the metrics that an evaluation of a run has found."""
from __future__ import annotations

from typing import Any

from ..system.files import parse_json
from .log import METRICS


def decode_evaluation(raw: bytes) -> dict[str, Any]:
    """Read `step`, `images` and `baseline`; both levels can have `METRICS` and `class_counts`."""
    try:
        result = parse_json(raw)
        images, errors = result["images"], result.get("svm_errors", {}).values()
        wrong = [type(result["step"]) is not int, type(images) is not int or not 0 < images < 2**31,
                 *(type(error) is not float for error in errors)]
        for part in (result, result["baseline"]):
            wrong += [type(part.get(name, 0.0)) is not float for name in METRICS]
            wrong += [type(count) is not int or not 0 <= count <= images
                      for count in part.get("class_counts", [])]
        if any(wrong):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError("is none of an evaluation") from None
    return dict(result)
