import pytest
from tiny_run import Tiny

# Started first, so that two processes end at about the same time (with --no-loadscope-reorder).
LONGEST = ("test_kill", "test_cluster", "test_determinism", "test_concurrency")


def pytest_collection_modifyitems(items):
    """Put the files that take longest in front."""
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(LONGEST)))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A feature cache that the runs of a module share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def tiny(tmp_path, cache, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LNLBENCH_DATA", raising=False)
    return Tiny(tmp_path, cache, capfd)
