"""Latent vectors: drawn from seeds, walked between, added and subtracted."""
from __future__ import annotations

import re

import numpy as np

from ..data.epochs import LATENT, generator


def make_latents(n: int, nz: int, seed: int = 0) -> np.ndarray:
    """Draw latent vectors.

    Parameters
    ----------
    n, nz : at least 1
        Vectors, and numbers in each.
    seed : at least 0
        The first vector of a seed is the same for every `n`.

    Returns
    -------
    (n, nz), float32
        From N(0, 1), as `RandIter` draws them.
    """
    return generator(seed, LATENT, 0).standard_normal((n, nz), np.float32)


def slerp(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Go from one vector to another on a great circle.

    Parameters
    ----------
    a, b : (nz,), float32
        Not zero, and not opposite to each other.
    t : (steps,), float
        In [0, 1]; 0 gives `a` and 1 gives `b`, to the bit.

    Returns
    -------
    (steps, nz), float32
        The angle to `a` and the norm go evenly from one end to the other.

    Raises
    ------
    ValueError
        If no single great circle leads from `a` to `b`.

    Notes
    -----
    Normal vectors of many dimensions lie close to a sphere; a straight line leaves it, for where
    the generator was never trained. Source: Shoemake, "Animating rotation with quaternion curves",
    SIGGRAPH 1985; White, arXiv:1609.04468.
    """
    a, b, t = (np.asarray(x, np.float64) for x in (a, b, t))
    norms = np.linalg.norm(a), np.linalg.norm(b)
    if not all(norms):
        raise ValueError("a vector is zero: give two that have a direction")
    ends = a / norms[0], b / norms[1]
    # half the angle by the tangent: exact for small angles, where arccos is not
    angle = 2 * np.arctan2(np.linalg.norm(ends[0] - ends[1]), np.linalg.norm(ends[0] + ends[1]))
    if np.pi - angle < 1e-6:
        raise ValueError("the vectors are opposite: every way between them is as good: give others")
    sine = np.sin(angle)
    weights = ((1 - t, t) if sine < 1e-9 else
               (np.sin((1 - t) * angle) / sine, np.sin(t * angle) / sine))
    direction = weights[0][:, None] * ends[0] + weights[1][:, None] * ends[1]
    path = ((1 - t) * norms[0] + t * norms[1])[:, None] * direction
    path[t == 0], path[t == 1] = a, b
    return path.astype(np.float32)


def sweep(z: np.ndarray, dim: int, values: np.ndarray) -> np.ndarray:
    """Vary one number of a vector.

    Parameters
    ----------
    z : (nz,), float32
    dim : from 0 to nz - 1
    values : (steps,), float

    Returns
    -------
    (steps, nz), float32

    Raises
    ------
    ValueError
        If there is no such dimension.
    """
    if not 0 <= dim < len(z):
        raise ValueError(f"dimension {dim}: give 0 to {len(z) - 1}")
    vectors = np.repeat(z[None], len(values), 0)
    vectors[:, dim] = values
    return vectors


def parse_arithmetic(expression: str) -> list[tuple[int, list[int]]]:
    """Read groups of seeds with signs between them.

    Parameters
    ----------
    expression
        Such as "1,2,3 - 4,5,6 + 7,8,9".

    Returns
    -------
    Sign, 1 or -1, and seeds of each group.

    Raises
    ------
    ValueError
        If it is no such expression.
    """
    group = r"\s*[0-9]{1,18}\s*(?:,\s*[0-9]{1,18}\s*)*"
    if not re.fullmatch(rf"\s*-?{group}(?:[+-]{group})*", expression):
        raise ValueError(f"{expression!r} is no sum of seeds: give groups of whole numbers as in "
                         "'1,2,3 - 4,5,6 + 7,8,9'")
    return [(-1 if sign == "-" else 1, [int(seed) for seed in seeds.split(",")])
            for sign, seeds in re.findall(rf"([+-]?)({group})", expression)]


def add(terms: list[tuple[int, list[int]]],
        nz: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Add the averages of groups of latent vectors.

    Parameters
    ----------
    terms
        As `parse_arithmetic` returns them.

    Returns
    -------
    groups : (len(seeds), nz), float32
        The vectors of each group.
    averages : (len(terms), nz), float32
    total : (nz,), float32
        The averages with their signs, added from left to right.

    Notes
    -----
    Source: Radford et al., arXiv:1511.06434, section 6.3.2: averages of three, because single
    samples are unstable.
    """
    groups = [np.concatenate([make_latents(1, nz, seed) for seed in seeds]) for _, seeds in terms]
    averages = np.stack([group.mean(0) for group in groups])
    total = np.zeros(nz, np.float32)
    for (sign, _), average in zip(terms, averages):
        total += sign * average
    return groups, averages, total
