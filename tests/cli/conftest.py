import pytest

from dcgan_mx.cli.main import run as run_command


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
