import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from dcgan_mx.runs.run import Run
from dcgan_mx.sampling.animation import animate
from dcgan_mx.visual import save_image

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


@pytest.fixture(autouse=True)
def no_ffmpeg(monkeypatch):
    monkeypatch.setenv("PATH", "")


@pytest.fixture
def run_dir(tmp_path):
    """A run with three grids of one colour each, and one of another kind."""
    (tmp_path / "grids").mkdir()
    for i, colour in enumerate(COLOURS):
        pixels = np.full((63, 81, 3), colour, np.uint8)
        save_image(tmp_path / "grids" / f"fixed-{25 * (i + 1):08d}.png", pixels)
    save_image(tmp_path / "grids" / "gout-00000025.png", pixels[:32, :32])
    return tmp_path


def read_gif(path):
    """Frames, (n, H, W, 3), and their durations in milliseconds."""
    with Image.open(path) as gif:
        frames, durations = [], []
        for i in range(gif.n_frames):
            gif.seek(i)
            frames.append(np.asarray(gif.convert("RGB")).astype(int))
            durations.append(gif.info["duration"])
        assert gif.info["loop"] == 0
    return np.stack(frames), durations


def test_frames_are_grids_in_order_with_steps(run_dir):
    assert animate(run_dir, seconds=3) == [run_dir / "fixed.gif"]
    frames, durations = read_gif(run_dir / "fixed.gif")
    assert frames.shape == (3, 88, 82, 3) and durations == [1000, 1000, 2000]
    for frame, colour in zip(frames, COLOURS):
        assert abs(frame[:63, :81] - colour).max() < 8
    assert len({frame[66:].tobytes() for frame in frames}) == 3
    assert all(frame[66:].max() > 128 for frame in frames)


@pytest.mark.parametrize("n, seconds", [(1, 8), (7, 8), (63, 2.3), (3, 0.03)])
def test_duration_is_as_requested(n, seconds, tmp_path):
    run = Run(tmp_path)
    for step in range(n):
        run.draw("gout", step, np.full((1, 3, 8, 8), step / n, np.float32))
    animate(tmp_path, seconds=seconds, frames=1000)
    frames, durations = read_gif(tmp_path / "gout.gif")
    assert sum(durations) == 1000 * seconds + 1000
    assert len(frames) == max(1, min(n, int(25 * seconds)))
    assert max(durations[:-1], default=0) - min(durations[:-1], default=0) <= 10


@pytest.mark.usefixtures("bounded_memory")
def test_grids_of_different_sizes_are_scaled_and_centred(run_dir):
    """The batch size of a run can change, and a foreign grid can have any size."""
    animate(run_dir, width=20)
    assert read_gif(run_dir / "fixed.gif")[0].shape == (3, 16 + 24, 20, 3)
    animate(run_dir, kind="gout", width=1000)
    assert read_gif(run_dir / "gout.gif")[0].shape == (1, 32 + 24, 32, 3)
    for shape, size, box in (((21, 41, 1), (88, 82), (21, 20, 41, 60)),
                             ((2**17, 1, 1), (2**14 + 24, 10), (0, 4, 2**14 - 1, 4))):
        save_image(run_dir / "grids" / "fixed-00000050.png", np.full(shape, 255, np.uint8))
        animate(run_dir)
        frames, _ = read_gif(run_dir / "fixed.gif")
        assert frames.shape == (3, *size, 3)
        white = np.argwhere((frames[1][:-24] > 200).all(-1))
        assert (*white.min(0), *white.max(0)) == box


def test_grids_that_a_training_removes_meanwhile_are_left_out(run_dir, monkeypatch):
    grids = Run(run_dir).list_grids("fixed")
    monkeypatch.setattr(Run, "list_grids", lambda *_: {**grids, 100: run_dir / "gone.png"})
    animate(run_dir, seconds=3)
    assert read_gif(run_dir / "fixed.gif")[1] == [1000, 1000, 2000]


@pytest.mark.parametrize("size", [(30_000, 30_000), (1, 80_000_000)])
@pytest.mark.usefixtures("bounded_memory")
def test_grid_with_false_size_is_rejected_before_writing(size, run_dir):
    path = run_dir / "grids" / "fixed-00000050.png"
    raw = bytearray(path.read_bytes())
    raw[16:24] = struct.pack(">II", *size)
    raw[29:33] = zlib.crc32(raw[12:29]).to_bytes(4, "big")
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=f"{path} is .*PNG file"):
        animate(run_dir)
    assert os.listdir(run_dir) == ["grids"]


def put_ffmpeg(folder, monkeypatch, text):
    """Put a program named ffmpeg first on the path."""
    folder.mkdir()
    (folder / "ffmpeg").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_ffmpeg_receives_every_frame(run_dir, tmp_path, monkeypatch):
    """With a fake ffmpeg that copies its input: two seconds of three frames."""
    put_ffmpeg(tmp_path / "bin", monkeypatch, f'echo "$@" > {tmp_path}/args\n'
               'for last; do :; done; while [ "$1" != -i ]; do shift; done; cat "$2" > "$last"')
    monkeypatch.chdir(tmp_path)
    _, video = animate(run_dir, "a:b.gif", seconds=2)
    args = (tmp_path / "args").read_text()
    assert all(part in args for part in ("-video_size 82x88", "-framerate 1.5 ", "-r 25",
                                         "tpad=stop_mode=clone:stop_duration=1 "))
    frames = np.frombuffer(video.read_bytes(), np.uint8).reshape(3, 88, 82, 3)
    for frame, colour in zip(frames, COLOURS):
        assert (frame[:63, :81] == colour).all()
    assert sorted(os.listdir(run_dir)) == ["a:b.gif", "a:b.mp4", "args", "bin", "grids"]


def test_ffmpeg_failure_keeps_old_video(run_dir, tmp_path, monkeypatch):
    put_ffmpeg(tmp_path / "bin", monkeypatch,
               'for last; do :; done; echo x > "$last"; echo no such codec >&2; exit 1')
    (run_dir / "fixed.mp4").write_text("mine")
    with pytest.raises(ValueError, match="fixed.mp4: no such codec: the GIF is complete"):
        animate(run_dir)
    assert sorted(os.listdir(run_dir)) == ["bin", "fixed.gif", "fixed.mp4", "grids"]
    assert (run_dir / "fixed.mp4").read_text() == "mine"
