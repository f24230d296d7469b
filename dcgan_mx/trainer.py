"""Adversarial training on two Modules: the step of the blog post, and the loop around it."""
from __future__ import annotations

import signal
from typing import Any, Sequence

from .engine import trainer_state
from .engine.collectives import Workers
from .engine.loop import Hook, LookaheadBatches, call_on_end, count_steps, sync_stop
from .engine.modules import adam_options, bind_modules
from .engine.step_metrics import Metrics
from .engine.trainer_state import DivergenceError
from .engine.weight_average import WeightAverage
from .hooks.progress import Progress
from .runs.config import check_settings
from .runs.stop_reason import StopReason
from .system.runtime import mx

__all__ = ["DivergenceError", "Trainer"]

# Steps that `fit` lets the engine's queue run ahead of the device. The queue itself has no bound,
# and every waiting step holds its batch.
STEPS_AHEAD = 4
PROGRESS_STEPS = 10  # steps between two updates of the averages in `fit`'s own progress bar


class Trainer:
    """A generator and a discriminator, and the training of both.

    Parameters
    ----------
    symG, symD : mx.sym.Symbol
        As `make_dcgan_sym` returns them.
    batch_size : at least 1
        Images per step, over all contexts of this process.
    data_shape : (C, H, W)
        Shape of one image.
    nz : at least 1
        Length of the latent vector.
    ctx : mx.Context or list of mx.Context
        Where to train; by default MXNet's current context. Several contexts share each batch
        equally; BatchNorm normalises each part by itself.
    lr, beta1, wd
        Adam's learning rate (above 0), first decay rate (in [0, 1)) and weight decay (at least 0).
    lr_g, lr_d
        Learning rates of G and D; by default `lr`.
    lr_decay_start : at least 1
        After this many updates of a network, its learning rate falls as lr_decay_start / t. None: never.
    ema_decay, ema_rel_std
        Decay, or relative width, of an average of G's weights (see `Average`). 0: none; not both.
    real_label : above 0.5, at most 1
        D's label for real images. Below 1: one-sided label smoothing (Salimans et al.,
        arXiv:1606.03498, section 3.4).
    d_steps : at least 1
        D's updates per update of G, the k of the paper's Algorithm 1. Every call of `step` updates
        D with new images and new noise; every `d_steps`-th call also updates G.
    g_loss : 'nonsaturating' or 'saturating'
        G maximises log D(G(z)), or minimises log(1 - D(G(z))).
    kvstore : mx.kv.KVStore
        Adds up the gradients of several contexts (by default a local store) and, if its type
        begins with dist, of several workers. All workers start from the parameters of the first,
        and all have to call `step`, `fit`, `get_state`, `set_state` and `metrics`.
    initializer : mx.init.Initializer
        Of both networks' weights; by default N(0, 0.02).
    precision : 'float32' or 'bfloat16'
        In which the networks compute. Parameters, statistics and optimizer state are float32.

    Attributes
    ----------
    modG, modD : mx.mod.Module
        The networks in training.
    average : Average
        Of G's weights.
    contexts : list of mx.Context
        Where they train.
    workers : Workers
        This process, or all processes that `kvstore` joins.
    global_step : int
        Steps done since the networks were initialised.
    epoch, nbatch : int
        Epochs done, and steps done in the current one.
    metrics : Metrics
        Accuracy and entropies since they were last reset.
    outG : mx.nd.NDArray, (N, C, H, W), float32, or None
        The last step's generated images, in [-1, 1].
    diffD : mx.nd.NDArray, (N, C, H, W), float32, or None if that step did not update G
        The gradient that G received for these images.
    batch : mx.io.DataBatch or None
        The last step's real images.
    stopping : bool
        A hook sets it to True to stop `fit`, on all workers, after the current step.
    stop_signal : int
        The signal that asked for this, on whichever worker; 0 for none.
    whole : bool
        The last step is complete, and no worker has gone further: False in the middle of a step,
        and after one worker of several has failed alone.
    ending : Ending, BaseException or None
        How the last `fit` ended, or the error that ended it; None during `fit`.

    Raises
    ------
    ValueError
        If an argument is out of range, the contexts do not divide the batch, the training cannot
        fit into memory, or the processor has no bfloat16.

    Notes
    -----
    Source: MXNet 1.0.0, example/gan/dcgan.py; Goodfellow et al., NIPS 2014, Algorithm 1.
    """

    def __init__(self, symG: Any, symD: Any, batch_size: int, data_shape: tuple[int, int, int],
                 nz: int = 100, ctx: Any = None, lr: float = 2e-4, beta1: float = 0.5,
                 wd: float = 0.0, d_steps: int = 1, g_loss: str = "nonsaturating",
                 kvstore: Any = None, ema_decay: float = 0.0, lr_g: float | None = None,
                 lr_d: float | None = None, real_label: float = 1.0,
                 initializer: Any = None, lr_decay_start: int | None = None,
                 ema_rel_std: float = 0.0, precision: str = "float32") -> None:
        ctx = ctx if isinstance(ctx, list) else [ctx or mx.current_context()]
        check_settings(batch_size=batch_size, nz=nz, lr=lr, beta1=beta1, wd=wd, d_steps=d_steps,
                         g_loss=g_loss, ema_decay=ema_decay, ema_rel_std=ema_rel_std, real_label=real_label,
                         lr_g=lr_g, lr_d=lr_d, lr_decay_start=lr_decay_start, precision=precision)
        if ema_decay and ema_rel_std:
            raise ValueError(f"ema_decay is {ema_decay}, and ema_rel_std {ema_rel_std}: give one, 0 for the other")
        if batch_size % len(ctx):
            raise ValueError(f"batch_size is {batch_size}: give a multiple of {len(ctx)}, the "
                             "number of devices")
        if len(ctx) > 1 and kvstore is None:
            kvstore = mx.kv.create("local")
        shared = {*symG.list_arguments()} & {*symD.list_arguments()}
        if kvstore is not None and shared:
            raise ValueError(f"symG and symD both have {min(shared)}: give their parameters "
                             "different names, by which the KVStore tells them apart")
        self.d_steps, self.g_loss, self.batch_size = d_steps, g_loss, batch_size
        self.global_step = self.epoch = self.nbatch = 0
        self.contexts, self.workers = ctx, Workers(kvstore)
        self.metrics = Metrics(self.workers)
        self.outG: Any = None
        self.diffD: Any = None
        self.batch: Any = None
        self.stopping, self.stop_signal, self.whole = False, 0, True
        self.ending: StopReason | BaseException | None = None
        self._batches: LookaheadBatches | None = None
        self.modG, self.modD, self._modD_accum, self._modDG = bind_modules(
            symG, symD, batch_size, data_shape, nz, ctx, kvstore,
            initializer or mx.init.Normal(0.02),
            {network: adam_options(rate or lr, beta1, wd, lr_decay_start)
             for network, rate in (("G", lr_g), ("D", lr_d))}, precision)
        self.average = WeightAverage(self.modG, ema_decay, ema_rel_std)
        self._fake, self._real, self._as_real = (mx.nd.full((batch_size,), value)
                                                 for value in (0, real_label, 1))

    def step(self, batch: Any, rbatch: Any) -> None:
        """Train D on `batch` and on images made from `rbatch`, then (see `d_steps`) train G.

        Nothing here waits for the device.

        Parameters
        ----------
        batch : mx.io.DataBatch
            data[0] is (N, C, H, W), float32, in [-1, 1].
        rbatch : mx.io.DataBatch
            data[0] is (N, nz, 1, 1), float32.
        """
        modG, modD, modD_accum, modDG = self.modG, self.modD, self._modD_accum, self._modDG
        modG.forward(rbatch, is_train=True)
        outG = modG.get_outputs()

        # fake: label 0; the gradients are kept
        modD.forward(mx.io.DataBatch(outG, [self._fake]), is_train=True)
        modD.backward()
        self.metrics.update("d", 0, modD.get_outputs()[0])

        # real: label 1 (`real_label`); the gradients are added to those of the fakes
        modD_accum.forward(mx.io.DataBatch(batch.data, [self._real]), is_train=True)
        modD_accum.backward()
        self.metrics.update("d", 1, modD_accum.get_outputs()[0])

        # update D: with the sum of both gradients
        modD.update()

        # update G: with the updated D's gradient at the same fakes, labelled as real
        self.global_step += 1
        self.diffD = None
        if self.global_step % self.d_steps == 0:
            saturating = self.g_loss == "saturating"
            label = self._fake if saturating else self._as_real
            modDG.forward(mx.io.DataBatch(outG, [label]), is_train=True)
            modDG.backward()
            diffD = modDG.get_input_grads()
            if saturating:  # descend log(1 - D(G(z))), which D's own loss negates
                diffD = [-diff for diff in diffD]
            modG.backward(diffD)
            modG.update()
            self.average.update()
            self.metrics.update("g", 0 if saturating else 1, modDG.get_outputs()[0])
            self.diffD = diffD[0]
        self.outG, self.batch = outG[0], batch

    def fit(self, train_iter: Any, rand_iter: Any, num_epochs: int | None,
            hooks: Sequence[Hook] | None = None, max_steps: int | None = None) -> None:
        """Train until `num_epochs` epochs or `max_steps` steps are done, counted from the first.

        Parameters
        ----------
        train_iter : mx.io.DataIter
            Batches of real images; reset at the end of every epoch. If it has a method `seek`, as
            this package's iterators have, it starts at the trainer's `epoch` and `nbatch`;
            otherwise it continues where the last `fit` left it.
        rand_iter : mx.io.DataIter
            Batches of noise, without end; sought likewise, from the trainer's `global_step`.
        num_epochs
            None: no limit but `max_steps`.
        hooks
            Each is called with the trainer after every step. After the last step of an epoch,
            `epoch` counts that epoch and `nbatch` is 0. If a hook has a method `end`, that is
            called with the trainer when the training ends, for whatever reason. By default a
            progress bar is shown on a terminal or in a notebook; () shows nothing.
        max_steps

        Raises
        ------
        ValueError
            If `train_iter` has no batch.
        """
        if hooks is None:
            hooks = [Progress(count_steps(self, train_iter, num_epochs, max_steps),
                              self.global_step, every=PROGRESS_STEPS)]
        self.stopping, self.stop_signal, self.ending = False, 0, None
        try:
            self.ending = self._fit(train_iter, rand_iter, num_epochs, hooks, max_steps)
        except BaseException as error:
            self.ending = error
        call_on_end(self, hooks)
        if isinstance(self.ending, BaseException):
            raise self.ending

    def _fit(self, train_iter: Any, rand_iter: Any, num_epochs: int | None, hooks: Sequence[Hook],
             max_steps: int | None) -> StopReason:
        alone = self.workers.count == 1  # other workers cannot know of a failure here
        self.whole = alone
        if hasattr(rand_iter, "seek"):
            rand_iter.seek(self.global_step)
        if self._batches is None or self._batches.source is not train_iter:
            self._batches = LookaheadBatches(train_iter)
        self._batches.seek(self.epoch, self.nbatch)
        while not self.stopping:
            for reason, done, limit in (("num_epochs", self.epoch, num_epochs),
                                        ("max_steps", self.global_step, max_steps)):
                if limit is not None and done >= limit:
                    self.whole = True
                    return StopReason(reason, self.global_step, self.epoch, limit)
            batch, last = self._batches.take()
            rbatch = rand_iter.next()
            self.whole = False
            self.step(batch, rbatch)
            self.whole = alone
            self.metrics.wait(ahead=3 * STEPS_AHEAD)
            self.nbatch += 1
            if last:
                self.epoch, self.nbatch = self.epoch + 1, 0
            for hook in hooks:
                hook(self)
            sync_stop(self, self._batches)
        if self.stop_signal:
            return StopReason("signal", self.global_step, self.epoch,
                          signal.Signals(self.stop_signal).name)
        return StopReason("hook", self.global_step, self.epoch)

    # What a checkpoint holds: checked, copied, restored.
    check_finite = trainer_state.check_finite
    get_state = trainer_state.get_state
    set_state = trainer_state.set_state
