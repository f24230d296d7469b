"""Compare one step's gradients in bfloat16 with those in float32, layer by layer.

Both begin with the same weights and see the same images; PyTorch's networks and its autocast stand
beside them if it is installed. On a processor with AMX, trainings in float32 follow, in one process
that has woken it and in one that has not: their parameters are the same to the bit.
"""
from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
from typing import Any

import numpy as np
from benchmark import BATCH_SIZE, describe_processor, find_pytorch

from dcgan_mx.system.cpu import check_bfloat16, cpu_flags

SHAPE = (3, 64, 64)


def train(steps: int, **options: Any) -> Any:
    """Return a trainer after so many steps, from the same start on the same numbers."""
    from dcgan_mx import Trainer, make_dcgan_sym
    from dcgan_mx.system.runtime import mx, wait_all
    mx.random.seed(1)
    rng = np.random.default_rng(0)
    trainer = Trainer(*make_dcgan_sym(64, 64, 3), BATCH_SIZE, SHAPE, **options)
    for _ in range(steps):
        trainer.step(mx.io.DataBatch([mx.nd.array(rng.uniform(-1, 1, (BATCH_SIZE, *SHAPE)))], []),
                     mx.io.DataBatch([mx.nd.array(rng.normal(size=(BATCH_SIZE, 100, 1, 1)))], []))
    wait_all()
    return trainer


def find_gradients(**options: Any) -> dict[str, np.ndarray]:
    """Return the gradients of a first step by the parameters' names; D's are of fake and real."""
    trainer = train(1, **options)
    return {name: arrays[0].asnumpy() for mod in (trainer.modG, trainer.modD)
            for name, arrays in zip(mod._exec_group.param_names, mod._exec_group.grad_arrays)}


def find_pytorch_gradients(bfloat16: bool) -> dict[str, np.ndarray]:
    """Return the same of PyTorch's networks; G's are those before D's update."""
    import torch
    from loops import make_pytorch_networks
    torch.manual_seed(1)
    netG, netD = make_pytorch_networks()
    real = torch.rand(BATCH_SIZE, *SHAPE) * 2 - 1
    gradients = {}
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        fake = netG(torch.randn(BATCH_SIZE, 100, 1, 1))
        predictions = [netD(images).view(-1) for images in (real, fake.detach(), fake)]
        losses = [torch.nn.functional.binary_cross_entropy(prediction.float(), torch.full(
            (BATCH_SIZE,), label)) for prediction, label in zip(predictions, (1.0, 0.0, 1.0))]
    for network, net, loss in (("g", netG, losses[2]), ("d", netD, losses[0] + losses[1])):
        found = torch.autograd.grad(loss, [*net.parameters()], retain_graph=True)
        layer = 0
        for (name, _), gradient in zip(net.named_parameters(), found):
            normalises = isinstance(net[int(name.split(".")[0])], torch.nn.BatchNorm2d)
            layer += not normalises
            kind = {"weight": "gamma", "bias": "beta"}[name.split(".")[1]]
            gradients[f"{network}bn{layer}_{kind}" if normalises else
                      f"{network}{layer}_weight"] = gradient.float().numpy()
    return gradients


def compare(rough: dict[str, np.ndarray], exact: dict[str, np.ndarray]) -> dict[str, float]:
    """Return the norm of each difference, relative to the exact one's, where that is not 0."""
    return {name: float(np.linalg.norm(rough[name] - value) / np.linalg.norm(value))
            for name, value in exact.items() if value.any()}


def show_gradients() -> None:
    """Print the table."""
    columns = {"dcgan_mx": compare(find_gradients(precision="bfloat16"), find_gradients())}
    if find_pytorch():
        columns["PyTorch's autocast"] = compare(*map(find_pytorch_gradients, (True, False)))
    print(f"\n{'gradients, relative norm of the error':40}" + "".join(f"{n:>20}" for n in columns))
    for name in columns["dcgan_mx"]:
        cells = (f"{errors[name]:.4f}" if name in errors else "" for errors in columns.values())
        print(f"{name:40}" + "".join(f"{cell:>20}" for cell in cells))


def print_digest(steps: int, awake: bool) -> None:
    """Train in float32, and print the digest of all parameters and moving statistics."""
    if awake:
        from dcgan_mx.system.amx import enable
        hindrance = enable()
        if hindrance:
            raise SystemExit(f"error: {hindrance}")
    trainer = train(steps)
    digest = hashlib.sha256()
    for mod in (trainer.modG, trainer.modD):
        for params in mod.get_params():
            for name in sorted(params):
                digest.update(params[name].asnumpy().tobytes())
    print(digest.hexdigest())


def compare_digests(steps: int) -> None:
    """Print what AMX changes in float32, and raise ValueError if it is not nothing."""
    digests = {}
    for state in ("asleep", "awake"):
        done = subprocess.run([sys.executable, __file__, "--steps", str(steps), "--digest", state],
                              stdout=subprocess.PIPE, text=True, check=True)
        digests[state] = done.stdout.strip()
        print(f"float32, {steps} steps, AMX {state:6}: SHA-256 of all parameters {digests[state]}")
    if len({*digests.values()}) > 1:
        raise ValueError("AMX changes the numbers of float32")


def main() -> None:
    """Parse the flags and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10,
                        help="of the trainings in float32; default: %(default)s")
    parser.add_argument("--digest", choices=("asleep", "awake"), help="only be one of these")
    args = parser.parse_args()
    if args.digest:
        print_digest(args.steps, args.digest == "awake")
        return
    print(f"on {describe_processor()}")
    check_bfloat16(gpu=False)
    show_gradients()
    if "amx_bf16" in cpu_flags():
        compare_digests(args.steps)
    else:
        print("\nthis processor has no AMX: whether it changes float32's numbers is not looked at")


if __name__ == "__main__":
    main()
