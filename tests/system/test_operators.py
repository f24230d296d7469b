from helpers.common import run_code

DIGEST = """
import hashlib, sys
import numpy as np
sys.modules.update(dict.fromkeys(("sklearn", "scipy.stats")))
import dcgan_mx
from dcgan_mx.system import compat
{change}
import mxnet as mx
digest, count, compiled = hashlib.sha256(), 0, 0
for module_name, module in sorted(sys.modules.items()):
    if module_name.startswith("mxnet."):
        for name, value in sorted(vars(module).items()):
            if getattr(value, "__qualname__", "").isidentifier() and hasattr(value, "__code__"):
                count += 1
                compiled += value.__code__.co_filename == "<string>"
                digest.update(repr((module_name, name, value.__name__, value.__qualname__,
                                    value.__module__, value.__doc__)).encode())
data = mx.nd.array(np.arange(6).reshape(2, 3))
total = mx.nd.empty((1,))
mx.nd.sum(data, out=total)
net = mx.sym.Convolution(mx.sym.var("data"), kernel=(3, 3), num_filter=2, name="conv")
results = (total.asscalar(), mx.nd.concat(data, data, dim=1).shape, mx.np.tanh(mx.np.ones(1))[0],
           mx.nd.sum(data, 0).asnumpy().tolist(), mx.nd.random.uniform(shape=2).shape,
           net.tojson(), mx.sym.contrib.box_nms(net).name)
for call in (lambda: mx.sym.Convolution(3), lambda: mx.nd.sum(data, axes=1), mx.nd.Flatten):
    try:
        call()
    except Exception as error:
        results += (type(error).__name__, str(error).split("Stack trace")[0])
assert len(results) == 13, results
print(compiled, count, digest.hexdigest(), results)
"""


def test_operators_are_those_of_a_plain_import_but_compiled_later():
    plain, lazy = (run_code(DIGEST.format(change=change)).stdout.split(maxsplit=2)
                   for change in ("sys.meta_path.remove(compat._Finder)", ""))
    assert int(plain[0]) > 2000 and int(lazy[0]) == 0
    assert plain[1:] == lazy[1:]
