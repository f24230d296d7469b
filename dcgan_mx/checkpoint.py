"""The networks on disk, in the layout that `mx.model.load_checkpoint` reads."""
import shutil
from pathlib import Path

from .files import sync_directory, write_atomic
from .params import save_params
from .runtime import mx


def save(run_dir, trainer):
    """Write symbols and parameters of both networks, all of them or nothing.

    Parameters
    ----------
    run_dir : str or os.PathLike
    trainer : Trainer

    Returns
    -------
    pathlib.Path
        The new folder `checkpoints/step-<global_step>` in the run directory, which holds
        G-symbol.json, G-0000.params, D-symbol.json and D-0000.params.

    Raises
    ------
    OSError
        If a file cannot be written; nothing is left behind then.
    """
    folder = Path(run_dir) / "checkpoints" / f"step-{trainer.global_step:08d}"
    temporary = folder.with_name(f".{folder.name}.tmp")
    folder.parent.mkdir(exist_ok=True)
    shutil.rmtree(temporary, ignore_errors=True)
    # On a CPU, BatchNorm's backward writes the moving statistics behind the engine's back
    # (apache/mxnet#18610): without this wait they are read before their latest updates.
    mx.nd.waitall()
    try:
        temporary.mkdir()
        for prefix, mod in (("G", trainer.modG), ("D", trainer.modD)):
            write_atomic(temporary / f"{prefix}-symbol.json", mod.symbol.tojson().encode(),
                         sync=True)
            arg_params, aux_params = mod.get_params()
            save_params(temporary / f"{prefix}-0000.params", {
                f"{kind}:{name}": array.asnumpy()
                for kind, params in (("arg", arg_params), ("aux", aux_params))
                for name, array in params.items()})
        sync_directory(temporary)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_directory(folder.parent)
    return folder
