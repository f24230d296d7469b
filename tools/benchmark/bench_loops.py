"""The training loops that the benchmark compares; each trains a number of steps on request."""
from __future__ import annotations

import sys
import time
from typing import Any, Callable

BATCH_SIZE, SHAPE, WARM_UP = 64, (3, 64, 64), 3


def make_trainer_loop(**options: Any) -> tuple[Any, Callable[[int], None]]:
    """A trainer of the full networks, and Trainer.fit with this package's data path."""
    from dcgan_mx import MnistIter, RandIter, Trainer, make_dcgan_sym
    from dcgan_mx.data.datasets import make_discs
    from dcgan_mx.system.runtime import mx
    trainer = Trainer(*make_dcgan_sym(64, 64, 3), BATCH_SIZE, SHAPE, **options)
    train_iter, rand_iter = MnistIter(make_discs(), BATCH_SIZE), RandIter(BATCH_SIZE, 100)

    def train(n: int) -> None:
        trainer.fit(train_iter, rand_iter, 1000, max_steps=trainer.global_step + n)
        mx.nd.waitall()
    return trainer, train


def make_blog() -> Callable[[int], None]:
    """The reference loop, metrics read in every iteration, with a batch that costs nothing."""
    from dcgan_mx import make_dcgan_sym
    from dcgan_mx.system.runtime import mx

    from .blog_loop import BlogLoop
    loop = BlogLoop(*make_dcgan_sym(64, 64, 3), BATCH_SIZE, SHAPE)
    batch = mx.io.DataBatch([mx.nd.random.uniform(-1, 1, (BATCH_SIZE, *SHAPE))], [])

    def train(n: int) -> None:
        for _ in range(n):
            noise = mx.nd.random.normal(shape=(BATCH_SIZE, 100, 1, 1))
            loop.step(batch, mx.io.DataBatch([noise], []))
        mx.nd.waitall()
    return train


def make_pytorch(channels_last: bool = False, bfloat16: bool = False) -> Callable[[int], None]:
    """The loop of PyTorch's DCGAN example, with a batch that costs nothing."""
    import torch
    step, _ = make_pytorch_step(SHAPE[0], channels_last, bfloat16)
    real = torch.rand(BATCH_SIZE, *SHAPE) * 2 - 1

    def train(n: int) -> None:
        for _ in range(n):
            step(real)
    return train


def make_pytorch_step(nc: int, channels_last: bool = False, bfloat16: bool = False
                      ) -> tuple[Callable[[Any], None], Any]:
    """The step of PyTorch's DCGAN example (examples/dcgan), and its generator.

    The step takes a batch of real images. The example has neither option; PyTorch's guide to
    tuning for CPUs recommends both.
    """
    import torch
    from torch import nn

    def block(layer: Any, normalize: bool, activation: Any) -> list[Any]:
        return [layer, *([nn.BatchNorm2d(layer.out_channels)] if normalize else []), activation]

    up = [nn.ConvTranspose2d(a, b, 4, s, p, bias=False) for a, b, s, p in (
        (100, 512, 1, 0), (512, 256, 2, 1), (256, 128, 2, 1), (128, 64, 2, 1), (64, nc, 2, 1))]
    down = [nn.Conv2d(a, b, 4, s, p, bias=False) for a, b, s, p in (
        (nc, 64, 2, 1), (64, 128, 2, 1), (128, 256, 2, 1), (256, 512, 2, 1), (512, 1, 1, 0))]
    netG = nn.Sequential(*(m for layer in up[:-1] for m in block(layer, True, nn.ReLU(True))),
                         up[-1], nn.Tanh())
    netD = nn.Sequential(*(m for i, layer in enumerate(down[:-1])
                           for m in block(layer, i > 0, nn.LeakyReLU(0.2, True))),
                         down[-1], nn.Sigmoid())
    for layer in (*netG, *netD):
        if hasattr(layer, "weight"):
            mean = 1.0 if isinstance(layer, nn.BatchNorm2d) else 0.0
            nn.init.normal_(layer.weight, mean, 0.02)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    for net in (netG, netD):
        net.to(memory_format=layout)
    optimizerG, optimizerD = (torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999))
                              for net in (netG, netD))
    criterion = nn.BCELoss()
    ones, zeros = torch.ones(BATCH_SIZE), torch.zeros(BATCH_SIZE)

    def autocast() -> Any:
        return torch.autocast("cpu", torch.bfloat16, enabled=bfloat16)

    def backward(images: Any, label: Any) -> Any:
        with autocast():
            output = netD(images).view(-1)
            loss = criterion(output, label)
        loss.backward()
        output.mean().item()
        return loss

    def step(real: Any) -> None:
        netD.zero_grad()
        loss_real = backward(real.to(memory_format=layout), ones)
        with autocast():
            fake = netG(torch.randn(BATCH_SIZE, 100, 1, 1))
        loss_fake = backward(fake.detach(), zeros)
        optimizerD.step()
        netG.zero_grad()
        lossG = backward(fake, ones)
        optimizerG.step()
        (loss_real + loss_fake).item(), lossG.item()
    return step, netG


def serve(train: Callable[[int], None]) -> None:
    """Train the number of steps of each input line, and print the seconds."""
    train(WARM_UP)
    print("ready", flush=True)
    for line in sys.stdin:
        train(1)  # not timed: another candidate has filled the caches
        start = time.perf_counter()
        train(int(line))
        print(time.perf_counter() - start, flush=True)


LOOPS: dict[str, Callable[[], Callable[[int], None]]] = {
    "ours": lambda: make_trainer_loop()[1],
    "ours-bfloat16": lambda: make_trainer_loop(precision="bfloat16")[1],
    "blog": make_blog, "pytorch": make_pytorch,
    "pytorch-channels-last": lambda: make_pytorch(channels_last=True),
    "pytorch-bfloat16": lambda: make_pytorch(channels_last=True, bfloat16=True)}

if __name__ == "__main__":
    serve(LOOPS[sys.argv[1]]())
