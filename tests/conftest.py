"""What all tests need."""

from __future__ import annotations

import os
from collections.abc import Iterator

import given_plugins
import pytest
from hypothesis import settings

# The same examples in every run: what fails here failed for whoever changed something, and nobody else.
# New ones are looked for with --hypothesis-profile default.
settings.register_profile("repeatable", derandomize=True, database=None)
settings.load_profile("repeatable")

# Test processes side by side (pytest -n) take one core each: threads of several that wait for each
# other actively are slower than one process alone. Set before torch is imported, and inherited.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _no_given_plugins() -> Iterator[None]:
    """Let no test know the plugins of another one."""
    yield
    given_plugins.forget()
