"""TensorBoard event files."""
import os

import cv2
import numpy as np
import pytest
from helpers.common import read_scalars

from dcgan_mx.runs import events
from dcgan_mx.runs.events import EventFile
from tools.common import read_events


@pytest.fixture
def write(tmp_path):
    """Write events of some steps, as a training that starts at a step."""
    def write(begin, *steps, value=0.5):
        file = EventFile(tmp_path / "tensorboard", begin)
        for step in steps:
            file.add(step, {"acc": value}, {})
        file.close()
    return write


def test_events_are_readable_at_once(tmp_path):
    rng = np.random.default_rng(0)
    grids = {"gout": rng.integers(0, 256, (24, 40, 3), np.uint8),
             "data": rng.integers(0, 256, (8, 300, 1), np.uint8)}
    file = EventFile(tmp_path / "tensorboard")
    for step in (1, 128, 2**40 + 5):
        file.add(step, {"acc": 0.25, "d_entropy": step / 3}, grids)
        event = read_events(tmp_path)[-1]
        acc, entropy, *pictures = event.summary.value
        assert (event.step, acc.tag, acc.simple_value) == (step, "acc", 0.25)
        assert (entropy.tag, entropy.simple_value) == ("d_entropy", np.float32(step / 3))
        for value, (name, grid) in zip(pictures, grids.items()):
            assert (value.tag, value.image.height, value.image.width) == (name, *grid.shape[:2])
            pixels = cv2.imdecode(np.frombuffer(value.image.encoded_image_string, np.uint8),
                                  cv2.IMREAD_COLOR)[..., ::-1]
            np.testing.assert_array_equal(pixels, np.broadcast_to(grid, pixels.shape))
    file.close()


def test_events_are_not_written_to_a_link(tmp_path, write, monkeypatch):
    monkeypatch.setattr(events.time, "time", lambda: 10)
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "events.out.tfevents.0000000010.00000000").symlink_to(
        tmp_path / "elsewhere")
    write(0, 10)
    assert len(os.listdir(tmp_path / "tensorboard")) == 2
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_of_that_name_is_not_overwritten(tmp_path, write):
    folder, precious = tmp_path / "tensorboard", tmp_path / "precious"
    folder.mkdir()
    precious.write_text("precious")
    (folder / "events.out.tfevents.9999999999.00000000").touch()
    (folder / "events.out.tfevents.10000000000.00000000").symlink_to(precious)
    with pytest.raises(FileExistsError):
        write(0, 10)
    assert precious.read_text() == "precious"


def test_resumed_training_hides_later_steps(tmp_path, write, monkeypatch):
    """Killed after 30, resumed at 20, then at 25, then restarted."""
    clock = iter(range(100, 10, -1))  # set back again and again
    monkeypatch.setattr(events.time, "time", lambda: next(clock))
    write(0, 10, 20, 30)
    write(20, 25, value=1.0)
    assert read_scalars(tmp_path) == {("acc", 10): 0.5, ("acc", 20): 0.5, ("acc", 25): 1.0}
    write(25, 30)
    assert [step for _, step in read_scalars(tmp_path)] == [10, 20, 25, 30]
    write(0, 10, value=2.0)
    assert read_scalars(tmp_path) == {("acc", 10): 2.0}


def test_full_disk_loses_only_the_events_of_that_time(tmp_path, limit_files):
    file, folder = EventFile(tmp_path / "tensorboard", 7), tmp_path / "tensorboard"
    folder.touch()
    with pytest.raises(OSError, match="tensorboard"):
        file.add(7, {"acc": 0.5}, {})
    folder.unlink()
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
    for step in range(8, 20):
        if step < 11 or 13 <= step < 16:
            limit_files(2000)
            with pytest.raises(OSError, match=str(folder)):
                file.add(step, {"acc": 0.5}, {"gout": noise})
        else:
            limit_files()
            file.add(step, {"acc": 0.5}, {"gout": noise})
    file.close()
    assert {*read_scalars(tmp_path)} == {("acc", step) for step in (11, 12, 16, 17, 18, 19)}
    assert len(os.listdir(folder)) == 2
