import resource

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


@pytest.fixture
def limit_files():
    """A function that limits the size of the files that are written, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size=before[0]):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    yield limit
    limit()
