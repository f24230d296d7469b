import pytest
from helpers.processes import kill_jobs


@pytest.fixture(autouse=True)
def end_jobs():
    """End the jobs of a test that failed."""
    yield
    kill_jobs()
