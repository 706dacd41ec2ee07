import pytest


@pytest.fixture(autouse=True)
def _few_threads(few_threads):
    """In every test of this folder."""
