"""Run the tests on every supported Python that is here."""
from __future__ import annotations

import nox

# virtualenv has given up the older of these interpreters; their own venv has not.
nox.options.default_venv_backend = "venv"


@nox.session(python=["3.8", "3.9", "3.10", "3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """Install the package as a user does, and test it; `-- tests/runs` runs some tests only."""
    session.install("--upgrade", "pip")  # the one of Python 3.8's venv resolves for minutes
    session.install(".[test]")
    session.run("python", "-m", "pytest", "-q", "-n", "auto", "--dist", "worksteal",
                *session.posargs)
