"""Random changes of a file, decided by a random number generator."""
from __future__ import annotations

import contextlib
import gzip
import json
import random
import struct
import zlib
from typing import Any, Sequence

_NUMBERS = (0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**53,
            2**62, 2**63 - 1, 2**63, 2**64 - 1)
_LAYOUTS = ("<B", "<H", ">H", "<I", ">I", "<Q", ">Q")  # of numbers in binary formats
_TOKENS = (b"null", b"true", b"NaN", b"-Infinity", b"-1", b"1e999", b"9" * 40, b"9" * 5000, b'"',
           b"{}", b"[]", b"[" * 5000, b'{"a":' * 3000, b"\\ud800", b"\0", b"\xff" * 8, b"\n",
           b"\r\n", b" ", b"#", b":", b"=", b"--", b"../../elsewhere", b"/dev/zero", b"%s%n",
           b"$(touch x)", "\ufeff".encode(), "\u2028".encode())
_VALUES: tuple[Any, ...] = (None, True, False, 0, -1, 2**31, 2**53, 2**64, 10**400, -0.0, 1e308,
                            float("nan"), float("inf"), "", "x" * 10000, "\0", "\ud800", "../x",
                            "/dev/zero", [], [[]] * 10, {})
_CHANGES = ("flip", "flip", "cut", "drop", "insert", "repeat", "splice", "number", "number")
_GZIP = b"\x1f\x8b"


def mutate(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Return one of the valid files in `seeds` with a few changes, rarely many."""
    content = rng.choice(seeds)
    if content.startswith(_GZIP) and rng.random() < 0.7:
        with contextlib.suppress(OSError, EOFError, zlib.error):
            return gzip.compress(mutate(rng, [gzip.decompress(content)]), 1)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 4, 8, 32))):
        if content[:1] == b"{" and rng.random() < 0.6:
            content = change_json(rng, content)
        else:
            content = change_bytes(rng, content, rng.choice(seeds))
    return content


def change_bytes(rng: random.Random, content: bytes, other: bytes) -> bytes:
    """Change, remove, repeat or insert bytes, or continue with the end of another file."""
    i, change = _position(rng, content), rng.choice(_CHANGES)
    head, tail, new = content[:i], content[i:], b""
    if change == "flip":
        new, tail = bytes(byte ^ 1 << rng.randrange(8) for byte in tail[:1]), tail[1:]
    elif change == "cut":
        tail = b""
    elif change == "drop":
        tail = tail[rng.choice((1, 2, 4, 8, 64, 1000)):]
    elif change == "insert":
        junk = bytes(rng.randrange(256) for _ in range(rng.choice((1, 2, 4, 40))))
        new = rng.choice((junk, rng.choice(_TOKENS)))
    elif change == "repeat":
        new = tail[:rng.choice((1, 4, 16, 256))] * rng.choice((1, 2, 49))
    elif change == "splice":
        tail = other[_position(rng, other):]
    else:
        layout = rng.choice(_LAYOUTS)
        new = struct.pack(layout, rng.choice(_NUMBERS) % 256**struct.calcsize(layout))
        tail = tail[len(new):]
    return head + new + tail


def _position(rng: random.Random, content: bytes) -> int:
    """Choose a position, more often near the ends, where headers are."""
    n = len(content)
    return rng.choice((rng.randrange(n + 1), rng.randrange(min(n, 64) + 1),
                       n - rng.randrange(min(n, 64) + 1)))


def change_json(rng: random.Random, content: bytes) -> bytes:
    """Change a value or a key, in one line of JSON or in the whole text."""
    lines = content.splitlines(keepends=True)
    if len(lines) < 2 or any(line[:1] != b"{" for line in lines):
        lines = [content]
    i = rng.randrange(len(lines))
    try:
        value = json.loads(lines[i])
        _change_value(rng, value)
        lines[i] = json.dumps(value).encode() + b"\n"
    except (ValueError, RecursionError):
        return content  # an earlier change broke the JSON
    return b"".join(lines)


def _change_value(rng: random.Random, value: Any) -> None:
    """Remove, replace or rename an item of a randomly chosen object or array."""
    parts: list[Any] = []
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, (dict, list)) and part:
            parts.append(part)
            waiting += part.values() if isinstance(part, dict) else part
    if not parts:
        return
    part, new = rng.choice(parts), rng.choice(_VALUES)
    key = rng.choice([*part] if isinstance(part, dict) else range(len(part)))
    action = rng.randrange(4)
    if action == 0:
        del part[key]
    elif action == 1 and isinstance(part, dict):
        part[f"{key}x"] = part.pop(key)
    elif action == 1:
        part.insert(key, part[key])
    else:
        part[key] = new
