"""Adversarial training on two Modules: the step of the blog post, and the loop around it."""
from .training import trainer_state
from .training.metrics import Metrics
from .training.module_state import pull_parameters
from .machine.runtime import mx
from .training.trainer_state import DivergenceError
from .training.workers import Workers

__all__ = ["DivergenceError", "Trainer"]

# Steps that `fit` lets the engine's queue run ahead of the device. The queue itself has no bound,
# and every waiting step holds its batch.
STEPS_AHEAD = 4


class Trainer:
    """A generator, a discriminator, and how they learn from each other.

    Parameters
    ----------
    symG, symD : mx.sym.Symbol
        As `make_dcgan_sym` returns them.
    batch_size : int, at least 1
        Images a step, over all contexts of this process.
    data_shape : tuple of int, (C, H, W)
        Shape of one image.
    nz : int, at least 1
        Length of the latent vector.
    ctx : mx.Context or list of mx.Context, optional
        Where to train; MXNet's current context if left out. Several share each batch equally;
        BatchNorm sees each part by itself.
    lr, beta1, wd : float
        Adam's learning rate (above 0), first decay rate (in [0, 1)) and weight decay (at least 0).
    d_steps : int, at least 1
        D's updates for each update of G, the k of the paper's Algorithm 1. Every call of `step`
        updates D with new images and new noise; every `d_steps`-th one goes on to update G.
    g_loss : {'nonsaturating', 'saturating'}
        G maximises log D(G(z)), or minimises log(1 - D(G(z))).
    kvstore : mx.kv.KVStore, optional
        Adds up the gradients of several contexts, and, if it is of a type that begins with dist,
        of several workers, which all begin with the parameters of the first. With such a store
        `step`, `fit`, `get_state`, `set_state` and `metrics` are for all workers to call.
        A local one is made for several contexts if it is left out.
    initializer : mx.init.Initializer, optional
        Of both networks' weights; N(0, 0.02) if left out.

    Attributes
    ----------
    modG, modD : mx.mod.Module
        The networks as they train.
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
    outG, diffD : mx.nd.NDArray, (N, C, H, W), float32, or None before the first G update
        The last step's generated images, in [-1, 1], and the gradient that G last received at them.
    batch : mx.io.DataBatch or None
        The last step's real images.
    stopping : bool or int
        A hook sets it to have `fit` return after the current step, that of all workers; a number
        is then told to all of them, the greatest if there are several.

    Raises
    ------
    ValueError
        If a number is out of its range, or the contexts do not divide the batch.

    Notes
    -----
    Source: MXNet 1.0.0, example/gan/dcgan.py; Goodfellow et al., NIPS 2014, Algorithm 1.
    """

    def __init__(self, symG, symD, batch_size, data_shape, nz=100, ctx=None, lr=2e-4, beta1=0.5,
                 wd=0.0, d_steps=1, g_loss="nonsaturating", kvstore=None, initializer=None):
        ctx = ctx if isinstance(ctx, list) else [ctx or mx.current_context()]
        for name, value, good, mend in (
                ("batch_size", batch_size, batch_size >= 1 and batch_size % len(ctx) == 0,
                 f"give a multiple of {len(ctx)}, the number of devices"),
                ("nz", nz, nz >= 1, "give 1 or more"),
                ("lr", lr, 0 < lr < float("inf"), "give a number above 0"),
                ("beta1", beta1, 0 <= beta1 < 1, "give a number from 0 up to, not including, 1"),
                ("wd", wd, 0 <= wd < float("inf"), "give 0 or a number above it"),
                ("d_steps", d_steps, d_steps >= 1, "give 1 or more"),
                ("g_loss", g_loss, g_loss in ("nonsaturating", "saturating"),
                 "give 'nonsaturating' or 'saturating'")):
            if not good:
                raise ValueError(f"{name} is {value}: {mend}")
        self.d_steps, self.g_loss = d_steps, g_loss
        self.batch_size = batch_size
        self.global_step = self.epoch = self.nbatch = 0
        if len(ctx) > 1 and kvstore is None:
            kvstore = mx.kv.create("local")
        shared = {*symG.list_arguments()} & {*symD.list_arguments()}
        if kvstore is not None and shared:
            raise ValueError(f"symG and symD both have {min(shared)}: give their parameters "
                             "different names, by which the KVStore tells them apart")
        self.workers = Workers(kvstore)
        self.metrics = Metrics(self.workers)
        self.outG = self.diffD = self.batch = None
        self.stopping = False
        self.contexts = ctx
        data, label = [("data", (batch_size, *data_shape))], [("label", (batch_size,))]
        self.modG = mx.mod.Module(symG, data_names=("rand",), label_names=None, context=ctx)
        self.modG.bind(data_shapes=[("rand", (batch_size, nz, 1, 1))])
        self.modD = mx.mod.Module(symD, data_names=("data",), label_names=("label",), context=ctx)
        self.modD.bind(data_shapes=data, label_shapes=label)
        for mod in (self.modG, self.modD):
            mod.init_params(initializer=initializer or mx.init.Normal(0.02))
            mod.init_optimizer(kvstore, optimizer="adam", optimizer_params={
                "learning_rate": lr, "beta1": beta1, "wd": wd})
            if self.workers.count > 1:  # the store adds gradients: it sends no weights by itself
                pull_parameters(mod, kvstore)
        # Two more views of modD's memory. One adds its gradients to those that are there; the
        # other is D as G sees it, with a gradient for the images only.
        self._modD_adding, self._modDG = (
            mx.mod.Module(symD, data_names=("data",), label_names=("label",), context=ctx)
            for _ in range(2))
        self._modD_adding.bind(data_shapes=data, label_shapes=label, shared_module=self.modD,
                               grad_req="add")
        self._modDG.bind(data_shapes=data, label_shapes=label, shared_module=self.modD,
                         inputs_need_grad=True,
                         grad_req={**dict.fromkeys(symD.list_arguments(), "null"), "data": "write"})
        self._fake, self._real = (mx.nd.full((batch_size,), value) for value in (0, 1))

    def step(self, batch, rbatch):
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

        # real: D is told 1; these gradients are added to them
        modD_adding.forward(mx.io.DataBatch(batch.data, [self._real]), is_train=True)
        modD_adding.backward()
        self.metrics.update_d(1, modD_adding.get_outputs()[0])

        # update D: one update by the sum of both
        modD.update()

        # update G: the updated D's gradient at the same fakes, as if they were real
        self.global_step += 1
        if self.global_step % self.d_steps == 0:
            saturating = self.g_loss == "saturating"
            label = self._fake if saturating else self._real
            modDG.forward(mx.io.DataBatch(outG, [label]), is_train=True)
            modDG.backward()
            diffD = modDG.get_input_grads()
            if saturating:  # descend log(1 - D(G(z))), which D's own loss negates
                diffD = [-diff for diff in diffD]
            modG.backward(diffD)
            modG.update()
            self.metrics.update_g(0 if saturating else 1, modDG.get_outputs()[0])
            self.diffD = diffD[0]
        self.outG, self.batch = outG[0], batch

    def fit(self, train_iter, rand_iter, num_epochs, hooks=(), max_steps=None):
        """Train until `num_epochs` epochs or `max_steps` steps are done, counted from the first.

        Parameters
        ----------
        train_iter : mx.io.DataIter
            Batches of real images; reset at the end of every epoch. If it has a method `seek`, as
            this package's iterators have, it starts at the trainer's `epoch` and `nbatch`.
        rand_iter : mx.io.DataIter
            Batches of noise, without end; likewise from the trainer's `global_step`.
        num_epochs : int
        hooks : sequence of callable
            Each is called with the trainer after every step. `nbatch` is 0 when the step was the
            last of its epoch, and `epoch` counts that epoch.
        max_steps : int, optional

        Raises
        ------
        ValueError
            If `train_iter` has no batch.
        """
        self.stopping = False
        for it, position in ((train_iter, (self.epoch, self.nbatch)),
                             (rand_iter, (self.global_step,))):
            if hasattr(it, "seek"):
                it.seek(*position)
        while self.epoch < num_epochs:
            for batch, last in _mark_last(train_iter):
                if max_steps is not None and self.global_step >= max_steps:
                    return
                self.step(batch, rand_iter.next())
                self.metrics.wait(ahead=3 * STEPS_AHEAD)
                self.nbatch += 1
                if last:
                    self.epoch, self.nbatch = self.epoch + 1, 0
                    train_iter.reset()
                for hook in hooks:
                    hook(self)
                self.stopping = int(self.workers.gather([self.stopping]).max())
                if self.stopping:
                    return

    def check_finite(self):
        """Wait for the device, and raise if a parameter or a moving statistic is not finite.

        Raises
        ------
        DivergenceError
            Names the step and the array.
        """
        trainer_state.check_finite(self)

    def get_state(self):
        """Wait for the device, and copy all that the next step depends on.

        Returns
        -------
        dict
            `G`, `D`: parameters and moving statistics under `arg:NAME` and `aux:NAME`; the
            statistics are averages over all contexts of all workers.
            `G-optimizer`, `D-optimizer`: Adam's moments under `mean:NAME` and `var:NAME`; empty
            before a network's first update.
            `replicas`: if there are several contexts or workers, the moving statistics of each,
            (replicas, channels), under `G:aux:NAME` and `D:aux:NAME`; else empty. All of these
            are dicts of np.ndarray, float32.
            `symbols`: both networks' JSON text under `G` and `D`.
            `counters`: `step`, `epoch`, `nbatch`, `batch_size`; `workers`, their
            number; `updates`, the numbers of Adam's updates under `G` and `D`; `metrics`, as
            `Metrics.get_state` returns it.

        Raises
        ------
        DivergenceError
            If one of these numbers is not finite.
        """
        return trainer_state.get_state(self)

    def set_state(self, state):
        """Go back to, or on from, what `get_state` returned.

        Parameters
        ----------
        state : dict or None
            `symbols` is not looked at. With another `batch_size` or other `workers` the epoch
            begins anew, with another number of `replicas` each gets the averages. None on all
            workers but the first: they get its.

        Raises
        ------
        ValueError
            If the state is of other networks; nothing is changed then.
        """
        trainer_state.set_state(self, state)


def _mark_last(batches):
    """Yield each batch with whether it is the last one."""
    batches = iter(batches)
    batch = next(batches, None)
    if batch is None:
        raise ValueError("train_iter is empty: give an iterator with at least one batch")
    for following in batches:
        yield batch, False
        batch = following
    yield batch, True
