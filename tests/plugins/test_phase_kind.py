"""A third-party kind of phase: planned, trained, continued and tabulated without a change to the core."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from lnlbench.cli import main
from lnlbench.errors import UsageError
from lnlbench.grids.plan import plan
from lnlbench.plugins import registry
from lnlbench.records.frame import load_frame
from lnlbench.records.staleness import installed, staleness
from lnlbench.records.store import Store
from lnlbench.spec import PhaseSpec, TrialSpec
from lnlbench.trials.attempt import StopTrial, run_trial
from lnlbench.trials.trial import Trial
from lnlbench.trials.workspace import RunSettings, Workspace

PLUGIN = Path(__file__).parents[1] / "phase_kind_plugin"
GRID = """
schema = 1
title = "A few digits"
dataset = "digits"
backbone = "efficientnet_lite0"
noise = "symmetric-0.4"
[[rows]]
tuning = ["last", "lp-last"]
method = ["ce", "turn"]
[dataset_options]
train_per_class = 4
test_per_class = 2
[backbone_options]
image_size = 32
[lp]
epochs = 2
[last]
epochs = 2
lr = 1e-2
[lp-last.last]
batch_size = 8
[table]
groups = ["tuning"]
rows = ["method", "last.blocks"]
columns = ["noise"]
"""
# Of the last stage of EfficientNet-Lite0; besides, every layer of batch normalisation learns.
LAST = "blocks.6."


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed plugin."""
    pytest.importorskip("setuptools", reason="builds the plugin without isolation, for want of a network")
    folder = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(PLUGIN, folder / "source")
    target = folder / "site"
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(source)], check=True
    )
    return target


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _installed(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(site)
    monkeypatch.chdir(tmp_path)
    Path("digits.toml").write_text(GRID)


@pytest.fixture
def workspace(cache: Path, tmp_path: Path) -> Workspace:
    return Workspace(RunSettings(data=None, cache=cache, checkpoints=tmp_path / "checkpoints"))


def spec(tuning: str, method: str, *sets: str) -> TrialSpec:
    (planned,) = plan("digits.toml", where=[f"tuning={tuning}", f"method={method}"], sets=sets).planned
    return planned.spec


def parameters(backbone: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in backbone.named_parameters()}


def learns(name: str) -> bool:
    """By name alone, which is another way to say what the plugin says by modules."""
    return name.startswith(LAST) or ".bn" in name or name.startswith("bn")


def test_its_phases_have_its_settings() -> None:
    assert spec("lp-last", "ce", "last.blocks=2", "last.batch_norm=frozen").phases == (
        PhaseSpec("lp", 2),
        PhaseSpec(
            "last", 2, 8, augmentation="weak", batch_norm="frozen", options=(("blocks", 2),), at_default=()
        ),
    )


def test_an_option_at_its_default_is_no_part_of_the_identity() -> None:
    default, given = spec("last", "ce"), spec("last", "ce", "last.blocks=1")
    assert default.phases[0].options == (("blocks", 1),)
    assert "options" not in default.canonical()["phases"][0]
    assert default == given
    assert default.trial_id != spec("last", "ce", "last.blocks=2").trial_id
    assert TrialSpec.from_dict(default.to_dict()) == default


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("last.blocks=0", "last.blocks is 0; it must be at least 1"),
        ("last.blocks=two", "it must be an integer"),
        ("last.block=2", "Unknown key 'last.block'. Did you mean 'last.blocks'"),
        ("last.cache=false", "Unknown key 'last.cache'"),
        ("tuning=lp-lasst", "Unknown tuning mode 'lp-lasst'. Did you mean 'lp-last'"),
    ],
)
def test_mistakes_are_told_with_the_option(change: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan("digits.toml", sets=[change])
    assert str(caught.value).startswith(f"--set {change}: ")
    assert message in str(caught.value)


def test_it_declines_at_plan_time() -> None:
    planned = plan("digits.toml", sets=["weights=none"]).planned
    assert {trial.skip for trial in planned} == {"the blocks before the last would stay random"}


def test_probing_cannot_use_features_of_a_backbone_that_has_changed() -> None:
    with pytest.raises(UsageError, match=r"Add --set last-lp\.lp\.cache=false"):
        plan("digits.toml", sets=["tuning=last-lp"])
    plan("digits.toml", sets=["tuning=last-lp", "last-lp.lp.cache=false"])


@pytest.mark.parametrize("tuning", ["last", "lp-last"])
@pytest.mark.parametrize("method", ["ce", "turn"])
def test_exactly_its_parameters_move(workspace: Workspace, tuning: str, method: str) -> None:
    chosen = spec(tuning, method, "last.batch_norm=update")  # after probing they would be frozen
    before = parameters(workspace.backbone(chosen.backbone).module)
    trial = Trial(chosen, workspace)
    statistics = {
        name: value.clone() for name, value in workspace.backbone(chosen.backbone).module.named_buffers()
    }
    for _ in trial.epochs():
        pass
    backbone = trial.model.networks[0].backbone
    assert backbone is not None
    after = parameters(backbone)
    assert {name for name in after if not torch.equal(after[name], before[name])} == set(
        filter(learns, after)
    )
    moved = {name for name, value in backbone.named_buffers() if not torch.equal(value, statistics[name])}
    assert moved == set(statistics)  # batch statistics of all norms, which learn


def test_a_backward_pass_costs_what_it_says(workspace: Workspace) -> None:
    record = run_trial(spec("last", "ce"), workspace)
    passes = record.ledger["training"]
    samples = 2 * record.data["train"]
    assert passes["backbone_forward_grad"] == passes["backbone_backward"] == samples
    assert passes["backbone_backward_saved"] == samples  # one unit of two each


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_continued_is_uninterrupted(workspace: Workspace, stop: int) -> None:
    chosen = spec("lp-last", "turn")
    seen: list[Mapping[str, Any]] = []

    def interrupt(entry: Mapping[str, Any]) -> None:
        seen.append(entry)
        if len(seen) == stop:
            raise StopTrial

    with pytest.raises(StopTrial):
        run_trial(chosen, workspace, interrupt)
    continued = run_trial(chosen, workspace)
    assert continued.execution["continued"]
    fresh = Workspace(RunSettings(data=None, cache=workspace.setting.cache))
    whole = run_trial(chosen, fresh)
    numbers = ("phase", "epoch", "loss", "validation", "test", "selection")
    assert [[entry.get(name) for name in numbers] for entry in continued.history] == [
        [entry.get(name) for name in numbers] for entry in whole.history
    ]
    assert continued.ledger == whole.ledger


def test_the_command_runs_it_and_the_table_names_it(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--cache-dir", str(cache), "--cpus-per-trial", "1", "--executor", "inline"]
    assert main(["run", "--grid", "digits.toml", "--out", "out", *arguments]) == 0
    frame = load_frame("out")
    assert list(frame["tuning"]) == ["last", "last", "lp-last", "lp-last"]
    assert list(frame["status"]) == ["done"] * 4
    by_place = {(row["tuning"], row["method"]): row for _, row in frame.iterrows()}
    row = by_place["last", "ce"]
    samples = 2 * 38  # epochs × training samples: 40 of the digits, of which 2 are held out
    assert row["cost_units"] == 2 * samples
    assert by_place["lp-last", "ce"]["cached"]
    capsys.readouterr()
    assert main(["table", "--grid", "digits", "--out", "out", "--format", "markdown"]) == 0
    table = capsys.readouterr().out
    assert "Last" in table
    assert "LP-Last" in table
    assert "Last blocks" in table
    records = list(Store.open("out").records())
    now = registry.phase_kinds().fingerprint("last")["fingerprint"]
    assert {record.plugin["kinds"]["last"] for record in records} == {now}
    assert not staleness(records, installed(record.spec for record in records))
    edited = dataclasses.replace(
        records[0], plugin={**records[0].plugin, "kinds": {**records[0].plugin["kinds"], "last": "0" * 64}}
    )
    (reason,) = staleness([edited], installed([edited.spec])).values()
    assert reason.startswith("kinds of phases changed: ")
    assert "last 000000000000, now " in reason
