"""``lnlbench audit --out`` of a grid that was run with ``--verdicts``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lnlbench.cli import main
from lnlbench.errors import ExitCode
from lnlbench.records.store import Store


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grid of two methods, two noises and two seeds, on features of three classes."""
    folder = tmp_path_factory.mktemp("grid")
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 40)
    features = (np.eye(3, 6)[labels] + 0.2 * generator.normal(size=(120, 6))).astype("f4")
    arrays = {"x_train": features, "y_train": labels, "x_test": features[::8], "y_test": labels[::8]}
    np.savez(folder / "points.npz", **arrays)
    arguments = f"run --grid quickstart --set dataset=features:{folder}/points.npz --set tuning=lp"
    arguments += " --set method=ce,gce --set noise=symmetric-0.2,symmetric-0.4 --seeds 0,1"
    arguments += " --set lp.epochs=8 --set lp.lr=0.3"
    arguments += f" --verdicts --executor inline --out {folder}/run"
    assert main(arguments.split()) == ExitCode.OK
    return folder / "run"


def audit(grid: Path, *arguments: str) -> int:
    return main(["audit", "--out", str(grid), *arguments])


def test_methods_are_asked_in_the_place_of_detectors(grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit(grid, "--where", "noise=symmetric-0.2", "--where", "seed=1") == ExitCode.OK
    frame = pd.read_parquet(grid / "verdicts.parquet")
    store = Store.open(grid)
    by_method = {
        record.spec.method.name: store.verdicts(record)
        for record in store.records()
        if record.spec.seed == 1 and record.spec.noise.rate == 0.2
    }
    assert by_method.keys() == {"ce", "gce"}
    flags = 0
    for name, verdicts in by_method.items():
        np.testing.assert_allclose(frame[f"lp {name}"], (1 + verdicts["margin"]) / 2, atol=1e-6)
        assert (frame["given"] == verdicts["given"].astype(str)).all()
        flags = flags + (verdicts["predicted"] != verdicts["given"])
    np.testing.assert_allclose(frame["score"], frame[["lp ce", "lp gce"]].mean(axis=1), atol=1e-6)
    assert frame["votes"].tolist() == flags.tolist()
    assert frame["suspected"].tolist() == (flags == 2).tolist()  # more than half of two
    assert 0 < frame["suspected"].sum() < 60
    assert (frame["true"] != frame["given"]).mean() == pytest.approx(0.13, abs=0.07)
    assert (grid / "audit.html").is_file()
    assert len(json.loads((grid / "audit.json").read_text())["trials"]) == 2
    assert "lp gce" in capsys.readouterr().out
    assert len(store.records()) == 8  # which are as they were


@pytest.mark.parametrize(
    ("where", "words"),
    [
        (["seed=0"], "holds several problems: features:points.npz with symmetric-0.2; features:points.npz"),
        (["noise=symmetric-0.2"], "noise is drawn anew for each seed"),
        (["method=elr"], "elr"),
    ],
)
def test_trials_of_several_problems_are_refused(
    grid: Path, where: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit(grid, *(f"--where={text}" for text in where)) != ExitCode.OK
    assert words in capsys.readouterr().err


def test_a_grid_without_verdicts_says_how_to_get_them(
    tmp_path: Path, grid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = f"run --grid quickstart --set dataset=features:{grid.parent}/points.npz --where method=ce"
    arguments += f" --where tuning=lp --where noise=symmetric-0.6 --executor inline --out {tmp_path}/bare"
    assert main([*arguments.split(), "--set", "lp.epochs=1", "--set", "tuning=lp"]) == ExitCode.OK
    assert audit(tmp_path / "bare") == ExitCode.USAGE
    assert "Run the grid with --verdicts" in capsys.readouterr().err


def test_where_is_for_grids(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "digits", "--where", "seed=0"]) == ExitCode.USAGE
    assert "--where chooses trials" in capsys.readouterr().err
