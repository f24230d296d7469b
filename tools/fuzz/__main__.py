"""Feed every reader of files with mutated ones, and watch what it does.

A reader may take a file or refuse it, with an error of its own in one line. It may not raise
anything else, end the process, take more than ten seconds or more than 200 MB beyond the file's
size, start a program, open a connection, or write outside its folder. It runs in a process of its
own, which is started again where it dies. What was done is noted, so that the same command goes on
where it was stopped; every mutation is a function of the seed, the reader and its number.
"""
from __future__ import annotations

import argparse
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

from mutate import mutate
from readers import READERS, Reader

from dcgan_mx.system.files import parse_json, write_atomic

SECONDS = 10
_PATIENCE = 12  # times as many seconds, for the one that seemed to hang, on a busy machine
_MEGABYTES = 200  # beyond the file's size
_ADDRESS_SPACE = 4 << 30  # bytes beyond what there is before the first file
_PART = 1000  # mutations until another reader has its turn
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGES = {"os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir",
            "os.symlink", "os.truncate", "os.utime"}
_FORBIDDEN = {"os.exec", "os.fork", "os.forkpty", "os.kill", "os.posix_spawn", "os.spawn",
              "os.startfile", "os.system", "pickle.find_class", "socket.connect",
              "socket.getaddrinfo", "socket.bind", "subprocess.Popen"}


class Guard:
    """Hears of everything that Python code does to files and to the world outside.

    Attributes
    ----------
    breaches : list of str
        What must not have happened, since somebody emptied the list.
    """

    def __init__(self, *allowed: Path) -> None:
        self.breaches: list[str] = []
        self._allowed = tuple(os.path.realpath(path) + os.sep for path in allowed)
        sys.addaudithook(self._hear)

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if event in _FORBIDDEN:
            self.breaches.append(f"{event} {args!r:.200}")
        elif event in _CHANGES or (event == "open" and isinstance(args[2], int)
                                   and args[2] & _WRITING):
            paths = args[:2] if event in ("os.link", "os.rename", "os.symlink") else args[:1]
            for path in map(os.fsdecode, (p for p in paths if not isinstance(p, int))):
                inside = (os.path.realpath(path) + os.sep).startswith(self._allowed)
                # shutil.rmtree names what it removes by its folder's descriptor
                relative = not os.path.isabs(path) and event in ("os.remove", "os.rmdir")
                if not inside and not relative and path != os.devnull:
                    self.breaches.append(f"{event} {path!r:.200}")


def read_memory(name: str) -> float:
    """Return a number of /proc/self/status in MB."""
    line = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(line[1]) / 1e3 if line else 0.0


def examine(reader: Reader, path: Path, content: bytes, guard: Guard, seconds: float
            ) -> tuple[bool, str | None]:
    """Let a reader have a file; return whether it took it, and what is wrong with how it did."""
    path.write_bytes(content)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    guard.breaches.clear()
    before = read_memory("VmRSS")
    taken, problem = False, None
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        reader.read(path)
        taken = True
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
    memory = read_memory("VmHWM") - before
    if problem is None and memory > _MEGABYTES + len(content) / 1e6:
        problem = f"needs more than {_MEGABYTES} MB"
    return taken, problem


def _describe(error: BaseException) -> str:
    """What was raised, and where: two of the same are one finding."""
    places = traceback.extract_tb(error.__traceback__)
    place = [place for place in places if "dcgan_mx" in place.filename or place is places[-1]][-1]
    return f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}: {error!s:.200}"


def serve(name: str, begin: int, end: int, seed: int, folder: Path, seconds: float) -> None:
    """Examine a reader with mutations `begin` to `end`; say after each what came out."""
    report = os.fdopen(os.dup(1), "w", buffering=1)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)  # MXNet prints, and so does --help
    sys.dont_write_bytecode = True
    warnings.simplefilter("ignore")
    reader = READERS[name]
    path = folder / "run" / reader.file
    shutil.rmtree(folder / "run")  # mutated files may be left in it
    path.parent.mkdir(parents=True)
    contents = [*reader.make(folder / "run")]
    if not (folder / "seeds").exists():
        (folder / "seeds.tmp").mkdir(exist_ok=True)
        for n, content in enumerate(contents):
            (folder / "seeds.tmp" / f"{n:04d}").write_bytes(content)
        (folder / "seeds.tmp").rename(folder / "seeds")
    seeds = [seed_file.read_bytes() for seed_file in sorted((folder / "seeds").iterdir())]
    path.write_bytes(seeds[0])
    with contextlib.suppress(SystemExit):
        reader.read(path)  # what is imported and made once is nobody's fault
    guard = Guard(folder / "run", folder / "tmp")
    limit = int(read_memory("VmSize") * 1e6) + _ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for n in range(begin, end):
        content = mutate(random.Random(f"{seed} {name} {n}"), seeds)
        taken, problem = examine(reader, path, content, guard, seconds)
        if problem is None and os.listdir(folder / "elsewhere"):
            problem = f"wrote outside: {os.listdir(folder / 'elsewhere')!r:.200}"
        report.write(json.dumps([n, taken, problem, content.hex() if problem else ""]) + "\n")


class Notes:
    """What was done and found, in a file that the next start goes on from."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._path, self._folder = folder / "notes.json", folder
        self.done: dict[str, int] = collections.defaultdict(int)
        self.taken: dict[str, int] = collections.defaultdict(int)
        self.findings: dict[str, dict[str, Any]] = {}
        if self._path.exists():
            saved = parse_json(self._path.read_bytes())
            if saved["seed"] != seed:
                raise SystemExit(f"error: --seed is {seed}, and {self._path} is of "
                                 f"{saved['seed']}: give that, or another folder")
            self.done.update(saved["done"])
            self.taken.update(saved["taken"])
            self.findings.update(saved["findings"])
        self._seed = seed

    def find(self, reader: str, n: int, problem: str, content: bytes) -> None:
        """Note a problem; the first file of each kind is kept."""
        key = f"{reader}: {problem.split(': ', maxsplit=1)[0]}"
        if key not in self.findings:
            name = f"finding-{len(self.findings):03d}"
            write_atomic(self._folder / name, content)
            self.findings[key] = {"first": n, "file": name, "count": 0, "problem": problem}
            print(f"FOUND {reader}, mutation {n}, in {self._folder / name}: {problem}", flush=True)
        self.findings[key]["count"] += 1

    def save(self) -> None:
        """Write them."""
        write_atomic(self._path, json.dumps({
            "seed": self._seed, "done": self.done, "taken": self.taken,
            "findings": self.findings}, indent=1).encode())


def run_part(name: str, begin: int, end: int, seed: int, folder: Path, notes: Notes,
             again: bool = False) -> int:
    """Have a process examine some mutations; return the number behind the last one."""
    for part in ("run", "tmp", "elsewhere"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    outside, tmp = str(folder / "elsewhere"), str(folder / "tmp")
    environ = {**os.environ, "TMPDIR": tmp, "HOME": outside, "XDG_CACHE_HOME": outside,
               "MPLCONFIGDIR": tmp, "OPENCV_LOG_LEVEL": "OFF"}
    with open(folder / "errors", "w+", errors="replace") as errors:
        process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", str(Path(__file__).resolve()), "--serve", name,
             str(begin), str(end), str(folder), str(SECONDS * (_PATIENCE if again else 1)),
             "--seed", str(seed)],
            stdout=subprocess.PIPE, stderr=errors, env=environ, cwd=outside, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            n, taken, problem, content = json.loads(line)
            begin = n + 1
            notes.taken[name] += taken
            if problem:
                notes.find(name, n, problem, bytes.fromhex(content))
        status = process.wait()
        errors.seek(0)
        told = errors.read()
    shutil.rmtree(tmp)
    if begin < end:  # it died
        if not (folder / "seeds").exists():
            raise RuntimeError(f"{name} cannot be examined: {told}")
        hangs = "Timeout (" in told
        if hangs and not again:  # or was the machine busy?
            return run_part(name, begin, begin + 1, seed, folder, notes, again=True)
        where = re.findall(r'File ".*?([^/"]+)", line (\d+)', told)[:1]
        place = ":".join(where[0]) if where else "an unknown place"
        notes.find(name, begin, (
            f"hangs at {place}: longer than {SECONDS} s" if hangs else
            f"ends the process with status {status} at {place}: {told.strip()[:300]}"),
            (folder / "run" / READERS[name].file).read_bytes())
        begin += 1
    return begin


def main() -> None:
    """Parse the flags; examine all readers by turns until each has had its share."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000, help="of mutations, of all readers "
                        "together; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--readers", help="names with commas between; default: all")
    parser.add_argument("--notes", type=Path, default=Path("build/mutations"),
                        help="folder for what was done and found; default: %(default)s")
    parser.add_argument("--serve", nargs=5, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        name, begin, end, folder, seconds = args.serve
        serve(name, int(begin), int(end), args.seed, Path(folder), float(seconds))
        return
    names = args.readers.split(",") if args.readers else list(READERS)
    unknown = {*names} - {*READERS}
    if unknown:
        parser.error(f"--readers {','.join(unknown)}: give some of {', '.join(READERS)}")
    args.notes.mkdir(parents=True, exist_ok=True)
    notes, share = Notes(args.notes, args.seed), -(-args.count // len(names))
    while any(notes.done[name] < share for name in names):
        for name in names:
            begin = notes.done[name]
            folder = args.notes.resolve() / re.sub(r"[^\w.]", "-", name)
            end = min(begin + _PART, share)
            while notes.done[name] < end:
                notes.done[name] = run_part(name, notes.done[name], end, args.seed, folder, notes)
                notes.save()
        print(f"{sum(notes.done[name] for name in names)} of {share * len(names)} mutations, "
              f"findings: {len(notes.findings)}", flush=True)
    for name in names:
        print(f"{name}: {notes.done[name]} mutations, {notes.taken[name]} of them taken")
    print(f"{len(names)} readers, {sum(notes.done[name] for name in names)} mutations, "
          f"findings: {len(notes.findings)}")
    for key, finding in notes.findings.items():
        print(f"{key} ({finding['count']} times), {args.notes / finding['file']}: "
              f"{finding['problem']}")
    if notes.findings:
        sys.exit(1)


if __name__ == "__main__":
    main()
