"""Toy runs, as in ``tests/engine``."""

from tests.engine.conftest import _few_threads as _few_threads
from tests.engine.conftest import make_run as make_run
