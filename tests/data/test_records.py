import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dcgan_mx.data import records
from dcgan_mx.data.records import RecordError, find_bad, frame, scan
from dcgan_mx.machine.runtime import mx

MAGIC = struct.pack("<I", 0xced7230a)
PICTURES = [b"a", b"four", b"five!", MAGIC, b"xx" + MAGIC, b"1234" + MAGIC + b"56",
            MAGIC * 3 + b"z", b"", bytes(range(256)) * 9]


def put(path, pictures=PICTURES):
    path.write_bytes(b"".join(frame(picture or b"-", n) for n, picture in enumerate(pictures)))
    return path


def test_mxnet_reads_what_is_framed(tmp_path):
    reader = mx.recordio.MXRecordIO(str(put(tmp_path / "a.rec")), "r")
    for n, picture in enumerate(PICTURES):
        header, content = mx.recordio.unpack(reader.read())
        assert (header.flag, header.label, header.id, content) == (0, 0, n, picture or b"-")
    assert reader.read() is None


def test_scan_finds_what_mxnet_writes(tmp_path):
    """Offsets as MXNet's writer tells them; labels in the header, and behind it."""
    for labels in (1.0, np.array([1.0, 2.0])):
        path = tmp_path / "a.rec"
        writer = mx.recordio.MXIndexedRecordIO(str(tmp_path / "a.idx"), str(path), "w")
        expected = []
        for n, picture in enumerate(PICTURES):
            expected.append(writer.tell())
            writer.write(mx.recordio.pack(mx.recordio.IRHeader(0, labels, n, 0), picture or b"-"))
        writer.close()
        offsets, width, _ = scan(path)
        assert list(offsets) == expected and width == np.size(labels)


def test_every_flipped_bit_is_found(tmp_path):
    path = put(tmp_path / "a.rec", [b"first", MAGIC + b"second"])
    good = path.read_bytes()
    ids_and_labels = {*range(8 + 4, 8 + 24), *range(48 + 4, 48 + 24)}  # of no use to the training
    padding = {8 + 24 + 5 + i for i in range(3)} | {len(good) - 2, len(good) - 1}
    for i in set(range(len(good))) - ids_and_labels - padding:
        path.write_bytes(good[:i] + bytes([good[i] ^ 4]) + good[i + 1:])
        with pytest.raises(RecordError):
            scan(path)


@pytest.mark.parametrize("content, words", [
    (b"", "is empty"),
    (b"hello world, this is no record", "no record file, or damaged at byte 0"),
    (frame(b"x" * 50, 0)[:-4], "cut off in record 1"),
    (frame(b"x" * 50, 0) + b"\0\0\0\0", "damaged at byte 84"),
    (frame(MAGIC * 2, 0)[:-8], "cut off in record 1"),
    (MAGIC + struct.pack("<I", 24) + bytes(24), "record 1 holds no picture"),
    (MAGIC + struct.pack("<IIfQQ", 28, 2**32 - 1, 0, 0, 0) + b"abcd", "record 1 holds no picture"),
    (MAGIC + struct.pack("<I", 4) + bytes(4), "record 1 holds no picture"),
    (frame(b"x", 0) + MAGIC + struct.pack("<IIfQQ", 40, 3, 0, 0, 0) + bytes(16),
     "record 2 has 3 labels, the first has 1")])
def test_damaged_files(content, words, tmp_path):
    (tmp_path / "a.rec").write_bytes(content)
    with pytest.raises(RecordError, match=f"a.rec.* {words}.*dcgan-mx pack") as caught:
        scan(tmp_path / "a.rec")
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("bounded_memory")
@settings(max_examples=2000, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.integers(0, 200), drop=st.integers(0, 40), insert=st.binary(max_size=40))
def test_any_mutation_is_found_or_harmless(start, drop, insert, tmp_path_factory):
    content = b"".join(frame(picture, 0) for picture in (b"first", MAGIC + b"second", b"third"))
    path = tmp_path_factory.getbasetemp() / "mutated.rec"
    path.write_bytes(content[:start] + insert + content[start + drop:])
    try:
        offsets, _, _ = scan(path)
    except RecordError:
        return
    with open(path, "rb") as f:
        for offset in offsets:
            assert len(records.read_picture(f, offset)) >= 1


def test_the_bad_record_is_named(photo_rec, tmp_path):
    offsets, _, _ = scan(photo_rec)
    assert find_bad(photo_rec, offsets, 256) is None
    assert find_bad(photo_rec, offsets, 257) == ("record 1 has 256x256 pixels, and 257x257 is the "
                                                 "least")
    path = tmp_path / "a.rec"
    path.write_bytes(photo_rec.read_bytes()[:offsets[3]] + frame(b"no picture", 3))
    assert find_bad(path, scan(path)[0], 1) == "record 4 is no picture"


def test_the_digest_is_of_the_pictures(tmp_path):
    digests = [scan(put(tmp_path / "a.rec", pictures))[2]
               for pictures in ([b"one", b"two"], [b"two", b"one"], [b"one", b"twO"], [b"one"])]
    assert len(set(digests)) == 4
    assert scan(put(tmp_path / "b.rec", [b"one", b"two"]))[2] == digests[0]
