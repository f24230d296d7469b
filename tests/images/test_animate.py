import os
import stat

import numpy as np
import pytest
from PIL import Image

from dcgan_mx.images.animate import AnimationError, animate, write_frame
from dcgan_mx.runs.run import Run
from dcgan_mx.visual import save_png

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


@pytest.fixture
def run_dir(tmp_path):
    """A run with three grids of one colour each, and grids of other kinds."""
    (tmp_path / "grids").mkdir()
    for i, colour in enumerate(COLOURS):
        pixels = np.full((63, 81, 3), colour, np.uint8)
        save_png(tmp_path / "grids" / f"fixed-{25 * (i + 1):08d}.png", pixels)
    save_png(tmp_path / "grids" / "gout-00000025.png", pixels[:32, :32])
    return tmp_path


def test_frames_are_the_grids_in_order_with_their_step(run_dir, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert animate(run_dir, seconds=3) == [run_dir / "fixed.gif"]
    with Image.open(run_dir / "fixed.gif") as film:
        assert (film.n_frames, film.size) == (3, (82, 88))
        durations, labels = [], []
        for i, colour in enumerate(COLOURS):
            film.seek(i)
            frame = np.asarray(film.convert("RGB")).astype(int)
            assert abs(frame[:60, :80] - colour).max() < 8
            durations.append(film.info["duration"])
            labels.append(frame[66:].tobytes())
    assert durations == [1000, 1000, 2000]
    assert len(set(labels)) == 3


def test_a_frame_is_the_grid_with_a_line_below():
    grid = np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8)
    first, second = write_frame(grid, 7), write_frame(grid, 8)
    assert first.shape == (88, 128, 3)
    np.testing.assert_array_equal(first[:64], grid)
    assert first[64:].max() > 128 and (first[64:] != second[64:]).any()


def test_grids_are_sorted_by_number(run_dir):
    save_png(run_dir / "grids" / "fixed-100000000.png", np.zeros((63, 81, 3), np.uint8))
    (run_dir / "grids" / "fixed-x.png").write_text("")
    assert list(Run(run_dir).list_grids("fixed")) == [25, 50, 75, 100000000]


def put_ffmpeg(folder, monkeypatch, text):
    """A program named ffmpeg, the only one on the path."""
    folder.mkdir()
    program = folder / "ffmpeg"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_ffmpeg_gets_every_frame(run_dir, tmp_path, monkeypatch):
    """What arrives at ffmpeg, by a program in its place that keeps it."""
    put_ffmpeg(tmp_path / "bin", monkeypatch, 'for last; do :; done; cat > "$last"')
    gif, mp4 = animate(run_dir, tmp_path / "film.gif", seconds=3)
    raw = np.frombuffer(mp4.read_bytes(), np.uint8).reshape(-1, 88, 82, 3)
    assert mp4 == tmp_path / "film.mp4" and len(raw) == 4
    for frame, colour in zip(raw, [*COLOURS, COLOURS[-1]]):
        assert (frame[:63, :81] == colour).all()


def test_ffmpeg_that_fails_is_told_and_leaves_nothing(run_dir, tmp_path, monkeypatch):
    put_ffmpeg(tmp_path / "bin", monkeypatch, "cat > /dev/null; echo no such codec >&2; exit 1")
    with pytest.raises(AnimationError, match="no such codec: the GIF is there"):
        animate(run_dir)
    assert sorted(os.listdir(run_dir)) == ["bin", "fixed.gif", "grids"]
