"""Checks of images, and their division into parts."""
from __future__ import annotations

import numpy as np

MIN_SIZE = 16  # pixels: smaller images have no level of a Laplacian pyramid


def check_images(name: str, images: np.ndarray) -> None:
    """Raise ValueError unless an array holds images, (N, C, H, W), float32, in [-1, 1]."""
    if images.ndim != 4 or images.dtype != np.float32:
        raise ValueError(f"{name} has dtype {images.dtype} and shape {images.shape}: expected "
                         "float32 and (N, C, H, W)")
    if len(images) < 2 or not images.shape[1] or min(images.shape[2:]) < MIN_SIZE:
        raise ValueError(f"{name} has shape {images.shape}: expected at least 2 images, with "
                         f"channels, of at least {MIN_SIZE} pixels a side")
    for part in chunks(images):
        if not np.abs(images[part]).max() <= 1 + 1e-3:  # false for nan, too
            raise ValueError(f"{name} has values outside [-1, 1]: rescale the images")


def chunks(images: np.ndarray) -> list[slice]:
    """Return slices of a set of images with about a million values each, but at least one image."""
    step = max(1, 2**20 // int(np.prod(images.shape[1:])))
    return [slice(start, start + step) for start in range(0, len(images), step)]
