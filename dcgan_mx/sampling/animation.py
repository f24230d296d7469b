"""The grids of a run as an animation."""
from __future__ import annotations

import contextlib
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
from ..system.files import StrPath, write_atomic
from ..visual import read_png
from .pretrained import check_run_dir

KINDS = ("fixed", "gout", "diff", "data")
WIDTH, SECONDS = 320, 8.0
_RATE = 25  # frames a second of the MP4; a GIF has no more
_COLOURS = 32  # of a GIF's frame: digits are grey, and twice as many make it half as large again
_LAST = 1  # seconds that the last frame stays longer
_HIGHEST = 2**14  # pixels: grids of two shapes could ask for any number of them
_LABEL = 24  # pixels below each grid, for its step


def animate(run_dir: StrPath, out: StrPath | None = None, kind: str | None = None,
            seconds: float = SECONDS, width: int = WIDTH, frames: int = FRAMES) -> list[Path]:
    """Make a GIF of a run's grids, and an MP4 if ffmpeg or imageio-ffmpeg is installed.

    `out` is the GIF, by default `KIND.gif` in the run directory; the MP4 has the same name with
    another suffix. `kind` is by default the first of `KINDS` that there is. Of more than `frames`
    grids, or 25 a second, that many are shown, evenly chosen; larger ones are scaled down to
    `width`. The last frame stays a second longer. Both files are complete or as they were.
    """
    check_run_dir(run_dir)
    run = Run(run_dir)
    if not run.path.is_dir():
        raise ValueError(f"{run_dir} is no folder: give a run directory")
    kind = kind or next((name for name in KINDS if run.list_grids(name)), "fixed")
    grids = run.list_grids(kind, max(1, min(frames, int(_RATE * seconds))))
    if not grids:
        raise ValueError(f"{run.path / 'grids'} has no {kind}-*.png: train longer, or with "
                         "--fixed-noise")
    out = Path(out or run.path / f"{kind}.gif")
    if out.suffix.lower() != ".gif":
        raise ValueError(f"{out}: give a name that ends in .gif; the MP4 gets the same")
    highest, widest, _ = map(max, zip(*(read_png(path).shape for path in grids.values())))
    ratio = min(1.0, width / widest, _HIGHEST / highest)
    size = max(1, round(ratio * widest)), max(1, round(ratio * highest))
    write_atomic(out, _encode_gif(grids, size, seconds))
    ffmpeg = _find_ffmpeg()
    if ffmpeg is None:
        return [out]
    film = out.with_suffix(".mp4")
    try:
        write_atomic(film, _encode_mp4(ffmpeg, grids, size, seconds))
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode(errors="replace").strip() or "no reason given"
        raise ValueError(f"ffmpeg could not write {film}: {reason}: the GIF is there") from None
    return [out, film]


def _make_frames(grids: dict[int, Path], size: tuple[int, int]) -> Iterator[Image.Image]:
    """Yield a frame for each grid: scaled down to a size, in the middle, its step below."""
    for step, path in grids.items():
        pixels = read_png(path)
        grid = Image.fromarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
        grid.thumbnail(size, Image.Resampling.BOX)
        # MP4 needs even sides.
        frame = Image.new("RGB", (size[0] + size[0] % 2, size[1] + size[1] % 2 + _LABEL))
        frame.paste(grid, ((size[0] - grid.width) // 2, (size[1] - grid.height) // 2))
        ImageDraw.Draw(frame).text((8, frame.height - 18), f"step {step}", "white",
                                   ImageFont.load_default())
        yield frame


def _encode_gif(grids: dict[int, Path], size: tuple[int, int], seconds: float) -> bytes:
    times = np.diff(np.rint(np.linspace(0, 100 * seconds, len(grids) + 1)))  # a GIF counts 1/100 s
    times[-1] += 100 * _LAST
    times_ms = [int(10 * time) for time in times]
    first, *others = (frame.quantize(_COLOURS, dither=Image.Dither.NONE)
                      for frame in _make_frames(grids, size))
    content = io.BytesIO()
    first.save(content, "GIF", save_all=True, append_images=others, loop=0,
               duration=times_ms if others else times_ms[0])
    return content.getvalue()


def _find_ffmpeg() -> str | None:
    found = shutil.which("ffmpeg")
    if found is None:
        with contextlib.suppress(ImportError, RuntimeError):
            import imageio_ffmpeg
            found = imageio_ffmpeg.get_ffmpeg_exe()
    return found


def _encode_mp4(ffmpeg: str, grids: dict[int, Path], size: tuple[int, int], seconds: float
                ) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder, "film.mp4")
        with open(Path(folder, "frames"), "wb") as f:
            for frame in _make_frames(grids, size):
                f.write(frame.tobytes())
        subprocess.run(
            [ffmpeg, "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24",
             "-video_size", f"{frame.width}x{frame.height}", "-framerate",
             str(len(grids) / seconds), "-i", f.name, "-vf",
             f"tpad=stop_mode=clone:stop_duration={_LAST}", "-r", str(_RATE), "-c:v", "libx264",
             "-pix_fmt", "yuv420p", "-movflags", "+faststart", str(film)],
            stdin=subprocess.DEVNULL, capture_output=True, check=True)
        return film.read_bytes()
