"""Feed every reader of foreign files with mutated files, and check its behavior.

A reader may accept a file or reject it with one of its own errors, in one line. It must not raise
anything else, end the process, take more than ten seconds or more than 200 MB beyond the file's
size, start a program, open a connection, or write outside its folder. It runs in a process of its
own, which is restarted if it dies. Results are recorded, so the same command continues an
interrupted run. Every mutation is a function of the seed, the reader and its number.
"""
from __future__ import annotations

import collections
import contextlib
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

from ..common import make_parser, python_env, read_status
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
    """Feed a reader with a file; return whether it accepted the file, and what it did wrong."""
    path.write_bytes(content)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak of the memory
    guard.breaches.clear()
    before = read_status("VmRSS")
    accepted, problem = False, None
    faulthandler.dump_traceback_later(timeout, exit=True)
    try:
        target.read(path)
        accepted = True
    except SystemExit:  # --help
        pass
    except (ValueError, OSError) as error:
        own = type(error) is ValueError or type(error).__module__.startswith("dcgan_mx.")
        if not (own or isinstance(error, OSError)) or "\n" in str(error):
            problem = _describe(error)
    except BaseException as error:
        problem = _describe(error)
    finally:
        faulthandler.cancel_dump_traceback_later()
    if problem is None and guard.breaches:
        problem = guard.breaches[0]
    if problem is None and read_status("VmHWM") - before > _MEMORY + len(content) / 1e6:
        problem = f"needs more than {_MEMORY} MB"
    return accepted, problem


def _describe(error: BaseException) -> str:
    """Describe an error by its type and place, which identify a finding."""
    places = traceback.extract_tb(error.__traceback__)
    place = [place for place in places if "dcgan_mx" in place.filename or place is places[-1]][-1]
    return f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}: {error!s:.200}"


def serve(name: str, begin: int, end: int, seed: int, folder: Path, timeout: float) -> None:
    """Check a reader with mutations `begin` to `end`; print a line of JSON after each."""
    report = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # MXNet prints, and so does --help
    sys.dont_write_bytecode = True
    warnings.simplefilter("ignore")
    target = TARGETS[name]
    path = folder / "run" / target.file
    shutil.rmtree(folder / "run")  # an earlier process may have left mutated files
    path.parent.mkdir(parents=True)
    contents = [*target.make(folder / "run")]
    if not (folder / "seeds").exists():
        (folder / "seeds.tmp").mkdir(exist_ok=True)
        for n, content in enumerate(contents):
            (folder / "seeds.tmp" / f"{n:04d}").write_bytes(content)
        (folder / "seeds.tmp").rename(folder / "seeds")
    seeds = [seed_file.read_bytes() for seed_file in sorted((folder / "seeds").iterdir())]
    path.write_bytes(seeds[0])
    with contextlib.suppress(SystemExit):
        target.read(path)  # imports and caches are not charged to the first mutation
    guard = Guard(folder / "run", folder / "tmp")
    limit = int(read_status("VmSize") * 1e6) + _ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for n in range(begin, end):
        content = mutate(random.Random(f"{seed} {name} {n}"), seeds)
        accepted, problem = check(target, path, content, guard, timeout)
        if problem is None and os.listdir(folder / "elsewhere"):
            problem = f"wrote outside: {os.listdir(folder / 'elsewhere')!r:.200}"
        report.write(json.dumps([n, accepted, problem, content.hex() if problem else ""]) + "\n")


class Notes:
    """Counts and findings, in a file from which the next start continues."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._path, self._folder, self._seed = folder / "notes.json", folder, seed
        self.done: dict[str, int] = collections.defaultdict(int)
        self.accepted: dict[str, int] = collections.defaultdict(int)
        self.findings: dict[str, dict[str, Any]] = {}
        if self._path.exists():
            saved = parse_json(self._path.read_bytes())
            if saved["seed"] != seed:
                raise SystemExit(f"error: --seed: {seed} differs from {saved['seed']} in "
                                 f"{self._path}: give that seed, or another --notes")
            self.done.update(saved["done"])
            self.accepted.update(saved["accepted"])
            self.findings.update(saved["findings"])

    def add(self, name: str, n: int, problem: str, content: bytes) -> None:
        """Count a problem; keep the first file of each kind."""
        key = f"{name}: {problem.split(': ', maxsplit=1)[0]}"
        if key not in self.findings:
            file = f"finding-{len(self.findings):03d}"
            write_atomic(self._folder / file, content)
            self.findings[key] = {"first": n, "file": file, "count": 0, "problem": problem}
            print(f"FOUND {name}, mutation {n}, in {self._folder / file}: {problem}", flush=True)
        self.findings[key]["count"] += 1

    def save(self) -> None:
        """Write the file."""
        write_atomic(self._path, json.dumps({
            "seed": self._seed, "done": self.done, "accepted": self.accepted,
            "findings": self.findings}, indent=1).encode())


def run_part(name: str, begin: int, end: int, folder: Path, notes: Notes, seed: int,
             retry: bool = False) -> int:
    """Check some mutations in a process; return the number after the last one."""
    for part in ("run", "tmp", "elsewhere"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    outside, tmp = str(folder / "elsewhere"), str(folder / "tmp")
    env = python_env(TMPDIR=tmp, HOME=outside, XDG_CACHE_HOME=outside, MPLCONFIGDIR=tmp,
                     OPENCV_LOG_LEVEL="OFF")
    with open(folder / "errors", "w+", errors="replace") as errors:
        process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", "tools.fuzz", "--serve", name, str(begin),
             str(end), str(folder), str(TIMEOUT * (_RETRY_FACTOR if retry else 1)), "--seed",
             str(seed)], stdout=subprocess.PIPE, stderr=errors, env=env, cwd=outside, text=True)
        assert process.stdout  # for mypy
        for line in process.stdout:
            n, accepted, problem, content = json.loads(line)
            begin = n + 1
            notes.accepted[name] += accepted
            if problem:
                notes.add(name, n, problem, bytes.fromhex(content))
        status = process.wait()
        errors.seek(0)
        printed = errors.read()
    shutil.rmtree(tmp)
    if begin < end:  # the process died
        if not (folder / "seeds").exists():
            raise RuntimeError(f"{name} cannot be checked: {printed}")
        hangs = "Timeout (" in printed
        if hangs and not retry:
            return run_part(name, begin, begin + 1, folder, notes, seed, retry=True)
        where = re.findall(r'File ".*?([^/"]+)", line (\d+)', printed)[:1]
        place = ":".join(where[0]) if where else "an unknown place"
        notes.add(name, begin, (
            f"hangs at {place}: longer than {TIMEOUT} s" if hangs else
            f"ends the process with status {status} at {place}: {printed.strip()[:300]}"),
            (folder / "run" / TARGETS[name].file).read_bytes())
        begin += 1
    return begin


def main() -> None:
    """Parse the flags; check all readers in turn until each has had its share of mutations."""
    parser = make_parser(__doc__)
    parser.add_argument("--count", type=int, default=100_000, help="mutations of all readers")
    parser.add_argument("--seed", type=int, default=0, help="seed of the mutations")
    parser.add_argument("--readers", help="names with commas between; all if not given")
    parser.add_argument("--notes", type=Path, default=Path("build/fuzz"),
                        help="folder for records and findings")
    parser.add_argument("--serve", nargs=5,
                        help="check mutations in this process: NAME BEGIN END FOLDER TIMEOUT")
    args = parser.parse_args()
    if args.serve:
        name, begin, end, folder, timeout = args.serve
        serve(name, int(begin), int(end), args.seed, Path(folder), float(timeout))
        return
    names = args.readers.split(",") if args.readers else list(TARGETS)
    unknown = {*names} - {*TARGETS}
    if unknown:
        parser.error(f"--readers: unknown {', '.join(unknown)}: give some of {', '.join(TARGETS)}")
    args.notes.mkdir(parents=True, exist_ok=True)
    notes, share = Notes(args.notes, args.seed), -(-args.count // len(names))
    while any(notes.done[name] < share for name in names):
        for name in names:
            folder = args.notes.resolve() / re.sub(r"[^\w.]", "-", name)
            end = min(notes.done[name] + _PART, share)
            while notes.done[name] < end:
                notes.done[name] = run_part(name, notes.done[name], end, folder, notes, args.seed)
                notes.save()
        print(f"{sum(notes.done[name] for name in names)} of {share * len(names)} mutations, "
              f"findings: {len(notes.findings)}", flush=True)
    for name in names:
        print(f"{name}: {notes.done[name]} mutations, {notes.accepted[name]} of them accepted")
    print(f"{len(names)} readers, {sum(notes.done[name] for name in names)} mutations, "
          f"findings: {len(notes.findings)}")
    for key, finding in notes.findings.items():
        print(f"{key} ({finding['count']} times), {args.notes / finding['file']}: "
              f"{finding['problem']}")
    sys.exit(bool(notes.findings))


if __name__ == "__main__":
    main()
