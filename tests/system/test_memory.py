
import numpy as np
import pytest
from helpers.common import run_code

from dcgan_mx import Trainer, make_dcgan_sym
from dcgan_mx.engine.module_state import get_parameters
from dcgan_mx.sampling.generator import Generator
from dcgan_mx.system import memory
from dcgan_mx.system.devices import make_contexts
from dcgan_mx.system.memory import read_available

KB, MB = 1 << 10, 1 << 20
MEMINFO = "MemTotal:  8000000 kB\nMemAvailable:  5000000 kB\nSwapTotal:  9 kB\nSwapFree:  7 kB\n"
MACHINE = 5_000_007 * KB


@pytest.fixture
def root(tmp_path):
    """A folder with the files of a machine without control groups."""
    write(tmp_path, {"proc/meminfo": MEMINFO, "proc/self/cgroup": "0::/",
                     "proc/self/statm": "10 5 3"})
    return tmp_path


def write(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{content}\n")


def make_group(root, name, limit, used, cached=0):
    """Write the files of a control group."""
    folder = f"sys/fs/cgroup/{name}"
    write(root, {f"{folder}/memory.max": limit, f"{folder}/memory.current": used,
                 f"{folder}/memory.stat": f"anon 5\nfile 77\ninactive_file {cached // 2}\n"
                                          f"active_file {cached // 2}\nx y"})


def test_machine_without_control_groups(root):
    assert read_available(root) == MACHINE
    assert read_available(root / "nowhere") is None
    (root / "proc/meminfo").write_text("MemTotal:  8 kB\n")  # before Linux 3.14
    assert read_available(root) is None


@pytest.mark.parametrize("line, groups, left", [
    ("0::/", [("", "max", 5)], None),
    ("0::/a/b", [("a/b", 100 * MB, 30 * MB)], 70 * MB),
    ("0::/a/b", [("a/b", 100 * MB, 30 * MB, 20 * MB)], 90 * MB),
    ("0::/a/b", [("a/b", 100 * MB, 30 * MB), ("a", 60 * MB, 40 * MB)], 20 * MB),
    ("0::/a/b", [("a/b", "max", 30 * MB), ("a", 60 * MB, 40 * MB)], 20 * MB),
    ("0::/host/path", [("", 50 * MB, 10 * MB)], 40 * MB),  # a container sees its own as the top
    ("0::/../b", [("", 50 * MB, 10 * MB), ("../b", 1, 1)], 40 * MB),
    ("0::/a", [("b", 1, 1)], None),  # the group of another process
    ("0::/a", [("a", 10 * MB, 11 * MB)], -MB)])
def test_control_groups(root, line, groups, left):
    write(root, {"proc/self/cgroup": line})
    for group in groups:
        make_group(root, *group)
    assert read_available(root) == (MACHINE if left is None else max(0, left + 7 * KB))


LIMITED = """
import os, resource, sys
import numpy as np
from dcgan_mx import Trainer, make_dcgan_sym
from dcgan_mx.system.memory import read_available
assert 0 < read_available() < 2 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # swap
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + (600 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
assert (590 << 20) < read_available() <= 600 << 20
taken = np.ones(100 << 20, np.uint8)
assert (490 << 20) < read_available() <= 500 << 20
Trainer(*make_dcgan_sym(128, 128, 3, size=128), 4, (3, 128, 128))
"""


def test_training_beyond_ulimit_is_rejected():
    line = run_code(LIMITED, check=False).stderr.splitlines()[-1]
    assert line.startswith("ValueError: training 57,")
    assert "parameters with batch_size 4 needs at least 961 MB of memory, but only " in line
    assert line.endswith("MB are available: use smaller batches or networks, or end "
                         "other programs")


@pytest.mark.parametrize("devices", [1, 2])
def test_memory_estimate_of_a_training(devices, monkeypatch):
    """Counted by hand: parameters, and outputs of the layers for each image."""
    g = 5 * 4 * 16 + 2 * 4 + 4 * 2 * 16 + 2 * 2 + 2 * 3 * 16
    d = 3 * 3 * 16 + 3 * 6 * 16 + 2 * 6 + 6 * 16
    made = 3 * 4 * 4**2 + 3 * 2 * 8**2 + 2 * 3 * 16**2
    seen = 2 * 3 * 8**2 + 3 * 6 * 4**2 + 3
    needed = 16 * (g + d) * devices + 2 * 4 * (made + seen)
    for available, fits in ((needed, True), (needed - 1, False), (None, True)):
        monkeypatch.setattr(memory, "read_available", lambda available=available: available)
        arguments = (*make_dcgan_sym(2, 3, 3, size=16), 4, (3, 16, 16), 5,
                     make_contexts(None, devices))
        if fits:
            Trainer(*arguments)
        else:
            with pytest.raises(ValueError, match=f"training {g + d:,} parameters with batch_size"):
                Trainer(*arguments)


def test_too_many_images_are_rejected(monkeypatch):
    trainer = Trainer(*make_dcgan_sym(2, 2, 3, size=16), 4, (3, 16, 16), nz=5)
    generator = Generator(trainer.modG.symbol, get_parameters(trainer.modG), batch_size=2)
    size = 4 * 3 * 16 * 16
    monkeypatch.setattr(memory, "read_available", lambda: 3 * size)
    assert generator.generate(np.zeros((3, 5), np.float32)).shape == (3, 3, 16, 16)
    with pytest.raises(ValueError, match="4 latent vectors needs at least 0 MB of memory, but "
                       "only 0 MB are available: generate fewer at once"):
        generator.generate(np.zeros((4, 5), np.float32))


def test_trim_heap_returns_memory():
    """100 MB in small pieces; a last one prevents the heap from shrinking by itself."""
    code = ("import ctypes; from dcgan_mx.system.memory import trim_heap\n"
            "def resident(): return int(open('/proc/self/statm').read().split()[1]) * 4096 >> 20\n"
            "pieces = [ctypes.create_string_buffer(b'x' * 60000) for _ in range(1700)]\n"
            "last = ctypes.create_string_buffer(100); full = resident(); pieces.clear()\n"
            "trim_heap(); print(full - resident())")
    assert int(run_code(code).stdout) > 80
