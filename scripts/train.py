"""Train a DCGAN: python scripts/train.py --dataset mnist --gpu 0."""
import json

from dcgan_mx import RandIter, Trainer, checkpoint, cli, hooks, make_dcgan_sym
from dcgan_mx.device import make_context
from dcgan_mx.runtime import mx


def main():
    args = cli.make_train_parser().parse_args()
    cli.check_train_args(args)
    ctx = make_context(args.gpu, args.require_gpu)
    config = cli.make_config(args, ctx)
    if args.dry_run:
        print(json.dumps(config, indent=2))
        return

    train_iter = cli.make_train_iter(args)
    rand_iter = RandIter(args.batch_size, args.nz, args.seed)
    mx.random.seed(args.seed)
    symG, symD = make_dcgan_sym(args.ngf, args.ndf, args.nc, size=args.size)
    trainer = Trainer(symG, symD, args.batch_size, (args.nc, args.size, args.size), nz=args.nz,
                      ctx=ctx, lr=args.lr, beta1=args.beta1, wd=args.wd, d_steps=args.d_steps,
                      g_loss=args.g_loss)

    run_dir = cli.make_run_dir(args, config)
    print(f"writing to {run_dir}")
    total = args.num_epochs * train_iter.num_batches
    progress = hooks.Progress(min(total, args.max_steps or total))
    displays = [progress.show, hooks.make_log(run_dir / "log.jsonl"),
                hooks.make_grids(run_dir / "grids")]
    if args.show:
        displays.append(hooks.make_windows())
    trainer.fit(train_iter, rand_iter, args.num_epochs, max_steps=args.max_steps,
                hooks=[progress, hooks.display_every(args.disp_batches, *displays),
                       hooks.save_every_epoch(run_dir)])
    progress.close()
    if trainer.nbatch:
        checkpoint.save(run_dir, trainer)


if __name__ == "__main__":
    cli.run(main)
