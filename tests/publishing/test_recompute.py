"""Two trials of a real run, published and run again: the same bits."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_grid import SMALL_GRID

import lnlbench
from lnlbench.cli import main
from lnlbench.errors import ExitCode

GRID = SMALL_GRID.replace("seeds = [0]", "seeds = [0, 1]")


def test_trials_run_again_have_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.toml").write_text(GRID)
    lnlbench.run("small.toml", "run", executor="inline", cpus_per_trial=1, cache="cache")
    assert main(["export", "--out", "run", "--bundle", "published"]) == ExitCode.OK
    assert Path("published/small.toml").read_text() == GRID
    # Features are extracted anew, too: the cache is another one.
    again = ["verify", "--results", "published", "--recompute", "2", "--cache-dir", "other"]
    assert main(again) == ExitCode.OK
    printed = capsys.readouterr()
    assert printed.out.count("the same, bit for bit") == 2
    assert "Run again: 2 of 4 linear-probing trials" in printed.err
