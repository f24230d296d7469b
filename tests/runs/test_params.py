import os
import resource
import struct

import numpy as np
import pytest

from dcgan_mx.machine.files import write_atomic
from dcgan_mx.machine.runtime import mx
from dcgan_mx.runs.params import ParamsError, dump_params, parse_params

ARRAYS = {"arg:w": np.arange(6, dtype=np.float32).reshape(2, 3), "aux:é": np.ones(1, np.float64),
          "i": np.array([[-1, 2**40]]), "b": np.arange(4, dtype=np.uint8).reshape(1, 2, 2, 1)}


def save_params(path, arrays):
    write_atomic(path, dump_params(arrays))


def load_params(path):
    return parse_params(path.read_bytes(), path)


def test_bytes_are_mxnets_own(tmp_path):
    save_params(tmp_path / "ours", ARRAYS)
    mx.nd.save(str(tmp_path / "theirs"),
               {name: mx.nd.array(array, dtype=array.dtype) for name, array in ARRAYS.items()})
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_what_mxnet_wrote_is_read(tmp_path):
    for flag in (False, True):
        path = tmp_path / f"{flag}"
        mx.nd.save(str(path), {name: mx.nd.array(array, dtype=array.dtype)
                               for name, array in ARRAYS.items()})
        loaded = load_params(path)
        assert list(loaded) == list(ARRAYS)
        for name, array in ARRAYS.items():
            assert loaded[name].dtype == array.dtype
            np.testing.assert_array_equal(loaded[name], array)


def test_cut_off_anywhere_is_refused(tmp_path):
    save_params(tmp_path / "whole", ARRAYS)
    content = (tmp_path / "whole").read_bytes()
    for end in range(len(content)):
        (tmp_path / "cut").write_bytes(content[:end])
        with pytest.raises(ParamsError):
            load_params(tmp_path / "cut")
    (tmp_path / "long").write_bytes(content + b"\0")
    with pytest.raises(ParamsError, match="1 bytes after its end"):
        load_params(tmp_path / "long")


@pytest.mark.parametrize("offset, layout, value", [
    (16, "<Q", 2**60), (16, "<Q", 2**63), (32, "<I", 2**31), (32, "<I", 0), (32, "<I", 33),
    (36, "<q", 2**40), (36, "<q", -2), (44, "<q", 2**62), (28, "<i", 1), (60, "<i", 99)])
def test_absurd_sizes_are_refused_without_taking_memory(offset, layout, value, tmp_path):
    save_params(tmp_path / "a", ARRAYS)
    content = bytearray((tmp_path / "a").read_bytes())
    struct.pack_into(layout, content, offset, value)
    (tmp_path / "a").write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ParamsError):
        load_params(tmp_path / "a")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10 * 1024


def test_a_name_twice_is_refused(tmp_path):
    save_params(tmp_path / "a", {"w": np.ones(1, np.float32), "v": np.ones(1, np.float32)})
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:-1] + b"w")
    with pytest.raises(ParamsError, match="twice"):
        load_params(tmp_path / "a")


def test_a_file_that_may_not_grow_leaves_nothing(tmp_path):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            save_params(tmp_path / "a", {"w": np.zeros(10000, np.float32)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert os.listdir(tmp_path) == []
