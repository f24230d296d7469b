import io
import warnings

import cv2
import numpy as np
import pytest
from PIL import Image

from dcgan_mx import FolderIter, ImagenetIter, MnistIter, RandIter
from dcgan_mx.data import image_sources
from dcgan_mx.data.errors import DatasetError
from dcgan_mx.data.packing import pack
from dcgan_mx.data.recordio import encode_record, scan
from dcgan_mx.system.errors import ArgumentError
from dcgan_mx.system.runtime import mx

IMAGES = np.random.default_rng(0).integers(0, 256, (23, 28, 28), np.uint8)
WHOLE = {"data_shape": (3, 256, 256), "crop": (256, 256)}


def epoch(it):
    return np.concatenate([batch.data[0].asnumpy() for batch in it])


def pixels(images):
    """Undo the scaling: (N, C, H, W) in [-1, 1] to (N, H, W, C), uint8."""
    return np.rint((images + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1)


def encode(array, kind="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def sources(cut_photographs):
    """Forty photographs, (40, 256, 256, 3)."""
    return np.stack(list(cut_photographs(40, 256)))


@pytest.fixture(scope="module")
def few_rec(sources, tmp_path_factory):
    """A record file of them, lossless, in the same order."""
    path = tmp_path_factory.mktemp("few") / "few.rec"
    path.write_bytes(b"".join(encode_record(encode(image, compress_level=1), n)
                              for n, image in enumerate(sources)))
    return path


def test_mnist_batches_equal_the_example_bit_for_bit():
    resized = np.asarray([cv2.resize(x, (64, 64)) for x in IMAGES])
    expected = np.tile((resized.astype(np.float32) / (255.0 / 2) - 1.0)[:, None], (1, 3, 1, 1))
    it = MnistIter(IMAGES, 5)
    assert [(d.name, d.shape) for d in it.provide_data] == [("data", (5, 3, 64, 64))]
    assert it.provide_label == [] and it.num_batches == 4
    found = epoch(it)
    assert found.shape == (20, 3, 64, 64) and found.dtype == np.float32
    assert len({x.tobytes() for x in found}) == 20
    assert {x.tobytes() for x in found} < {x.tobytes() for x in expected}


def test_each_epoch_has_every_image_once_in_another_order():
    it = MnistIter(IMAGES, 23, (1, 28, 28))
    it.reset()  # before the first batch: skips no epoch
    np.testing.assert_array_equal(epoch(it), epoch(MnistIter(IMAGES, 23, (1, 28, 28))))
    it.seek(0, 0)
    orders = []
    for _ in range(3):
        images = pixels(epoch(it))[..., 0]
        orders.append([next(i for i, x in enumerate(IMAGES) if (x == p).all()) for p in images])
        it.reset()
    assert all(sorted(order) == list(range(23)) for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_the_remainder_of_an_epoch_differs_in_each():
    it, dropped = MnistIter(IMAGES, 10, (1, 28, 28)), []
    for _ in range(8):
        used = {x.tobytes() for x in pixels(epoch(it))}
        dropped.append({i for i, x in enumerate(IMAGES) if x.tobytes() not in used})
        it.reset()
    assert all(len(left) == 3 for left in dropped) and not set.intersection(*dropped)
    assert len({frozenset(left) for left in dropped}) == 8


@pytest.mark.parametrize("cache, threads", [(0, 1), (10**6, 3)])
def test_seek_threads_and_cache_change_no_batch(cache, threads, few_rec, monkeypatch):
    makes = [lambda seed, **options: MnistIter(IMAGES, 4, seed=seed, **options),
             lambda seed, **options: ImagenetIter(few_rec, 16, seed=seed, **options)]
    cached = [make(4) for make in makes]
    monkeypatch.setattr(image_sources, "_CACHE_BYTES", cache)
    for reading, make in zip(cached, makes):
        seeking = make(4, threads=threads)
        for n_epoch in range(2):
            for n, batch in enumerate(reading):
                seeking.seek(n_epoch, n)
                np.testing.assert_array_equal(batch.data[0].asnumpy(),
                                              seeking.next().data[0].asnumpy())
            reading.reset()
        seeking.reset()
        images = epoch(reading)
        np.testing.assert_array_equal(images, epoch(seeking))
        assert (images != epoch(make(5))).any()


@pytest.mark.parametrize("num_parts", [2, 3])
def test_parts_concatenate_to_the_whole_batch(num_parts, few_rec):
    for count, make in ((23, lambda n, **part: MnistIter(IMAGES, n, **part)),
                        (40, lambda n, **part: ImagenetIter(few_rec, n, **part)),
                        (25, lambda n, **part: RandIter(n, 7, 5, **part))):
        whole = make(3 * num_parts)
        parts = [make(3, num_parts=num_parts, part_index=i) for i in range(num_parts)]
        for _ in range(2):
            for _ in range(count // num_parts // 3):
                joined = np.concatenate([part.next().data[0].asnumpy() for part in parts])
                np.testing.assert_array_equal(joined, whole.next().data[0].asnumpy())
            for it in (whole, *parts):
                if not isinstance(it, RandIter):
                    pytest.raises(StopIteration, it.next)
                it.reset()


@pytest.mark.parametrize("kwargs, words", [
    ({"batch_size": 12, "num_parts": 2}, "batch_size: .* 12: expected 1 to 11, .* / num_parts"),
    ({"batch_size": 0}, "batch_size: invalid value 0: expected 1 to 23"),
    ({"batch_size": 24}, "batch_size: invalid value 24: expected 1 to 23"),
    ({"images": IMAGES.astype(np.float32)}, "images: invalid float32"),
    ({"images": IMAGES[0]}, r"images: invalid uint8 array of shape \(28, 28\)"),
    ({"threads": 0}, "threads: invalid value 0"),
    ({"seed": -1}, "seed: invalid value -1: expected 0 or more"),
    ({"num_parts": 0}, "part_index: invalid value 0"),
    ({"part_index": 1}, "part_index: invalid value 1: expected 0 to 0"),
    ({"part_index": -1, "num_parts": 2}, "part_index: invalid value -1: expected 0 to 1")])
def test_mnist_iter_rejects_invalid_arguments(kwargs, words):
    with pytest.raises(ArgumentError, match=words):
        MnistIter(**{"images": IMAGES, "batch_size": 4, **kwargs})


def test_noise_is_normal_and_depends_on_seed_and_number():
    it = RandIter(1000, 100, seed=5)
    assert [(d.name, d.shape) for d in it.provide_data] == [("rand", (1000, 100, 1, 1))]
    batches = [it.next().data[0].asnumpy() for _ in range(3)]
    x = batches[0].ravel()
    assert x.dtype == np.float32
    # four standard errors of 100,000 draws
    assert abs(x.mean()) < 4 / np.sqrt(1e5)
    assert abs(x.var() - 1) < 4 * np.sqrt(2 / 1e5)
    assert abs((x ** 4).mean() - 3) < 4 * np.sqrt(96 / 1e5)
    assert abs(np.corrcoef(x, batches[1].ravel())[0, 1]) < 4 / np.sqrt(1e5)
    it.seek(1)
    np.testing.assert_array_equal(it.next().data[0].asnumpy(), batches[1])
    with pytest.raises(ArgumentError, match="part_index: invalid value 2: expected 0 to 1"):
        RandIter(4, 5, num_parts=2, part_index=2)
    for args in ((0, 5), (4, 0), (4, 5, -1)):
        with pytest.raises(ArgumentError, match="invalid value -?[01]: expected"):
            RandIter(*args)
    assert (RandIter(1000, 100, seed=6).next().data[0].asnumpy() != batches[0]).any()


def test_lossless_images_come_back_bit_for_bit_in_rgb(few_rec, sources):
    """Each image once; half of them mirrored, unless mirroring is off."""
    images = epoch(ImagenetIter(few_rec, 40, **WHOLE))
    found = pixels(images)
    np.testing.assert_array_equal(
        images, found.astype(np.float32).transpose(0, 3, 1, 2) / np.float32(127.5) - 1)
    expected = {x.tobytes() for x in sources}
    plain = {p.tobytes() for p in found} & expected
    mirrored = {p[:, ::-1].tobytes() for p in found} & expected
    assert plain | mirrored == expected and abs(len(plain) - 20) < 4 * (40 / 4) ** 0.5
    unmirrored = pixels(epoch(ImagenetIter(few_rec, 40, mirror=False, **WHOLE)))
    assert {p.tobytes() for p in unmirrored} == expected
    gray = ImagenetIter(few_rec, 40, (1, 256, 256), crop=(256, 256), mirror=False)
    np.testing.assert_allclose(pixels(epoch(gray))[..., 0], unmirrored @ [0.299, 0.587, 0.114],
                               atol=1)


@pytest.mark.parametrize("inter_method", [1, 9])
def test_interpolation_is_that_of_mxnets_reader(inter_method, few_rec):
    """Whole images, in any order."""
    ours = epoch(ImagenetIter(few_rec, 40, crop=(256, 256), mirror=False,
                              inter_method=inter_method))
    reader = mx.io.ImageRecordIter(
        path_imgrec=str(few_rec), data_shape=(3, 64, 64), batch_size=40, mean_r=127.5,
        mean_g=127.5, mean_b=127.5, scale=1 / 127.5, inter_method=inter_method, min_crop_size=256,
        max_crop_size=256)
    theirs = epoch(reader)
    for image in ours:
        assert abs(theirs - image).max((1, 2, 3)).min() < 1.01 / 127.5


def test_crops_are_uniform_in_size_and_place(tmp_path):
    """The red and green of the images are columns and rows, and show where each crop lies."""
    y, x = np.mgrid[:256, :256].astype(np.uint8)
    image = encode(np.dstack([x, y, 0 * x]))
    (tmp_path / "a.rec").write_bytes(b"".join(encode_record(image, n) for n in range(64)))
    it = ImagenetIter(tmp_path / "a.rec", 64)
    images = []
    for _ in range(8):
        images.append(epoch(it))
        it.reset()
    images = np.concatenate(images)
    red, green = (images[:, 0] + 1) * 127.5, (images[:, 1] + 1) * 127.5
    low, high = red.min((1, 2)), red.max((1, 2))
    sides = (high - low) * 64 / 63  # 64 points in the middle of equal parts
    assert sides.min() > 190 and sides.max() < 258 and np.ptp(sides) > 55
    np.testing.assert_allclose(sides, (green.max((1, 2)) - green.min((1, 2))) * 64 / 63, atol=2)
    assert abs(sides.mean() - 224) < 4 * 65 / np.sqrt(12 * 512)  # uniform
    assert low.min() < 5 and low.max() > 40 and green.min((1, 2)).max() > 40
    assert abs(np.corrcoef(low, green.min((1, 2)) - (256 - sides) / 2)[0, 1]) < 4 / np.sqrt(512)
    assert abs((red[:, 0, 0] < red[:, 0, 1]).mean() - 0.5) < 4 * 0.5 / np.sqrt(512)  # mirrored


@pytest.mark.parametrize("crop, mirror", [((192, 256), True), ("center", False), ("none", True)])
def test_a_folder_and_its_record_file_give_the_same_batches(crop, mirror, sources, tmp_path):
    (tmp_path / "in").mkdir()
    for n, image in enumerate(sources):
        (tmp_path / "in" / f"{n}.png").write_bytes(encode(image, compress_level=1))
    assert pack(tmp_path / "in", tmp_path / "a.rec") == (40, [])
    folder = FolderIter(tmp_path / "in", 20, crop=crop, mirror=mirror)
    file = ImagenetIter(tmp_path / "a.rec", 20, crop=crop, mirror=mirror, inter_method=9)
    assert folder.skipped == file.skipped == []
    np.testing.assert_array_equal(epoch(folder), epoch(file))


def test_whole_and_center_crops_are_means_of_pixels(tmp_path):
    """32x96 to 16x16, by hand; the defaults of a folder are the center, not mirrored."""
    image = np.random.default_rng(0).integers(0, 256, (32, 96, 3), np.uint8)
    (tmp_path / "a.png").write_bytes(encode(image))

    def mean(array, rows, columns):
        height, width = array.shape[:2]
        return array.reshape(height // rows, rows, width // columns, columns, 3).mean((1, 3))

    def read(**options):
        return pixels(epoch(FolderIter(tmp_path, 1, (3, 16, 16), **options)))[0]

    center = mean(image[:, 32:64], 2, 2)
    for found in (read(), read(crop="center"), read(mirror=True, seed=1)):
        assert min(abs(found - center).max(), abs(found[:, ::-1] - center).max()) <= 0.5
    assert abs(read() - center).max() <= 0.5
    stretched = read(crop="none", fit="stretch")
    assert abs(stretched - mean(image, 2, 6)).max() <= 0.5
    for color, value in (("white", 255), ("gray", 128), ("black", 0)):
        padded = read(crop="none", pad_color=color)
        assert (padded[:5] == value).all() and (padded[10:] == value).all()
        assert abs(padded[5:10].mean(0) - mean(image, 32, 6)).max() <= 1
    gray = FolderIter(tmp_path, 1, (1, 16, 16), crop="none", pad_color="black")
    assert abs((epoch(gray)[0, 0, 5:10] + 1) * 127.5
               - padded[5:10] @ [0.299, 0.587, 0.114]).max() < 2


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("options", [{}, {"crop": "none"}, {"crop": "none", "fit": "stretch"}])
def test_fine_patterns_become_their_mean(kind, options, tmp_path):
    """Stripes of one pixel alias unless all are averaged; 13 of 25 pixels give at most 0.04."""
    stripes = np.zeros((320, 400), np.uint8)
    stripes[:, ::2] = 255
    for n, image in enumerate((stripes, np.rot90(stripes))):
        (tmp_path / f"{n}").write_bytes(encode(image, kind))
    images = epoch(FolderIter(tmp_path, 2, (1, 16, 16), pad_color="gray", **options))
    assert abs(images).max() < 0.05


def test_a_damaged_image_is_reported_once_and_replaced_by_the_next(few_rec, sources, tmp_path):
    good, offset = few_rec.read_bytes(), scan(few_rec)[0][5] + 500
    path = tmp_path / "a.rec"
    path.write_bytes(good[:offset] + bytes([good[offset] ^ 1]) + good[offset + 1:])
    expected = pixels(epoch(ImagenetIter(few_rec, 40, mirror=False, **WHOLE)))
    with pytest.warns(RuntimeWarning, match="skipped: .*a.rec: 'record 6' is damaged") as caught:
        it = ImagenetIter(path, 20, mirror=False, threads=2, **WHOLE)  # its threads begin at once
        images = pixels(epoch(it))
    it.reset()
    epoch(it)
    assert len(caught) == 1 and it.skipped == [("record 6", "is damaged: its checksum differs")]
    changed, = np.flatnonzero((images != expected).any((1, 2, 3)))
    np.testing.assert_array_equal(expected[changed], sources[5])
    np.testing.assert_array_equal(images[changed], sources[6])


def test_odd_jpeg_files_are_counted_in_one_warning(sources, tmp_path):
    (tmp_path / "in").mkdir()
    for name, extra in (("a.jpg", b""), ("b.jpg", b"<html>"), ("c.jpg", b"<html>")):
        (tmp_path / "in" / name).write_bytes(encode(sources[0], "JPEG") + extra)
    it = FolderIter(tmp_path / "in", 1, threads=2)
    for read in (lambda: pack(tmp_path / "in", tmp_path / "a.rec"), lambda: epoch(it)):
        with pytest.warns(RuntimeWarning, match="in: JPEG files with missing or extra bytes, which "
                          "may look damaged: 2, such as 'b.jpg'$") as caught:
            read()
        assert len(caught) == 1
    it.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        epoch(it)
    assert it.skipped == []


def test_many_damaged_images_in_a_row_and_a_changed_file_are_errors(few_rec, tmp_path):
    path = tmp_path / "a.rec"
    bad = b"".join(encode_record(b"not an image", n) for n in range(150))
    path.write_bytes(few_rec.read_bytes() + bad)
    with pytest.warns(RuntimeWarning, match="is not an image"), pytest.raises(
            DatasetError, match="a.rec: 100 images in a row cannot be read, beginning with 'rec"):
        epoch(ImagenetIter(path, 10))
    path.write_bytes(few_rec.read_bytes())
    it = ImagenetIter(path, 4)
    path.write_bytes(few_rec.read_bytes()[:100])
    with pytest.raises(DatasetError, match="a.rec changed while it was in use"):
        epoch(it)


@pytest.mark.parametrize("kwargs, words", [
    ({"batch_size": 41}, "few.rec has 40 images, but a batch needs 41: use --batch-size 40, or"),
    ({"batch_size": 16, "num_parts": 3}, "but a batch needs 48: use --batch-size 13, or add"),
    ({"data_shape": (2, 64, 64)}, r"data_shape: invalid value \(2, 64, 64\): expected 1 channel"),
    ({"crop": (256, 192)}, r"crop: invalid value \(256, 192\)"),
    ({"crop": "centre"}, "crop: invalid value 'centre': expected center, none, or"),
    ({"crop": "none", "fit": "cover"}, "fit: invalid value 'cover': expected pad or stretch"),
    ({"pad_color": "pink"}, "pad_color: invalid value 'pink': expected white, gray, black"),
    ({"inter_method": 2}, "inter_method: invalid value 2: expected 1 .* or 9")])
def test_imagenet_iter_rejects_invalid_arguments(kwargs, words, few_rec):
    with pytest.raises(ValueError, match=words):
        ImagenetIter(few_rec, **{"batch_size": 32, **kwargs})
