"""Run the tests that depend on Python, MXNet or NumPy on every supported Python that is here."""
from __future__ import annotations

import nox

# virtualenv has given up the older of these interpreters; their own venv has not.
nox.options.default_venv_backend = "venv"
TESTS = [f"tests/test_{name}.py" for name in
         ("runtime", "symbols", "trainer", "datasets", "iterators", "params", "records", "packing",
          "record_iterators", "latent", "sample", "animate", "report", "job", "hold", "launch",
          "cuda", "doctor", "workers", "jobs", "device", "checkpoint")]


@nox.session(python=["3.8", "3.9", "3.10", "3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """Install the package as a user does, and test it; `-- tests` runs all tests."""
    session.install(".[test]")
    session.run("python", "-m", "pytest", "-q", *(session.posargs or TESTS))
