"""Saves at which a call fails, and saves that a power cut ends."""
import errno
import hashlib
import itertools
import json
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

    def run(what):
        watched = folder / "watched" / what
        watched.mkdir(parents=True)
        done = subprocess.run([sys.executable, str(ROOT / "tests" / "faulty.py"), what,
                               str(watched)], env=environ, capture_output=True, text=True,
                              check=False)
        assert done.returncode == 0, done.stderr
        return watched, json.loads(done.stdout)
    return run


@pytest.mark.parametrize("what, name, calls", [
    # seven files: each opened, written, synced and renamed, its name synced; then three folders
    ("save_first", OLD, {"open": 7, "write": 7, "fsync": 17, "rename": 8, "mkdir": 2}),
    ("save_next", NEW, {"open": 7, "write": 7, "fsync": 17, "rename": 8, "mkdir": 2}),
    ("save_other", OLD, {"open": 7, "write": 7, "fsync": 17, "rename": 9, "mkdir": 2}),
    ("add_line", "log.jsonl", {"open": 1, "write": 1, "fsync": 1, "rename": 0, "mkdir": 0})])
def test_an_error_at_any_call_changes_nothing(what, name, calls, faulty):
    """It is told with the file's name; the same again, without the error, succeeds."""
    folder, seen = faulty(what)
    # the last one of each kind comes to no error
    assert {case["call"]: case["n"] for case in seen} == calls
    ends = [case["end"] for case in seen]
    assert all(end == ends[0] for end in ends)
    assert any(path.startswith(name) for path in ends[0])
    for case in seen:
        call, n = case["call"], case["n"]
        if n == calls[call] or (what in ("save_next", "save_other") and (call, n) == ("mkdir", 0)):
            # nothing failed; or the folder of the checkpoints could not be made, and was there
            assert case["told"] is None
            continue
        run_dir = folder / f"{call}-{n}"
        assert case["told"] == [errno.EIO, str(run_dir / name)], case
        if name != "log.jsonl" and call == "fsync" and n >= calls[call] - 2:
            assert not case["lost"]  # it is in its place; only its name may not be on the disk
        else:
            assert case["unchanged"], case


def test_writes_that_take_less_than_they_are_given(faulty):
    folder, (writes, content) = faulty("short")
    assert writes > 100
    assert checkpoint.verify(folder / "short" / OLD)["step"] == 5
    assert [line["step"] for line in Run(folder / "short").read_log()] == [5, 6]
    assert "log.jsonl" in content


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
    subsets = itertools.product((False, True), repeat=len(node.pending))
    if 2 ** len(node.pending) > most:
        subsets = [[rng.random() < 0.5 for _ in node.pending] for _ in range(most)]
    for kept in subsets:
        names = dict(node.names)
        for change, there in zip(node.pending, kept):
            if there:
                apply(names, change)
        parts = []
        for name, child in names.items():
            if child.content is None:
                inside = [{f"{name}/{path}": raw for path, raw in tree.items()} or {f"{name}/": b""}
                          for tree in list_outcomes(child, rng, most)]
            else:
                inside = [{name: raw} for raw in list_contents(child)]
            parts.append(inside)
        trees = itertools.product(*parts)
        sizes = 1
        for part in parts:
            sizes *= len(part)
        if sizes > most:
            trees = ([rng.choice(part) for part in parts] for _ in range(most))
        for tree in trees:
            found.append({path: raw for part in tree for path, raw in part.items()})
    return found if len(found) <= most else rng.sample(found, most)


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
    found = {}
    for step in checkpoint.list(folder):
        checkpoint.verify(step)  # whole, or not there
        found[f"checkpoints/{step.name}"] = {file.name: file.read_bytes()
                                             for file in step.iterdir()}
    return found


def cut(files, name):
    return {path[len(name) + 1:]: raw for path, raw in files.items() if path.startswith(name)}


def test_a_power_cut_at_any_moment_of_a_save(faulty, tmp_path):
    """Whatever of the calls since the last fsync has reached the disk, in whatever order."""
    folder, scenes = faulty("record")
    rng, states = random.Random(0), 0
    for scene, *both in scenes:
        before, after = ({name: bytes.fromhex(raw) for name, raw in files.items()}
                         for files in both)
        new = NEW if scene == "next" else OLD
        whole = {"old": cut(before, OLD), "new": cut(after, new)}
        assert set(whole["old"]) == set(whole["new"]) and whole["old"] != whole["new"]
        root, seen = make_disk(before), set()
        calls = [line.split("\t") for line in
                 (folder.parents[0] / "notes" / scene).read_text().splitlines()]
        assert len(calls) > 40
        for n, (call, path, rest) in enumerate([*calls, ("end", "", "")]):
            if call != "end":
                perform(root, call, *(part.replace(str(folder / scene), "").strip("/")
                                      for part in (path, rest)), whole["new"])
            for files in list_outcomes(root, rng):
                key = hashlib.sha256(repr(sorted(files.items())).encode()).digest()
                if key in seen and call != "end":
                    continue
                seen.add(key)
                states += 1
                found = come_back(files, tmp_path / f"{scene}-{n}-{len(seen)}-{states}")
                assert found.get(OLD) == whole["old"] or found.get(new) == whole["new"], path
                assert {*found} <= {OLD, new}
                if call == "end":
                    assert found[new] == whole["new"]
    assert states > 300
