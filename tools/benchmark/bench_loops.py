"""The loops that the benchmark compares; each trains or samples a number of batches on request."""
from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    import numpy as np

BATCH_SIZE, WARM_UP = 64, 3


def make_ours(**options: Any) -> Callable[[int], None]:
    """Trainer.fit with this package's data path."""
    from dcgan_mx import MnistIter, RandIter, Trainer, make_dcgan_sym
    from dcgan_mx.data.datasets import make_discs
    from dcgan_mx.system.runtime import mx
    trainer = Trainer(*make_dcgan_sym(64, 64, 3), BATCH_SIZE, (3, 64, 64), **options)
    train_iter, rand_iter = MnistIter(make_discs(), BATCH_SIZE), RandIter(BATCH_SIZE, 100)

    def train(n: int) -> None:
        trainer.fit(train_iter, rand_iter, 1000, max_steps=trainer.global_step + n)
        mx.nd.waitall()
    return train


def make_blog() -> Callable[[int], None]:
    """The reference loop, metrics read in every iteration, with a batch that costs nothing."""
    from dcgan_mx import make_dcgan_sym
    from dcgan_mx.system.runtime import mx

    from .blog_loop import BlogLoop
    loop = BlogLoop(*make_dcgan_sym(64, 64, 3), BATCH_SIZE, (3, 64, 64))
    batch = mx.io.DataBatch([mx.nd.random.uniform(-1, 1, (BATCH_SIZE, 3, 64, 64))], [])

    def train(n: int) -> None:
        for _ in range(n):
            noise = mx.nd.random.normal(shape=(BATCH_SIZE, 100, 1, 1))
            loop.step(batch, mx.io.DataBatch([noise], []))
        mx.nd.waitall()
    return train


def make_pytorch_networks() -> tuple[Any, Any]:
    """The networks of PyTorch's DCGAN example, with its initial weights."""
    from torch import nn

    def block(layer: Any, normalise: bool, activation: Any) -> list[Any]:
        return [layer, *([nn.BatchNorm2d(layer.out_channels)] if normalise else []), activation]

    up = [nn.ConvTranspose2d(a, b, 4, s, p, bias=False) for a, b, s, p in (
        (100, 512, 1, 0), (512, 256, 2, 1), (256, 128, 2, 1), (128, 64, 2, 1), (64, 3, 2, 1))]
    down = [nn.Conv2d(a, b, 4, s, p, bias=False) for a, b, s, p in (
        (3, 64, 2, 1), (64, 128, 2, 1), (128, 256, 2, 1), (256, 512, 2, 1), (512, 1, 1, 0))]
    netG = nn.Sequential(*(m for layer in up[:-1] for m in block(layer, True, nn.ReLU(True))),
                         up[-1], nn.Tanh())
    netD = nn.Sequential(*(m for i, layer in enumerate(down[:-1])
                           for m in block(layer, i > 0, nn.LeakyReLU(0.2, True))),
                         down[-1], nn.Sigmoid())
    for net in (netG, netD):
        layer: Any
        for layer in net:
            if hasattr(layer, "weight"):
                mean = 1.0 if isinstance(layer, nn.BatchNorm2d) else 0.0
                nn.init.normal_(layer.weight, mean, 0.02)
    return netG, netD


def make_pytorch_step(channels_last: bool = False, bfloat16: bool = False
                      ) -> tuple[Callable[[Any], None], Any]:
    """A step of PyTorch's DCGAN example (examples/dcgan) on real images, and its generator.

    The example has neither option. PyTorch's guide to tuning for CPUs recommends both.
    """
    import torch
    from torch import nn

    netG, netD = make_pytorch_networks()
    layout = torch.channels_last if channels_last else torch.contiguous_format
    for net in (netG, netD):
        net.to(memory_format=layout)
    criterion = nn.BCELoss()
    optimizers = [torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999))
                  for net in (netD, netG)]
    ones, zeros = torch.ones(BATCH_SIZE), torch.zeros(BATCH_SIZE)

    def cast() -> Any:
        return torch.autocast("cpu", torch.bfloat16, enabled=bfloat16)

    def step(real: Any) -> None:
        netD.zero_grad()
        with cast():
            output = netD(real.to(memory_format=layout)).view(-1)
            errD_real = criterion(output, ones)
        errD_real.backward()
        output.mean().item()
        with cast():
            fake = netG(torch.randn(BATCH_SIZE, 100, 1, 1))
            output = netD(fake.detach()).view(-1)
            errD_fake = criterion(output, zeros)
        errD_fake.backward()
        output.mean().item()
        optimizers[0].step()
        netG.zero_grad()
        with cast():
            output = netD(fake).view(-1)
            errG = criterion(output, ones)
        errG.backward()
        optimizers[1].step()
        (errD_real + errD_fake).item(), errG.item(), output.mean().item()
    return step, netG


def make_pytorch(**options: bool) -> Callable[[int], None]:
    """The loop of PyTorch's DCGAN example, with a batch that costs nothing."""
    import torch
    step, _ = make_pytorch_step(**options)
    real = torch.rand(BATCH_SIZE, 3, 64, 64) * 2 - 1

    def train(n: int) -> None:
        for _ in range(n):
            step(real)
    return train


def make_our_sampler() -> Callable[[int], np.ndarray]:
    """Generator.generate, images read back."""
    from dcgan_mx import Trainer, make_dcgan_sym
    from dcgan_mx.engine.module_state import get_parameters
    from dcgan_mx.sampling.generator import Generator
    from dcgan_mx.sampling.latent import make_latents
    symG, symD = make_dcgan_sym(64, 64, 3)
    trainer = Trainer(symG, symD, BATCH_SIZE, (3, 64, 64))
    generator = Generator(symG, get_parameters(trainer.modG), batch_size=BATCH_SIZE)
    return lambda n: generator.generate(make_latents(n * BATCH_SIZE, 100))


def make_pytorch_sampler() -> Callable[[int], list[np.ndarray]]:
    """PyTorch's generator in eval mode."""
    import torch
    netG = make_pytorch_networks()[0].eval()

    def sample(n: int) -> list[np.ndarray]:
        with torch.inference_mode():
            return [netG(torch.randn(BATCH_SIZE, 100, 1, 1)).numpy() for _ in range(n)]
    return sample


def serve(train: Callable[[int], object]) -> None:
    """Train the number of steps of each input line, and print the seconds."""
    train(WARM_UP)
    print("ready", flush=True)
    for line in sys.stdin:
        train(1)  # not timed: another candidate has filled the caches
        start = time.perf_counter()
        train(int(line))
        print(time.perf_counter() - start, flush=True)


LOOPS: dict[str, Callable[[], Callable[[int], object]]] = {
    "ours": make_ours, "ours-bfloat16": lambda: make_ours(precision="bfloat16"),
    "blog": make_blog, "pytorch": make_pytorch,
    "pytorch-channels-last": lambda: make_pytorch(channels_last=True),
    "pytorch-bfloat16": lambda: make_pytorch(channels_last=True, bfloat16=True),
    "our-sampler": make_our_sampler, "pytorch-sampler": make_pytorch_sampler}

if __name__ == "__main__":
    serve(LOOPS[sys.argv[1]]())
