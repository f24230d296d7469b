"""What a Module remembers, as NumPy arrays; what has no public name in MXNet 1.9.1 is here only."""
from .runtime import mx


def get_parameters(mod):
    """Copy a Module's parameters and moving statistics.

    Parameters
    ----------
    mod : mx.mod.Module

    Returns
    -------
    dict of str to np.ndarray, float32
        Under arg:NAME and aux:NAME.
    """
    return {f"{kind}:{name}": array.asnumpy()
            for kind, params in zip(("arg", "aux"), mod.get_params())
            for name, array in params.items()}


def set_parameters(mod, arrays):
    """Set a Module's parameters and moving statistics from what `get_parameters` returned."""
    params = {kind: {name[4:]: mx.nd.array(array) for name, array in arrays.items()
                     if name.startswith(kind)} for kind in ("arg:", "aux:")}
    mod.set_params(params["arg:"], params["aux:"])


def parameter_arrays(mod):
    """The arrays that a Module trains, and its statistics."""
    group = mod._exec_group
    return [*group.param_arrays, *group.aux_arrays]


def get_adam(mod):
    """Copy Adam's moments and its number of updates.

    Parameters
    ----------
    mod : mx.mod.Module
        On one context.

    Returns
    -------
    moments : dict of str to np.ndarray, float32
        Under mean:NAME and var:NAME; empty before the first update.
    updates : int
    """
    updater, moments = mod._updater, {}
    for i, state in updater.states.items():
        for kind, array in zip(("mean", "var"), state):
            moments[f"{kind}:{mod._exec_group.param_names[i]}"] = array.asnumpy()
    return moments, updater.optimizer._index_update_count.get(0, 0)


def set_adam(mod, moments, updates):
    """Set Adam's moments and its number of updates."""
    updater, group = mod._updater, mod._exec_group
    updater.states.clear()
    for i, (name, weights) in enumerate(zip(group.param_names, group.param_arrays)):
        updater.optimizer._index_update_count[i] = updates
        if updates:
            updater.states[i] = tuple(mx.nd.array(moments[f"{kind}:{name}"], weights[0].context)
                                      for kind in ("mean", "var"))
            updater.states_synced[i] = True
    updater.optimizer.num_update = updates
