import io
import re

import numpy as np
import pytest
from PIL import Image

from dcgan_mx import FolderIter, ImagenetIter, iterators
from dcgan_mx.data.errors import DatasetError
from dcgan_mx.data.recordio import encode_record, scan
from dcgan_mx.system.runtime import mx

WHOLE = {"data_shape": (3, 256, 256), "crop": (256, 256)}


def epoch(it):
    return np.concatenate([batch.data[0].asnumpy() for batch in it])


def pixels(images):
    """Undo the scaling: (N, C, H, W) in [-1, 1] to (N, H, W, C), uint8."""
    return np.rint((images + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1)


@pytest.fixture(scope="module")
def few_rec(photo_rec, tmp_path_factory):
    """The first 50 of the record file."""
    path = tmp_path_factory.mktemp("few") / "few.rec"
    path.write_bytes(photo_rec.read_bytes()[:scan(photo_rec)[0][50]])
    return path


def encode(array, kind="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def test_pixels_are_the_sources_in_rgb_and_scaled(photo_folder, photo_rec):
    """Whole lossless images come back equal, each once, half of them mirrored."""
    sources = {np.asarray(Image.open(path)).tobytes(): path for path in photo_folder.iterdir()}
    images = epoch(ImagenetIter(photo_rec, 40, **WHOLE))
    expected = pixels(images).astype(np.float32).transpose(0, 3, 1, 2) / np.float32(127.5) - 1
    np.testing.assert_array_equal(images, expected)
    plain = {p.tobytes() for p in pixels(images)}
    mirrored = {np.ascontiguousarray(p[:, ::-1]).tobytes() for p in pixels(images)}
    assert len(images) == 280 and (plain | mirrored) >= sources.keys()
    assert abs(sum(p in sources for p in plain) - 140) < 4 * (280 / 4) ** 0.5
    unmirrored = pixels(epoch(ImagenetIter(photo_rec, 40, mirror=False, **WHOLE)))
    assert {p.tobytes() for p in unmirrored} == sources.keys()
    grey = ImagenetIter(photo_rec, 280, (1, 256, 256), crop=(256, 256), mirror=False)
    np.testing.assert_allclose(pixels(epoch(grey))[..., 0], unmirrored @ [0.299, 0.587, 0.114],
                               atol=1)


@pytest.mark.parametrize("inter_method", [1, 9])
def test_squares_are_scaled_as_mxnet_scales_them(inter_method, few_rec):
    """Whole images, in any order, against MXNet's own reader."""
    ours = epoch(ImagenetIter(few_rec, 50, crop=(256, 256), mirror=False,
                              inter_method=inter_method))
    reader = mx.io.ImageRecordIter(
        path_imgrec=str(few_rec), data_shape=(3, 64, 64), batch_size=50, mean_r=127.5,
        mean_g=127.5, mean_b=127.5, scale=1 / 127.5, inter_method=inter_method, min_crop_size=256,
        max_crop_size=256)
    theirs = np.concatenate([batch.data[0].asnumpy() for batch in reader])
    for image in ours:
        assert abs(theirs - image).max((1, 2, 3)).min() < 1.01 / 127.5


def test_crops_have_192_to_256_pixels_anywhere(tmp_path):
    """Images whose red and green are their columns and rows show where each crop lies."""
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


@pytest.mark.parametrize("cache, threads", [(0, 1), (10**6, 3)])
def test_a_function_of_seed_and_number(cache, threads, few_rec, monkeypatch):
    reading = ImagenetIter(few_rec, 16, seed=4)
    monkeypatch.setattr(iterators, "_CACHE_BYTES", cache)
    seeking = ImagenetIter(few_rec, 16, seed=4, threads=threads)
    assert reading.num_batches == 3
    for n_epoch in range(2):
        for n, batch in enumerate(reading):
            seeking.seek(n_epoch, n)
            np.testing.assert_array_equal(batch.data[0].asnumpy(), seeking.next().data[0].asnumpy())
        reading.reset()
    assert (epoch(ImagenetIter(few_rec, 16, seed=5)) != epoch(reading)).any()


@pytest.mark.parametrize("num_parts", [2, 3])
def test_parts_of_a_batch_make_it_up(num_parts, few_rec):
    whole = ImagenetIter(few_rec, 8 * num_parts)
    parts = [ImagenetIter(few_rec, 8, num_parts=num_parts, part_index=part)
             for part in range(num_parts)]
    assert {part.num_batches for part in parts} == {whole.num_batches}
    for batch in whole:
        joined = np.concatenate([part.next().data[0].asnumpy() for part in parts])
        np.testing.assert_array_equal(batch.data[0].asnumpy(), joined)


def test_a_folder_and_its_file_are_the_same_images(photo_folder, photo_rec):
    folder, file = FolderIter(photo_folder, 64), ImagenetIter(photo_rec, 64, inter_method=9)
    assert folder.skipped == file.skipped == []
    np.testing.assert_array_equal(epoch(folder), epoch(file))


def test_images_of_any_kind(tmp_path, cut_photographs):
    """Small, large, WebP, grey, with alpha, sideways: in a folder and in a record file."""
    small, large = (next(cut_photographs(1, side)) for side in (32, 300))
    exif = Image.Exif()
    exif[0x0112] = 6
    files = [encode(small), encode(large, "JPEG"), encode(large, "WEBP"), encode(large[..., 0]),
             encode(np.dstack([small, small[..., 0]])), encode(small, exif=exif)]
    (tmp_path / "in").mkdir()
    for n, raw in enumerate(files):
        (tmp_path / "in" / f"{n}").write_bytes(raw)
    (tmp_path / "a.rec").write_bytes(b"".join(map(encode_record, files, range(6))))
    for it in (FolderIter(tmp_path / "in", 6, (3, 16, 16)),
               ImagenetIter(tmp_path / "a.rec", 6, (3, 16, 16))):
        images = epoch(it)
        assert images.shape == (6, 3, 16, 16) and (images.std((1, 2, 3)) > 0.01).all()
        assert it.skipped == []


def test_a_damaged_image_is_named_once_and_the_next_takes_its_place(few_rec, photo_rec, tmp_path):
    offsets = scan(few_rec)[0]
    good = few_rec.read_bytes()
    path = tmp_path / "a.rec"
    path.write_bytes(good[:offsets[5] + 500] + b"\0" + good[offsets[5] + 501:])
    expected = pixels(epoch(ImagenetIter(few_rec, 50, mirror=False, **WHOLE)))
    it = ImagenetIter(path, 25, mirror=False, threads=2, **WHOLE)
    assert it.skipped == []
    with pytest.warns(RuntimeWarning, match="skipped: .*a.rec: 'record 6' is damaged") as caught:
        images = pixels(epoch(it))
    it.reset()
    epoch(it)
    assert len(caught) == 1 and it.skipped == [("record 6", "is damaged: its checksum differs")]
    changed, = np.flatnonzero((images != expected).any((1, 2, 3)))
    lost, next_one = ({p.tobytes() for p in x} for x in ([expected[changed]], [images[changed]]))
    whole = [p.tobytes() for p in expected]
    assert lost < {*whole} and next_one < {*whole}
    reader = mx.recordio.MXIndexedRecordIO(str(photo_rec.with_suffix(".idx")), str(photo_rec), "r")
    raw = mx.recordio.unpack(reader.read_idx(6))[1]
    np.testing.assert_array_equal(images[changed], np.asarray(Image.open(io.BytesIO(raw))))


def test_many_damaged_images_in_a_row_are_an_error(few_rec, tmp_path):
    path = tmp_path / "a.rec"
    bad = b"".join(encode_record(b"no picture", n) for n in range(150))
    path.write_bytes(few_rec.read_bytes() + bad)
    with pytest.warns(RuntimeWarning, match="is not an image"), pytest.raises(
            DatasetError, match="a.rec: 100 images in a row cannot be read, among them 'rec"):
        epoch(ImagenetIter(path, 10))


def test_a_file_that_changes_is_told(few_rec, tmp_path, monkeypatch):
    monkeypatch.setattr(iterators, "_CACHE_BYTES", 0)
    path = tmp_path / "a.rec"
    path.write_bytes(few_rec.read_bytes())
    it = ImagenetIter(path, 16)
    path.write_bytes(few_rec.read_bytes()[:100])
    it.reset()
    with pytest.raises(DatasetError, match="a.rec changed while it was in use"):
        epoch(it)


@pytest.mark.parametrize("kwargs, words", [
    ({"batch_size": 281}, "a.rec has 280 images, and 281 are needed for a batch: give more"),
    ({"batch_size": 0}, "batch_size is 0: give 1 to 280"),
    ({"batch_size": 100, "num_parts": 3}, "has 280 images, and 300 are needed"),
    ({"part_index": 1}, "part_index is 1: give 0 to num_parts - 1, which is 0"),
    ({"data_shape": (2, 64, 64)}, r"data_shape is \(2, 64, 64\): give 1 channel \(grey\) or 3"),
    ({"crop": (256, 192)}, r"crop is \(256, 192\)"),
    ({"inter_method": 2}, "inter_method is 2: give 1 .* or 9"),
    ({"threads": 0}, "threads is 0")])
def test_bad_arguments(kwargs, words, photo_rec):
    with pytest.raises(ValueError, match=re.sub("a.rec", photo_rec.name, words)):
        ImagenetIter(photo_rec, **{"batch_size": 64, **kwargs})
