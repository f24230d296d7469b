"""The flags of the settings: their help texts, and how they combine with a resumed run."""
from __future__ import annotations

from typing import Any, Iterable, Mapping

from ..runs.config import OVERRIDABLE, Settings, list_train_config
from ..system.command_line import flag_name
from ..system.errors import ArgumentError

# Help texts by group and setting. A default of None is explained here; others are appended.
HELP = {
    "data": {
        "dataset": "data set to train on: digits, clothes, a record file, a folder of images, or "
                   "synthetic discs",
        "data_path": "record file (imagenet), image folder (folder), or the directory that holds "
                     "or will hold the downloaded data set (default: data)",
        "data_threads": "threads that prepare batches; they do not affect results",
    },
    "networks": {
        "nz": "length of the latent vector",
        "ngf": "channels of the generator's last hidden layer",
        "ndf": "channels of the discriminator's first layer",
        "nc": "channels of an image: 1 (grey) or 3 (RGB)",
        "size": "height and width of an image in pixels",
    },
    "training": {
        "batch_size": "images per step, on each worker",
        "lr": "Adam's learning rate",
        "beta1": "Adam's decay rate of the first moment",
        "wd": "weight decay",
        "lr_g": "generator learning rate (default: --lr)",
        "lr_d": "discriminator learning rate (default: --lr)",
        "lr_decay_start": "update N after which the learning rates decay as N/t (default: never)",
        "ema_decay": "decay of the exponential moving average of the generator's weights, such as "
                     "0.99; 0: no average",
        "ema_rel_std": "width of the power-function average of the generator's weights, relative "
                       "to the training time, such as 0.1 (EDM2's sigma_rel); 0: no average",
        "real_label": "discriminator's target for real images; below 1: one-sided label smoothing",
        "d_steps": "discriminator updates per generator update (the paper's k)",
        "g_loss": "generator loss: -log D(G(z)), or log(1 - D(G(z)))",
        "precision": "number format of the networks; bfloat16 needs a processor with AVX512-BF16 "
                     "or AMX",
        "init_from": "initialize the generator from pretrained:NAME, a checkpoint or a run "
                     "directory (default: random weights, N(0, 0.02))",
        "seed": "seed of weights, noise and data order",
        "num_epochs": "stop after N passes over the data",
        "max_steps": "stop after N steps (default: no limit)",
    },
    "output": {
        "run_dir": "new directory for all results (default: runs/DATASET-TIME)",
        "checkpoint_steps": "save a checkpoint every N steps (default: every epoch)",
        "eval_steps": "measure image quality every N steps, and keep the checkpoint of the best "
                      "step (default: never)",
        "keep_checkpoints": "newest checkpoints to keep; 0: all",
        "keep_grids": "newest image grids of each kind to keep, besides up to 100 spread over the "
                      "run for its video and report; 0: all",
        "disp_batches": "log metrics and save image grids every N steps",
        "fixed_noise": "also save grids of the same 64 latent vectors every time",
        "tensorboard": "also write TensorBoard events to the run directory",
        "show": "also show the grids in windows, as in the blog post",
    },
    "devices": {
        "gpu": "GPU number, or several separated by commas (default: the CPU)",
        "cpu_devices": "split each batch over N CPU contexts, as over N GPUs; slower (default: 1)",
        "kv_store": "where gradients are summed: in host memory (local), on a GPU (device), or by "
                    "the servers that the launcher starts (dist_sync, dist_device_sync)",
        "require_gpu": "fail if no GPU is available",
    },
}
# The placeholder of a value that is a string.
METAVARS = {"data_path": "PATH", "init_from": "SOURCE", "run_dir": "DIR", "gpu": "N[,N...]"}


def merge_resume_config(saved: Settings, given: Mapping[str, Any], override: Iterable[str],
                        run_dir: str) -> tuple[Settings, list[str]]:
    """Apply the flags given with --resume to the settings of the run.

    Returns the settings, and a note on each further consequence. Raises ArgumentError if a setting
    that affects results differs and is not in `override`, or `override` names one not given.
    """
    values, notes, old = dict(given), [], saved.to_flags()
    for name in override:
        if name not in given:
            raise ArgumentError("override", f"{name} needs its new value: add {flag_name(name)}, "
                                f"or remove {name}")
    for name, value in given.items():
        if name in list_train_config() and value != old[name] and name not in override:
            fix = f"add --override {name}" if name in OVERRIDABLE else "start a new run"
            raise ArgumentError(name, f"{value} differs from {old[name]} of the run in {run_dir}: "
                                f"remove {flag_name(name)}, or {fix}")
    precision = values.get("precision", saved.config.precision)
    if precision != saved.config.precision:
        notes.append(f"--precision changes from {saved.config.precision} to {precision}; "
                     "parameters and moments are float32 in both")
    # Of two settings that exclude each other, the given one replaces the saved one.
    for new, other in (("gpu", "cpu_devices"), ("cpu_devices", "gpu"),
                       ("num_epochs", "max_steps"), ("max_steps", "num_epochs")):
        if (new in given and other not in given and old[other] is not None
                and given[new] != old[new]):
            values[other] = None
            notes.append(f"{flag_name(new)} {given[new]} replaces {flag_name(other)} {old[other]}")
    return saved.replace({**values, "run_dir": run_dir}), notes
