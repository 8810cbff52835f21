"""Extraction before the trials: the same features whoever makes them, and no GPU for the driver."""

from contextlib import ExitStack, contextmanager
from dataclasses import replace

import numpy as np
import pytest

from lnlbench.errors import UsageError
from lnlbench.grids.plan import plan
from lnlbench.running import preflight, ray_session, session
from lnlbench.running.job import Job, Resources
from lnlbench.running.listener import Listener, Listeners
from lnlbench.trials.workspace import RunSettings, Workspace

SETS = ["train_per_class=4", "test_per_class=2", "image_size=32", "lp.epochs=1", "tuning=lp"]


@pytest.fixture(scope="module")
def specs():
    planned = plan("quickstart", sets=[*SETS, "method=ce,elr_plus", "noise=none"], seeds="0").planned
    return [replace(each.spec, precision="fp32") for each in planned]


class Counts(Listener):
    """Keeps how far extraction was said to be."""

    def __init__(self):
        self.extracted = []

    def extraction(self, done, total):
        self.extracted.append((done, total))


def arrays(folder):
    return {path.name: np.load(path) for path in (folder / "features").glob("*.npy")}


def job_of(cache, **fields):
    return Job(RunSettings(data=None, cache=cache, executor="ray", **fields), Resources())


@pytest.fixture(scope="module")
def here(specs, tmp_path_factory):
    cache = tmp_path_factory.mktemp("here")
    heard = Counts()
    preflight.extract_features(specs, Workspace(RunSettings(data=None, cache=cache)), heard)
    return arrays(cache), heard.extracted


def test_actors_make_the_same_features(specs, here, tmp_path):
    job, heard = job_of(tmp_path), Counts()
    with ray_session.ray_session(job):
        ray_session.extract_in_actors(specs, Workspace(job.settings), job, heard)
        found = arrays(tmp_path)
        assert found.keys() == here[0].keys()
        # Here and there one thread.
        assert all(np.array_equal(found[name], here[0][name]) for name in found)
        assert heard.extracted == here[1] == [(n, len(found)) for n in range(len(found) + 1)]
        # What goes wrong in an actor is raised as what it is.
        impossible = [replace(spec, precision="tf32") for spec in specs]
        with pytest.raises(UsageError, match="precision is 'tf32'"):
            ray_session.extract_in_actors(impossible, Workspace(job.settings), job, heard)


def test_the_driver_extracts_nothing_itself_where_there_are_gpus(specs, tmp_path, monkeypatch):
    seen = []

    @contextmanager
    def fake_session(job):
        seen.append("session")
        yield
        seen.append("end")

    monkeypatch.setattr(ray_session, "ray_session", fake_session)
    monkeypatch.setattr(ray_session, "extract_in_actors", lambda *_: seen.append("actors"))
    monkeypatch.setattr(session, "extract_features", lambda *_: seen.append("here"))
    for fields in ({"device": "cuda"}, {"device": "cpu"}):
        with ExitStack() as stack:
            session._extract(specs, None, job_of(tmp_path, **fields), Listeners([]), stack)
            seen.append("trials")
    # The session lasts for the trials.
    assert seen == ["session", "actors", "trials", "end", "here", "trials"]


def test_an_inline_run_gives_back_what_extraction_took(specs, here, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(preflight, "return_device_memory", lambda: calls.append(True))
    job = job_of(tmp_path)
    job = replace(job, settings=replace(job.settings, executor="inline", device="cuda"))
    assert not session._in_actors(job)
    workspace = Workspace(RunSettings(data=None, cache=tmp_path))
    preflight.extract_features(specs[:1], workspace, Listener())
    assert calls == [True]
