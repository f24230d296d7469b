import cv2
import numpy as np
import pytest
from PIL import Image

from dcgan_mx import FolderIter, ImagenetIter
from dcgan_mx.data import packing, records
from dcgan_mx.data.records import RecordError, frame

WHOLE = {"data_shape": (3, 256, 256), "crop": (256, 256)}


def epoch(it):
    return np.concatenate([batch.data[0].asnumpy() for batch in it])


def pixels(images):
    """Undo the scaling: (N, C, H, W) in [-1, 1] to (N, H, W, C), uint8."""
    return np.rint((images + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1)


def test_pixels_are_the_sources_in_rgb_and_scaled(photo_folder, photo_rec):
    """Whole lossless pictures come back equal, each once, half of them mirrored."""
    sources = {np.asarray(Image.open(path)).tobytes(): path for path in photo_folder.iterdir()}
    images = epoch(ImagenetIter(photo_rec, 40, **WHOLE))
    expected = pixels(images).astype(np.float32).transpose(0, 3, 1, 2) / np.float32(127.5) - 1
    np.testing.assert_allclose(images, expected, atol=1e-6, rtol=0)
    plain = {p.tobytes() for p in pixels(images)}
    mirrored = {np.ascontiguousarray(p[:, ::-1]).tobytes() for p in pixels(images)}
    assert len(images) == 280 and (plain | mirrored) >= sources.keys()
    # One of the 40 places of a batch mirrors all or none of its 7 pictures.
    assert abs(sum(p in sources for p in plain) / 7 - 20) < 4 * (40 / 4) ** 0.5
    unmirrored = epoch(ImagenetIter(photo_rec, 40, mirror=False, **WHOLE))
    assert {p.tobytes() for p in pixels(unmirrored)} == sources.keys()


def test_a_handmade_picture(tmp_path):
    """Red above left, green above right, blue below; mirrored or not, and as grey."""
    image = np.zeros((256, 256, 3), np.uint8)
    image[:128, :128, 0] = image[:128, 128:, 1] = image[128:, :, 2] = 255
    (tmp_path / "in").mkdir()
    for i in range(40):
        Image.fromarray(image).save(tmp_path / "in" / f"{i}.png")
    packing.pack(tmp_path / "in", tmp_path / "a.rec")
    images = epoch(ImagenetIter(tmp_path / "a.rec", 40, **WHOLE))
    np.testing.assert_array_equal(images[:, 2, 200], np.ones((40, 256)))
    left_red = images[:, 0, 10, 10] == 1
    assert 0 < left_red.sum() < 40
    np.testing.assert_array_equal(images[:, 1, 10, 10] == 1, ~left_red)
    grey = epoch(ImagenetIter(tmp_path / "a.rec", 40, (1, 256, 256), crop=(256, 256)))
    assert grey.shape == (40, 1, 256, 256)
    expected = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[200, 0] / 127.5 - 1
    np.testing.assert_allclose(grey[:, 0, 200], expected, atol=2e-2)


def test_crops_have_192_to_256_pixels_anywhere(tmp_path):
    """Pictures whose red and green are their columns and rows show where each crop lies."""
    y, x = np.mgrid[:256, :256].astype(np.uint8)
    (tmp_path / "in").mkdir()
    for i in range(64):
        Image.fromarray(np.dstack([x, y, 0 * x])).save(tmp_path / "in" / f"{i}.png")
    packing.pack(tmp_path / "in", tmp_path / "a.rec")
    images = np.concatenate([epoch(ImagenetIter(tmp_path / "a.rec", 64, seed=seed))
                             for seed in range(8)])
    red, green = (images[:, 0] + 1) * 127.5, (images[:, 1] + 1) * 127.5
    low, high = red.min((1, 2)), red.max((1, 2))
    sides = (high - low) * 64 / 63  # 64 points in the middle of equal parts
    assert sides.min() > 190 and sides.max() < 258 and np.ptp(sides) > 55
    np.testing.assert_allclose(sides, (green.max((1, 2)) - green.min((1, 2))) * 64 / 63, atol=2)
    assert low.min() < 5 and low.max() > 40 and green.min((1, 2)).max() > 40


@pytest.mark.parametrize("threads", [1, 3])
def test_a_function_of_seed_and_number(threads, photo_rec):
    reading = ImagenetIter(photo_rec, 64, seed=4)
    seeking = ImagenetIter(photo_rec, 64, seed=4, threads=threads)
    assert reading.num_batches == 4
    for n_epoch in range(3):
        for n, batch in enumerate(reading):
            seeking.seek(n_epoch, n)
            np.testing.assert_array_equal(batch.data[0].asnumpy(), seeking.next().data[0].asnumpy())
        reading.reset()
    seeking.seek(0, 0)
    first = epoch(seeking)
    seeking.reset()
    assert (epoch(seeking) != first).any()
    assert (epoch(ImagenetIter(photo_rec, 64, seed=5)) != first).any()


def test_batches_stay_what_they_were(photo_rec):
    """The reader writes each batch over the one before."""
    batches = list(ImagenetIter(photo_rec, 64))
    again = list(ImagenetIter(photo_rec, 64))
    for batch, same in zip(batches, again):
        np.testing.assert_array_equal(batch.data[0].asnumpy(), same.data[0].asnumpy())


@pytest.mark.parametrize("num_parts", [2, 3, 7])
def test_parts_share_no_picture_and_have_as_many_batches(num_parts, photo_rec):
    seen, counts = [], set()
    for part in range(num_parts):
        it = ImagenetIter(photo_rec, 8, mirror=False, num_parts=num_parts, part_index=part, **WHOLE)
        counts.add(it.num_batches)
        seen.append({p.tobytes() for p in pixels(epoch(it))})
    assert counts == {280 // num_parts // 8}
    assert sum(map(len, seen)) == len(set.union(*seen)) == num_parts * 8 * counts.pop()


def test_folder_and_its_file_are_the_same_pictures(photo_folder, photo_rec, tmp_path):
    folder = FolderIter(photo_folder, 64, cache=tmp_path)
    assert folder.path.read_bytes() == photo_rec.read_bytes() and folder.skipped == []
    file = ImagenetIter(photo_rec, 64, inter_method=9)
    np.testing.assert_array_equal(epoch(folder), epoch(file))
    assert folder.fingerprint == file.fingerprint
    assert FolderIter(photo_folder, 64, cache=tmp_path, num_parts=2, part_index=1).num_batches == 2


def test_small_pictures_of_a_folder_are_enlarged(tmp_path, cut_photographs):
    (tmp_path / "in").mkdir()
    for i, patch in enumerate(cut_photographs(8, 32)):
        Image.fromarray(patch).save(tmp_path / "in" / f"{i}.png")
    images = epoch(FolderIter(tmp_path / "in", 8, (3, 16, 16), cache=tmp_path / "cache"))
    assert images.shape == (8, 3, 16, 16) and images.std() > 0.1


def test_an_index_of_another_file_does_no_harm(photo_rec, tmp_path):
    path = tmp_path / "a.rec"
    path.write_bytes(photo_rec.read_bytes())
    expected = epoch(ImagenetIter(path, 64))
    path.with_suffix(".idx").write_text("0\t7\n1\t99\n")
    np.testing.assert_array_equal(epoch(ImagenetIter(path, 64)), expected)


def test_opening_a_reader_for_each_epoch_keeps_memory_flat(photo_rec):
    def resident():
        with open("/proc/self/statm") as f:
            return int(f.read().split()[1]) * 4096 / 1e6
    it = ImagenetIter(photo_rec, 64, (3, 128, 128))
    sizes = []
    for n in range(40):
        it.seek(n, 0)
        it.next()
        sizes.append(resident())
    assert sizes[-1] - sizes[10] < 20  # a batch is 12.6 MB; MXNet's other reader loses 4 an epoch


@pytest.mark.parametrize("name", ["a#b.rec", "a?b=c.rec", "a;b.rec", "new\nline.rec", "a%20.rec",
                                  b"\xff.rec".decode("utf-8", "surrogateescape"), "./d//e.rec"])
def test_names_that_mean_something_to_mxnet(name, photo_rec, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d").mkdir()
    with open(name, "wb") as f:
        f.write(photo_rec.read_bytes())
    assert len(epoch(ImagenetIter(name, 64))) == 256


def test_a_file_that_changes_is_told(photo_rec, tmp_path):
    path = tmp_path / "a.rec"
    path.write_bytes(photo_rec.read_bytes())
    it = ImagenetIter(path, 64)
    it.next()
    path.write_bytes(photo_rec.read_bytes()[:100])
    with pytest.raises(RecordError, match="a.rec changed while it was in use"):
        it.reset()


def test_what_mxnet_says_is_one_line(photo_rec):
    it = ImagenetIter(photo_rec, 64)
    it._reader._arguments["data_shape"] = (2, 64, 64)  # no fault of a picture
    with pytest.raises(RecordError, match="reader stopped: .*Invalid output shape") as caught:
        it.seek(1, 0)
    assert "Traceback" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("kwargs, words", [
    ({"batch_size": 281}, "batch_size is 281: give 1 to 280, the pictures in"),
    ({"batch_size": 0}, "batch_size is 0: give 1 to 280"),
    ({"batch_size": 100, "num_parts": 3}, "give 1 to 92, .* for each of 3"),
    ({"num_parts": 400}, "give 1 to 0, .* for each of 400"),
    ({"part_index": 1}, "part_index is 1: give 0 to num_parts - 1, which is 0"),
    ({"threads": 0}, "threads is 0")])
def test_bad_arguments(kwargs, words, photo_rec):
    with pytest.raises(ValueError, match=words):
        ImagenetIter(photo_rec, **{"batch_size": 64, **kwargs})


@pytest.mark.parametrize("content, crop, words", [
    (b"no picture", (192, 256), "record 281 is no picture"),
    (None, (400, 400), "record 1 has 256x256 pixels, and 400x400 is the least")])
def test_a_bad_picture_is_named(content, crop, words, photo_rec, tmp_path):
    path = tmp_path / "a.rec"
    path.write_bytes(photo_rec.read_bytes() + (frame(content, 281) if content else b""))
    with pytest.raises(RecordError, match=f"a.rec: {words}.*dcgan-mx pack") as caught:
        epoch(ImagenetIter(path, len(records.scan(path)[0]), crop=crop))
    assert "\n" not in str(caught.value)
