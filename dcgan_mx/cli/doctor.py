"""`dcgan-mx doctor`: whether training can start here, where, and how to fix what prevents it."""
from __future__ import annotations

import json
import textwrap
from typing import Any, Sequence

from ..cli.diagnostics import collect_env
from ..system.command_line import command_line
from .parser import Parser

_WIDTH = 100
_ISA = {"avx512f": "AVX-512", "avx512_bf16": "AVX512-BF16", "amx_bf16": "AMX"}


def render(facts: dict[str, Any]) -> str:
    """Return one screen of text for what `collect` found."""
    processor, gpus, problems = facts["processor"], facts["gpus"], facts["problems"]
    offers = {*processor["bfloat16"]}
    rows = [
        ("versions", ", ".join(" ".join(pair) for pair in facts["versions"].items())),
        ("processor", f"{processor['name']}, {processor['physical_cores']} physical cores"),
        ("bfloat16", f"{', '.join(_ISA[name] for name in processor['bfloat16']) or 'no AVX-512'}: "
                     + ("--precision bfloat16 can be used" if offers - {"avx512f"}
                        else "train in float32")),
        ("threads", ": ".join(str(value) for value in facts["threads"].values() if value)),
        ("driver", f"NVIDIA's, for CUDA {facts['driver']}" if facts["driver"] else "none"),
        *(("GPU", f"{gpu['number']}: {gpu['name']}, sm_{gpu['capability'].replace('.', '')}, "
                  f"{gpu['memory'] / 2**30:.1f} GiB: "
                  f"{'can be used' if gpu['usable'] else 'cannot be used, see below'}")
          for gpu in gpus),
        *([] if gpus else [("GPU", "none")]),
        ("job", ", ".join(f"{name}={value}" for name, value in (facts["job"] or {}).items())
                or "none: this process trains alone"),
        *((name, f"{folder['path']}: " + (
            f"{folder['free'] / 1e9:.1f} GB free{'' if folder['exists'] else ', will be made'}"
            if folder["writable"] else "cannot be used, see below"))
          for name, folder in facts["folders"].items())]
    lines = ["dcgan-mx {version} in {folder}".format(**facts["dcgan_mx"]), ""]
    lines += [_wrap(f"{name:<11}", text) for name, text in rows]
    for problem in problems:
        lines += ["", _wrap("problem: " if problem["stops"] else "note:    ", problem["problem"]),
                  _wrap("    fix: ", problem["fix"])]
    usable = " or ".join(f"--gpu {gpu['number']}" for gpu in gpus if gpu["usable"])
    verdict = ("Training cannot start: fix what follows \"problem\"." if not facts["can_train"] else
               f"Training can start, with {usable}." if usable else
               "Training can start, on the CPU.")
    return "\n".join([*lines, "", verdict])


def _wrap(label: str, text: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent=label, subsequent_indent=" " * len(label),
                         break_long_words=False, break_on_hyphens=False)


def make_parser() -> Parser:
    """Make the parser of the command."""
    parser = Parser(command_line("doctor"), "Check whether training can start here and on which device, "
                    "and say how to fix what prevents it.")
    parser.add("--json", "print the same as JSON", action="store_true")
    return parser


def main(argv: Sequence[str]) -> int:
    """Print the screen, or JSON; return 1 if training cannot start."""
    flags = make_parser().parse_args(argv)
    facts = collect_env()
    print(json.dumps(facts, indent=2) if flags.json else render(facts))
    return 0 if facts["can_train"] else 1
