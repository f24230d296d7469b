"""The grids of a run as a film, a frame at a time: memory does not grow with its length."""
from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Iterator

import cv2
import numpy as np
from PIL import GifImagePlugin, Image, ImageDraw, ImageFont

from ..machine.files import StrPath, write_atomic
from ..runs.grids import FRAMES
from ..runs.pretrained import require_run
from ..runs.run import Run
from ..visual import read_png, read_png_size

KINDS = ("fixed", "gout", "diff", "data")
WIDTH, SECONDS = 320, 8.0
_RATE = 25  # pictures a second of the MP4, and the most of the GIF, which counts 1/100 s
_COLOURS = 32  # of a GIF's frame: digits are grey, and twice as many make it half as large again
_LAST = 1.0  # seconds that the last frame stays for longer
_HIGHEST = 2**14  # pixels: grids of two shapes could ask for any number of them
_LABEL = 24  # pixels below each grid, for its step


class AnimationError(ValueError):
    """A run has no grids, or a film of them cannot be written."""


def write_frame(pixels: np.ndarray, step: int, size: tuple[int, int] | None = None) -> Image.Image:
    """Make a frame: a grid, scaled down to fit, in the middle, and its step below.

    Parameters
    ----------
    pixels : (H, W, C), uint8
        C is 1 or 3 (RGB).
    size
        (width, height) of what the grid has to fit into; its own if left out.

    Returns
    -------
    PIL.Image.Image
        RGB, 24 pixels higher than `size`; both sides are made even, as MP4 needs them.
    """
    width, height = size or (pixels.shape[1], pixels.shape[0])
    ratio = min(1.0, width / pixels.shape[1], height / pixels.shape[0])
    if ratio < 1:
        shape = max(1, round(ratio * pixels.shape[1])), max(1, round(ratio * pixels.shape[0]))
        pixels = cv2.resize(pixels, shape, interpolation=cv2.INTER_AREA)
    grid = Image.fromarray(pixels if pixels.ndim == 3 and pixels.shape[2] == 3 else
                           pixels.reshape(pixels.shape[:2]))
    frame = Image.new("RGB", (width + width % 2, height + height % 2 + _LABEL), "black")
    frame.paste(grid, ((width - grid.width) // 2, (height - grid.height) // 2))
    ImageDraw.Draw(frame).text((8, frame.height - 18), f"step {step}", "white",
                               ImageFont.load_default())
    return frame


def animate(run_dir: StrPath, out: StrPath | None = None, kind: str | None = None,
            seconds: float = SECONDS, width: int = WIDTH, frames: int = FRAMES) -> list[Path]:
    """Make a GIF of a run's grids, and an MP4 where ffmpeg is installed.

    Parameters
    ----------
    out
        The GIF; `KIND.gif` in the run directory if left out. The MP4 has the same name but for
        its ending. Both are replaced if they are there.
    kind : 'fixed', 'gout', 'diff' or 'data'
        If left out, the first of these that there is.
    seconds : above 0, below 600
        Of the whole film; the last frame stays for a second more.
    width : at least 16
        Pixels; smaller grids are not enlarged. Grids of several sizes, as of a run whose batch size
        changed, stand in the middle of a frame for the largest.
    frames : at least 1
        Of more grids, so many are shown, evenly chosen, and never more than 25 a second.

    Returns
    -------
    What was written

    Raises
    ------
    AnimationError
        If there are no such grids, `out` is no GIF, or ffmpeg fails.
    ValueError
        If one is damaged, or `run_dir` is a generator of the box.
    OSError
        If a file cannot be read or written.
    """
    require_run(run_dir)
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise AnimationError(f"{run_dir} is no folder: give a run directory")
    run = Run(run_dir)
    kind = kind or next((name for name in KINDS if run.list_grids(name)), "fixed")
    grids = run.list_grids(kind, max(1, min(frames, int(_RATE * seconds))))
    if not grids:
        raise AnimationError(f"{run_dir / 'grids'} has no {kind}-*.png: train longer, or with "
                             "--fixed-noise")
    out = Path(out) if out is not None else run_dir / f"{kind}.gif"
    if out.suffix.lower() != ".gif":
        raise AnimationError(f"{out}: give a name that ends in .gif; the MP4 gets the same")
    size = _find_size(grids, width)
    write_atomic(out, _encode_gif(grids, size, seconds))
    if shutil.which("ffmpeg") is None:
        return [out]
    _write_mp4(out.with_suffix(".mp4"), grids, size, seconds)
    return [out, out.with_suffix(".mp4")]


def _find_size(grids: dict[int, Path], width: int) -> tuple[int, int]:
    """Return the (width, height) that all grids fit into, scaled down to a width."""
    widest, highest = map(max, zip(*map(read_png_size, grids.values())))
    ratio = min(1.0, width / widest, _HIGHEST / highest)
    return max(1, round(ratio * widest)), max(1, round(ratio * highest))


def _make_frames(grids: dict[int, Path], size: tuple[int, int]) -> Iterator[Image.Image]:
    return (write_frame(read_png(path), step, size) for step, path in grids.items())


def _share(seconds: float, n: int, rate: int) -> list[int]:
    """Divide a film into `n` times, in 1/rate s, none of which is off by more than one."""
    ends = [round(seconds * rate * i / n) for i in range(n + 1)]
    times = [end - begin for begin, end in zip(ends, ends[1:])]
    times[-1] += round(_LAST * rate)
    return times


def _encode_gif(grids: dict[int, Path], size: tuple[int, int], seconds: float) -> Iterator[bytes]:
    """Yield a GIF, piece by piece; Pillow's own writer holds all frames until the end."""
    times = _share(seconds, len(grids), 100)
    for i, (frame, time) in enumerate(zip(_make_frames(grids, size), times)):
        reduced = frame.quantize(_COLOURS, method=Image.Quantize.MEDIANCUT,
                                 dither=Image.Dither.NONE)
        if i == 0:
            head, _ = GifImagePlugin.getheader(reduced, info={"loop": 0})
            yield b"".join(head)
        yield b"".join(GifImagePlugin.getdata(reduced, (0, 0), duration=10 * time,
                                              include_color_table=True))
    yield b";"


def _write_mp4(path: Path, grids: dict[int, Path], size: tuple[int, int], seconds: float) -> None:
    """Write frames through ffmpeg, complete or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        _run_ffmpeg(temporary, path, grids, size, seconds)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _run_ffmpeg(temporary: Path, path: Path, grids: dict[int, Path], size: tuple[int, int],
                seconds: float) -> None:
    width, height = write_frame(np.zeros((1, 1, 1), np.uint8), 0, size).size
    with tempfile.TemporaryFile() as words, subprocess.Popen(
            ["ffmpeg", "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24",
             "-video_size", f"{width}x{height}", "-framerate", str(_RATE), "-i", "-",
             "-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4",
             f"file:{temporary}"],  # a name with a colon could be a protocol's
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=words) as ffmpeg:
        assert ffmpeg.stdin is not None
        # Where it ends early, its status and its words say why.
        with contextlib.suppress(BrokenPipeError), ffmpeg.stdin:
            for frame, time in zip(_make_frames(grids, size), _share(seconds, len(grids), _RATE)):
                for _ in range(time):
                    ffmpeg.stdin.write(frame.tobytes())
        ffmpeg.wait()
        words.seek(0)
        said = words.read()
    if ffmpeg.returncode:
        lines = said.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise AnimationError(f"ffmpeg could not write {path}: {lines[-1]}: the GIF is there")
