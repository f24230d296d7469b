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
from typing import Iterator, Tuple

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
Finding = Tuple[Path, int, str, str]  # file, line, phrase, advice


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


def check(path: Path) -> list[Finding]:
    """Return what a file has of the phrases to avoid."""
    findings: list[Finding] = []
    for line, text in read_prose(path):
        joined = text.replace("\n", " ")
        for rule, advice in RULES:
            for match in re.finditer(rule, joined, re.IGNORECASE):
                findings.append((path, line + text[:match.start()].count("\n"), match[0], advice))
    return findings


def main() -> int:
    """Print what is found; return 1 if there is anything."""
    paths = [path for pattern in (*PAGES, *SOURCES) for path in sorted(ROOT.glob(pattern))]
    findings = [finding for path in paths if path != Path(__file__).resolve()
                for finding in check(path)]
    for path, line, phrase, advice in findings:
        print(f"{path.relative_to(ROOT)}:{line}: '{phrase.strip()}': write {advice}")
    return bool(findings)


if __name__ == "__main__":
    sys.exit(main())
