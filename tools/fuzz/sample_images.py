"""Small images in every format that `dcgan-mx pack` reads, as seeds of the fuzz targets."""
from __future__ import annotations

import io
from typing import Any, Iterator

import numpy as np
from PIL import Image


def draw(kind: str) -> Iterator[bytes]:
    """Yield small images in one of the formats, in its color modes and variants."""
    rng = np.random.default_rng(0)
    gray, color = rng.integers(256, size=(17, 20)), rng.integers(256, size=(17, 20, 4))
    image = Image.fromarray(color.astype(np.uint8), "RGBA")
    exif = Image.Exif()
    exif[0x0112] = 6
    variants: dict[str, list[tuple[str, dict[str, Any]]]] = {
        "BMP": [("RGB", {}), ("P", {}), ("1", {}), ("RGBA", {})],
        "GIF": [("P", {}), ("P", {"save_all": True, "append_images": [image.convert("P")]})],
        "JPEG": [("RGB", {}), ("L", {"progressive": True}), ("CMYK", {}), ("RGB", {"exif": exif})],
        "PNG": [("RGB", {}), ("RGBA", {}), ("P", {"transparency": 0}), ("L", {}), ("I;16", {}),
                ("1", {})],
        "PPM": [("RGB", {}), ("L", {}), ("1", {})],
        "TIFF": [("RGB", {}), ("RGB", {"compression": "tiff_lzw"}), ("CMYK", {}),
                 ("RGB", {"compression": "tiff_deflate"}), ("1", {"compression": "group4"}),
                 ("RGB", {"compression": "jpeg"}), ("I;16", {})],
        "WEBP": [("RGB", {}), ("RGBA", {"lossless": True})]}
    for mode, options in variants[kind]:
        image_in_mode = (Image.fromarray((257 * gray).astype(np.uint16)) if mode == "I;16" else
                   image.convert("RGB").convert(mode) if mode != "RGBA" else image)
        buffer = io.BytesIO()
        image_in_mode.save(buffer, kind, **options)
        yield buffer.getvalue()
