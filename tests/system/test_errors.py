import pickle

import pytest

from dcgan_mx.system.cuda import BuildError
from dcgan_mx.system.errors import ArgumentError, one_line
from dcgan_mx.system.runtime import mx


@pytest.mark.parametrize("message, line", [
    ("a\n  b\tc\n", "a b c"), ("", "ValueError"), ("x" * 3000, "x" * 2000 + "..."),
    ("\x1b[2Jé\udcff", r"\x1b[2Jé\udcff"),
    ("[1] a.cc:3: Check failed: x\nStack trace:\n  [bt] (0) f\n\t[bt] (1) g", "[1] a.cc:3: Check "
     "failed: x")])
def test_messages_become_one_printable_line(message, line):
    assert one_line(ValueError(message)) == line


@pytest.mark.parametrize("error", [
    ArgumentError("seed", "invalid value -1"), BuildError("no driver", "install one")])
def test_errors_reach_other_processes(error):
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) and vars(again) == vars(error)


def test_mxnet_errors_lose_their_stack():
    with pytest.raises(mx.base.MXNetError) as caught:
        mx.nd.dot(mx.nd.ones((2, 3)), mx.nd.ones((2, 3))).asnumpy()
    assert "\n" in str(caught.value)
    assert one_line(caught.value).startswith("MXNetError: Check failed: ")
