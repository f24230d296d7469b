"""Adversarial training on two Modules: the step of the blog post, and the loop around it."""
from __future__ import annotations

from typing import Any, Sequence

from .machine.runtime import mx
from .runs.ending import Ending
from .runs.settings import require_settings
from .training import trainer_state
from .training.average import Average
from .training.loop import Batches, Hook, agree_to_stop, count_steps, end_hooks, make_ending
from .training.metrics import Metrics
from .training.modules import bind_modules, make_rate
from .training.progress import Progress
from .training.trainer_state import DivergenceError
from .training.workers import Workers

__all__ = ["DivergenceError", "Trainer"]

# Steps that `fit` lets the engine's queue run ahead of the device. The queue itself has no bound,
# and every waiting step holds its batch.
STEPS_AHEAD = 4
PROGRESS_STEPS = 10  # from one look of `fit`'s own progress bar at the averages to the next


class Trainer:
    """A generator, a discriminator, and how they learn from each other.

    Parameters
    ----------
    symG, symD : mx.sym.Symbol
        As `make_dcgan_sym` returns them.
    batch_size : at least 1
        Images a step, over all contexts of this process.
    data_shape : (C, H, W)
        Shape of one image.
    nz : at least 1
        Length of the latent vector.
    ctx : mx.Context or list of mx.Context
        Where to train; MXNet's current context if left out. Several share each batch equally;
        BatchNorm sees each part by itself.
    lr, beta1, wd
        Adam's learning rate (above 0), first decay rate (in [0, 1)) and weight decay (at least 0).
    lr_g, lr_d
        Learning rates of G and of D alone; `lr` where left out.
    lr_decay : at least 1
        Updates of a network after which its learning rate falls, as lr_decay / t after t; left
        out: never.
    ema, ema_width
        Decay, or relative width, of an average of G's weights, kept beside them: see `Average`.
        0 keeps none; not both.
    real_label : above 0.5, at most 1
        What D is told of real images. Below 1: one-sided label smoothing (Salimans et al.,
        arXiv:1606.03498, section 3.4).
    d_steps : at least 1
        D's updates for each update of G, the k of the paper's Algorithm 1. Every call of `step`
        updates D with new images and new noise; every `d_steps`-th one goes on to update G.
    g_loss : 'nonsaturating' or 'saturating'
        G maximises log D(G(z)), or minimises log(1 - D(G(z))).
    kvstore : mx.kv.KVStore
        Adds up the gradients of several contexts, and, if it is of a type that begins with dist,
        of several workers, which all begin with the parameters of the first. With such a store
        `step`, `fit`, `get_state`, `set_state` and `metrics` are for all workers to call.
        A local one is made for several contexts if it is left out.
    initializer : mx.init.Initializer
        Of both networks' weights; N(0, 0.02) if left out.
    precision : 'float32' or 'bfloat16'
        In which the networks compute. Parameters, statistics and all else that is kept from one
        step to the next are float32 in both.

    Attributes
    ----------
    modG, modD : mx.mod.Module
        The networks as they train.
    average : Average
        Of G's weights.
    contexts : list of mx.Context
        Where they train.
    workers : Workers
        Who trains: this process, or all that `kvstore` joins.
    global_step : int
        Steps done since the networks were initialised.
    epoch, nbatch : int
        Epochs done, and steps done in the current one.
    metrics : Metrics
        Accuracy and entropies since they were last reset.
    outG : mx.nd.NDArray, (N, C, H, W), float32, or None
        The last step's generated images, in [-1, 1].
    diffD : mx.nd.NDArray, (N, C, H, W), float32, or None where that step did not update G
        The gradient that G received at them.
    batch : mx.io.DataBatch or None
        The last step's real images.
    stopping : bool or int
        A hook sets it to have `fit` return after the current step, that of all workers; a number
        is then told to all of them, the greatest if there are several.
    stepping : bool
        A step of `fit` is half done: the networks are between two states.
    agreed : bool
        All workers have stopped after the same step, whatever ended this one.
    ending : Ending, BaseException or None
        How the last `fit` ended, or what ended it; None while it trains.

    Raises
    ------
    ValueError
        If a number is out of its range, the contexts do not divide the batch, it cannot fit into
        memory, or this machine has no bfloat16.

    Notes
    -----
    Source: MXNet 1.0.0, example/gan/dcgan.py; Goodfellow et al., NIPS 2014, Algorithm 1.
    """

    def __init__(self, symG: Any, symD: Any, batch_size: int, data_shape: tuple[int, int, int],
                 nz: int = 100, ctx: Any = None, lr: float = 2e-4, beta1: float = 0.5,
                 wd: float = 0.0, d_steps: int = 1, g_loss: str = "nonsaturating",
                 kvstore: Any = None, ema: float = 0.0, lr_g: float | None = None,
                 lr_d: float | None = None, real_label: float = 1.0,
                 initializer: Any = None, lr_decay: int | None = None,
                 ema_width: float = 0.0, precision: str = "float32") -> None:
        ctx = ctx if isinstance(ctx, list) else [ctx or mx.current_context()]
        require_settings(batch_size=batch_size, nz=nz, lr=lr, beta1=beta1, wd=wd, d_steps=d_steps,
                         g_loss=g_loss, ema=ema, ema_width=ema_width, real_label=real_label,
                         lr_g=lr_g, lr_d=lr_d, lr_decay=lr_decay, precision=precision)
        if ema and ema_width:
            raise ValueError(f"ema is {ema}, and ema_width {ema_width}: give one, 0 for the other")
        if batch_size % len(ctx):
            raise ValueError(f"batch_size is {batch_size}: give a multiple of {len(ctx)}, the "
                             "number of devices")
        self.d_steps, self.g_loss, self.batch_size = d_steps, g_loss, batch_size
        self.global_step = self.epoch = self.nbatch = 0
        if len(ctx) > 1 and kvstore is None:
            kvstore = mx.kv.create("local")
        shared = {*symG.list_arguments()} & {*symD.list_arguments()}
        if kvstore is not None and shared:
            raise ValueError(f"symG and symD both have {min(shared)}: give their parameters "
                             "different names, by which the KVStore tells them apart")
        self.workers = Workers(kvstore)
        self.metrics = Metrics(self.workers)
        self.outG: Any = None
        self.diffD: Any = None
        self.batch: Any = None
        self.stopping: bool | int = False
        self.stepping = self.agreed = False
        self.ending: Ending | BaseException | None = None
        self._batches: Batches | None = None
        self.contexts = ctx
        self.modG, self.modD, self._modD_adding, self._modDG = bind_modules(
            symG, symD, batch_size, data_shape, nz, ctx, kvstore,
            initializer or mx.init.Normal(0.02),
            {network: {"beta1": beta1, "wd": wd, **make_rate(rate or lr, lr_decay)}
             for network, rate in (("G", lr_g), ("D", lr_d))}, precision)
        self.average = Average(self.modG, ema, ema_width)
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
        modG, modD, modD_adding, modDG = self.modG, self.modD, self._modD_adding, self._modDG
        modG.forward(rbatch, is_train=True)
        outG = modG.get_outputs()

        # fake: D is told 0; its gradients stay where they are
        modD.forward(mx.io.DataBatch(outG, [self._fake]), is_train=True)
        modD.backward()
        self.metrics.update_d(0, modD.get_outputs()[0])

        # real: D is told 1 (`real_label`); these gradients are added to them
        modD_adding.forward(mx.io.DataBatch(batch.data, [self._real]), is_train=True)
        modD_adding.backward()
        self.metrics.update_d(1, modD_adding.get_outputs()[0])

        # update D: one update by the sum of both
        modD.update()

        # update G: the updated D's gradient at the same fakes, as if they were real
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
            self.metrics.update_g(0 if saturating else 1, modDG.get_outputs()[0])
            self.diffD = diffD[0]
        self.outG, self.batch = outG[0], batch

    def fit(self, train_iter: Any, rand_iter: Any, num_epochs: int | None,
            hooks: Sequence[Hook] | None = None, max_steps: int | None = None) -> None:
        """Train until `num_epochs` epochs or `max_steps` steps are done, counted from the first.

        Parameters
        ----------
        train_iter : mx.io.DataIter
            Batches of real images; reset at the end of every epoch. If it has a method `seek`, as
            this package's iterators have, it starts at the trainer's `epoch` and `nbatch`; any
            other one goes on where the last `fit` left it.
        rand_iter : mx.io.DataIter
            Batches of noise, without end; sought likewise, from the trainer's `global_step`.
        num_epochs
            None: as many as `max_steps` takes.
        hooks
            Each is called with the trainer after every step. `nbatch` is 0 when the step was the
            last of its epoch, and `epoch` counts that epoch. Where a hook has a method `end`, that
            is called with the trainer at the end, whatever it is that ends the training. Left out,
            a progress bar is shown where somebody reads it; () shows nothing.
        max_steps

        Raises
        ------
        ValueError
            If `train_iter` has no batch.
        """
        self.stopping, self.stepping, self.agreed, self.ending = False, False, False, None
        if hooks is None:
            hooks = [Progress(count_steps(self, train_iter, num_epochs, max_steps),
                              self.global_step, every=PROGRESS_STEPS)]
        try:
            self.ending = self._fit(train_iter, rand_iter, num_epochs, hooks, max_steps)
        except BaseException as error:
            self.ending = error
        end_hooks(self, hooks)
        if isinstance(self.ending, BaseException):
            raise self.ending

    def _fit(self, train_iter: Any, rand_iter: Any, num_epochs: int | None, hooks: Sequence[Hook],
             max_steps: int | None) -> Ending:
        if hasattr(rand_iter, "seek"):
            rand_iter.seek(self.global_step)
        if self._batches is None or self._batches.source is not train_iter:
            self._batches = Batches(train_iter)
        self._batches.seek(self.epoch, self.nbatch)
        while not self.stopping:
            if num_epochs is not None and self.epoch >= num_epochs:
                return Ending("num_epochs", self.global_step, self.epoch, num_epochs)
            if max_steps is not None and self.global_step >= max_steps:
                return Ending("max_steps", self.global_step, self.epoch, max_steps)
            batch, last = self._batches.take()
            rbatch = rand_iter.next()
            self.stepping = True
            self.step(batch, rbatch)
            self.stepping = False
            self.metrics.wait(ahead=3 * STEPS_AHEAD)
            self.nbatch += 1
            if last:
                self.epoch, self.nbatch = self.epoch + 1, 0
            for hook in hooks:
                hook(self)
            agree_to_stop(self, self._batches)
        return make_ending(self)

    def check_finite(self) -> None:
        """Wait for the device, and raise if a parameter or a moving statistic is not finite.

        Raises
        ------
        DivergenceError
            Names the step and the array.
        """
        trainer_state.check_finite(self)

    def get_state(self) -> dict[str, Any]:
        """Wait for the device, and copy all that the next step depends on.

        Returns
        -------
        dict
            See `trainer_state.get_state`.

        Raises
        ------
        DivergenceError
            If one of its numbers is not finite.
        """
        return trainer_state.get_state(self)

    def set_state(self, state: dict[str, Any] | None) -> None:
        """Go back to, or on from, what `get_state` returned.

        Parameters
        ----------
        state
            `symbols` is not looked at. With another `batch_size` or other `workers` the epoch
            begins anew, with another number of `replicas` each gets the averages. None on all
            workers but the first: they get its.

        Raises
        ------
        ValueError
            If the state is of other networks; nothing is changed then.
        """
        trainer_state.set_state(self, state)

