"""`dcgan-mx doctor`: whether training works here, on which devices, and how to fix problems."""
from __future__ import annotations

import json
import textwrap
from typing import Any, Sequence

from .diagnostics import collect_env
from .parser import Parser

_WIDTH = 100
_ISA = {"avx512f": "AVX-512", "avx512_bf16": "AVX512-BF16", "amx_bf16": "AMX"}


def render(env: dict[str, Any]) -> str:
    """Format what `collect_env` returned, as one screen of text."""
    processor, gpus, isa = env["processor"], env["gpus"], env["processor"]["bfloat16"]
    rows = [
        ("versions", ", ".join(" ".join(pair) for pair in env["versions"].items())),
        ("processor", f"{processor['name']}, {processor['physical_cores']} physical cores"),
        ("bfloat16", f"{', '.join(_ISA[name] for name in isa) or 'no AVX-512'}: --precision "
                     f"bfloat16 is {'' if {*isa} - {'avx512f'} else 'not '}supported"),
        ("threads", ": ".join(str(value) for value in env["threads"].values() if value)),
        ("driver", f"NVIDIA, for CUDA {env['driver']}" if env["driver"] else "none"),
        *(("GPU", f"{gpu['number']}: {gpu['name']}, sm_{gpu['capability'].replace('.', '')}, "
                  f"{gpu['memory'] / 2**30:.1f} GiB: "
                  f"{'usable' if gpu['usable'] else 'not usable, see below'}") for gpu in gpus),
        *([] if gpus else [("GPU", "none")]),
        ("job", ", ".join(f"{name}={value}" for name, value in (env["job"] or {}).items())
                or "none: this process trains alone"),
        *((name, f"{folder['path']}: " + (
            f"{folder['free'] / 1e9:.1f} GB free{'' if folder['exists'] else ', will be created'}"
            if folder["writable"] else "not usable, see below"))
          for name, folder in env["folders"].items())]
    lines = ["dcgan-mx {version} in {folder}".format(**env["dcgan_mx"]), ""]
    lines += [_wrap(f"{name:<11}", text) for name, text in rows]
    for problem in env["problems"]:
        lines += ["", _wrap("problem: " if problem["stops"] else "note:    ", problem["problem"]),
                  _wrap("    fix: ", problem["fix"])]
    usable = " or ".join(f"--gpu {gpu['number']}" for gpu in gpus if gpu["usable"])
    verdict = ("Training cannot start until each \"problem\" is fixed." if not env["can_train"] else
               f"Training can start, with {usable}." if usable else
               "Training can start, on the CPU.")
    return "\n".join([*lines, "", verdict])


def _wrap(label: str, text: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent=label, subsequent_indent=" " * len(label),
                         break_long_words=False, break_on_hyphens=False)


def make_parser() -> Parser:
    """Make the parser of the command."""
    parser = Parser("doctor", "Check whether training works here and on which devices, and show "
                    "how to fix problems.")
    parser.add("--json", "print JSON", action="store_true")
    return parser


def main(argv: Sequence[str]) -> int:
    """Print the diagnostics; return 1 if training cannot start."""
    args = make_parser().parse_args(argv)
    env = collect_env()
    print(json.dumps(env, indent=2) if args.json else render(env))
    return 0 if env["can_train"] else 1
