"""`dcgan-mx doctor`: whether training can start here, on what, and if not, what mends it."""
from __future__ import annotations

import json
import textwrap
from typing import Any, Sequence

from ..machine.typed import typed
from .cli import Parser
from .examination import examine

_WIDTH = 100


def render(facts: dict[str, Any]) -> str:
    """Return the screen for what `examine` found."""
    processor, threads, gpus = facts["processor"], facts["threads"], facts["gpus"]
    rows = [
        ("versions", ", ".join(" ".join(pair) for pair in facts["versions"].items())),
        ("processor", f"{processor['name']}: {processor['physical_cores']} physical cores, "
                      f"{processor['processors']} processors for this process"),
        ("bfloat16", _describe_bfloat16(**facts["bfloat16"])),
        ("threads", ": ".join(filter(None, (str(threads["number"] or ""), threads["why"])))),
        ("driver", f"NVIDIA's, for CUDA {facts['driver']}" if facts["driver"] else "none"),
        *(("GPU", f"{gpu['number']}: {gpu['name']}, sm_{gpu['capability'].replace('.', '')}, "
                  f"{gpu['memory'] / 2**30:.1f} GiB: "
                  f"{'can be trained on' if gpu['usable'] else 'cannot be used, see below'}")
          for gpu in gpus),
        *([] if gpus else [("GPU", "none")]),
        ("job", ", ".join(f"{name}={value}" for name, value in facts["job"].items())
                if facts["job"] else "none: this process trains alone"),
        *((name, f"{folder['path']}: " + (
            f"{folder['free'] / 1e9:.1f} GB free{'' if folder['exists'] else ', will be made'}"
            if folder["writable"] else "cannot be used, see below") + (
            f"; {folder['packs']} packed folders of pictures, {folder['bytes'] / 1e6:.0f} MB"
            if folder.get("packs") else ""))
          for name, folder in facts["folders"].items())]
    lines = ["dcgan-mx {version} in {folder}".format(**facts["dcgan_mx"]), ""]
    lines += [_wrap(f"{name:<11}", text) for name, text in rows]
    for problem in facts["problems"]:
        lines += ["", _wrap("problem: " if problem["stops"] else "note:    ", problem["problem"]),
                  _wrap("   mend: ", problem["mend"])]
    usable = [f"--gpu {gpu['number']}" for gpu in gpus if gpu["usable"]]
    lines += ["", f"Training can start, with {' or '.join(usable)}." if usable else
              "Training can start, on the CPU."] if facts["can_train"] else [
                  "", "Training cannot start: mend what stands after \"problem\"."]
    return "\n".join(lines)


def _describe_bfloat16(offers: list[str], milliseconds: dict[str, float], said: list[str],
                       failure: str = "") -> str:
    """Say what the processor has for it, and which precision is the faster one."""
    spelled = {"avx512f": "AVX-512", "avx512_bf16": "AVX512-BF16", "amx_bf16": "AMX"}
    has = ", ".join(spelled[name] for name in offers) or "neither AVX-512 nor AMX"
    if not milliseconds:
        return f"{has}: {'see below' if failure else 'train in float32'}"
    fast, slow = sorted(milliseconds, key=milliseconds.__getitem__)
    return "; ".join([f"{has}: {fast} is faster here: {milliseconds[fast]:.0f} ms for a step of "
                      f"small networks on one core, {milliseconds[slow]:.0f} ms in {slow}", *said])


def _wrap(label: str, text: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent=label, subsequent_indent=" " * len(label),
                         break_long_words=False, break_on_hyphens=False)


def make_parser() -> Parser:
    """Make the parser of the command."""
    parser = Parser(typed("doctor"), "Say whether training can start here, on what, and if not, "
                    "what mends it.")
    parser.add("--json", "print the same for programs", action="store_true")
    return parser


def main(argv: Sequence[str]) -> int:
    """Print the screen, or the same as JSON; return 1 if training cannot start."""
    flags = make_parser().parse_args(argv)
    facts = examine()
    print(json.dumps(facts, indent=2) if flags.json else render(facts))
    return 0 if facts["can_train"] else 1
