import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcgan_mx.data.pack_cache import pack_cached

DAY = 86400


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of one picture; the cache is beside it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "in").mkdir()
    add(tmp_path / "in" / "a.png")
    return tmp_path / "in"


def add(path):
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(path)


def list_packs(pack):
    return sorted(path.name for path in pack.path.parent.glob("*.rec"))


def test_the_cache_is_keyed_by_content(folder, tmp_path):
    pack = pack_cached(folder)
    path = pack.path
    assert pack.skipped == [] and path.parent == tmp_path / "cache" / "dcgan_mx"
    before = path.stat().st_mtime_ns
    assert pack_cached(folder)[:2] == (path, []) and path.stat().st_mtime_ns == before
    content = path.read_bytes()
    path.write_bytes(content[:-99] + b"x" + content[-98:])
    assert pack_cached(folder)[:2] == (path, []) and path.read_bytes() == content
    (folder / "b.txt").write_text("hello")
    other = pack_cached(folder)
    assert other.path != path and other.skipped == [("b.txt", "is no picture")]
    for damaged in ("{", "[[1, 2]]", "[" * 100_000, "[3]"):
        other.path.with_suffix(".skipped").write_text(damaged)
        assert pack_cached(folder)[:2] == other[:2]  # told again
    (path.parent / ".half.rec.1.tmp").write_text("of a process that was killed")
    os.chmod(folder / "b.txt", 0)
    assert pack_cached(folder).path != other.path
    assert not list(path.parent.glob(".*.tmp"))


def test_an_earlier_state_goes_when_a_new_one_is_packed(folder, tmp_path):
    (tmp_path / "other").mkdir()
    add(tmp_path / "other" / "x.png")
    others = pack_cached(tmp_path / "other").path
    old = pack_cached(folder).path
    add(folder / "b.png")
    new = pack_cached(folder)
    assert new.removed == [(old, "of an earlier state of the folder")]
    assert list_packs(new) == sorted([others.name, new.path.name])
    left = {path.name for path in new.path.parent.iterdir()}
    assert left == {"lock", *(path.with_suffix(end).name for path in (others, new.path)
                              for end in (".rec", ".idx", ".skipped", ".folder"))}
    assert pack_cached(folder).removed == []


def test_one_that_is_in_use_stays(folder):
    code = ("import sys, time; from dcgan_mx.data.pack_cache import pack_cached\n"
            "pack = pack_cached(sys.argv[1]); print(pack.path, flush=True); time.sleep(100)")
    user = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE,
                            text=True)
    with user:
        used = user.stdout.readline().strip()
        add(folder / "b.png")
        assert pack_cached(folder).removed == []
        user.kill()
    add(folder / "c.png")
    assert used in [str(path) for path, _ in pack_cached(folder).removed]


def test_one_that_nobody_has_used_for_a_month_goes(folder, tmp_path):
    packs = []
    for name, days in (("fresh", 29), ("stale", 31)):
        (tmp_path / name).mkdir()
        add(tmp_path / name / f"{name}.png")
        packs.append(pack_cached(tmp_path / name).path)
        os.utime(packs[-1].with_suffix(".folder"), (time.time() - days * DAY,) * 2)
    unowned = packs[0].with_name("of-an-earlier-version.rec")
    unowned.write_bytes(b"")
    os.utime(unowned, (time.time() - 31 * DAY,) * 2)
    removed = dict(pack_cached(folder).removed)
    assert removed == dict.fromkeys([packs[1], unowned], "not used for 30 days")
    assert packs[0].exists()
    pack_cached(tmp_path / "fresh")
    assert time.time() - packs[0].with_suffix(".folder").stat().st_mtime < DAY


# Another user: gives up root's rights, where there are any, when all is imported.
OTHER = """
import os, sys, time
from dcgan_mx.data.pack_cache import pack_cached
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    pack = pack_cached(sys.argv[1], sys.argv[2])
    print(pack.path, pack.skipped, pack.lease is not None, flush=True)
    time.sleep(float(sys.argv[3]))
except PermissionError as error:
    print("PermissionError", error.filename, flush=True)
"""


@pytest.fixture
def shared():
    """A folder of one picture, and its pack in a cache, which all users can reach."""
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        (top / "in").mkdir()
        add(top / "in" / "a.png")
        (top / "in" / "b.txt").write_text("hello")
        os.chmod(top, 0o755)
        yield top / "in", top / "cache", pack_cached(top / "in", top / "cache").path
        os.chmod(top / "cache", 0o755)


def ask(folder, cache, seconds=0.0):
    return subprocess.Popen([sys.executable, "-c", OTHER, str(folder), str(cache), str(seconds)],
                            stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("lock", [0o444, 0o666])
def test_a_cache_that_cannot_be_written_to_serves_what_it_has(shared, lock):
    """It holds it, too, so that its owner does not remove it meanwhile."""
    folder, cache, path = shared
    os.chmod(cache / "lock", lock)
    os.chmod(cache, 0o555)
    other = ask(folder, cache, 100)
    with other:
        assert other.stdout.readline() == f"{path} [('b.txt', 'is no picture')] True\n"
        os.chmod(cache, 0o755)
        os.chmod(cache / "lock", 0o666)
        add(folder / "c.png")
        assert pack_cached(folder, cache).removed == [] and path.exists()
        other.kill()
    add(folder / "d.png")
    os.chmod(cache, 0o555)
    with ask(folder, cache) as other:
        assert other.stdout.read() == f"PermissionError {cache}\n"


def test_a_cache_of_several_users_is_not_packed_again(shared):
    """Each pack, and its mark, are files of one of them."""
    folder, cache, path = shared
    os.chmod(cache, 0o777)
    os.chmod(cache / "lock", 0o666)
    before = path.stat().st_mtime_ns
    with ask(folder, cache) as other:
        assert other.stdout.read() == f"{path} [('b.txt', 'is no picture')] True\n"
    assert path.stat().st_mtime_ns == before


def test_two_processes_pack_a_folder_once(photo_folder, tmp_path):
    code = ("import sys; from dcgan_mx.data.pack_cache import pack_cached;"
            "print(pack_cached(*sys.argv[1:], progress=lambda x: [print('packing'), x][1])[0])")
    command = [sys.executable, "-c", code, str(photo_folder), str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate()[0].split() for process in both]
    assert sorted(map(len, outputs)) == [1, 2] and outputs[0][-1] == outputs[1][-1]
