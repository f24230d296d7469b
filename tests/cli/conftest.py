from functools import partial

import pytest

from dcgan_mx.cli.main import run as run_command
from dcgan_mx.metrics.evaluator import Evaluator


@pytest.fixture
def succeed(call):
    """Run a command of dcgan-mx that exits with 0; return a CompletedProcess."""
    def run(name, *args, **kwargs):
        done = call(name, *args, **kwargs)
        assert done.returncode == 0, done.stderr
        return done
    return run


@pytest.fixture(scope="session")
def train():
    """A function that runs `dcgan-mx train` in this process, for fixtures of any scope."""
    def run(*flags):
        assert run_command("train", [str(flag) for flag in flags]) == 0
    return run


@pytest.fixture(scope="module")
def quick_evaluation():
    """Evaluate with fewer directions and pairs, and 128 images during a training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dcgan_mx.cli.evaluate.Evaluator", partial(Evaluator, quick=True))
        for module in ("train", "run_training"):
            patch.setattr(f"dcgan_mx.cli.{module}.EVALUATED", 128)
        yield
