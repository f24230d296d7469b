"""Small networks with random parameters, and what MXNet makes of their inputs."""
import numpy as np

from dcgan_mx import make_dcgan_sym
from dcgan_mx.system.runtime import mx

# Biases and a scale of BatchNorm that is learnt, or neither: what the reference has.
BOTH = ({"no_bias": True, "fix_gamma": True}, {"no_bias": False, "fix_gamma": False})


def make_network(network, width, nc, size, seed=0, **options):
    """A symbol, the shape of one of its inputs, and random parameters that keep a signal alive."""
    symG, symD = make_dcgan_sym(width, width, nc, size=size, **options)
    sym, name, shape = ((symG, "rand", (10, 1, 1)) if network == "G" else
                        (symD, "data", (nc, size, size)))
    shapes, _, aux_shapes = sym.infer_shape(**{name: (1, *shape)})
    rng, params = np.random.default_rng(seed), {}
    for key, dims in (*zip(sym.list_arguments(), shapes),
                      *zip(sym.list_auxiliary_states(), aux_shapes)):
        if key.endswith("_weight"):  # of G, 4 of the 16 places of a kernel meet in a pixel
            fan = dims[0] * (1 if key == "g1_weight" else 4) if network == "G" else dims[1] * 16
            params[f"arg:{key}"] = rng.normal(0, np.sqrt(2 / fan), dims)
        elif key.endswith(("_gamma", "_moving_var")):
            kind = "aux" if key.endswith("_var") else "arg"
            params[f"{kind}:{key}"] = rng.uniform(0.5, 1.5, dims)
        elif key.endswith(("_beta", "_bias", "_moving_mean")):
            kind = "aux" if key.endswith("_mean") else "arg"
            params[f"{kind}:{key}"] = rng.normal(0, 0.2, dims)
    return sym, shape, {key: array.astype(np.float32) for key, array in params.items()}


def split(params):
    """The arrays arg:NAME and the arrays aux:NAME by name, as MXNet takes them."""
    return [{name[4:]: mx.nd.array(array) for name, array in params.items()
             if name.startswith(kind)} for kind in ("arg:", "aux:")]


def run_mxnet(sym, params, x, is_train=False):
    """What MXNet makes of inputs, with the moving statistics, or with those of the batch."""
    name, label = ("rand", None) if x.shape[2:] == (1, 1) else ("data", ("label",))
    mod = mx.mod.Module(sym, data_names=(name,), label_names=label)
    mod.bind([(name, x.shape)], label and [("label", (len(x),))], for_training=False)
    mod.set_params(*split(params))
    mod.forward(mx.io.DataBatch([mx.nd.array(x)], label and [mx.nd.zeros(len(x))]), is_train)
    return mod.get_outputs()[0].asnumpy()
