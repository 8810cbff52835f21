import pytest
from tiny_run import Tiny


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A feature cache that the runs of a module share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def tiny(tmp_path, cache, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LNLBENCH_DATA", raising=False)
    return Tiny(tmp_path, cache, capfd)
