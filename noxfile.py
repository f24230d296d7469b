"""Run the tests on every supported Python that is here."""
import nox


@nox.session(python=["3.8", "3.9", "3.10", "3.11", "3.12", "3.13"])
def tests(session):
    """Install the package as a user does, and test it."""
    session.install(".[test]")
    session.run("python", "-m", "pytest", "-q", *session.posargs)
