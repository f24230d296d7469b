"""Random changes of a file, decided by a random number generator."""
from __future__ import annotations

import contextlib
import gzip
import json
import random
import struct
import zlib
from typing import Any, Callable, List, Sequence, Tuple

_NUMBERS = (0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**53,
            2**62, 2**63 - 1, 2**63, 2**64 - 1)
_TOKENS = (b"null", b"true", b"NaN", b"-Infinity", b"-1", b"1e999", b"9" * 40, b"9" * 5000, b'"',
           b"{}", b"[]", b"[" * 5000, b'{"a":' * 3000, b"\\ud800", b"\0", b"\xff" * 8, b"\n",
           b"\r\n", b" ", b"#", b":", b"=", b"--", b"../../elsewhere", b"/dev/zero", b"%s%n",
           b"$(touch x)", "\ufeff".encode(), "\u2028".encode())
_VALUES: tuple[Any, ...] = (None, True, False, 0, -1, 2**31, 2**53, 2**64, 10**400, -0.0, 1e308,
                            float("nan"), float("inf"), "", "x" * 10000, "\0", "\ud800", "../x",
                            "/dev/zero", [], [[]] * 10, {})
_PACKED = b"\x1f\x8b"

Change = Callable[[random.Random, bytes, Sequence[bytes]], bytes]


class _Pairs(List[Tuple[str, Any]]):
    """A JSON object that may repeat a key."""


def mutate(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Return one of the valid files in `seeds` with a few changes, rarely many."""
    content = rng.choice(seeds)
    if content.startswith(_PACKED) and rng.random() < 0.7:
        with contextlib.suppress(OSError, EOFError, zlib.error):
            return gzip.compress(mutate(rng, [gzip.decompress(content)]), 1)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 4, 8, 32))):
        text = content[:1] == b"{" and rng.random() < 0.6
        content = change_json(rng, content) if text else rng.choice(_CHANGES)(rng, content, seeds)
    return content


def change_json(rng: random.Random, content: bytes) -> bytes:
    """Remove a key, repeat it, or change its value, in one line of JSON or in the whole text."""
    lines = content.splitlines(keepends=True)
    one_a_line = len(lines) > 1 and all(line[:1] == b"{" for line in lines)
    place = rng.randrange(len(lines)) if one_a_line else 0
    try:
        value = json.loads(lines[place] if one_a_line else content, object_pairs_hook=_Pairs)
        _change_value(rng, value)
        changed = _dump(value).encode(errors="surrogatepass") + b"\n"
    except (ValueError, RecursionError):
        return content  # an earlier change broke the JSON
    return b"".join([*lines[:place], changed, *lines[place + 1:]]) if one_a_line else changed


def _change_value(rng: random.Random, value: Any) -> None:
    parts: list[Any] = []
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list) and part:
            parts.append(part)
            waiting += [item[1] for item in part] if isinstance(part, _Pairs) else part
    if not parts:
        return
    part = rng.choice(parts)
    i, action = rng.randrange(len(part)), rng.randrange(4)
    new = rng.choice(_VALUES)
    if action == 0:
        del part[i]
    elif action == 1:
        part.insert(rng.randrange(len(part) + 1), part[i])
    elif isinstance(part, _Pairs):
        part[i] = (part[i][0], new) if action == 2 else (part[i][0] + "x", part[i][1])
    else:
        part[i] = new


def _dump(value: Any) -> str:
    if isinstance(value, _Pairs):
        return "{" + ", ".join(f"{json.dumps(key)}: {_dump(item)}" for key, item in value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_dump, value)) + "]"
    return json.dumps(value)


def _place(rng: random.Random, content: bytes) -> int:
    """Choose a position, more often near the ends, where headers are."""
    n = len(content)
    return rng.choice((rng.randrange(n + 1), rng.randrange(min(n, 64) + 1),
                       n - rng.randrange(min(n, 64) + 1)))


def _flip(rng: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    i = min(_place(rng, content), len(content) - 1)
    return content[:i] + bytes([content[i] ^ 1 << rng.randrange(8)]) + content[i + 1:] if (
        content) else b"\0"


def _cut(rng: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    return content[:_place(rng, content)]


def _drop(rng: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    i = _place(rng, content)
    return content[:i] + content[i + rng.choice((1, 2, 4, 8, 64, 1000)):]


def _insert(rng: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    i = _place(rng, content)
    junk = bytes(rng.randrange(256) for _ in range(rng.choice((1, 2, 4, 40))))
    return content[:i] + rng.choice((junk, rng.choice(_TOKENS))) + content[i:]


def _repeat(rng: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    i, n = _place(rng, content), rng.choice((1, 4, 16, 256))
    return content[:i] + content[i:i + n] * rng.choice((2, 3, 50)) + content[i + n:]


def _splice(rng: random.Random, content: bytes, seeds: Sequence[bytes]) -> bytes:
    other = rng.choice(seeds)
    return content[:_place(rng, content)] + other[_place(rng, other):]


def _write_number(rng: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    """Overwrite bytes with an extreme number, in one of the layouts of binary formats."""
    i, layout = _place(rng, content), rng.choice(("<B", "<H", ">H", "<I", ">I", "<Q", ">Q"))
    size = struct.calcsize(layout)
    number = rng.choice(_NUMBERS) % 2**(8 * size)
    return content[:i] + struct.pack(layout, number) + content[i + size:]


_CHANGES: tuple[Change, ...] = (_flip, _flip, _cut, _drop, _insert, _repeat, _splice,
                                _write_number, _write_number)
