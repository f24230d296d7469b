import struct

import numpy as np
import pytest

from dcgan_mx.data.errors import DatasetError
from dcgan_mx.data.image_sources import Records
from dcgan_mx.data.recordio import encode_record, scan
from dcgan_mx.system.runtime import mx

MAGIC = struct.pack("<I", 0xced7230a)
IMAGES = [b"a", b"four", b"five!", MAGIC, b"xx" + MAGIC, b"1234" + MAGIC + b"56",
          MAGIC * 3 + b"z", bytes(range(256)) * 9]


def put(path, images=IMAGES):
    path.write_bytes(b"".join(encode_record(image, n) for n, image in enumerate(images)))
    return path


def read_all(path):
    records = Records(path)
    return [records.read(n) for n in range(len(records))]


def test_mxnet_reads_encoded_records(tmp_path):
    reader = mx.recordio.MXRecordIO(str(put(tmp_path / "a.rec")), "r")
    for n, image in enumerate(IMAGES):
        header, content = mx.recordio.unpack(reader.read())
        assert (header.flag, header.label, header.id, content) == (0, 0, n, image)
    assert reader.read() is None


def test_records_of_mxnets_writer_are_read(tmp_path, monkeypatch):
    """With any number of labels, at the writer's offsets; records of labels only are skipped."""
    path = tmp_path / "a.rec"
    writer = mx.recordio.MXIndexedRecordIO(str(tmp_path / "a.idx"), str(path), "w")
    expected = []
    for n, image in enumerate([b"", *IMAGES, b""]):
        expected.append(writer.tell())
        labels = np.arange(n, dtype=np.float32)
        content = struct.pack("<IfQQ", n, 0, n, 0) + labels.tobytes() + image
        assert n < 2 or mx.recordio.unpack(content)[0].label.tolist() == labels.tolist()
        writer.write(content)
    writer.close()
    assert list(scan(path)[0]) == expected
    records = Records(path)
    assert read_all(path) == IMAGES
    assert [records.name(n) for n in (0, 7)] == ["record 2", "record 9"]
    assert records.skipped == [(f"record {n}", "contains no image") for n in (1, 10)]


def test_every_flipped_bit_is_detected(tmp_path):
    path = put(tmp_path / "a.rec", [b"first", MAGIC + b"second"])
    good = path.read_bytes()
    ids_and_labels = {*range(8 + 4, 8 + 24), *range(48 + 4, 48 + 24)}  # not used by the training
    padding = {8 + 24 + 5 + i for i in range(3)} | {len(good) - 2, len(good) - 1}
    for i in set(range(len(good))) - ids_and_labels - padding:
        path.write_bytes(good[:i] + bytes([good[i] ^ 4]) + good[i + 1:])
        try:
            assert len(read_all(path)) < 2
        except ValueError:
            continue


@pytest.mark.parametrize("content, words", [
    (b"hello world, this is no record", "not a record file, or damaged at byte 0"),
    (encode_record(b"x" * 50, 0)[:-4], "cut off in record 1"),
    (encode_record(b"x" * 50, 0) + b"\0\0\0\0", "damaged at byte 84"),
    (encode_record(MAGIC * 2, 0)[:-8], "cut off in record 1")])
def test_damaged_files_are_rejected(content, words, tmp_path):
    (tmp_path / "a.rec").write_bytes(content)
    with pytest.raises(DatasetError, match=f"a.rec.* {words}.*: .*again"):
        scan(tmp_path / "a.rec")


@pytest.mark.parametrize("content", [
    b"", MAGIC + struct.pack("<I", 24) + bytes(24), MAGIC + struct.pack("<I", 4) + bytes(4),
    MAGIC + struct.pack("<IIfQQ", 28, 2**32 - 1, 0, 0, 0) + b"abcd"])
def test_files_without_an_image(content, tmp_path):
    (tmp_path / "a.rec").write_bytes(content)
    records = Records(tmp_path / "a.rec")
    assert len(records) == 0 and len(records.skipped) == bool(content)


def test_the_digest_depends_on_the_images_only(tmp_path):
    digests = [scan(put(tmp_path / name, images))[2] for name, images in (
        ("a.rec", [b"one", b"two"]), ("b.rec", [b"one", b"two"]), ("a.rec", [b"two", b"one"]),
        ("a.rec", [b"one", b"twO"]), ("a.rec", [b"one"]))]
    assert digests[0] == digests[1] and len(set(digests)) == 4
