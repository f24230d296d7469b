import os
import stat
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcgan_mx.images.animate import AnimationError, animate, write_frame
from dcgan_mx.runs.run import Run
from dcgan_mx.visual import save_image

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


@pytest.fixture
def run_dir(tmp_path):
    """A run with three grids of one colour each, and grids of other kinds."""
    (tmp_path / "grids").mkdir()
    for i, colour in enumerate(COLOURS):
        pixels = np.full((63, 81, 3), colour, np.uint8)
        save_image(tmp_path / "grids" / f"fixed-{25 * (i + 1):08d}.png", pixels)
    save_image(tmp_path / "grids" / "gout-00000025.png", pixels[:32, :32])
    return tmp_path


def read_film(path):
    """Frames, (n, H, W, 3), and how long each is shown, in milliseconds."""
    with Image.open(path) as film:
        frames, durations = [], []
        for i in range(film.n_frames):
            film.seek(i)
            frames.append(np.asarray(film.convert("RGB")).astype(int))
            durations.append(film.info["duration"])
        assert film.info["loop"] == 0
    return np.stack(frames), durations


def test_frames_are_the_grids_in_order_with_their_step(run_dir, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert animate(run_dir, seconds=3) == [run_dir / "fixed.gif"]
    frames, durations = read_film(run_dir / "fixed.gif")
    assert frames.shape == (3, 88, 82, 3) and durations == [1000, 1000, 2000]
    for frame, colour in zip(frames, COLOURS):
        assert abs(frame[:63, :81] - colour).max() < 8
    assert len({frame[66:].tobytes() for frame in frames}) == 3


@pytest.mark.parametrize("n, seconds", [(1, 8), (7, 8), (163, 8), (163, 2.5), (3, 0.03)])
def test_a_film_is_as_long_as_it_says(n, seconds, tmp_path, monkeypatch):
    """To a hundredth of a second, though a GIF counts in these."""
    monkeypatch.setenv("PATH", "")
    run = Run(tmp_path)
    for step in range(n):
        run.draw("gout", step, np.full((1, 3, 8, 8), step / n, np.float32))
    animate(tmp_path, seconds=seconds, frames=1000)
    frames, durations = read_film(tmp_path / "gout.gif")
    assert sum(durations) == 1000 * seconds + 1000
    assert len(frames) == max(1, min(n, int(25 * seconds)))
    assert max(durations[:-1], default=0) - min(durations[:-1], default=0) <= 10


def test_a_frame_is_the_grid_with_a_line_below():
    grid = np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8)
    first, second = (np.asarray(write_frame(grid, step)) for step in (7, 8))
    assert first.shape == (88, 128, 3)
    np.testing.assert_array_equal(first[:64], grid)
    assert first[64:].max() > 128 and (first[64:] != second[64:]).any()


def test_large_grids_are_scaled_down_small_ones_are_not(run_dir, monkeypatch):
    monkeypatch.setenv("PATH", "")
    animate(run_dir, width=20)
    assert read_film(run_dir / "fixed.gif")[0].shape == (3, 16 + 24, 20, 3)
    animate(run_dir, kind="gout", width=1000)
    assert read_film(run_dir / "gout.gif")[0].shape == (1, 32 + 24, 32, 3)


def test_grids_of_several_sizes_stand_in_the_middle(run_dir, monkeypatch):
    """As of a run whose batch size changed."""
    monkeypatch.setenv("PATH", "")
    save_image(run_dir / "grids" / "fixed-00000050.png", np.full((21, 41, 1), 255, np.uint8))
    animate(run_dir)
    frames, _ = read_film(run_dir / "fixed.gif")
    assert frames.shape == (3, 88, 82, 3)
    white = np.argwhere((frames[1][:64] > 200).all(-1))
    assert white.min(0).tolist() == [21, 20] and white.max(0).tolist() == [41, 60]


@pytest.mark.parametrize("size", [(30_000, 30_000), (1, 80_000_000)])
@pytest.mark.usefixtures("bounded_memory")
def test_a_grid_that_claims_another_size_is_told_before_anything_is_written(size, run_dir):
    path = run_dir / "grids" / "fixed-00000050.png"
    raw = bytearray(path.read_bytes())
    raw[16:24] = struct.pack(">II", *size)
    raw[29:33] = zlib.crc32(raw[12:29]).to_bytes(4, "big")
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=f"{path} is no PNG file, or is damaged: delete it"):
        animate(run_dir)
    assert os.listdir(run_dir) == ["grids"]


@pytest.mark.usefixtures("bounded_memory")
def test_a_wide_grid_and_a_high_one_make_no_huge_frame(run_dir, monkeypatch):
    monkeypatch.setenv("PATH", "")
    save_image(run_dir / "grids" / "fixed-00000050.png", np.full((2**17, 1, 1), 255, np.uint8))
    animate(run_dir)
    frames, _ = read_film(run_dir / "fixed.gif")
    assert frames.shape == (3, 2**14 + 24, 10, 3)
    assert (frames[1, :2**14].max(-1) > 200).any(1).all()


def test_grids_are_sorted_by_number(run_dir):
    save_image(run_dir / "grids" / "fixed-100000000.png", np.zeros((63, 81, 3), np.uint8))
    (run_dir / "grids" / "fixed-x.png").write_text("")
    assert list(Run(run_dir).list_grids("fixed")) == [25, 50, 75, 100000000]
    assert list(Run(run_dir).list_grids("fixed", 3)) == [25, 75, 100000000]
    assert list(Run(run_dir).list_grids("fixed", 1)) == [100000000]


def test_memory_does_not_grow_with_the_film(tmp_path):
    """20 large grids take no more than 4, in a process of their own each."""
    grid = np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8)
    peaks = []
    for n in (4, 20):
        run_dir = tmp_path / str(n)
        (run_dir / "grids").mkdir(parents=True)
        save_image(run_dir / "grids" / "gout-00000000.png", grid)
        for step in range(1, n):
            os.link(run_dir / "grids" / "gout-00000000.png",
                    run_dir / "grids" / f"gout-{step:08d}.png")
        code = ("import resource, sys; from dcgan_mx.images.animate import animate; "
                "animate(sys.argv[1], width=600); "
                "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)")
        done = subprocess.run([sys.executable, "-c", code, str(run_dir)], capture_output=True,
                              text=True, check=True, env={**os.environ, "PATH": ""})
        peaks.append(int(done.stdout))
    assert peaks[1] < 1.1 * peaks[0]


def put_ffmpeg(folder, monkeypatch, text):
    """A program named ffmpeg, the only one on the path."""
    folder.mkdir()
    program = folder / "ffmpeg"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_ffmpeg_gets_every_frame_for_its_time(run_dir, tmp_path, monkeypatch):
    """What arrives at ffmpeg, by a program in its place that keeps it: 25 pictures a second."""
    put_ffmpeg(tmp_path / "bin", monkeypatch,
               'echo "$@" > args; for last; do :; done; cat > "${last#file:}"')
    monkeypatch.chdir(tmp_path)
    gif, mp4 = animate(run_dir, "a:b.gif", seconds=3)
    assert Path("args").read_text().endswith(f" -f mp4 file:.a:b.mp4.{os.getpid()}.tmp\n")
    raw = np.frombuffer(mp4.read_bytes(), np.uint8).reshape(-1, 88, 82, 3)
    assert mp4 == Path("a:b.mp4") and len(raw) == 100
    for frame, i in zip(raw, [0] * 25 + [1] * 25 + [2] * 50):
        assert (frame[:63, :81] == COLOURS[i]).all()


def test_ffmpeg_that_fails_is_told_and_leaves_nothing(run_dir, tmp_path, monkeypatch):
    put_ffmpeg(tmp_path / "bin", monkeypatch, "echo no such codec >&2; exit 1")
    with pytest.raises(AnimationError, match="no such codec: the GIF is there"):
        animate(run_dir)
    assert sorted(os.listdir(run_dir)) == ["bin", "fixed.gif", "grids"]


def test_a_film_that_fails_half_way_leaves_nothing(run_dir, tmp_path, monkeypatch):
    """A grid that goes while the film is written, when ffmpeg has begun to write."""
    last = run_dir / "grids" / "fixed-00000075.png"
    put_ffmpeg(tmp_path / "bin", monkeypatch,
               f'for last; do :; done; echo > "${{last#file:}}"; rm {last}; cat > /dev/null')
    with pytest.raises(FileNotFoundError, match=last.name):
        animate(run_dir)
    assert sorted(os.listdir(run_dir)) == ["bin", "fixed.gif", "grids"]
