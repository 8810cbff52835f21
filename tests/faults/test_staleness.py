"""Code, version or data change between two runs: old records are shown as stale, never mixed silently."""

import sys
from pathlib import Path

import numpy as np
import pytest

from lnlbench import _version
from lnlbench.basics import environment
from lnlbench.errors import ExitCode
from lnlbench.records import staleness

PLUGIN = '''
from lnlbench.api import Method, functional

class Mine(Method):
    """Cross-entropy."""

    def loss(self, batch):
        # An epoch at a time.
        return functional.cross_entropy(self.network(batch.inputs), batch.labels)
'''


@pytest.fixture
def write_plugin():
    """Write the plugin, as it would be read by a process of its own."""

    def write(source):
        Path("mine.py").write_text(source)
        for name in [name for name in sys.modules if name.startswith("lnlbench_plugin_")]:
            del sys.modules[name]

    return write


def cells(table, method):
    """Return a method's line of a text table."""
    (line,) = (line for line in table.splitlines() if method in line.split())
    return line


MINE = ("--plugin", "mine.py", "--set", "method=mine,gce", "--seeds", "0-1")


def test_changed_code_is_shown_and_not_averaged_with_new_results(tiny, write_plugin):
    write_plugin(PLUGIN)
    assert tiny.run(*MINE)[0] == ExitCode.OK
    write_plugin(PLUGIN.replace("batch.labels)", "batch.labels) / 2"))
    code, _, err = tiny.run(*MINE, "--dry-run")
    assert (code, err) == (ExitCode.OK, "")
    code, _, err = tiny.run(*MINE)
    assert code == ExitCode.OK
    assert "2 records are stale: method changed (mine): " in err
    assert "--retry stale" in err

    # One of two seeds again: the table shows the new one alone, and says so.
    before = tiny.records()
    _, _, err = tiny.run(*MINE, "--where", "seed=0", "--retry", "stale")
    assert "1 trials to run" in err
    again = [name for name, changed in tiny.records().items() if changed != before[name]]
    assert len(again) == 1
    code, table, _ = tiny.call("table", "--out", "runs/tiny")
    assert code == ExitCode.INCOMPLETE
    assert "1 of 2 seeds made by older code or from other data than the rest, left out" in table
    assert "±" not in cells(table, "mine").replace("MINE", "mine")
    _, text, _ = tiny.call("status", "--out", "runs/tiny")
    assert "Stale:" in text
    assert "method changed" in text

    assert tiny.run(*MINE, "--retry", "stale")[0] == ExitCode.OK
    _, text, _ = tiny.call("status", "--out", "runs/tiny")
    assert "Stale:" not in text


def test_changed_comments_and_docstrings_make_nothing_stale(tiny, write_plugin):
    write_plugin(PLUGIN)
    assert tiny.run(*MINE)[0] == ExitCode.OK
    write_plugin(PLUGIN.replace("An epoch at a time", "All at once").replace("Cross-entropy.", "Mine."))
    code, _, err = tiny.run(*MINE, "--retry", "stale")
    assert code == ExitCode.OK
    assert "stale" not in err
    assert "0 trials to run; 4 done" in err


def test_a_failed_trial_is_stale_when_its_code_was_mended(tiny, write_plugin):
    write_plugin(PLUGIN.replace("return", "raise RuntimeError or"))
    assert tiny.run(*MINE)[0] == ExitCode.INCOMPLETE
    write_plugin(PLUGIN)
    code, _, err = tiny.run(*MINE)
    assert code == ExitCode.INCOMPLETE
    assert "2 records are stale: method changed (mine): " in err
    assert tiny.run(*MINE, "--retry", "stale")[0] == ExitCode.OK


@pytest.fixture
def new_version(monkeypatch):
    """Make this process one of a later lnlbench."""

    def change(version):
        monkeypatch.setattr(_version, "__version__", version)
        for module in (environment, staleness):
            monkeypatch.setattr(module, "__version__", version)
        environment._describe.cache_clear()

    yield change
    environment._describe.cache_clear()


def test_records_of_another_version_are_shown_and_not_averaged_with_new_results(tiny, new_version):
    seeds = ("--seeds", "0-1")
    assert tiny.run(*seeds)[0] == ExitCode.OK
    new_version("9.0")
    for verb in ("status", "table"):
        code, out, err = tiny.call(verb, "--out", "runs/tiny")
        assert code == ExitCode.OK
        assert "0.1.0" in out + err
        assert "9.0" in out + err
        assert "stale" in (out + err).lower()
    code, _, err = tiny.run(*seeds)
    assert code == ExitCode.OK
    assert f"4 records are stale: lnlbench changed: {_old()}, now 9.0." in err
    _, _, err = tiny.run(*seeds, "--where", "seed=0", "--retry", "stale")
    assert "2 trials to run" in err
    code, table, _ = tiny.call("table", "--out", "runs/tiny")
    assert code == ExitCode.INCOMPLETE
    assert "1 of 2 seeds made by older code or from other data than the rest, left out" in table


def _old():
    from importlib.metadata import version

    return version("lnlbench")


def write_data(shift):
    random = np.random.default_rng(0)
    labels = np.arange(60) % 3
    features = (np.eye(3)[labels] * 4 + random.normal(size=(60, 3)) + shift).astype(np.float32)
    np.savez("mine.npz", x_train=features, y_train=labels, x_test=features, y_test=labels)


def test_changed_data_are_shown_and_not_averaged_with_new_results(tiny):
    sets = ["--set", "dataset=features:mine.npz", "--set", "noise=none", "--seeds", "0-1"]
    sets += ["--set", "train_per_class=none", "--set", "test_per_class=none"]
    write_data(0.0)
    assert tiny.run(*sets)[0] == ExitCode.OK
    write_data(0.1)
    code, _, err = tiny.run(*sets)
    assert code == ExitCode.OK
    assert "4 records are stale: data changed (features:mine.npz): " in err
    code, out, _ = tiny.run(*sets, "--dry-run")
    assert out.count("data changed (features:mine.npz): ") == 4
    _, _, err = tiny.run(*sets, "--where", "seed=0", "--retry", "stale")
    assert "2 trials to run" in err
    code, table, _ = tiny.call("table", "--out", "runs/tiny")
    assert code == ExitCode.INCOMPLETE
    assert "1 of 2 seeds made by older code or from other data than the rest, left out" in table
    assert "±" not in table.split("Mean ±")[0]
    _, text, _ = tiny.call("status", "--out", "runs/tiny")
    assert text.count("data changed") == 2


def test_data_that_are_gone_make_nothing_stale(tiny):
    sets = ["--set", "dataset=features:mine.npz", "--set", "noise=none"]
    sets += ["--set", "train_per_class=none", "--set", "test_per_class=none"]
    write_data(0.0)
    assert tiny.run(*sets)[0] == ExitCode.OK
    Path("mine.npz").unlink()
    code, _, err = tiny.run(*sets)
    assert code == ExitCode.OK
    assert "0 trials to run; 2 done" in err
    assert "stale" not in err
