"""Saving while system calls fail, and during a power cut."""
import builtins
import errno
import hashlib
import io
import itertools
import math
import os
import random
import re
import sys
from pathlib import PurePath

import numpy as np
import pytest

from dcgan_mx.runs import checkpoint
from dcgan_mx.runs.checkpoint_files import recover
from dcgan_mx.runs.run import Run

OLD, NEW = "checkpoints/step-00000005", "checkpoints/step-00000006"
CALLS = ("open", "write", "fsync", "rename", "mkdir")


class Watch:
    """Records the system calls that change a folder, and makes some of them fail.

    Python's audit hooks report all of them except `write` and `fsync`.
    """

    folder = None
    events = {"open": "open", "os.mkdir": "mkdir", "os.rename": "rename", "os.remove": "remove",
              "os.rmdir": "remove"}

    def start(self, folder, fail=None, n=0, most=None):
        """Start recording; the nth call of a kind fails, or writes accept `most` bytes."""
        self.folder, self.fail, self.n, self.most, self.calls = f"{folder}/", fail, n, most, []

    def stop(self):
        """Return what was called: (call, path, another path or the bytes)."""
        self.folder = None
        return self.calls

    def record(self, call, path, rest=None):
        self.calls.append((call, path[len(self.folder):], rest))
        if call == self.fail:
            self.n -= 1
            if self.n == -1:
                raise OSError(errno.EIO, os.strerror(errno.EIO))

    def is_ours(self, path):
        return self.folder and isinstance(path, str) and f"{path}/".startswith(self.folder)

    def on_event(self, event, args):
        call = self.events.get(event)
        if not self.folder or not call or isinstance(args[0], int):  # a file that is open already
            return
        path, other, flags = os.fspath(args[0]), None, args[-1]
        if call == "remove" and flags >= 0:  # the descriptor of the folder
            path = os.path.join(os.readlink(f"/proc/self/fd/{flags}"), path)
        if call == "rename":
            other = os.fspath(args[1])[len(self.folder):]
        if self.is_ours(path) and (call != "open" or flags & os.O_CREAT):
            self.record(call, path, other)


watch = Watch()
sys.addaudithook(watch.on_event)


class Raw(io.FileIO):
    """A file whose writes are watched."""

    def write(self, content):
        content = bytes(content[:watch.most])
        watch.record("write", self.name, content)
        return super().write(content)


@pytest.fixture(autouse=True)
def _watched(monkeypatch):
    real = builtins.open

    def watched_open(file, mode="r", buffering=-1, **kwargs):
        if mode not in ("wb", "xb", "ab") or not watch.is_ours(os.fspath(file)):
            return real(file, mode, buffering, **kwargs)
        raw = Raw(os.fspath(file), mode)
        return io.BufferedWriter(raw) if buffering else raw

    def fsync(descriptor):  # recorded, but not executed
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if watch.is_ours(path):
            watch.record("fsync", path)

    monkeypatch.setattr(builtins, "open", watched_open)
    monkeypatch.setattr(os, "fsync", fsync)
    yield
    watch.stop()


def save(step, seed=0, keep=0):
    """Return a function that saves a minimal state, which the seed varies."""
    array = np.arange(100, dtype=np.float32)
    counters = {"step": step, "epoch": 0, "nbatch": step, "batch_size": 8, "workers": 1,
                "updates": {"G": step, "D": step}, "metrics": {
                    "sums": {"acc": 0.0, "d_entropy": 0.0, "g_entropy": 0.0},
                    "counts": {"d": 0, "g": 0}}}
    state = {"symbols": {"G": "{}", "D": "{}"}, "counters": counters, "D": {"arg:w": array},
             "G": {"arg:w": array + np.float32(seed)}, "G-optimizer": {}, "D-optimizer": {}}
    return lambda run_dir: checkpoint.write(run_dir, state, keep=keep)


def add_line(step):
    return lambda run_dir: Run(run_dir).log({"step": step, "seconds": 0.5})


def read(run_dir):
    """The content of all files in a folder, by path."""
    return {str(path.relative_to(run_dir)): path.read_bytes()
            for path in sorted(run_dir.rglob("*")) if path.is_file()}


def read_named(run_dir):
    """The files, except those under temporary names, which the next process removes."""
    return {name: raw for name, raw in read(run_dir).items()
            if not re.search(r"\.[0-9]+\.tmp", name)}


@pytest.mark.parametrize("prepare, act, name, calls", [
    (lambda run_dir: None, save(5), OLD, CALLS), (save(5), save(6), NEW, CALLS),
    (save(5), save(5, seed=1), OLD, CALLS),  # the existing folder is moved aside
    (add_line(5), add_line(6), "log.jsonl", ("open", "write", "fsync"))])
def test_failure_of_any_call_loses_nothing(prepare, act, name, calls, tmp_path):
    """The error names the file, the state is the old or the new one, and a retry succeeds."""
    ends, met = [], set()
    for call in CALLS:
        for n in itertools.count():
            run_dir = tmp_path / f"{call}-{n}"
            run_dir.mkdir()
            prepare(run_dir)
            before, raised = read(run_dir), None
            watch.start(run_dir, call, n)
            try:
                act(run_dir)
            except OSError as error:
                raised = error
            failed = sum(called == call for called, *_ in watch.stop()) > n
            after, after_named = read(run_dir), read_named(run_dir)
            if raised:
                assert (raised.errno, raised.filename) == (errno.EIO, str(run_dir / name))
                met.add(call)
                act(run_dir)
            ends.append(read_named(run_dir))
            if raised and after_named == before:
                assert after == before  # no temporary file remains
            else:
                assert after_named == ends[-1]
            if not failed:
                break
    assert all(end == ends[0] for end in ends) and any(path.startswith(name) for path in ends[0])
    assert met == {*calls}


def test_partial_writes_are_continued(tmp_path):
    watch.start(tmp_path, most=7)
    for act in (save(5), save(6), add_line(5), add_line(6)):
        act(tmp_path)
    assert max(len(rest) for call, _, rest in watch.stop() if call == "write") == 7
    assert [checkpoint.verify(tmp_path / path)["step"] for path in (OLD, NEW)] == [5, 6]
    assert [line["step"] for line in Run(tmp_path).read_log()] == [5, 6]


class Node:
    """A file or a folder, on the disk and as processes see it.

    `synced` bytes of a file's content are on the disk. `names` of a folder are on the disk, and
    `pending` are the changes since then: the removed name, the added name, and its node.
    """

    def __init__(self, content=None):
        self.content, self.synced, self.names, self.pending = content, 0, {}, []

    def apply(self, changes):
        names = dict(self.names)
        for goes, comes, node in changes:
            names.pop(goes, None)
            if comes:
                names[comes] = node
        return names

    def find(self, path):
        node = self
        for part in path.split("/") if path else ():
            node = node.apply(node.pending)[part]
        return node

    def sync(self):
        self.synced = len(self.content or b"")
        self.names, self.pending = self.apply(self.pending), []


def perform(root, call, path, rest):
    """Replay a recorded call; only fsync puts its effect on the disk."""
    folder, _, name = path.rpartition("/")
    parent = root.find(folder)
    there = name in parent.apply(parent.pending)
    if call in ("open", "mkdir") and not there:
        parent.pending.append((None, name, Node(b"" if call == "open" else None)))
    elif call == "write":
        root.find(path).content += rest
    elif call == "rename":
        assert rest.rpartition("/")[0] == folder
        parent.pending.append((name, rest.rpartition("/")[2], root.find(path)))
    elif call == "remove":
        parent.pending.append((name, None, None))
    elif call == "fsync":
        root.find(path).sync()


def list_outcomes(node, rng, most=400):
    """Return up to `most` states, {name: content}, that a power cut may leave of a folder."""
    found = []
    for kept in choose([(False, True)] * len(node.pending), rng, most):
        parts = []
        for name, child in node.apply(itertools.compress(node.pending, kept)).items():
            if child.content is None:
                inside = [{f"{name}/{path}": raw for path, raw in tree.items()} or {f"{name}/": b""}
                          for tree in list_outcomes(child, rng, most)]
            else:
                inside = [{name: raw} for raw in list_contents(child)]
            parts.append(inside)
        found += [{path: raw for part in tree for path, raw in part.items()}
                  for tree in choose(parts, rng, most)]
    return found if len(found) <= most else rng.sample(found, most)


def choose(parts, rng, most):
    """Return up to `most` combinations of one element of each part."""
    if math.prod(map(len, parts)) <= most:
        return itertools.product(*parts)
    return [[rng.choice(part) for part in parts] for _ in range(most)]


def list_contents(node):
    """Return a file's possible contents: the rest after `synced` is missing, half, all or zero."""
    size, safe = len(node.content), node.synced
    return [node.content[:safe], node.content[:(safe + size) // 2], node.content,
            node.content[:safe].ljust(size, b"\0")][:4 if safe < size else 1]


def recover_files(files, folder):
    """Write files to a run, recover it, and return the contents of its checkpoints."""
    for name, raw in files.items():
        path = folder / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_bytes(raw)
    recover(folder)
    for step in checkpoint.list_checkpoints(folder):
        checkpoint.verify(step)  # complete
    return {f"checkpoints/{step.name}": {file.name: file.read_bytes() for file in step.iterdir()}
            for step in checkpoint.list_checkpoints(folder)}


@pytest.mark.parametrize("act, new", [(save(6, keep=1), NEW), (save(5, seed=1), OLD)])
def test_power_cut_at_any_moment_of_a_save_loses_nothing(act, new, tmp_path):
    """Any of the calls since the last fsync may have reached the disk, in any order."""
    folder = tmp_path / "run"
    folder.mkdir()
    save(5)(folder)
    before = read(folder)
    watch.start(folder)
    act(folder)
    calls, after = watch.stop(), read(folder)
    old_files, new_files = ({path[len(name) + 1:]: raw for path, raw in files.items()
                             if path.startswith(name)}
                            for name, files in ((OLD, before), (new, after)))
    assert {*old_files} == {*new_files} and old_files != new_files
    root, rng, number, seen, met = Node(), random.Random(0), itertools.count(), set(), set()
    for name, content in before.items():
        places = [name, *(str(path).lstrip(".") for path in PurePath(name).parents)]
        for place in places[-2:0:-1]:
            perform(root, "mkdir", place, None)
        perform(root, "open", name, None)
        perform(root, "write", name, content)
        for place in places:
            root.find(place).sync()
    for call, path, rest in [*calls, ("end", "", None)]:
        perform(root, call, path, rest)
        for files in list_outcomes(root, rng):
            key = hashlib.sha256(repr(sorted(files.items())).encode()).digest()
            if key in seen and call != "end":
                continue
            seen.add(key)
            found = recover_files(files, tmp_path / str(next(number)))
            assert {*found} <= {OLD, new}
            assert found.get(OLD) == old_files or found.get(new) == new_files, path
            if call == "end":
                assert found[new] == new_files
            met.add(found.get(OLD) == old_files)
    assert met == {True, False}
