"""Zero-shot classification, through whole runs with a small CLIP in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models
import torch
import transformers
from lnlbench.methods.controls.zero_shot import ZeroShot
from small_grid import SMALL_GRID
from small_problem import SmallProblem, bare_trial, start

import lnlbench
from lnlbench.basics.facts import units_of
from lnlbench.cli import main
from lnlbench.errors import ExitCode, UsageError
from lnlbench.grids.plan import plan
from lnlbench.trials.trial import Trial
from lnlbench.trials.workspace import RunSettings, Workspace

COVERS = ("zero_shot",)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "clip"
    tiny_models.save("clip", folder, seed=5)
    return folder


@pytest.fixture
def grid(tmp_path) -> str:
    path = tmp_path / "small.toml"
    path.write_text(SMALL_GRID)
    return str(path)


def planned(grid: str, backbone: str, *sets: str):
    return plan(grid, sets=(f"backbone={backbone}", "method=zero_shot,ce", *sets)).planned


def test_predictions_are_clips_own(clip, grid, tmp_path):
    template = "methods.zero_shot.template=the number {}"
    spec = planned(grid, f"hf:{clip}", template, "methods.zero_shot.temperature=0.25")[0].spec
    trial = Trial(spec, Workspace(RunSettings(data=None, cache=tmp_path / "cache")))
    for _ in trial.epochs():
        pass
    assert trial.splits.train.extracted  # so that no image passes but for the cached features
    assert units_of(trial.ledger.to_dict()["training"]) == 0
    logits = trial.method.predict(trial.splits.test.plain(torch.arange(40)))

    model = transformers.CLIPModel.from_pretrained(clip).eval()
    tokenizer = transformers.CLIPTokenizerFast.from_pretrained(clip)
    tokens = tokenizer([f"the number {digit}" for digit in range(10)], padding=True, return_tensors="pt")
    dataset, workspace = trial.problem.dataset, trial.workspace
    inputs = workspace.image_inputs(
        dataset, dataset.test, torch.arange(40), trial.model.backbone, trial.model.execution
    )
    with torch.no_grad():
        output = model(pixel_values=inputs.plain(torch.arange(40)), **tokens)
        expected = output.logits_per_image / model.logit_scale.exp() / 0.25
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_a_run_skips_backbones_without_texts_and_says_why(clip, grid, tmp_path):
    backbones = f"hf:{clip},efficientnet_lite0,vit_b16"
    found = {
        (trial.spec.backbone.name, trial.spec.method.name): trial.skip for trial in planned(grid, backbones)
    }
    assert found[f"hf:{clip}", "zero_shot"] is None
    assert "backbone efficientnet_lite0 reads no texts" in found["efficientnet_lite0", "zero_shot"]
    assert "backbone vit_b16 reads no texts" in found["vit_b16", "zero_shot"]
    assert found["efficientnet_lite0", "ce"] is None

    out = tmp_path / "out"
    command = [
        "run",
        "--grid",
        grid,
        "--out",
        str(out),
        "--executor",
        "inline",
        "--cache-dir",
        str(tmp_path / "c"),
    ]
    sets = ["--set", f"backbone=hf:{clip},efficientnet_lite0", "--set", "method=zero_shot"]
    assert main([*command, *sets]) == ExitCode.OK
    frame = lnlbench.load(out)
    assert frame.set_index("backbone")["status"].to_dict() == {
        "hf:clip": "done",
        "efficientnet_lite0": "skipped",
    }


def test_features_have_no_texts(grid, tmp_path):
    (trial, *_) = plan(
        grid,
        sets=("dataset=features:some.npz", "method=zero_shot", "train_per_class=none", "test_per_class=none"),
    ).planned
    assert "holds features" in trial.skip


def test_a_dry_run_names_a_missing_tokeniser(clip, grid, tmp_path, capsys):
    folder = tmp_path / "bare"
    tiny_models.save("clip", folder, seed=5)
    (folder / "tokenizer.json").unlink()
    command = [
        "run",
        "--grid",
        grid,
        "--dry-run",
        "--out",
        str(tmp_path / "out"),
        "--set",
        f"backbone=hf:{folder}",
    ]
    main([*command, "--set", "method=ce"])
    assert "tokenizer.json" not in capsys.readouterr().out
    main([*command, "--set", "method=zero_shot"])
    assert "has no tokenizer.json" in " ".join(capsys.readouterr().out.split())


def test_classes_without_names_stop_a_run_before_any_trial(clip, grid, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("lnlbench.data.known.digits.Digits.templates", ("a photo of a {}.",))
    command = ["run", "--grid", grid, "--out", str(tmp_path / "out"), "--executor", "inline"]
    code = main([*command, "--set", f"backbone=hf:{clip}", "--set", "method=zero_shot"])
    assert code == ExitCode.USAGE
    assert "called by their numbers" in " ".join(capsys.readouterr().err.split())
    assert not list((tmp_path / "out").glob("trials/*.json"))


def test_without_a_text_side_a_task_says_so():
    problem = SmallProblem()
    with pytest.raises(UsageError, match="reads texts"):
        start(ZeroShot, problem, problem.phase("lp", 1))


def test_it_never_looks_at_labels_and_costs_nothing():
    spec = bare_trial("zero_shot", "lp")
    assert ZeroShot.reads_texts(spec)
    assert [passes.units for passes in ZeroShot.expected_passes(spec, 0.5)] == [0]
    assert ZeroShot.supports(spec) is None
    assert "run zero_shot in lp" in ZeroShot.supports(bare_trial("zero_shot", "lp-fft")).reason


@pytest.mark.parametrize("params", [{"temperature": 0.0}, {"template": "a photo"}])
def test_parameters_that_mean_nothing_are_refused(params):
    with pytest.raises(UsageError):
        ZeroShot.Params(**params)
