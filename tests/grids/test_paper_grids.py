"""The paper's grids: exactly its cells and budgets, and usable on small data."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest

import lnlbench
from lnlbench.cli import main
from lnlbench.errors import ExitCode
from lnlbench.grids.grid_file import read_grid
from lnlbench.grids.hyperparameters import read_hyperparameters
from lnlbench.grids.plan import Plan, plan
from lnlbench.plugins import registry
from lnlbench.spec import PhaseSpec, TrialSpec

TRIALS = {
    "paper_table1": 6,
    "paper_table2": 216,
    "paper_table3": 90,
    "paper_table4": 8,
    "paper_table5": 18,
    "paper_table9": 10,
    "paper_fig2": 8,
    "paper_fig3a": 6,
    "paper_fig3b": 5,
    "paper_fig3c": 5,
    "paper_fig3d": 5,
}
TABLE8 = read_hyperparameters(registry.find_hyperparameters("paper_table8", Path()))

# The same grids where nothing has to be downloaded.
SMALL = {
    "dataset": "digits",
    "backbone": "efficientnet_lite0",
    "image_size": "32",
    "train_per_class": "8",
    "test_per_class": "4",
    "lp.epochs": "1",
    "fft.epochs": "1",
}


def published(table: int) -> list[dict[str, str]]:
    path = registry.find_grid("paper_table2").parents[1] / "paper" / f"table{table}.csv"
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def specs(made: Plan) -> list[TrialSpec]:
    return [item.spec for item in made.planned]


def cell(spec: TrialSpec) -> tuple[str, ...]:
    return spec.dataset.label, spec.backbone.label, spec.tuning, spec.method.name, spec.noise.label


def budget(spec: TrialSpec) -> tuple[int, ...]:
    return tuple(phase.epochs for phase in spec.phases)


def small(**changes: str) -> list[str]:
    return [f"{key}={value}" for key, value in (SMALL | changes).items()]


@pytest.mark.parametrize(("name", "trials"), TRIALS.items())
def test_every_grid_has_the_papers_number_of_trials(name: str, trials: int) -> None:
    made = plan(name)
    assert len(made.planned) == trials == read_grid(registry.find_grid(name)).size
    assert {item.skip for item in made.planned} == {None}
    assert len(plan(name, seeds="0-2").planned) == 3 * trials


@pytest.mark.parametrize("table", [2, 3, 5])
def test_cells_are_the_published_ones(table: int) -> None:
    rows = published(table)
    keys = ("dataset", "backbone", "tuning", "method", "noise")
    assert {cell(spec) for spec in specs(plan(f"paper_table{table}"))} == {
        tuple(row[key] for key in keys) for row in rows
    }
    assert len(rows) == TRIALS[f"paper_table{table}"]


def test_cells_of_the_other_tables() -> None:
    assert [spec.method.name for spec in specs(plan("paper_table1"))] == [
        row["method"] for row in published(1)
    ]

    def varied(name: str, parameter: str) -> set[tuple[Any, ...]]:
        return {
            (spec.backbone.label, spec.noise.label, spec.tuning, dict(spec.method.params)[parameter])
            for spec in specs(plan(name))
        }

    assert varied("paper_table4", "cleansing") == {
        (row["backbone"], row["noise"], row["tuning"], row["cleansing"]) for row in published(4)
    }
    assert varied("paper_table9", "tau") == {
        ("vit_b16", row["noise"], "lp-fft", float(row["tau"])) for row in published(9)
    }


@pytest.mark.parametrize("name", ["paper_table2", "paper_table3", "paper_table5", "paper_fig3a"])
def test_budgets_are_the_papers(name: str) -> None:
    for spec in specs(plan(name)):
        turn = (20, 20) if spec.backbone.label == "msn_vit_b" and name == "paper_table2" else (20, 4)
        assert budget(spec) == {"lp": (20,), "fft": (5,), "lp-fft": turn}[spec.tuning]
        half = spec.method.name in ("dividemix", "unicon")
        assert {phase.batch_size for phase in spec.phases} == {64 if half else 128}


@pytest.mark.parametrize("name", sorted(TRIALS.keys() - {"paper_table1"}))
def test_hyperparameters_are_those_of_table_8(name: str) -> None:
    tuned = ("optimizer", "lr", "weight_decay")
    for spec in specs(plan(name)):
        expected = TABLE8.settings_for(spec.backbone.label)
        assert expected
        for phase in spec.phases:
            assert [getattr(phase, key) for key in tuned] == [
                expected[f"{phase.kind}.{key}"].value for key in tuned
            ]
            defaults = PhaseSpec(phase.kind, 1)
            assert (phase.momentum, phase.schedule, phase.cache) == (0.9, "constant", defaults.cache)


@pytest.mark.parametrize("name", TRIALS)
def test_no_grid_uses_knowledge_of_the_noise(name: str) -> None:
    for spec in specs(plan(name)):
        assert not spec.method.noise_aware
        assert spec.dataset.validation_labels == "noisy"


def test_table_1_is_from_scratch() -> None:
    for spec in specs(plan("paper_table1")):
        assert (spec.backbone.name, spec.backbone.weights) == ("preact_resnet18", "none")
        assert budget(spec) == (300,)


def test_sweeps_of_the_figures() -> None:
    def sweep(name: str) -> list[tuple[int, ...]]:
        return [budget(spec) for spec in specs(plan(name))]

    assert sweep("paper_fig3b") == [(epochs, 4) for epochs in (5, 10, 20, 30, 40)]
    assert sweep("paper_fig3c") == [(20, epochs) for epochs in (1, 2, 3, 4, 5)]
    taus = [dict(spec.method.params)["tau"] for spec in specs(plan("paper_fig3d"))]
    assert taus == [0.3, 0.5, 0.6, 0.7, 0.9]
    assert {spec.noise.label for spec in specs(plan("paper_fig2"))} == {"symmetric-0.1", "symmetric-0.9"}
    assert {spec.backbone.label for spec in specs(plan("paper_fig2"))} == {
        *("vit_b16", "convnext_t", "clip_vit_b", "mae_vit_b")
    }


def test_trials_that_grids_share_are_the_same_trials() -> None:
    table2 = {spec.trial_id for spec in specs(plan("paper_table2"))}
    turn = {spec.trial_id for spec in specs(plan("paper_table9", where=["methods.turn.tau=0.6"]))}
    assert len(turn) == 2
    assert turn < table2
    full = specs(plan("paper_table4", where=["tuning=lp-fft", "methods.turn.cleansing=multiple"]))
    assert {spec.trial_id for spec in full} < table2


@pytest.mark.parametrize("name", TRIALS)
def test_every_grid_can_be_put_on_small_data(name: str) -> None:
    made = plan(name, sets=small())
    assert {item.skip for item in made.planned} == {None}
    for spec in specs(made):
        assert spec.dataset.train_per_class == 8
        assert (spec.backbone.label, spec.backbone.image_size) == ("efficientnet_lite0", 32)
    # Axes that have one value left collapse; what is varied stays.
    one_backbone = TRIALS[name] // len(read_grid(registry.find_grid(name)).backbones)
    collapsed = {"paper_table3": 9, "paper_fig3b": 1, "paper_fig3c": 1}
    assert len(made.planned) == collapsed.get(name, one_backbone)


def test_sweeps_can_be_shortened() -> None:
    made = specs(plan("paper_fig3b", sets=small(**{"lp.epochs": "1,2"})))
    assert [budget(spec) for spec in made] == [(1, 1), (2, 1)]
    made = specs(plan("paper_table3", sets=[*small(), "noise=symmetric-0.6"]))
    assert {spec.noise.label for spec in made} == {"symmetric-0.6"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize(
    ("name", "changes", "varied"),
    [
        ("paper_table4", {}, "cleansing"),
        ("paper_table9", {"methods.turn.tau": "0.3,0.9"}, "tau"),
        ("paper_fig3d", {"methods.turn.tau": "0.3,0.9"}, "tau"),
    ],
)
def test_variants_run_and_are_told_apart(
    name: str, changes: dict[str, str], varied: str, tmp_path: Path, cache: Path
) -> None:
    sets = [part for text in small(**changes) for part in ("--set", text)]
    arguments = ["run", "--grid", name, *sets, "--cache-dir", str(cache), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--executor", "inline", "--cpus-per-trial", "1"]) == ExitCode.OK
    frame = lnlbench.load(tmp_path / "out")
    expected = plan(name, sets=small(**changes))
    assert sorted(frame["trial_id"]) == sorted(spec.trial_id for spec in specs(expected))
    assert set(frame["status"]) == {"done"}
    if varied == "tau":
        assert frame["selected"].notna().all()
    else:  # nothing is selected where nothing is cleansed
        assert int(frame["selected"].isna().sum()) == 1


@pytest.mark.parametrize("name", TRIALS)
def test_a_dry_run_says_what_a_grid_costs(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LNLBENCH_DATA", raising=False)
    assert main(["run", "--grid", name, "--dry-run"]) == ExitCode.OK
    out = capsys.readouterr().out
    assert f"{TRIALS[name]} trials: 0 done" in out
    assert "missing: " in out
    assert "its size is that of the complete data set" in out
    # GPU hours are known of every backbone; minutes on this machine only after a first run.
    assert "unknown" not in re.sub(r"unknown$|Minutes here are unknown", "", out, flags=re.MULTILINE)
    assert len(out.splitlines()) < 70
