"""Adversarial training on two Modules: the training step of the blog post, and the loop."""
from __future__ import annotations

import signal as signals
import warnings
from typing import Any, Protocol, Sequence

from .engine import augmentation, trainer_state
from .engine.augmentation import Augmentation
from .engine.batches import LookaheadBatches, check_shape
from .engine.collectives import StopRequest, Workers, choose_request, sync_stop
from .engine.modules import adam_options, bind_modules
from .engine.progress import ProgressBar
from .engine.step_metrics import Metrics
from .engine.trainer_state import DivergenceError
from .engine.weight_average import WeightAverage
from .runs.config import check_settings
from .runs.stop_reason import StopReason
from .system.runtime import mx

__all__ = ["DivergenceError", "Hook", "StopRequest", "Trainer"]

# Predictions (three per step) that `fit` lets MXNet's queue run ahead of the device. The queue
# itself has no bound, and every waiting step holds its batch.
_PREDICTIONS_AHEAD = 12


class Hook(Protocol):
    """What `Trainer.fit` calls after every step and at the end."""

    def on_step(self, trainer: Trainer) -> None:
        """Act after a step; `trainer.request_stop()` ends the training."""

    def on_end(self, trainer: Trainer) -> None:
        """Act when the training has ended, for any reason; by default, do nothing."""
        return None  # noqa: PLR1711, RET501  mypy takes an empty body for an abstract method


class Trainer:
    """A generator and a discriminator, and the training of both.

    Source: MXNet 1.0.0, example/gan/dcgan.py; Goodfellow et al., NIPS 2014, Algorithm 1.

    Parameters
    ----------
    symG, symD : mx.sym.Symbol
        As `make_dcgan_sym` returns them.
    batch_size : int
        Images per step, over all contexts of this process.
    data_shape, nz : (C, H, W), int
        Shape of an image, and length of a latent vector.
    ctx : mx.Context or list of mx.Context
        By default MXNet's current context. Several contexts share each batch equally, and BatchNorm
        normalizes each part separately.
    lr, lr_g, lr_d : float, above 0
        Adam's learning rate, and those of G and D, by default `lr`.
    beta1, wd : float
        Adam's first decay rate, in [0, 1), and weight decay, at least 0.
    lr_decay_start : int or None
        After this many updates of a network, its learning rate falls as lr_decay_start / t.
    ema_decay, ema_rel_std : float
        Decay, or relative width, of a moving average of G's weights: see `WeightAverage`. At least
        one of them must be 0.
    real_label : float, above 0.5, at most 1
        D's label for real images. Below 1: one-sided label smoothing (Salimans et al.,
        arXiv:1606.03498, section 3.4).
    translate : int, at least 0
        Largest random shift of D's input images in each direction, in pixels; below H and W.
    instance_noise : float, at least 0
        Standard deviation of random noise that is added to D's input images.
    seed : int, at least 0
        Seed of shifts and noise: see `Augmentation`.
    d_steps : int
        Updates of D per update of G, the k of the paper's Algorithm 1: every call of `step`
        updates D, and every `d_steps`-th call also updates G.
    g_loss : 'nonsaturating' or 'saturating'
        G maximizes log D(G(z)), or minimizes log(1 - D(G(z))).
    kvstore : mx.kv.KVStore
        Sums the gradients of several contexts (by default a local store) and, if its type begins
        with dist, of several workers. All workers start from the parameters of rank 0, and all must
        call `step`, `fit`, `get_state`, `set_state` and `metrics`.
    initializer : mx.init.Initializer
        Of the weights of both networks; by default N(0, 0.02).
    precision : 'float32' or 'bfloat16'
        Number format of the computation. Parameters, statistics and optimizer state are float32.

    Attributes
    ----------
    modG, modD : mx.mod.Module
        The networks in training.
    average : WeightAverage
        The moving average of G's weights.
    contexts : list of mx.Context
    workers : Workers
        All processes that `kvstore` joins; only this one without a distributed store.
    global_step, epoch, nbatch : int
        Steps and epochs done since the networks were initialized; steps done in this epoch.
    metrics : Metrics
        D's accuracy and both cross-entropies, averaged since the last reset.
    outG, diffD : mx.nd.NDArray, (N, C, H, W), float32, or None
        The last step's generated images, in [-1, 1], and the gradient of G's loss at them; diffD is
        None if that step did not update G.
    batch : mx.io.DataBatch or None
        The last step's real images.
    stop_request : StopRequest or None
        The request by which all workers ended the last `fit`.
    result : StopReason, BaseException or None
        How the last `fit` ended, or the error that ended it; None during `fit`.

    Raises
    ------
    ValueError
        If an argument is out of range, the contexts do not divide the batch, the training does not
        fit into memory, or the processor does not support bfloat16.
    """

    def __init__(self, symG: Any, symD: Any, batch_size: int, data_shape: tuple[int, int, int],
                 nz: int = 100, ctx: Any = None, lr: float = 2e-4, beta1: float = 0.5,
                 wd: float = 0.0, d_steps: int = 1, g_loss: str = "nonsaturating",
                 kvstore: Any = None, ema_decay: float = 0.0, lr_g: float | None = None,
                 lr_d: float | None = None, real_label: float = 1.0,
                 initializer: Any = None, lr_decay_start: int | None = None,
                 ema_rel_std: float = 0.0, precision: str = "float32", translate: int = 0,
                 instance_noise: float = 0.0, seed: int = 0) -> None:
        check_settings(batch_size=batch_size, nz=nz, lr=lr, beta1=beta1, wd=wd, d_steps=d_steps,
                       g_loss=g_loss, ema_decay=ema_decay, ema_rel_std=ema_rel_std,
                       real_label=real_label, lr_g=lr_g, lr_d=lr_d,
                       lr_decay_start=lr_decay_start, precision=precision, translate=translate,
                       instance_noise=instance_noise, seed=seed)
        self.contexts = (list(ctx) if isinstance(ctx, (list, tuple)) and ctx else
                         [ctx or mx.current_context()])
        self.workers = Workers(kvstore)
        self.metrics = Metrics(self.workers)
        self.d_steps, self.g_loss, self.batch_size = int(d_steps), g_loss, int(batch_size)
        self.global_step = self.epoch = self.nbatch = 0
        self.outG: Any = None
        self.diffD: Any = None
        self.batch: Any = None
        self.stop_request: StopRequest | None = None
        self.result: StopReason | BaseException | None = None
        self._requested: StopRequest | None = None  # by this worker
        self._mid_step = self._stop_synced = False
        self._batches = LookaheadBatches()
        self._augmentation = Augmentation(translate, instance_noise, seed,
                                          (batch_size, *data_shape), self.workers.count,
                                          self.workers.rank)
        self.modG, self.modD, self._modD_accum, self._modDG = bind_modules(
            symG, symD, batch_size, data_shape, nz, self.contexts, kvstore,
            initializer or mx.init.Normal(0.02), precision,
            *(adam_options(rate or lr, beta1, wd, lr_decay_start) for rate in (lr_g, lr_d)))
        self._networks = {"G": self.modG, "D": self.modD}
        self.average = WeightAverage(self.modG, ema_decay, ema_rel_std)
        self._fake, self._real, self._as_real = (mx.nd.full((batch_size,), value)
                                                 for value in (0, real_label, 1))

    def step(self, batch: Any, rbatch: Any) -> None:
        """Train D on `batch` and on images generated from `rbatch`, then (see `d_steps`) train G.

        The step does not wait for the device, and MXNet's queue has no bound: in your own loop,
        call `metrics.wait(12)` after each step.

        Parameters
        ----------
        batch : mx.io.DataBatch
            data[0] is (N, C, H, W), float32, in [-1, 1].
        rbatch : mx.io.DataBatch
            data[0] is (N, nz, 1, 1), float32.

        Raises
        ------
        ArgumentError
            If an array has another shape.
        """
        check_shape("batch", batch, self.modD)
        check_shape("rbatch", rbatch, self.modG)
        modG, modD, modD_accum, modDG = self.modG, self.modD, self._modD_accum, self._modDG
        modG.forward(rbatch, is_train=True)
        outG = modG.get_outputs()

        # what D sees: by default, the images themselves
        change_fakes, change_reals = self._augmentation.draw(self.global_step)
        fakes = [augmentation.apply(change_fakes, outG[0])]
        reals = [augmentation.apply(change_reals, batch.data[0])]

        # fake: label 0; modD keeps the gradients
        modD.forward(mx.io.DataBatch(fakes, [self._fake]), is_train=True)
        modD.backward()
        self.metrics.update("d", 0, modD.get_outputs()[0])

        # real: label 1 (`real_label`); modD_accum, which shares modD's arrays, adds its gradients
        modD_accum.forward(mx.io.DataBatch(reals, [self._real]), is_train=True)
        modD_accum.backward()
        self.metrics.update("d", 1, modD_accum.get_outputs()[0])

        # update D: with the sum of both gradients
        modD.update()

        # update G: with the updated D's gradient at the same fakes, labeled as real
        self.global_step += 1
        self.diffD = None
        if self.global_step % self.d_steps == 0:
            saturating = self.g_loss == "saturating"
            label = self._fake if saturating else self._as_real
            modDG.forward(mx.io.DataBatch(fakes, [label]), is_train=True)
            modDG.backward()
            diffD = [augmentation.apply_to_gradient(change_fakes, modDG.get_input_grads()[0])]
            if saturating:  # descend log(1 - D(G(z))), the negative of D's own loss
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

        Raises ValueError if `train_iter` has no batch.

        Parameters
        ----------
        train_iter : mx.io.DataIter
            Batches of real images; reset at the end of every epoch. If it has a method `seek`, as
            this package's iterators have, it starts at the trainer's `epoch` and `nbatch`;
            otherwise it continues where the last `fit` left it.
        rand_iter : mx.io.DataIter
            Batches of noise, endless; positioned likewise, by the trainer's `global_step`.
        num_epochs, max_steps : int or None
            None: no limit.
        hooks : sequence of Hook
            Called in this order after every step and at the end. After the last step of an epoch,
            `epoch` includes that epoch and `nbatch` is 0. By default a progress bar is shown on a
            terminal or in a notebook; () shows nothing.
        """
        if hooks is None:
            total = self.count_steps(train_iter, num_epochs, max_steps)
            hooks = [ProgressBar(total, self.global_step, every=10)]
        self.stop_request = self.result = None
        self._mid_step = self._stop_synced = False
        try:
            self.result = self._fit(train_iter, rand_iter, num_epochs, hooks, max_steps)
        except BaseException as error:
            self.result = error
        self._end_hooks(hooks)
        if isinstance(self.result, BaseException):
            raise self.result

    def _end_hooks(self, hooks: Sequence[Hook]) -> None:
        """Call `on_end` of all hooks; the first error becomes the result, others are warnings."""
        others = []
        try:
            for hook in hooks:
                try:
                    hook.on_end(self)
                except Exception as error:
                    if isinstance(self.result, BaseException):
                        others.append(error)
                    else:
                        self.result = error
        finally:  # Ctrl-C may interrupt a hook
            self._requested = None
        for other in others:  # after all hooks: a warning may be an error
            warnings.warn(f"another error followed: {other}", RuntimeWarning, stacklevel=3)

    def _fit(self, train_iter: Any, rand_iter: Any, num_epochs: int | None, hooks: Sequence[Hook],
             max_steps: int | None) -> StopReason:
        """Train; return how the training ended."""
        place, failed = None, False
        while self.stop_request is None:
            if place != (self.global_step, self.epoch, self.nbatch):  # or a hook has moved it
                if hasattr(rand_iter, "seek"):
                    rand_iter.seek(self.global_step)
                self._batches.start(train_iter, self.epoch, self.nbatch)
            for reason, done, limit in (("num_epochs", self.epoch, num_epochs),
                                        ("max_steps", self.global_step, max_steps)):
                if limit is not None and done >= limit:
                    self._stop_synced = True
                    return StopReason(reason, self.global_step, self.epoch, int(limit))
            batch, last = self._batches.take()
            rbatch = rand_iter.next()
            check_shape("batch", batch, self.modD)  # here, the last step can still be saved
            check_shape("rbatch", rbatch, self.modG)
            self._mid_step = True
            self.step(batch, rbatch)
            self.nbatch += 1
            if last:
                self.epoch, self.nbatch = self.epoch + 1, 0
            self._mid_step = False
            self.metrics.wait(_PREDICTIONS_AHEAD)
            place = self.global_step, self.epoch, self.nbatch
            for hook in hooks:
                hook.on_step(self)
            failed = self._batches.failed and self.global_step != max_steps
            if failed:
                self.request_stop("data")
            self.stop_request = sync_stop(self.workers, self._requested)
        self._stop_synced = True
        if failed:
            self._batches.take()  # raises the error, after all workers know of it
        if self.stop_request.signal:
            return StopReason("signal", self.global_step, self.epoch,
                              signals.Signals(self.stop_request.signal).name)
        return StopReason("hook", self.global_step, self.epoch)

    def request_stop(self, reason: str = "hook", signal: int = 0) -> None:
        """Ask `fit` to end, on all workers, after the current step; any thread may call this.

        The arguments are those of `StopRequest`. Of several requests, `stop_request` will be the
        one that takes precedence.
        """
        self._requested = choose_request([self._requested, StopRequest(reason, signal)])

    @property
    def can_save(self) -> bool:
        """Whether the last step can be saved after training has ended, with all workers.

        It cannot in the middle of a step, after divergence, or if only one of several workers has
        failed, because the state is gathered from all.
        """
        together = self.workers.count == 1 or self._stop_synced
        return together and not self._mid_step and not isinstance(self.result, DivergenceError)

    def count_steps(self, train_iter: Any, num_epochs: int | None, max_steps: int | None
                    ) -> int | None:
        """Return the value of `global_step` at which `fit` would end; None if it is unknown."""
        limits = [] if max_steps is None else [max_steps]
        if num_epochs is not None and hasattr(train_iter, "num_batches"):
            begun = self.global_step - self.nbatch  # steps before the current epoch
            limits.append(begun + (num_epochs - self.epoch) * train_iter.num_batches)
        return min(limits, default=None)

    def check_finite(self) -> None:
        """Wait for the device; raise DivergenceError if a parameter or statistic is not finite."""
        trainer_state.check_finite(self._networks, self.workers, self.global_step)

    def get_state(self) -> dict[str, Any]:
        """Wait for the device, and copy everything that the next step depends on.

        Raises DivergenceError if one of these numbers is not finite.

        Returns
        -------
        dict
            Dicts of np.ndarray, float32: `G`, `D`, the parameters `arg:NAME`, and the moving
            statistics `aux:NAME`, averaged over all contexts of all workers; `G-optimizer`,
            `D-optimizer`, Adam's moments `mean:NAME` and `var:NAME`, empty before a network's first
            update; `G-ema`, the moving average of G's parameters, empty without an average;
            `replicas`, with several contexts or workers, the moving statistics of each,
            (replicas, channels), as `G:aux:NAME` and `D:aux:NAME`, else empty.
            `symbols`: the JSON text of `G` and `D`.
            `counters`: `step`, `epoch`, `nbatch`, `batch_size`; `workers`, their number; `updates`,
            the numbers of Adam's updates of `G` and `D`; `metrics`, see `Metrics.get_state`.
        """
        counters = {"step": self.global_step, "epoch": self.epoch, "nbatch": self.nbatch,
                    "batch_size": self.batch_size}
        return trainer_state.get_state(self._networks, self.average, self.metrics, counters,
                                      self.workers)

    def set_state(self, state: dict[str, Any] | None) -> None:
        """Restore what `get_state` returned, except `symbols`.

        Pass None on workers other than rank 0; they receive rank 0's state. With another
        `batch_size` or number of `workers` the epoch starts again; with another number of
        `replicas` each gets the averages. If the state is of other networks, ValueError is raised,
        and the trainer does not change.
        """
        counters = trainer_state.set_state(state, self._networks, self.average, self.metrics,
                                          self.workers)
        self.global_step, self.epoch = counters["step"], counters["epoch"]
        # A position within an epoch is valid only for the same batches and the same data part.
        same = ((counters["batch_size"], counters["workers"])
                == (self.batch_size, self.workers.count))
        self.nbatch = counters["nbatch"] if same else 0
        self.outG = self.diffD = self.batch = None
