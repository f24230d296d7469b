"""Which gradients the Modules of the step compute."""
import os
import re

import numpy as np
from helpers.common import needs_bfloat16, run_code

from dcgan_mx import make_dcgan_sym
from dcgan_mx.engine.modules import add_biases
from dcgan_mx.system.runtime import mx

HAS_BFLOAT16 = not needs_bfloat16.args[0]
STEPS = """
import sys
from dcgan_mx import Trainer, make_dcgan_sym
from dcgan_mx.system.runtime import mx
for precision in sys.argv[1:]:
    trainer = Trainer(*make_dcgan_sym(4, 4, 3, size=64), 4, (3, 64, 64), nz=5, precision=precision)
    batch = mx.io.DataBatch([mx.nd.ones((4, 3, 64, 64))])
    for _ in range(2):
        trainer.step(batch, mx.io.DataBatch([mx.nd.ones((4, 5, 1, 1))]))
    mx.nd.waitall()
    print("end of", precision, flush=True)
"""


def test_d_has_weight_gradients_for_fakes_and_reals_only():
    """As listed by oneDNN for two steps. In bfloat16 D's last layer is not a convolution."""
    layers = {"bfloat16": 4, "float32": 5} if HAS_BFLOAT16 else {"float32": 5}
    listing = run_code(STEPS, *layers, env={**os.environ, "DNNL_VERBOSE": "1"}).stdout
    for part, (precision, count) in zip(listing.split("end of "), layers.items()):
        found = re.findall("exec,cpu,convolution,[^,]*,backward_weights", part)
        assert len(found) == 2 * 2 * count, precision


def test_zero_biases_do_not_change_names_or_results():
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
