"""Compare one step's gradients in bfloat16 with those in float32, layer by layer.

Both steps start from the same weights on the same images. PyTorch's networks and its autocast are
compared in the same way if PyTorch is installed. On a processor with AMX, two float32 trainings
follow, one in a process that has enabled AMX: their parameters must be bit-identical.
"""
from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from dcgan_mx.system.cpu import check_bfloat16, cpu_flags

from ..common import describe_processor, find_pytorch, make_parser, run_python
from .bench_loops import BATCH_SIZE, make_pytorch_networks

SHAPE = (3, 64, 64)


def train(steps: int, **options: Any) -> Any:
    """Return a trainer after a number of steps; start and batches are always the same."""
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
    """Return the gradients of a first step by parameter name; D's are the sum of fake and real."""
    trainer = train(1, **options)
    return {name: arrays[0].asnumpy() for mod in (trainer.modG, trainer.modD)
            for name, arrays in zip(mod._exec_group.param_names, mod._exec_group.grad_arrays)}


def find_pytorch_gradients(bfloat16: bool) -> dict[str, np.ndarray]:
    """Return the gradients of PyTorch's networks; G's are those before D's update."""
    import torch
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
        layer = 0
        for (name, _), gradient in zip(net.named_parameters(), torch.autograd.grad(
                loss, [*net.parameters()], retain_graph=True)):
            index, kind = name.split(".")
            is_norm = isinstance(net[int(index)], torch.nn.BatchNorm2d)
            layer += not is_norm
            gradients[f"{network}bn{layer}_{'gamma' if kind == 'weight' else 'beta'}" if is_norm
                      else f"{network}{layer}_weight"] = gradient.float().numpy()
    return gradients


def relative_errors(rough: dict[str, np.ndarray], exact: dict[str, np.ndarray]
                    ) -> dict[str, float]:
    """Return |rough - exact| / |exact| of each array that is not all zeros."""
    return {name: float(np.linalg.norm(rough[name] - value) / np.linalg.norm(value))
            for name, value in exact.items() if value.any()}


def show_gradients() -> None:
    """Print a table of the errors."""
    columns = {"dcgan_mx": relative_errors(find_gradients(precision="bfloat16"), find_gradients())}
    if find_pytorch():
        columns["PyTorch's autocast"] = relative_errors(*map(find_pytorch_gradients, (True, False)))
    print(f"\n{'gradients, relative norm of the error':40}" + "".join(f"{n:>20}" for n in columns))
    for name in columns["dcgan_mx"]:
        cells = (f"{errors[name]:.4f}" if name in errors else "" for errors in columns.values())
        print(f"{name:40}" + "".join(f"{cell:>20}" for cell in cells))


def print_digest(steps: int, amx: bool) -> None:
    """Train in float32, and print the digest of all parameters and moving statistics."""
    if amx:
        from dcgan_mx.system.amx import enable
        hindrance = enable()
        if hindrance:
            raise SystemExit(f"error: {hindrance}")
    trainer = train(steps)
    digest = hashlib.sha256()
    for params in (*trainer.modG.get_params(), *trainer.modD.get_params()):
        for name in sorted(params):
            digest.update(params[name].asnumpy().tobytes())
    print(digest.hexdigest())


def main() -> None:
    """Parse the flags and compare."""
    parser = make_parser(__doc__)
    parser.add_argument("--steps", type=int, default=10, help="steps of the float32 trainings")
    parser.add_argument("--digest", choices=("disabled", "enabled"),
                        help="only print the digest of a training with AMX in this state")
    args = parser.parse_args()
    if args.digest:
        print_digest(args.steps, args.digest == "enabled")
        return
    print(f"on {describe_processor()}")
    check_bfloat16(gpu=False)
    show_gradients()
    if "amx_bf16" not in cpu_flags():
        print("\nthis processor has no AMX: its effect on float32 is not measured")
        return
    digests = []
    for state in ("disabled", "enabled"):
        digests.append(run_python("-m", "tools.benchmark.precision", "--steps", str(args.steps),
                                  "--digest", state).strip())
        print(f"float32, {args.steps} steps, AMX {state:8}: SHA-256 of all parameters "
              f"{digests[-1]}")
    if len({*digests}) > 1:
        raise SystemExit("error: AMX changes float32 results")


if __name__ == "__main__":
    main()
