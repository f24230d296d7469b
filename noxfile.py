"""Run the tests on every installed Python that is supported, with NumPy 1 and NumPy 2."""
from __future__ import annotations

import nox

# virtualenv no longer supports the older interpreters; their own venv does.
nox.options.default_venv_backend = "venv"
nox.options.sessions = ["tests", "same_numbers"]
# MXNet's metadata requires NumPy below 2, so pip installs NumPy 1 up to Python 3.12.
COMBINATIONS = [("3.8", "1"), *((python, numpy) for python in ("3.9", "3.10", "3.11", "3.12")
                                for numpy in ("1", "2")),
                ("3.13", "2"), ("3.14", "2"), ("3.15", "2")]


def install(session: nox.Session, package: str, numpy: str) -> None:
    """Install the package as a user does, and a NumPy that MXNet's metadata may not allow."""
    session.install("--upgrade", "pip")  # the pip of Python 3.8's venv resolves for minutes
    session.install(package)
    session.install("--no-deps", "mxnet==1.9.1")
    session.install("--upgrade", f"numpy=={numpy}.*")


@nox.session
@nox.parametrize("python, numpy", COMBINATIONS)
def tests(session: nox.Session, numpy: str) -> None:
    """Run the tests; `-- tests/runs` selects some of them."""
    install(session, ".[test]", numpy)
    session.run("python", "-m", "pytest", "-q", "-n", "auto", "--dist", "worksteal",
                *session.posargs)


@nox.session(python="3.11")
def same_numbers(session: nox.Session) -> None:
    """Train, resume, draw noise and measure with both NumPys: the results must be identical."""
    results = []
    for numpy in ("1", "2"):
        install(session, ".", numpy)
        results.append(session.run("python", "tests/helpers/numpy_digests.py", silent=True))
    print(*results, sep="\n")
    if len({result.partition("\n")[2] for result in results}) != 1:  # the first line: versions
        session.error("NumPy 1 and NumPy 2 give different numbers")
