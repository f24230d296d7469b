"""Rows of images on white, with signs before the rows and captions below the images."""
from __future__ import annotations

from typing import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..visual import to_pixels

_GAP, _SIGN, _CAPTION = 4, 16, 14  # pixels: between images, for a row's sign, for a line of text
# Lines of each sign, (x, y) in pixels.
_MINUS, _PLUS = ((1, 0), (10, 0)), ((5, -5), (5, 4))
_STROKES = {"": (), "-": (_MINUS,), "+": (_MINUS, _PLUS),
            "=": tuple(tuple((x, y + dy) for x, y in _MINUS) for dy in (-3, 2))}


def draw_rows(rows: Sequence[np.ndarray], signs: Sequence[str] = (),
              captions: Sequence[Sequence[str]] = (), last_apart: bool = False) -> np.ndarray:
    """Draw rows of images, (n, C, H, W) each, in [-1, 1]; return pixels, (height, width, C), uint8.

    `signs` are '+', '-', '=' or '' for each row, and `captions` a word for each image of each row.
    `last_apart` puts the last image of each row into a separate column on the right.
    """
    height, width = rows[0].shape[2:]
    columns = max(map(len, rows))
    left = _SIGN * any(signs) + _GAP
    line = height + _GAP + _CAPTION * bool(captions)
    size = (left + columns * (width + _GAP) + 2 * _GAP * last_apart, len(rows) * line + _GAP)
    canvas = Image.new("RGB" if rows[0].shape[1] == 3 else "L", size, "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default()
    for r, row in enumerate(rows):
        y = _GAP + r * line
        for stroke in _STROKES[signs[r]] if signs else ():
            pen.line([(_GAP + x, y + height // 2 + dy) for x, dy in stroke], "black", 2)
        for i, pixels in enumerate(to_pixels(row)):
            apart = last_apart and i == len(row) - 1
            x = left + (columns - 1 if apart else i) * (width + _GAP) + 2 * _GAP * apart
            canvas.paste(Image.fromarray(pixels.squeeze()), (x, y))
            if captions:
                pen.text((x + width // 2, y + height + 1), captions[r][i], "black", font, "ma")
    drawn: np.ndarray = np.atleast_3d(np.asarray(canvas))
    return drawn
