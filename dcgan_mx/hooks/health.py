"""Warnings of failing runs, from the numbers and images that are logged."""
from __future__ import annotations

import math
from collections import deque
from typing import Any, Mapping, Sequence

import numpy as np

from ..system.command_line import flag_name
from .base import Record

# Steps for which the signs of a failure must last. In runs that succeeded in the end, D led
# for up to 230 steps, and the images were alike for up to 50.
_STEPS = 300
_WON_ACC, _WON_ENTROPY = 0.99, 4.0  # of D, and of G in nats: mostly 1 to 4, but 7 if D has won
_LINES = 10  # of the log, whose means must reach these entropies of D and G: an oscillation
_SWINGING = 0.4, 2.5  # if D is steady, one of them is lower
_GUESSING = 0.98 * math.log(2)  # a D that guesses has the entropy ln 2
_ALIKE = 0.2  # share of variance between images, relative to real ones: 0.3 to 1 if they vary

_MESSAGES = {
    "discriminator_wins":
        "the discriminator has won: for {steps} steps it has recognized nearly all images, so that "
        "the generator hardly learns: try another {seed} or a lower {lr_d}{preset}",
    "oscillation":
        "the training oscillates: for {steps} steps, the losses of both networks have been high in "
        "turn: try a lower {lr_d} and {lr_g} or another {seed}{preset}",
    "no_learning":
        "the discriminator does not learn: for {steps} steps it has done no better than guessing: "
        "try a higher {lr_d} or less {instance_noise}, and look at the real images with {preview}",
    "mode_collapse":
        "mode collapse: for {steps} steps, the generated images of a batch have been nearly alike: "
        "try another {seed} or a lower {lr_g}{preset}"}


class TrainingHealth:
    """Recognizes a failing training by its records, and warns once of each kind of failure.

    Parameters
    ----------
    logged
        Records of the run's log, from which the state is restored. Images are not logged, so the
        steps of a mode collapse are counted from the last of these records.
    preset
        A preset that the warnings suggest.
    """

    def __init__(self, logged: Sequence[Mapping[str, Any]] = (), preset: str | None = None) -> None:
        self._preset = preset
        self._warned = [values["warning"] for values in logged if "warning" in values]
        # The last step without signs of each failure.
        self._last_healthy = dict.fromkeys(_MESSAGES, 0)
        self._alike = False  # the images of the last record
        self._entropies: deque[tuple[float, float]] = deque(maxlen=_LINES)
        for values in logged:
            self._update(values)
            self._last_healthy["mode_collapse"] = values["step"]

    def check(self, record: Record) -> list[Record]:
        """Return a warning for each failure that this record of a run is the first to show."""
        values, images = record.values, record.images
        if values.get("last"):  # an uninterrupted training has no such record
            return []
        self._update(values)
        (fake_variance, fake_share), (real_variance, real_share) = (
            _variance(images[name]) for name in ("gout", "data"))
        were_alike, self._alike = self._alike, fake_share < _ALIKE * real_share
        if not self._alike:
            self._last_healthy["mode_collapse"] = record.step
        # A single batch of images proves nothing; D also guesses if G has learned.
        doubtful = {"mode_collapse": not were_alike,
                    "no_learning": fake_variance > real_variance / 2}
        failures = [kind for kind, step in self._last_healthy.items()
                    if record.step - step >= _STEPS and kind not in self._warned
                    and not doubtful.get(kind)]
        self._warned += failures
        flags = {name: flag_name(name) for name in ("seed", "lr_d", "lr_g", "preview",
                                                        "instance_noise")}
        flags["preset"] = f", or {flag_name('preset')} {self._preset}" if self._preset else ""
        place = {name: values[name] for name in ("epoch", "step", "seconds")}
        return [Record("warning", record.step, {
            **place, "warning": kind,
            "message": _MESSAGES[kind].format(steps=_STEPS, **flags)}, {})
            for kind in failures]

    def _update(self, values: Mapping[str, Any]) -> None:
        """Count a line of the log."""
        numbers: Any = [values.get(name) for name in ("acc", "d_entropy", "g_entropy")]
        if not all(isinstance(number, float) for number in numbers):
            if "acc" in values:  # no update of G since the last line
                self._last_healthy = dict.fromkeys(_MESSAGES, values["step"])
            return
        acc, d_entropy, g_entropy = numbers
        self._entropies.append((d_entropy, g_entropy))
        signs = {
            # G's entropy is near 0 instead of high if its loss is the saturating one.
            "discriminator_wins": acc >= _WON_ACC and not (
                math.exp(-_WON_ENTROPY) < g_entropy < _WON_ENTROPY),
            "oscillation": (np.mean(self._entropies, axis=0) >= _SWINGING).all(),
            "no_learning": d_entropy >= _GUESSING}
        for kind, sign in signs.items():
            if not sign:
                self._last_healthy[kind] = values["step"]


def _variance(images: np.ndarray) -> tuple[float, float]:
    """Return the variance between images, and its share of the variance of all pixels."""
    between, total = float(images.var(axis=0).mean()), float(images.var())
    return between, between / total if total else 0.0
