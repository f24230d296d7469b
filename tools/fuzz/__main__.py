"""Test every reader of untrusted files with mutated files.

A reader may accept a file or reject it with one of its own errors, in one line. It must not raise
anything else, end the process, take more than ten seconds or more than 200 MB beyond the file's
size, start a program, open a connection, or write outside its folder. It runs in a process of its
own, which is restarted if it dies. Results are recorded, so the same command continues an
interrupted run. Every mutation is a function of the seed, the reader and its number.
"""
from __future__ import annotations

import faulthandler
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

from dcgan_mx.system.files import parse_json, write_atomic

from ..common import make_parser, read_status
from .fuzz_targets import TARGETS, Target
from .mutate import mutate

TIMEOUT = 10  # seconds
_RETRY_FACTOR = 12  # a second try with a longer timeout: the machine may be busy
_MEMORY = 200  # MB beyond the file's size
_ADDRESS_SPACE = 4 << 30  # bytes beyond those in use before the first file
_PART = 1000  # mutations of a reader before the next reader's turn
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGES = {"os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir",
            "os.symlink", "os.truncate", "os.utime"}
_FORBIDDEN = {"os.exec", "os.fork", "os.forkpty", "os.kill", "os.posix_spawn", "os.spawn",
              "os.startfile", "os.system", "pickle.find_class", "socket.connect",
              "socket.getaddrinfo", "socket.bind", "subprocess.Popen"}


class Guard:
    """An audit hook that records forbidden actions in `breaches`."""

    def __init__(self, *allowed: Path) -> None:
        self.breaches: list[str] = []
        self._allowed = tuple(os.path.realpath(path) + os.sep for path in allowed)
        sys.addaudithook(self._audit)

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event in _FORBIDDEN:
            self.breaches.append(f"{event} {args!r:.200}")
        elif event in _CHANGES or (event == "open" and isinstance(args[2], int)
                                   and args[2] & _WRITING):
            paths = args[:2] if event in ("os.link", "os.rename", "os.symlink") else args[:1]
            for path in map(os.fsdecode, (p for p in paths if not isinstance(p, int))):
                inside = (os.path.realpath(path) + os.sep).startswith(self._allowed)
                # shutil.rmtree removes files relative to the descriptor of their folder.
                relative = not os.path.isabs(path) and event in ("os.remove", "os.rmdir")
                if not inside and not relative and path != os.devnull:
                    self.breaches.append(f"{event} {path!r:.200}")


def check(target: Target, path: Path, content: bytes, guard: Guard, timeout: float
          ) -> tuple[bool, str | None]:
    """Pass a file to a reader; return whether it accepted the file, and what it did wrong."""
    path.write_bytes(content)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak of the memory
    guard.breaches.clear()
    before = read_status("VmRSS")
    accepted, problem = False, None
    faulthandler.dump_traceback_later(timeout, exit=True)
    try:
        target.read(path)
        accepted = True
    except BaseException as error:
        ours = type(error) is ValueError or type(error).__module__.startswith("dcgan_mx.")
        if not (ours or isinstance(error, OSError)) or "\n" in str(error):
            places = traceback.extract_tb(error.__traceback__)
            place = [p for p in places if "dcgan_mx" in p.filename or p is places[-1]][-1]
            problem = (f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}: "
                       f"{error!s:.200}")
    finally:
        faulthandler.cancel_dump_traceback_later()
    if guard.breaches:
        problem = problem or guard.breaches[0]
    if read_status("VmHWM") - before > _MEMORY + len(content) / 1e6:
        problem = problem or f"needs more than {_MEMORY} MB"
    return accepted, problem


def serve(name: str, begin: int, end: int, seed: int, folder: Path, timeout: float) -> None:
    """Check a reader with mutations `begin` to `end`; print a line of JSON after each."""
    report = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # MXNet prints
    sys.dont_write_bytecode = True
    warnings.simplefilter("ignore")
    target = TARGETS[name]
    path = folder / "run" / target.file
    path.parent.mkdir(parents=True, exist_ok=True)
    seeds = [*target.make(folder / "run")]
    path.write_bytes(seeds[0])
    target.read(path)  # imports and caches are not charged to the first mutation
    report.write("ready\n")
    guard = Guard(folder / "run", folder / "tmp")
    limit = int(read_status("VmSize") * 1e6) + _ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for n in range(begin, end):
        content = mutate(random.Random(f"{seed} {name} {n}"), seeds)
        accepted, problem = check(target, path, content, guard, timeout)
        outside = os.listdir(folder / "elsewhere")
        if outside:
            problem = problem or f"wrote outside: {outside!r:.200}"
        report.write(json.dumps([n, accepted, problem, content.hex() if problem else ""]) + "\n")


def add_finding(findings: dict[str, Any], folder: Path, name: str, n: int, problem: str,
                content: bytes) -> None:
    """Count a problem; keep the first file of each kind."""
    key = f"{name}: {problem.split(': ', maxsplit=1)[0]}"
    if key not in findings:
        path = folder / f"finding-{len(findings):03d}"
        write_atomic(path, content)
        findings[key] = {"first": n, "file": str(path), "count": 0, "problem": problem}
        print(f"FOUND {name}, mutation {n}, in {path}: {problem}", flush=True)
    findings[key]["count"] += 1


def run_part(name: str, begin: int, end: int, folder: Path, notes: dict[str, Any], seed: int,
             retry: bool = False) -> int:
    """Check some mutations in a process; return the number after the last one."""
    run, tmp, outside = (folder / name / part for part in ("run", "tmp", "elsewhere"))
    shutil.rmtree(folder / name, ignore_errors=True)  # what an earlier process left
    for part in (run, tmp, outside):
        part.mkdir(parents=True)
    env = {**os.environ, "PYTHONPATH": os.getcwd(), "TMPDIR": str(tmp), "HOME": str(outside),
           "XDG_CACHE_HOME": str(outside), "MPLCONFIGDIR": str(tmp), "OPENCV_LOG_LEVEL": "OFF"}
    timeout = TIMEOUT * (_RETRY_FACTOR if retry else 1)
    with open(folder / "errors", "w+", errors="replace") as errors:
        process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", "tools.fuzz", "--serve", name, str(begin),
             str(end), str(folder / name), str(timeout), "--seed", str(seed)],
            stdout=subprocess.PIPE, stderr=errors, env=env, cwd=outside, text=True)
        assert process.stdout  # for mypy
        started = bool(process.stdout.readline())
        for line in process.stdout:
            n, accepted, problem, content = json.loads(line)
            begin = n + 1
            notes["accepted"][name] += accepted
            if problem:
                add_finding(notes["findings"], folder, name, n, problem, bytes.fromhex(content))
        status = process.wait()
        errors.seek(0)
        printed = errors.read()
    if begin == end:
        return end
    if not started:
        raise RuntimeError(f"{name} cannot be checked: {printed}")
    hangs = "Timeout (" in printed
    if hangs and not retry:
        return run_part(name, begin, begin + 1, folder, notes, seed, retry=True)
    where = re.search(r'File ".*?([^/"]+)", line (\d+)', printed)
    place = f"{where[1]}:{where[2]}" if where else "an unknown place"
    problem = (f"hangs at {place}: longer than {timeout} s" if hangs else
               f"ends the process with status {status} at {place}: {printed.strip()[:300]}")
    add_finding(notes["findings"], folder, name, begin, problem,
                (run / TARGETS[name].file).read_bytes())
    return begin + 1


def main() -> None:
    """Parse the flags; check all readers in turn until each has had its share of mutations."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--count", type=int, default=100_000, help="mutations of all readers")
    add("--seed", type=int, default=0, help="seed of the mutations")
    add("--notes", type=Path, default=Path("build/fuzz"), help="folder for records and findings")
    add("--serve", nargs=5, help="check mutations in this process: NAME BEGIN END FOLDER TIMEOUT")
    args = parser.parse_args()
    if args.serve:
        name, begin, end, folder, timeout = args.serve
        serve(name, int(begin), int(end), args.seed, Path(folder), float(timeout))
        return
    folder = args.notes.resolve() / f"seed-{args.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    path, share = folder / "notes.json", -(-args.count // len(TARGETS))
    notes = (parse_json(path.read_bytes()) if path.exists() else
             {"done": {}, "accepted": {}, "findings": {}})
    done, findings = notes["done"], notes["findings"]
    for name in TARGETS:
        done.setdefault(name, 0)
        notes["accepted"].setdefault(name, 0)
    while any(done[name] < share for name in TARGETS):
        for name in TARGETS:
            end = min(done[name] + _PART, share)
            while done[name] < end:
                done[name] = run_part(name, done[name], end, folder, notes, args.seed)
                write_atomic(path, json.dumps(notes, indent=1).encode())
        print(f"{sum(done[name] for name in TARGETS)} of {share * len(TARGETS)} mutations, "
              f"findings: {len(findings)}", flush=True)
    for name in TARGETS:
        print(f"{name}: {done[name]} mutations, {notes['accepted'][name]} of them accepted")
    print(f"{len(TARGETS)} readers, {sum(done[name] for name in TARGETS)} mutations, "
          f"findings: {len(findings)}")
    for key, finding in findings.items():
        print(f"{key} ({finding['count']} times), {finding['file']}: {finding['problem']}")
    sys.exit(bool(findings))


if __name__ == "__main__":
    main()
