"""Plans: grids resolved to trials with the real methods."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest

from lnlbench.errors import GridError, LnlbenchError, NothingSelectedError, PluginError, UsageError
from lnlbench.grids.grid_file import read_grid
from lnlbench.grids.plan import plan
from lnlbench.plugins import registry
from lnlbench.records.plan_file import planned_spec
from lnlbench.spec import BackboneSpec, PhaseSpec, has_images

GRID = """\
schema = 1
title = "Test"
dataset = "digits"
backbone = "efficientnet_lite0"
noise = ["symmetric-0.6", "none"]
[[rows]]
tuning = "lp"
method = ["gce", "ce"]
[[rows]]
tuning = "lp-fft"
method = "turn"
[dataset_options]
train_per_class = 10
[backbone_options]
image_size = 32
[noise_options.symmetric]
variant = "exclusive"
[lp]
epochs = 20
[fft]
epochs = 4
[methods.gce]
q = 0.5
[[override]]
where = { method = "ce" }
set = { lp.batch_size = 64 }
[[exclude]]
where = { noise = "none", method = "turn" }
reason = "nothing to cleanse"
[table]
rows = ["tuning", "method"]
"""


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    path = tmp_path / "test.toml"
    path.write_text(GRID)
    return path


def test_every_setting_reaches_its_spec(grid: Path) -> None:
    planned = plan(str(grid)).planned
    assert [(t.spec.tuning, t.spec.method.name, t.spec.noise.label) for t in planned] == [
        ("lp", "gce", "symmetric-0.6"),
        ("lp", "gce", "none"),
        ("lp", "ce", "symmetric-0.6"),
        ("lp", "ce", "none"),
        ("lp-fft", "turn", "symmetric-0.6"),
        ("lp-fft", "turn", "none"),
    ]
    gce, ce, turn = planned[0].spec, planned[2].spec, planned[4].spec
    assert gce.dataset.train_per_class == 10
    assert gce.backbone.image_size == 32
    assert gce.noise.options == (("variant", "exclusive"),)
    assert planned[1].spec.noise.options == ()
    assert dict(gce.method.params)["q"] == 0.5
    assert gce.phases == (PhaseSpec("lp", 20),)
    assert ce.phases == (PhaseSpec("lp", 20, batch_size=64),)
    assert turn.phases == (PhaseSpec("lp", 20), PhaseSpec("fft", 4, augmentation="weak", batch_norm="frozen"))


@pytest.mark.parametrize(
    ("tuning", "sets", "expected"),
    [
        ("fft", [], ["update"]),  # networks that are trained from scratch must normalise by something
        ("lp-fft", [], ["frozen"]),
        ("lp-partial", [], ["frozen"]),
        ("fft-partial", [], ["update", "update"]),  # the probed network is gone
        ("lp-fft", ["fft.batch_norm=update"], ["update"]),
        ("lp-fft", ["lp-fft.fft.batch_norm=adapt"], ["adapt"]),
        ("lp-lora", [], ["update"]),  # which is no setting of it
    ],
)
def test_statistics_are_frozen_after_probing_unless_told_otherwise(
    grid: Path, tuning: str, sets: list[str], expected: list[str]
) -> None:
    sets = [f"tuning={tuning}", "partial.epochs=1", "fft.epochs=1", "method=ce", *sets]
    phases = plan(str(grid), sets=sets).planned[0].spec.phases
    assert [phase.batch_norm for phase in phases if phase.kind != "lp"] == expected


def test_a_plan_keeps_why_overrides_are_there(grid: Path) -> None:
    override = 'where = { method = "ce" }\nset = { lp.batch_size = 64 }\n'
    grid.write_text(GRID.replace(override, f'{override}reason = "two loaders"\n'))
    made = plan(str(grid))
    reason = {"lp.batch_size": "two loaders"}
    assert [trial.reasons for trial in made.planned] == [{}, {}, reason, reason, {}, {}]
    stored = made.to_dict()["trials"]
    assert [trial.get("reasons", {}) for trial in stored] == [{}, {}, reason, reason, {}, {}]
    # What the command line sets has not the override's reason.
    given = plan(str(grid), sets=["lp.batch_size=32"])
    assert [trial.reasons for trial in given.planned] == [{}] * 6


def test_a_plan_knows_how_long_ce_with_fft_trains_that_no_row_has(grid: Path) -> None:
    def epochs(*sets: str) -> set[int | None]:
        return {trial.reference_epochs for trial in plan(str(grid), sets=sets).planned}

    assert epochs() == {4}
    assert epochs("fft.epochs=7") == {7}
    assert [trial["reference_epochs"] for trial in plan(str(grid)).to_dict()["trials"]] == [4] * 6
    text = GRID.replace("[fft]\nepochs = 4\n", "[lp-fft.fft]\nepochs = 4\n")
    grid.write_text(text)
    assert epochs() == {None}


def test_the_reason_of_an_override_is_a_text(grid: Path) -> None:
    override = "set = { lp.batch_size = 64 }\n"
    grid.write_text(GRID.replace(override, f"{override}reason = 3\n"))
    with pytest.raises(GridError, match="must be a text"):
        plan(str(grid))


def test_excluded_trials_are_planned_as_skipped(grid: Path) -> None:
    assert [trial.skip for trial in plan(str(grid)).planned] == [None] * 5 + ["nothing to cleanse"]


def test_unsupported_trials_are_planned_as_skipped(grid: Path, tmp_path: Path) -> None:
    source = """
    from lnlbench.api import Method, Skip

    class Picky(Method):
        @classmethod
        def supports(cls, spec):
            return Skip("needs two phases") if len(spec.phases) < 2 else None
    """
    (tmp_path / "picky.py").write_text(dedent(source))
    registry.methods().add_path(str(tmp_path / "picky.py"))
    planned = plan(str(grid), where=["noise=symmetric"], sets=["method=picky"]).planned
    assert [(t.spec.tuning, t.skip) for t in planned] == [("lp", "needs two phases"), ("lp-fft", None)]


def test_an_override_may_mean_some_seeds_only(grid: Path) -> None:
    override = "[[override]]\nwhere = { seed = 1 }\nset = { lp.lr = 0.5 }\nreason = 'odd'\n"
    grid.write_text(GRID.replace("schema = 1\n", "schema = 1\nseeds = [0, 1, 2]\n") + override)
    planned = plan(str(grid), where=["method=gce"]).planned
    assert {trial.spec.seed: trial.spec.phases[0].lr for trial in planned} == {
        0: planned[0].spec.phases[0].lr,
        1: 0.5,
        2: planned[0].spec.phases[0].lr,
    }
    assert planned[0].spec.phases[0].lr != 0.5
    assert {trial.spec.seed: dict(trial.reasons) for trial in planned} == {
        0: {},
        1: {"lp.lr": "odd"},
        2: {},
    }


def test_survives_json(grid: Path) -> None:
    made = plan(str(grid), where=["method=turn"], sets=["lp.lr=0.5"], seeds="0,3")
    value = json.loads(json.dumps(made.to_dict()))
    assert value == made.to_dict()
    assert [planned_spec(trial) for trial in value["trials"]] == [trial.spec for trial in made.planned]
    ids = [trial.spec.trial_id for trial in made.planned]
    assert [trial["trial_id"] for trial in value["trials"]] == ids
    assert value["source"] == {
        "path": "test.toml",
        "grid": str(grid),
        "sha256": read_grid(grid).sha256,
        "overrides": ["--set lp.lr=0.5", "--where method=turn", "--seeds 0,3"],
    }
    assert value["table"] == {"rows": ["tuning", "method"]}


def test_filters_do_not_change_identities(grid: Path) -> None:
    every = {trial.spec.trial_id for trial in plan(str(grid)).planned}
    some = {trial.spec.trial_id for trial in plan(str(grid), where=["tuning=lp", "noise=none"]).planned}
    assert len(some) == 2
    assert some < every


def test_same_trial_is_planned_once(grid: Path) -> None:
    made = plan(str(grid), sets=["noise=symmetric-0.6,symmetric-0.60", "method=ce", "tuning=lp"])
    assert len(made.planned) == 1


def test_features_are_for_linear_probing(grid: Path) -> None:
    with pytest.raises(UsageError, match=r"--set dataset=features:x\.npz: .* cannot be fine-tuned"):
        plan(str(grid), sets=["dataset=features:x.npz"])
    made = plan(str(grid), sets=["dataset=features:x.npz"], where=["tuning=lp"])
    assert {trial.spec.dataset.name for trial in made.planned} == {"features:x.npz"}
    assert {trial.spec.backbone for trial in made.planned} == {BackboneSpec("none")}
    assert not any(has_images(trial.spec) for trial in made.planned)
    # No image passes through a backbone, so another one makes no other trial.
    twice = plan(str(grid), sets=["dataset=features:x.npz", "backbone=vit_b16,resnet50"], where=["tuning=lp"])
    assert twice.planned == made.planned
    assert plan(str(grid), sets=["dataset=features:x.npz", "backbone=none"], where=["tuning=lp"]).planned == (
        made.planned
    )
    with pytest.raises(UsageError, match="Unknown backbone 'none'"):
        plan(str(grid), sets=["backbone=none"])


def test_empty_intersection_is_nothing_selected(grid: Path) -> None:
    with pytest.raises(NothingSelectedError, match="tuning=lp and method=turn") as caught:
        plan(str(grid), where=["tuning=lp", "method=turn"])
    assert caught.value.exit_code == 5


@pytest.mark.parametrize(
    ("where", "sets", "message"),
    [
        (["method=gcee"], [], "--where method=gcee: The grid has no method 'gcee'. Did you mean 'gce'"),
        (["metod=gce"], [], "--where metod=gce: There is no axis 'metod'"),
        ([], ["dataset=digts"], "--set dataset=digts: Unknown data set 'digts'. Did you mean 'digits'"),
        ([], ["backbone=tim:resnet18"], "--set backbone=tim:resnet18: Unknown backbone 'tim'. Did you mean"),
        ([], ["method=gcee"], "--set method=gcee: Unknown method 'gcee'. Did you mean 'gce'"),
        ([], ["methods.gcee.q=1"], "--set methods.gcee.q=1: Unknown method 'gcee'. Did you mean 'gce'"),
        ([], ["methods.elr.beta=1"], "--set methods.elr.beta=1: The grid has no method 'elr'"),
        (
            [],
            ["methods.turn.tao=1"],
            "--set methods.turn.tao=1: Method 'turn' has no parameter 'tao'. Did you",
        ),
        (
            [],
            ["methods.turn.tau=true"],
            "--set methods.turn.tau=true: Parameter 'tau' of method 'turn' is True",
        ),
        (
            [],
            ["methods.turn.preset=best"],
            "--set methods.turn.preset=best: Method 'turn' has no preset 'best'",
        ),
        ([], ["dataset=npz:a/x.npz,npz:b/x.npz"], "would be one dataset in records and tables"),
    ],
)
def test_mistakes_on_the_command_line(grid: Path, where: list[str], sets: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan(str(grid), where=where, sets=sets)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ('"digits"', '"digts"', 3, "Unknown data set 'digts'"),
        ('"efficientnet_lite0"', '"efficientnet"', 4, "Unknown backbone 'efficientnet'"),
        ('method = "turn"', 'method = ["turn", "trn"]', 11, "Unknown method 'trn'"),
        ("q = 0.5", "q = 0.5\nqq = 0.5", 24, "Method 'gce' has no parameter 'qq'"),
        ("[methods.gce]", "[methods.gec]", 23, "Unknown method 'gec'"),
        ("[lp]\nepochs = 20", "", 8, "needs lp.epochs, which is not given"),
    ],
)
def test_mistakes_in_the_file(grid: Path, old: str, new: str, line: int, message: str) -> None:
    grid.write_text(GRID.replace(old, new))
    with pytest.raises(GridError) as caught:
        plan(str(grid))
    assert str(caught.value).startswith(f"{grid}:{line}: ")
    assert message in str(caught.value)


def test_broken_plugin_is_reported_before_any_work(grid: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import no_such_module\nclass Broken(no_such_module.Method): pass\n")
    registry.methods().add_path(f"{tmp_path}/broken.py:Broken")
    with pytest.raises(PluginError, match=r"'broken' of broken\.py cannot be loaded .*ModuleNotFoundError"):
        plan(str(grid), sets=["method=broken"])


def test_unknown_grid() -> None:
    with pytest.raises(LnlbenchError, match="Did you mean 'quickstart'"):
        plan("quickstrat")


@pytest.mark.parametrize("name", ["quickstart", "cifar10_cpu"])
def test_installed_grids_are_planned_without_skips(name: str) -> None:
    planned = plan(name).planned
    assert len(planned) == read_grid(registry.find_grid(name)).size
    assert {trial.skip for trial in planned} == {None}


def test_low_rank_tuning_takes_the_settings_of_fine_tuning_where_it_has_none(grid: Path) -> None:
    sets = ["tuning=lora", "fft.lr=0.25", "fft.epochs=7", "fft.batch_norm=frozen"]
    (phase,) = plan(str(grid), sets=sets).planned[0].spec.phases
    assert (phase.kind, phase.epochs, phase.lr, phase.batch_norm) == ("lora", 7, 0.25, "update")
    (own,) = plan(str(grid), sets=[*sets, "lora.lr=0.5"]).planned[0].spec.phases
    assert (own.epochs, own.lr) == (7, 0.5)
