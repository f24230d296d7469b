import contextlib
import os
import resource
import subprocess
import sys
from collections import Counter
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # one core per worker; set before MXNet reads it
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# Messages name dcgan-mx, which is then on the PATH.
os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
os.environ["OPENCV_LOG_LEVEL"] = "OFF"  # as commands have it, before OpenCV reads it

import numpy as np
import pytest
from helpers.browser import start_browser, switch_scripts_off  # noqa: F401  fixtures
from helpers.common import ROOT, build_library

# MXNet is imported in fixtures: the process that only distributes the tests does without.
import dcgan_mx
from dcgan_mx.cli.main import run as run_command
from tools.common import read_status

STUB = """
#include <string.h>
static const struct {{ const char *name; int major, minor; size_t memory; }} gpus[] = {{ {gpus} }};
int cuInit(unsigned flags) {{ return {status}; }}
int cuDriverGetVersion(int *version) {{ *version = {version}; return 0; }}
int cuDeviceGetCount(int *count) {{ *count = {count}; return 0; }}
int cuDeviceGet(int *device, int number) {{ *device = number; return 0; }}
int cuDeviceGetName(char *name, int size, int i) {{ strncpy(name, gpus[i].name, size); return 0; }}
int cuDeviceTotalMem_v2(size_t *memory, int i) {{ *memory = gpus[i].memory; return 0; }}
int cuDeviceGetAttribute(int *value, int attribute, int i)
{{ *value = attribute == 75 ? gpus[i].major : attribute == 76 ? gpus[i].minor : 0; return 0; }}
int cuGetErrorString(int error, const char **text) {{ *text = "the stub's error"; return 0; }}
{uncalled}
"""
# More symbols that libmxnet.so and cuDNN link to; they are not called without a GPU.
UNCALLED = ("DevicePrimaryCtxRetain", "GraphKernelNodeGetParams", "GraphNodeGetType",
            "LaunchKernel", "ModuleGetFunction", "ModuleLoadData", "ModuleLoadDataEx",
            "ModuleUnload", "OccupancyMaxActiveBlocksPerMultiprocessor")


def pytest_collection_modifyitems(items):
    """Run the longest tests first: as the last ones they would leave the other cores idle."""
    items.sort(key=lambda item: "test_workers" not in item.nodeid)


def pytest_terminal_summary(terminalreporter):
    """Summarize skipped tests by reason in the last lines."""
    reasons = Counter(str(report.longrepr[2]).partition(": ")[2]
                      for report in terminalreporter.stats.get("skipped", []))
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"{count} tests were skipped: {reason}", yellow=True)


@pytest.fixture(scope="session")
def mnist_root():
    """The folder of MNIST in the checkout; downloads missing files once."""
    dcgan_mx.get_mnist(ROOT / "data")
    return ROOT / "data"


@pytest.fixture(scope="session")
def mnist(mnist_root):
    """MNIST's training set."""
    return dcgan_mx.get_mnist(mnist_root)[0]


@pytest.fixture(scope="session")
def cut_photographs():
    """A generator of patches of scikit-image's photographs; RGB, (side, side, 3)."""
    from skimage import data

    def cut(n, side, seed=0):
        rng = np.random.default_rng(seed)
        photographs = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket()]
        for i in range(n):
            photograph = photographs[i % 4]
            y, x = (int(rng.integers(length - side + 1)) for length in photograph.shape[:2])
            yield photograph[y:y + side, x:x + side]
    return cut


@pytest.fixture(scope="session")
def photo_folder(cut_photographs, tmp_path_factory):
    """A folder of 280 JPEG files of 256x256 pixels."""
    from dcgan_mx.visual import save_image
    folder = tmp_path_factory.mktemp("photographs")
    for i, patch in enumerate(cut_photographs(280, 256)):
        save_image(folder / f"{i:03d}.jpg", patch)
    return folder


@pytest.fixture(scope="session")
def photo_rec(photo_folder, tmp_path_factory):
    """A record file of the same images."""
    from dcgan_mx.data import packing
    path = tmp_path_factory.mktemp("packed") / "photographs.rec"
    assert packing.pack(photo_folder, path, threads=2) == (280, [])
    return path


@pytest.fixture(scope="session")
def run_dir(make_batches, tmp_path_factory):
    """A checkpoint after five steps; its moving statistics are neither 0 nor 1."""
    from dcgan_mx.runs import checkpoint
    from dcgan_mx.system.runtime import mx
    mx.random.seed(1)
    trainer = dcgan_mx.Trainer(*dcgan_mx.make_dcgan_sym(8, 8, 3, size=16), 8, (3, 16, 16), nz=10,
                               initializer=mx.init.Normal(0.3))
    for batch, noise in make_batches(5, 8, (3, 16, 16), nz=10):
        trainer.step(batch, noise)
    folder = tmp_path_factory.mktemp("run")
    checkpoint.save(folder, trainer)
    return folder


@pytest.fixture
def bounded_memory():
    """Assert that a test needs less than 200 MB; resets the peak of the memory first (Linux)."""
    before = read_status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    yield
    assert read_status("VmHWM") - before < 200


@pytest.fixture
def limit_files():
    """A function that limits the size of the files that are written, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size=before[0]):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    yield limit
    limit()


@pytest.fixture
def stub_driver(tmp_path):
    """A function that builds a libcuda.so.1 with some GPUs, and returns an environment for it."""
    def build(*gpus, status=0, version=12040):
        listed = ", ".join(f'{{"{name}", {major}, {minor}, {memory}ul}}'
                           for name, (major, minor), memory in gpus)
        build_library(tmp_path / "libcuda.so.1", STUB.format(
            gpus=listed, count=len(gpus), status=status, version=version,
            uncalled=" ".join(f"int cu{name}() {{ return 999; }}" for name in UNCALLED)))
        with contextlib.suppress(FileExistsError):
            (tmp_path / "libcuda.so").symlink_to("libcuda.so.1")
        return {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    return build


@pytest.fixture
def call(capfd, monkeypatch):
    """Run a command of dcgan-mx in this process; return a CompletedProcess."""
    def run(name, *args, cwd=None, env=None):
        with monkeypatch.context() as patch:
            if cwd is not None:
                patch.chdir(cwd)
            for variable, value in (env or {}).items():
                patch.setenv(variable, value)
            capfd.readouterr()
            status = run_command(name, [str(arg) for arg in args])
            return subprocess.CompletedProcess(name, status, *capfd.readouterr())
    return run


@pytest.fixture
def script():
    """Run a file of scripts/, or a module, in a new process; return the CompletedProcess."""
    def run(name, *args, env=os.environ, **kwargs):
        program = [str(ROOT / "scripts" / name)] if name.endswith(".py") else ["-m", name]
        return subprocess.run([sys.executable, *program, *map(str, args)], capture_output=True,
                              text=True, timeout=300, check=False,
                              env={**env, "PYTHONPATH": str(ROOT)}, **kwargs)
    return run


@pytest.fixture
def one_line_error():
    """Assert that a command failed with one error line and exit code 2; return the line."""
    def check(done, *parts):
        assert done.returncode == 2, done.stderr
        lines = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
        assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
        for part in parts:
            assert str(part) in lines[0]
        return lines[0]
    return check


@pytest.fixture(scope="session")
def make_batches():
    """A function that makes pairs of a real batch and a noise batch from a seed."""
    from dcgan_mx.system.runtime import mx

    def make(n, batch_size, data_shape, nz=100, seed=0):
        rng = np.random.default_rng(seed)
        return [(mx.io.DataBatch([mx.nd.array(rng.uniform(-1, 1, (batch_size, *data_shape)))], []),
                 mx.io.DataBatch([mx.nd.array(rng.normal(size=(batch_size, nz, 1, 1)))], []))
                for _ in range(n)]
    return make


@pytest.fixture
def parameters():
    """A function that returns all parameters and moving statistics of a trainer as arrays."""
    from dcgan_mx.system.runtime import mx

    def get(trainer):
        mx.nd.waitall()
        return {name: array.asnumpy()
                for mod in (trainer.modG, trainer.modD)
                for params in mod.get_params() for name, array in params.items()}
    return get
