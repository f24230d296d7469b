"""The grids of a run as an animation."""
from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Iterator

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..runs.grids import FRAMES
from ..runs.run import Run
from ..system.errors import ArgumentError
from ..system.files import StrPath, write_atomic
from ..visual import read_png
from .pretrained import check_run_dir

KINDS = ("fixed", "gout", "diff", "data")
WIDTH, SECONDS = 320, 8.0
_FPS = 25  # of the MP4, and the most of a GIF
_LAST_SECONDS = 1  # added to the last frame
_MAX_HEIGHT = 2**14  # pixels: damaged or foreign grids could be of any height
_CAPTION = 24  # pixels below each grid, for its step


def animate(run_dir: StrPath, out: StrPath | None = None, kind: str | None = None,
            seconds: float = SECONDS, width: int = WIDTH, frames: int = FRAMES) -> list[Path]:
    """Make a GIF of a run's grids, and an MP4 if ffmpeg is installed; return the files.

    `kind` defaults to the first of `KINDS` that the run has, and `out`, the GIF, to KIND.gif in the
    run directory. At most `frames` grids, and 25 per second, are evenly chosen.
    """
    check_run_dir(run_dir)
    run = Run(run_dir)
    if not run.path.is_dir():
        raise ValueError(f"{run_dir} is not a directory: give a run directory")
    kind = kind or next((name for name in KINDS if run.list_grids(name)), "fixed")
    grids = run.list_grids(kind, max(1, min(frames, int(_FPS * seconds))))
    if not grids:
        raise ValueError(f"{run.path / 'grids'} has no {kind}-*.png: train longer, or choose "
                         "another kind of grid")
    if out == "":
        raise ArgumentError("out", "empty path: give a path, or omit the flag")
    out = Path(out or run.path / f"{kind}.gif")
    if out.suffix.lower() != ".gif":
        raise ArgumentError("out", f"invalid value {str(out)!r}: expected a name ending in .gif "
                            "(the MP4 gets the same name)")
    highest, widest, _ = map(max, zip(*(pixels.shape for _, pixels in _read(grids))))
    ratio = min(1.0, width / widest, _MAX_HEIGHT / highest)
    size = max(1, round(ratio * widest)), max(1, round(ratio * highest))
    write_atomic(out, _encode_gif(grids, size, seconds))
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        return [out]
    video = out.with_suffix(".mp4")
    try:
        write_atomic(video, _encode_mp4(ffmpeg, grids, size, seconds))
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode(errors="replace").strip() or "unknown reason"
        raise ValueError(f"ffmpeg could not write {video}: {reason}: the GIF is complete"
                         ) from None
    return [out, video]


def _read(grids: dict[int, Path]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the grids that still exist: a training with --keep-grids removes some."""
    for step, path in grids.items():
        try:
            pixels = read_png(path)
        except FileNotFoundError:
            continue
        yield step, pixels


def _make_frames(grids: dict[int, Path], size: tuple[int, int]) -> Iterator[Image.Image]:
    """Yield a frame for each grid: scaled down to `size`, centered, its step below."""
    for step, pixels in _read(grids):
        grid = Image.fromarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
        grid.thumbnail(size, Image.Resampling.BOX)
        # MP4 needs even sides.
        frame = Image.new("RGB", (size[0] + size[0] % 2, size[1] + size[1] % 2 + _CAPTION))
        frame.paste(grid, ((size[0] - grid.width) // 2, (size[1] - grid.height) // 2))
        ImageDraw.Draw(frame).text((8, frame.height - 18), f"step {step}", "white",
                                   ImageFont.load_default())
        yield frame


def _encode_gif(grids: dict[int, Path], size: tuple[int, int], seconds: float) -> bytes:
    """Encode frames as a GIF, whose unit of time is 10 ms."""
    # 32 colors are enough for gray digits; 64 make the file 1.5 times as large.
    first, *others = (frame.quantize(32, dither=Image.Dither.NONE)
                      for frame in _make_frames(grids, size))
    durations = np.diff(np.rint(np.linspace(0, 100 * seconds, len(others) + 2)))
    durations[-1] += 100 * _LAST_SECONDS
    milliseconds = [int(10 * duration) for duration in durations]
    content = io.BytesIO()
    first.save(content, "GIF", save_all=True, append_images=others, loop=0,
               duration=milliseconds if others else milliseconds[0])
    return content.getvalue()


def _encode_mp4(ffmpeg: str, grids: dict[int, Path], size: tuple[int, int], seconds: float
                ) -> bytes:
    """Encode frames as an MP4."""
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder, "video.mp4")
        with open(Path(folder, "frames"), "wb") as f:
            for frame in _make_frames(grids, size):
                f.write(frame.tobytes())
        subprocess.run(
            [ffmpeg, "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24",
             "-video_size", f"{frame.width}x{frame.height}", "-framerate",
             str(len(grids) / seconds), "-i", f.name, "-vf",
             f"tpad=stop_mode=clone:stop_duration={_LAST_SECONDS}", "-r", str(_FPS),
             "-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart", str(video)],
            stdin=subprocess.DEVNULL, capture_output=True, check=True)
        return video.read_bytes()
