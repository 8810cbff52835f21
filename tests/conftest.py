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

# Files that take minutes. They come first, so that no process is left alone with one of them at the end.
LONGEST = (
    "test_documented_guides",
    "test_conformance_all",
    "test_documented_paper",
    # tests/faults
    "test_kill",
    "test_cluster",
    "test_determinism",
    "test_concurrency",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest in front, and leave the others as they are."""
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(LONGEST)))


@pytest.fixture(autouse=True)
def _no_given_plugins() -> Iterator[None]:
    """Let no test know the plugins of another one."""
    yield
    given_plugins.forget()
