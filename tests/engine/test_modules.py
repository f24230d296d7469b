"""What the Modules of the step compute, and what they do not."""
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from helpers.common import needs_bfloat16

from dcgan_mx import make_dcgan_sym
from dcgan_mx.engine.modules import add_biases
from dcgan_mx.system.runtime import mx

STEPS = """
from dcgan_mx import Trainer, make_dcgan_sym
from dcgan_mx.system.runtime import mx
trainer = Trainer(*make_dcgan_sym(4, 4, 3, size=64), 4, (3, 64, 64), nz=5, precision={!r})
batch = mx.io.DataBatch([mx.nd.ones((4, 3, 64, 64))])
for _ in range(4):
    trainer.step(batch, mx.io.DataBatch([mx.nd.ones((4, 5, 1, 1))]))
mx.nd.waitall()
"""


# In bfloat16 D's last layer is no convolution.
@pytest.mark.parametrize("precision, layers", [
    ("float32", 5), pytest.param("bfloat16", 4, marks=needs_bfloat16)])
def test_d_has_gradients_of_weights_for_fakes_and_for_reals_and_no_others(precision, layers):
    """By oneDNN's own word, over four steps."""
    told = subprocess.run([sys.executable, "-c", STEPS.format(precision)], check=True,
                          env={**os.environ, "DNNL_VERBOSE": "1"}, capture_output=True,
                          text=True, timeout=300).stdout
    found = re.findall("exec,cpu,convolution,[^,]*,backward_weights", told)
    assert len(found) == 4 * 2 * layers


def test_biases_of_zeros_change_neither_names_nor_numbers():
    _, symD = make_dcgan_sym(4, 4, 3, size=32)
    other, rng = add_biases(symD), np.random.default_rng(0)
    assert other.list_arguments() == symD.list_arguments()
    assert other.list_auxiliary_states() == symD.list_auxiliary_states()
    shapes = dict(zip(symD.list_arguments(), symD.infer_shape(data=(6, 3, 32, 32))[0]))
    values = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    found = []
    for symbol in (symD, other):
        executor = symbol.simple_bind(mx.cpu(), data=(6, 3, 32, 32))
        executor.copy_params_from({name: mx.nd.array(value) for name, value in values.items()})
        executor.forward(is_train=True)
        executor.backward()
        found.append([executor.outputs[0].asnumpy(), executor.grad_dict["data"].asnumpy()])
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])
    assert np.abs(found[0][1]).max() > 0
