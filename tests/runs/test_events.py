"""Events, read back by what is not ours: tensorboardX's definitions and checksum."""
import os
import resource
import time
import tracemalloc

import cv2
import numpy as np
import pytest
from common import read_events, read_scalars

from dcgan_mx.runs import events
from dcgan_mx.runs.events import EventFile, cut_events


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "tensorboard"


def test_what_is_written_is_read_back(folder):
    rng = np.random.default_rng(0)
    grids = {"gout": rng.integers(0, 256, (24, 40, 3), np.uint8),
             "data": rng.integers(0, 256, (8, 300, 1), np.uint8)}
    file = EventFile(folder)
    before = time.time()
    for step in (0, 1, 127, 128, 2**31, 2**40 + 5):
        file.add(step, {"acc": 0.25, "d_entropy": step / 3}, grids)
    path, = folder.iterdir()
    first, *rest = read_events(path)
    assert (first.file_version, first.step) == ("brain.Event:2", 0)
    assert [event.step for event in rest] == [0, 1, 127, 128, 2**31, 2**40 + 5]
    for event in rest:
        assert before <= event.wall_time <= time.time()
        acc, entropy, *pictures = event.summary.value
        assert (acc.tag, acc.simple_value) == ("acc", 0.25)
        assert (entropy.tag, entropy.simple_value) == ("d_entropy", np.float32(event.step / 3))
        for value, (name, grid) in zip(pictures, grids.items()):
            image = value.image
            assert (value.tag, image.height, image.width, image.colorspace) == (name, *grid.shape)
            pixels = cv2.imdecode(np.frombuffer(image.encoded_image_string, np.uint8),
                                  cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(pixels.reshape(grid.shape)[..., ::-1], grid)


def test_a_new_file_comes_last_whatever_the_clock_says(folder, monkeypatch):
    for clock in (2e9, 2e9, 1e9, 1e8):
        monkeypatch.setattr(events.time, "time", lambda clock=clock: clock)
        EventFile(folder).add(1, {"acc": clock / 1e9}, {})
    names = sorted(os.listdir(folder))
    assert names == [f"events.out.tfevents.{2 * 10**9 + i}.dcgan-mx" for i in range(4)]
    assert [read_events(folder / name)[1].wall_time for name in names] == [2e9, 2e9, 1e9, 1e8]


def test_an_event_is_whole_or_not_there(folder, tmp_path):
    """Files may not grow beyond the middle of an event; then they may again."""
    file = EventFile(folder)
    file.add(1, {"acc": 0.5}, {})
    path, = folder.iterdir()
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            file.add(2, {"acc": 0.5}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.filename == str(path) and path.read_bytes() == before
    file.add(3, {"acc": 0.5}, {})
    assert {*read_scalars(tmp_path)} == {("acc", 1), ("acc", 3)}


def test_a_first_event_that_cannot_be_written_is_begun_again(folder, tmp_path):
    file = EventFile(folder)
    folder.touch()
    with pytest.raises(OSError, match="tensorboard"):
        file.add(1, {"acc": 0.5}, {})
    folder.unlink()
    file.add(2, {"acc": 0.5}, {})
    assert {*read_scalars(tmp_path)} == {("acc", 2)}


def test_first_events_that_find_no_room_leave_no_file(folder, tmp_path):
    file = EventFile(folder)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, limits[1]))
    try:
        for step in (1, 2, 3):
            with pytest.raises(OSError, match="File too large"):
                file.add(step, {"acc": 0.5}, {})
            assert os.listdir(folder) == []
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    file.add(4, {"acc": 0.5}, {})
    file.add(5, {"acc": 0.5}, {})
    path, = folder.iterdir()
    assert [event.step for event in read_events(path)] == [0, 4, 5]


def test_a_large_file_is_cut_in_little_memory(folder):
    """24 MB of 1 MB each: less than 3 MB, whether events go or not."""
    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8)
    file = EventFile(folder)
    for step in (1, 2):
        file.add(step, {"acc": 0.5}, {"gout": noise})
    path, = folder.iterdir()
    raw = path.read_bytes()
    size = (len(raw) - 40) // 2
    first, one, two = raw[:-2 * size], raw[-2 * size:-size], raw[-size:]
    assert size > 1e6
    path.write_bytes(first + (one + two) * 12)
    for goes, left in ((3, first + (one + two) * 12), (2, first + one * 12)):
        before = path.stat().st_ino
        tracemalloc.start()
        cut_events(folder, lambda step, figures, goes=goes: step >= goes)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 3e6
        assert path.read_bytes() == left
        assert (path.stat().st_ino == before) == (goes == 3)  # it is left as it is


def test_a_file_that_is_cut_off_keeps_what_is_whole(folder, tmp_path):
    file = EventFile(folder)
    for step in (1, 2, 300):
        file.add(step, {"acc": 0.5}, {})
    path, = folder.iterdir()
    path.write_bytes(path.read_bytes()[:-3])
    cut_events(folder, lambda step, figures: step > 400)
    assert {*read_scalars(tmp_path)} == {("acc", 1), ("acc", 2)}
