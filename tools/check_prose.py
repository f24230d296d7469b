"""Find phrases to avoid in pages, docstrings, comments and messages: `python tools/check_prose.py`.

Spelling is checked by codespell; this list has what a dictionary of single words cannot express.
"""
from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from pathlib import Path
from typing import Iterator

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("*.md", "docs/*.md", "data/*.md", "dcgan_mx/templates/*.html")
SOURCES = ("dcgan_mx/**/*.py", "tools/**/*.py", "scripts/*.py", "docs/*.py")
# A regular expression, and what to write instead.
RULES = (
    (r"(?<!there )\b(?-i:is none)\b", "'is not a', 'has no', 'without'"),
    (r"(?<!there )\bis no (?!longer)", "'is not a', 'has no', 'without'"),
    (r"\b(go|goes|going|went) on\b", "'continue'"),
    (r"\bwhoever\b|\bnobody\b|\bwhosoever\b", "the subject: 'the user', 'a process'"),
    (r"\bso many\b", "the number: 'N steps'"),
    (r"(?<!times )\bas many\b(?! as)", "the number: '4,096 real images'"),
    (r"\b(left|leave|leaves|leaving) out\b|\bleave it out\b", "'omit', 'skip', 'exclude'"),
    (r"\b(is|are|was|were) told\b", "'receives', 'is reported'"),
    (r"\banew\b", "'again'"),
    (r"\bmend(s|ed|ing)?\b", "'fix', 'repair'"),
    (r"\bthe box\b", "'bundled models', 'pretrained models'"),
    (r"\bthat of \w+ alone\b", "the noun: 'discriminator learning rate'"),
    (r"\bin other company\b|\bfollows its own mind\b|\bwithout a word\b", "a literal description"),
    (r"\b(awake|asleep)\b", "'enabled', 'disabled'"),
    (r"\bcontestants?\b", "'candidate'"),
    (r"\bpictures?\b", "'image'"),
    (r"\bfilms?\b", "'animation', 'video'"),
)

def read_prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line numbers and texts of a file's prose: without code, or of Python only texts."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.lineno, node.value
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string
        return
    text = re.sub(r"```.*?```|`[^`\n]*`|{[{%#].*?[}%#]}|\]\([^)]*\)|(?s:<(script|style).*?</\1>)",
                  lambda match: re.sub(r"[^\n]", " ", match[0]), text, flags=re.DOTALL)
    yield 1, text


def check(path: Path) -> list[str]:
    """Return a line for each phrase to avoid in a file."""
    findings = []
    for line, text in read_prose(path):
        for rule, advice in RULES:
            for match in re.finditer(rule, text.replace("\n", " "), re.IGNORECASE):
                number = line + text[:match.start()].count("\n")
                findings.append(f"{path}:{number}: '{match[0].strip()}': write {advice}")
    return findings


if __name__ == "__main__":
    paths = [path for pattern in (*PAGES, *SOURCES) for path in sorted(ROOT.glob(pattern))
             if path != Path(__file__).resolve()]
    found = [finding for path in paths for finding in check(path)]
    print(*found, sep="\n", end="\n" * bool(found))
    sys.exit(bool(found))
