"""The grids of a run as a film."""
from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..machine.files import StrPath, write_atomic
from ..runs.run import Run
from ..visual import read_png

KINDS = ("fixed", "gout", "diff", "data")


class AnimationError(ValueError):
    """A run has no grids, or they cannot be shown together."""


def write_frame(pixels: np.ndarray, step: int) -> np.ndarray:
    """Write the step below a grid.

    Parameters
    ----------
    pixels : (H, W, C), uint8
        C is 1 or 3 (RGB).

    Returns
    -------
    (H + 24, W, 3), uint8
        W and H + 24 are made even, as MP4 needs them.
    """
    height, width = pixels.shape[:2]
    frame = Image.new("RGB", (width + width % 2, height + height % 2 + 24), "black")
    frame.paste(Image.fromarray(np.broadcast_to(pixels, (height, width, 3))))
    ImageDraw.Draw(frame).text((8, frame.height - 18), f"step {step}", "white",
                               ImageFont.load_default())
    return np.asarray(frame)


def animate(run_dir: StrPath, out: StrPath | None = None, kind: str | None = None,
            seconds: float = 8.0) -> list[Path]:
    """Make a GIF of a run's grids, and an MP4 where ffmpeg is installed.

    Parameters
    ----------
    out
        The GIF; `KIND.gif` in the run directory if left out. The MP4 has the same name but for
        its ending. Both are replaced if they are there.
    kind : 'fixed', 'gout', 'diff' or 'data'
        If left out, the first of these that there is.
    seconds : above 0, below 600
        Of the whole film; the last frame stays for a second more. Of more grids than 25 a second,
        as many as that are shown, evenly chosen.

    Returns
    -------
    What was written.

    Raises
    ------
    AnimationError
        If there are no such grids, one is of another size, `out` is no GIF, or ffmpeg fails.
    ValueError
        If one is damaged.
    OSError
        If a file cannot be read or written.
    """
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise AnimationError(f"{run_dir} is no folder: give a run directory")
    kind = kind or next((name for name in KINDS if Run(run_dir).list_grids(name)), "fixed")
    grids = Run(run_dir).list_grids(kind, max(1, int(25 * seconds)))
    if not grids:
        raise AnimationError(f"{run_dir / 'grids'} has no {kind}-*.png: train longer, or with "
                             "--fixed-noise")
    out = Path(out) if out is not None else run_dir / f"{kind}.gif"
    if out.suffix.lower() != ".gif":
        raise AnimationError(f"{out}: give a name that ends in .gif; the MP4 gets the same")
    frames: list[np.ndarray] = []
    for step, path in grids.items():
        frames.append(write_frame(read_png(path), step))
        if frames[-1].shape != frames[0].shape:
            raise AnimationError(f"{path} has another size than the grids before it: remove it")
    hold = max(20, round(1000 * seconds / len(frames)))  # milliseconds
    images = [Image.fromarray(frame) for frame in frames]
    buffer = io.BytesIO()
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:], loop=0,
                   duration=[hold] * (len(frames) - 1) + [hold + 1000])
    write_atomic(out, buffer.getvalue())
    if shutil.which("ffmpeg") is None:
        return [out]
    _write_mp4(out.with_suffix(".mp4"), [*frames, *frames[-1:] * max(1, round(1000 / hold))], hold)
    return [out, out.with_suffix(".mp4")]


def _write_mp4(path: Path, frames: list[np.ndarray], hold: int) -> None:
    """Write frames of so many milliseconds through ffmpeg, complete or not at all."""
    height, width = frames[0].shape[:2]
    temporary = path.with_name(f".{path.name}.tmp.mp4")
    done = subprocess.run(
        ["ffmpeg", "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24",
         "-video_size", f"{width}x{height}", "-framerate", f"1000/{hold}", "-i", "-",
         "-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart", str(temporary)],
        input=b"".join(frame.tobytes() for frame in frames), capture_output=True, check=False)
    if done.returncode:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise AnimationError(f"ffmpeg could not write {path}: {lines[-1]}: the GIF is there")
    temporary.replace(path)
