import struct

import numpy as np
import pytest

from dcgan_mx.runs.params import dump_params, parse_params
from dcgan_mx.system.runtime import mx

ARRAYS = {"arg:w": np.arange(6, dtype=np.float32).reshape(2, 3), "aux:é": np.ones(1, np.float64),
          "i": np.array([[-1, 2**40]]), "b": np.arange(4, dtype=np.uint8).reshape(1, 2, 2, 1)}


def dump(arrays):
    return b"".join(map(bytes, dump_params(arrays)))


def test_files_are_compatible_with_mxnet(tmp_path):
    mx.nd.save(str(tmp_path / "theirs"),
               {name: mx.nd.array(array, dtype=array.dtype) for name, array in ARRAYS.items()})
    content = (tmp_path / "theirs").read_bytes()
    assert dump(ARRAYS) == content
    loaded = parse_params(content, "theirs")
    assert list(loaded) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert loaded[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[name], array)


@pytest.mark.parametrize("head, side", [(b"\xc8\xfa\x93\xf9" + struct.pack("<I", 2), "q"),
                                        (struct.pack("<I", 2), "I")])
def test_files_of_old_versions_are_read_as_mxnet_reads_them(head, side, tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    content = (struct.pack("<QQQ", 0x112, 0, 1) + head
               + struct.pack(f"<2{side}iii", 2, 3, 2, 0, 0)  # of a GPU
               + array.tobytes() + struct.pack("<QQ", 1, 5) + b"arg:w")
    (tmp_path / "old").write_bytes(content)
    np.testing.assert_array_equal(mx.nd.load(str(tmp_path / "old"))["arg:w"].asnumpy(), array)
    loaded = parse_params(content, "old")
    assert list(loaded) == ["arg:w"]
    np.testing.assert_array_equal(loaded["arg:w"], array)


def test_truncated_too_long_or_ambiguous_files_are_rejected():
    content = dump(ARRAYS)
    for end in range(len(content)):
        with pytest.raises(ValueError, match="^here "):
            parse_params(content[:end], "here")
    with pytest.raises(ValueError, match="^here has 1 bytes after its end"):
        parse_params(content + b"\0", "here")
    twice = dump({"w": np.ones(1, np.float32), "v": np.ones(1, np.float32)})[:-1] + b"w"
    with pytest.raises(ValueError, match="^here uses a name twice"):
        parse_params(twice, "here")


@pytest.mark.parametrize("offset, layout, value", [
    (16, "<Q", 10_001), (16, "<Q", 2**60), (16, "<Q", 2**63), (32, "<I", 2**31), (32, "<I", 0),
    (32, "<I", 33), (36, "<q", 2**40), (36, "<q", -2), (44, "<q", 2**62), (28, "<i", 1),
    (60, "<i", 99)])
@pytest.mark.usefixtures("bounded_memory")
def test_invalid_sizes_are_rejected_without_allocating(offset, layout, value):
    content = bytearray(dump(ARRAYS))
    struct.pack_into(layout, content, offset, value)
    with pytest.raises(ValueError, match="^here "):
        parse_params(bytes(content), "here")
