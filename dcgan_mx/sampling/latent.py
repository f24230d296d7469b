"""Latent vectors: random, interpolated, traversed, added and subtracted."""
from __future__ import annotations

import re

import numpy as np

from ..iterators import LATENT, make_rng


def make_latents(n: int, nz: int, seed: int = 0) -> np.ndarray:
    """Draw latent vectors from N(0, 1), as `RandIter` does: (n, nz), float32.

    The first vectors of a seed are the same for every `n`.
    """
    return make_rng(seed, LATENT, 0).standard_normal((n, nz), np.float32)


def slerp(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Interpolate between two latent vectors along a great circle.

    `a` and `b`, (nz,), are nonzero and not opposite. Returns (steps, nz), float32, for `t`,
    (steps,), in [0, 1]: the angle to `a` and the norm are linear in t; 0 gives `a` and 1 gives `b`,
    exactly.

    Normal vectors of many dimensions lie close to a sphere. A straight line leaves this sphere, for
    vectors on which the generator was never trained. Source: Shoemake, "Animating rotation with
    quaternion curves", SIGGRAPH 1985; White, arXiv:1609.04468.
    """
    a, b, t = (np.asarray(x, np.float64) for x in (a, b, t))
    norms = np.linalg.norm(a), np.linalg.norm(b)
    ends = a / norms[0], b / norms[1]
    # The tangent of half the angle is exact for small angles, unlike arccos.
    angle = 2 * np.arctan2(np.linalg.norm(ends[0] - ends[1]), np.linalg.norm(ends[0] + ends[1]))
    sine = np.sin(angle)
    weights = ((1 - t, t) if sine < 1e-9 else
               (np.sin((1 - t) * angle) / sine, np.sin(t * angle) / sine))
    direction = weights[0][:, None] * ends[0] + weights[1][:, None] * ends[1]
    path = ((1 - t) * norms[0] + t * norms[1])[:, None] * direction
    path[t == 0], path[t == 1] = a, b
    return path.astype(np.float32)


def traverse(z: np.ndarray, dim: int, values: np.ndarray) -> np.ndarray:
    """Return copies of a latent vector, (steps, nz), with component `dim` set to each value."""
    if not 0 <= dim < len(z):
        raise ValueError(f"dimension {dim} is out of range: give 0 to {len(z) - 1}")
    vectors = np.repeat(z[None], len(values), 0)
    vectors[:, dim] = values
    return vectors


def parse_arithmetic(expression: str) -> list[tuple[int, list[int]]]:
    """Parse groups of seeds, such as "1,2,3 - 4,5,6 + 7": (1 or -1, seeds) of each group."""
    group = r"\s*[0-9]{1,18}\s*(?:,\s*[0-9]{1,18}\s*)*"
    if not re.fullmatch(rf"\s*-?{group}(?:[+-]{group})*", expression):
        raise ValueError(f"invalid expression {expression!r}: expected groups of seeds, as in "
                         "'1,2,3 - 4,5,6 + 7,8,9'")
    return [(-1 if sign == "-" else 1, [int(seed) for seed in seeds.split(",")])
            for sign, seeds in re.findall(rf"([+-]?)({group})", expression)]


def arithmetic(terms: list[tuple[int, list[int]]], nz: int
               ) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Add and subtract the means of groups of latent vectors.

    `terms` come from `parse_arithmetic`. Returns the groups, (len(seeds), nz) each, their means,
    (len(terms), nz), and the signed sum of the means, (nz,). Source: Radford et al.,
    arXiv:1511.06434, section 6.3.2: means of three vectors, because single samples are unstable.
    """
    groups = [np.concatenate([make_latents(1, nz, seed) for seed in seeds]) for _, seeds in terms]
    means = np.stack([group.mean(0) for group in groups])
    total: np.ndarray = np.sum([sign * mean for (sign, _), mean in zip(terms, means)], axis=0)
    return groups, means, total
