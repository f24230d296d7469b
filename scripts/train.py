"""Train a DCGAN: python scripts/train.py --dataset mnist --gpu 0."""
import contextlib
import json
import signal
import sys
import warnings
from pathlib import Path

from dcgan_mx import RandIter, Trainer, make_dcgan_sym
from dcgan_mx.commands import cli, train_cli
from dcgan_mx.runs import checkpoint, rundir
from dcgan_mx.training import hooks
from dcgan_mx.machine.device import make_contexts, make_kvstore
from dcgan_mx.data.records import RecordError
from dcgan_mx.pages.report import write_report
from dcgan_mx.machine.runtime import mx
from dcgan_mx.machine.signals import StopOnSignal
from dcgan_mx.trainer import DivergenceError
from dcgan_mx.training.workers import Workers


def main():
    args = train_cli.parse_train_args()
    contexts = make_contexts(args.gpu, args.cpu_devices, args.require_gpu)
    kvstore = make_kvstore(args.kv_store)
    workers = Workers(kvstore)
    config = train_cli.make_config(args, contexts, workers)
    if args.dry_run:
        if workers.rank == 0:
            print(json.dumps(config, indent=2))
        return

    train_cli.require_same_flags(args, contexts, workers)
    train_iter = train_cli.make_train_iter(args, workers)
    config["data"] = getattr(train_iter, "fingerprint", None)
    workers.require_same(f"{train_iter.num_batches} batches of {config['data']}", "data")
    rand_iter = RandIter(args.batch_size, args.nz, args.seed, workers.count, workers.rank)
    mx.random.seed(args.seed + workers.rank)
    symG, symD = make_dcgan_sym(args.ngf, args.ndf, args.nc, size=args.size)
    trainer = Trainer(symG, symD, args.batch_size, (args.nc, args.size, args.size), nz=args.nz,
                      ctx=contexts, lr=args.lr, beta1=args.beta1, wd=args.wd,
                      d_steps=args.d_steps, g_loss=args.g_loss, kvstore=kvstore)
    # The run directory may be on the first worker's disk only; it alone reads and writes there.
    args.resume = bool(workers.gather([args.resume])[0, 0])
    if workers.rank > 0:
        if args.resume:
            checkpoint.load_latest(None, trainer)
        _, received = train(trainer, train_iter, rand_iter, None, args)
        sys.exit(received and 128 + received)
    run_dir = (Path(args.run_dir) if args.resume else
               rundir.create(args.run_dir, args.dataset, config))
    with rundir.lock(run_dir):
        seconds = resume(trainer, run_dir, args, config) if args.resume else 0.0
        folder, received = train(trainer, train_iter, rand_iter, run_dir, args, seconds)
        try:
            print(f"see {write_report(run_dir)}", flush=True)
        except (ValueError, OSError) as error:  # nothing to show yet, or not to be read
            warnings.warn(f"there is no report: {error}", stacklevel=2)
    if received:
        # A launcher asks with SIGTERM, whatever signal it had.
        by = f" by {signal.Signals(received).name}" if workers.count == 1 else ""
        with contextlib.suppress(OSError):  # a pipe's other end may have had the signal, too
            print(f"stopped{by} after step {trainer.global_step}, saved in {folder}\n"
                  f"to go on: {rundir.resume_command(run_dir, config)}", flush=True)
        sys.exit(128 + received)


def resume(trainer, run_dir, args, config):
    """Put the trainer where the run's newest good checkpoint is; return the seconds until then."""
    train_cli.check_same(rundir.read_config(run_dir), config)
    folder = checkpoint.load_latest(run_dir, trainer)
    rundir.write_config(run_dir, config)
    print(f"going on from {folder or 'the start: there is no checkpoint yet'}")
    return rundir.cut_log(run_dir, trainer.global_step)


def train(trainer, train_iter, rand_iter, run_dir, args, seconds=0.0):
    """Train with all hooks; save at the end, and when a signal ends the run early.

    Without `run_dir`, nothing is written. Return the last checkpoint's folder, and the signal or 0.
    """
    stop = StopOnSignal()
    if run_dir is not None:
        print(f"writing to {run_dir}", flush=True)
    total = args.num_epochs * train_iter.num_batches
    total = min(total, args.max_steps or total)
    progress = hooks.Progress(total, trainer.global_step, quiet=run_dir is None)
    displays = [] if run_dir is None else make_displays(trainer, run_dir, args, progress)
    saver = hooks.Saver(run_dir, args.seed, args.keep)
    saver.step = trainer.global_step
    try:
        trainer.fit(train_iter, rand_iter, args.num_epochs, max_steps=args.max_steps, hooks=[
            progress, hooks.display_every(args.disp_batches, *displays, seconds=seconds),
            hooks.save_every(saver, args.checkpoint_steps), stop])
        if saver.step != trainer.global_step:
            saver.save(trainer)
        folder = saver.wait() or (run_dir and checkpoint.list(run_dir)[-1])
    except RecordError as error:
        if trainer.workers.count > 1:  # the others do not know of it
            raise
        saver.save(trainer)  # the networks are as good as they were
        raise RecordError(f"{error}; saved in {saver.wait()}") from None
    except DivergenceError as error:
        saver.close()
        if run_dir is None:  # the first worker says more
            raise
        good = checkpoint.list(run_dir)[-1:]
        raise DivergenceError(f"{error}; the last good checkpoint is {good[0]}" if good else
                              f"{error}; there is no checkpoint yet") from None
    finally:
        progress.close()
        saver.close()  # before the run directory is anyone else's
    return folder, int(trainer.stopping) or stop.received or 0


def make_displays(trainer, run_dir, args, progress):
    """Make what shows the training every --disp-batches steps."""
    displays = [progress.show, hooks.make_log(run_dir / "log.jsonl"),
                hooks.make_grids(run_dir / "grids")]
    if args.fixed_noise:
        displays.append(hooks.make_fixed_noise(run_dir / "grids", trainer, args.seed))
    if args.tensorboard:
        displays.append(hooks.make_tensorboard(run_dir / "tensorboard"))
    if args.show:
        displays.append(hooks.make_windows())
    return displays


if __name__ == "__main__":
    cli.run(main)
