"""Saves at which a call fails, and saves that a power cut ends."""
import errno
import hashlib
import itertools
import json
import math
import os
import random
import re
import subprocess
import sys

import pytest
import shim
from common import ROOT

from dcgan_mx.runs import checkpoint
from dcgan_mx.runs.checkpoint_folders import recover
from dcgan_mx.runs.run import Run

OLD, NEW = "checkpoints/step-00000005", "checkpoints/step-00000006"


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """Run tests/faulty.py with the shim; returns the folder it worked in, and what it says."""
    folder = tmp_path_factory.mktemp("faulty")
    environ = {**os.environ, **shim.build(folder, folder / "watched")}

    def run(how, what):
        watched = folder / "watched" / how / what
        watched.mkdir(parents=True)
        done = subprocess.run([sys.executable, str(ROOT / "tests" / "faulty.py"), how, what,
                               str(watched)], env=environ, capture_output=True, text=True,
                              check=False)
        assert done.returncode == 0, done.stderr
        return watched, json.loads(done.stdout)
    return run


def named(files):
    """Those of some files that are not below temporary names, which the next process removes."""
    return {name: raw for name, raw in files.items() if not re.search(r"\.[0-9]+\.tmp", name)}


@pytest.mark.parametrize("what, name, calls", [
    ("first", OLD, shim.CALLS), ("next", NEW, shim.CALLS), ("other", OLD, shim.CALLS),
    ("line", "log.jsonl", ("open", "write", "fsync"))])
def test_an_error_at_any_call_loses_nothing(what, name, calls, faulty):
    """It is told with the file's name, and all is as before or as without it; repeated, it is."""
    _, cases = faulty("fail", what)
    assert {case["call"] for case in cases if case["told"]} == {*calls}
    end = named(next(case["end"] for case in cases if not case["failed"]))
    assert any(path.startswith(name) for path in end)
    for case in cases:
        assert named(case["end"]) == end
        if named(case["after"]) == case["before"] and case["told"]:
            assert case["after"] == case["before"]  # nothing is left behind
        else:
            assert named(case["after"]) == end
        if case["told"]:
            assert case["told"] == [errno.EIO, f"{case['folder']}/{name}"]


def test_writes_that_take_less_than_they_are_given(faulty):
    folder, _ = faulty("shorten", "all")
    assert [checkpoint.verify(folder / path)["step"] for path in (OLD, NEW)] == [5, 6]
    assert [line["step"] for line in Run(folder).read_log()] == [5, 6]


class Node:
    """A file or a folder, as the disk has it and as the processes see it.

    Of a file, `size` bytes are written and `synced` of them are on the disk for sure. Of a folder,
    `names` are on the disk; what was done to them since is `pending`, in order.
    """

    def __init__(self, content=None):
        self.content, self.size, self.synced = content, 0, 0
        self.names, self.pending = {}, []

    def now(self):
        names = dict(self.names)
        for change in self.pending:
            apply(names, change)
        return names


def apply(names, change):
    kind, name, target, node = change
    if kind == "rename":
        names.pop(name, None)
        names[target] = node
    elif kind == "remove":
        names.pop(name, None)
    else:
        names[name] = node


def make_disk(files):
    """A folder whose files are all on the disk."""
    root = Node()
    for name, content in files.items():
        *folders, last = name.split("/")
        node = root
        for part in folders:
            node = node.names.setdefault(part, Node())
        leaf = node.names[last] = Node(content)
        leaf.size = leaf.synced = len(content)
    return root


def perform(root, call, name, rest, contents):
    """Do one recorded call; what it makes is not on the disk yet, unless it syncs."""
    *folders, last = name.split("/")
    parent = root
    for part in folders if name else ():
        parent = parent.now()[part]
    if call in ("create", "mkdir"):
        plain = re.sub(r"^\.(.*)\.[0-9]+\.tmp$", r"\1", last)
        node = Node(contents[plain] if call == "create" else None)
        parent.pending.append(("add", last, None, node))
    elif call == "write":
        parent.now()[last].size += int(rest)
    elif call == "rename":
        assert rest.rpartition("/")[0] == name.rpartition("/")[0]
        parent.pending.append(("rename", last, rest.rpartition("/")[2], parent.now()[last]))
    elif call == "remove":
        parent.pending.append(("remove", last, None, None))
    else:
        assert call == "fsync"
        node = parent.now()[last] if name else root
        node.synced = node.size
        node.names, node.pending = node.now(), []


def list_outcomes(node, rng, most=400):
    """What a power cut may leave of a folder: any of the calls since it was synced may be lost.

    Where there are more than `most`, that many of them. Each is {name: content}.
    """
    found = []
    for kept in choose([(False, True)] * len(node.pending), rng, most):
        names = dict(node.names)
        for change in itertools.compress(node.pending, kept):
            apply(names, change)
        parts = []
        for name, child in names.items():
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
    """All ways to take one of each part, or that many of them."""
    if math.prod(map(len, parts)) <= most:
        return itertools.product(*parts)
    return [[rng.choice(part) for part in parts] for _ in range(most)]


def list_contents(node):
    """Of a file: what is synced; of the rest nothing, a half, all, or as many zeros."""
    whole, safe = node.content[:node.size], node.synced
    if safe == node.size:
        return [whole]
    return [whole[:safe], whole[:(safe + node.size) // 2], whole,
            whole[:safe] + bytes(node.size - safe)]


def come_back(files, folder):
    """Put files where a run is, let the next process clear up; return the checkpoints' contents."""
    for name, raw in files.items():
        path = folder / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_bytes(raw)
    recover(folder)
    for step in checkpoint.list(folder):
        checkpoint.verify(step)  # whole, or not there
    return {f"checkpoints/{step.name}": {file.name: file.read_bytes() for file in step.iterdir()}
            for step in checkpoint.list(folder)}


@pytest.mark.parametrize("what, new", [("keep", NEW), ("other", OLD)])
def test_a_power_cut_at_any_moment_of_a_save(what, new, faulty, tmp_path):
    """Whatever of the calls since the last fsync has reached the disk, in whatever order."""
    folder, both = faulty("record", what)
    before, after = ({name: bytes.fromhex(raw) for name, raw in files.items()} for files in both)
    old_files, new_files = ({path[len(name) + 1:]: raw for path, raw in files.items()
                             if path.startswith(name)}
                            for name, files in ((OLD, before), (new, after)))
    assert {*old_files} == {*new_files} and old_files != new_files
    root, rng, number, seen, met = (make_disk(before), random.Random(0), itertools.count(), set(),
                                    set())
    calls = [line.split("\t") for line in
             folder.with_name(f"{what}-calls").read_text().splitlines()]
    for call, path, rest in [*calls, ("end", "", "")]:
        if call != "end":
            perform(root, call, *(part.replace(str(folder), "").strip("/")
                                  for part in (path, rest)), new_files)
        for files in list_outcomes(root, rng):
            key = hashlib.sha256(repr(sorted(files.items())).encode()).digest()
            if key in seen and call != "end":
                continue
            seen.add(key)
            found = come_back(files, tmp_path / str(next(number)))
            assert {*found} <= {OLD, new}
            assert found.get(OLD) == old_files or found.get(new) == new_files, path
            if call == "end":
                assert found[new] == new_files
            met.add(found.get(OLD) == old_files)
    assert met == {True, False}
