"""Rows that vary settings: what is run, filtered, replaced and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lnlbench.errors import GridError, NothingSelectedError, UsageError
from lnlbench.grids.grid_file import read_grid
from lnlbench.grids.plan import Plan, plan

GRID = """\
schema = 1
dataset = "digits"
backbone = "efficientnet_lite0"
noise = "symmetric-0.6"
[[rows]]
tuning = ["lp", "lp-fft"]
method = ["gce", "ce"]
set = { "methods.gce.q" = [0.5, 0.7], "lp.lr" = [0.1, 0.2], "fft.lr" = 0.3 }
[[rows]]
tuning = "lp-fft"
method = "turn"
[rows.set]
methods.turn.cleansing = ["once", "multiple"]
methods.turn.balanced = [true, false]
[lp]
epochs = 20
lr = 9
[fft]
epochs = 5
lr = 9
[[override]]
where = { tuning = "lp-fft" }
set = { lp.lr = 8, lp.batch_size = 8 }
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "test.toml"
    path.write_text(GRID)
    return path


def planned(path: Path, *where: str, sets: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Return what differs between the trials of a plan."""
    made = []
    for item in plan(str(path), where=where, sets=sets).planned:
        spec = item.spec
        varied = {key: dict(spec.method.params).get(key) for key in ("q", "cleansing", "balanced", "tau")}
        varied |= {f"{phase.kind}.{name}": getattr(phase, name) for phase in spec.phases for name in ("lr",)}
        made.append({"tuning": spec.tuning, "method": spec.method.name, **varied})
    return made


def combinations(trials: list[dict[str, Any]], *keys: str) -> list[tuple[Any, ...]]:
    return [tuple(trial.get(key) for key in keys) for trial in trials]


def test_lists_are_crossed_and_scalars_set(path: Path) -> None:
    trials = planned(path, "method=gce", "tuning=lp-fft")
    assert combinations(trials, "q", "lp.lr", "fft.lr") == [
        (0.5, 0.1, 0.3),
        (0.5, 0.2, 0.3),
        (0.7, 0.1, 0.3),
        (0.7, 0.2, 0.3),
    ]


def test_what_cannot_matter_does_not_multiply_trials(path: Path) -> None:
    # CE has no q, and linear probing no fft.lr.
    assert combinations(planned(path, "method=ce", "tuning=lp"), "lp.lr", "fft.lr") == [
        (0.1, None),
        (0.2, None),
    ]
    grid = read_grid(path)
    assert grid.size == len(list(grid.points())) == len(plan(str(path)).planned) == 2 * (4 + 2) + 4


def test_rows_win_over_overrides_and_other_rows_have_them(path: Path) -> None:
    made = plan(str(path), where=["tuning=lp-fft"]).planned
    assert {(item.spec.method.name, item.spec.phases[0].lr) for item in made} == {
        ("gce", 0.1),
        ("gce", 0.2),
        ("ce", 0.1),
        ("ce", 0.2),
        ("turn", 8.0),
    }
    assert {item.spec.phases[0].batch_size for item in made} == {8}


@pytest.mark.parametrize(
    ("where", "count"),
    [
        (["methods.gce.q=0.5"], 4),
        (["methods.gce.q=5e-1,0.70"], 8),
        (["methods.turn.cleansing=once"], 2),
        (["methods.turn.balanced=false"], 2),
        (["methods.turn.balanced=false", "methods.turn.cleansing=once"], 1),
        (["lp.lr=0.1", "method=ce"], 2),
        (["fft.lr=0.3"], 6),
    ],
)
def test_filters_on_what_is_varied(path: Path, where: list[str], count: int) -> None:
    assert len(planned(path, *where)) == count


def test_overrides_and_excludes_on_what_is_varied(path: Path) -> None:
    path.write_text(
        GRID
        + """
        [[override]]
        where = { "methods.gce.q" = 0.5, method = "gce" }
        set = { lp.epochs = 3 }
        [[exclude]]
        where = { methods.turn.balanced = false }
        reason = "not now"
        """
    )
    items = plan(str(path)).planned
    epochs = {(dict(i.spec.method.params).get("q"), i.spec.phases[0].epochs) for i in items}
    assert epochs == {(0.5, 3), (0.7, 20), (None, 20)}
    skipped = [dict(item.spec.method.params)["balanced"] for item in items if item.skip]
    assert skipped == [False, False]


def test_set_takes_the_place_of_what_is_varied(path: Path) -> None:
    assert (
        combinations(planned(path, "method=turn", sets=("methods.turn.cleansing=none",)), "cleansing")
        == [("none",)] * 2
    )
    trials = planned(path, "method=gce", "tuning=lp", sets=("lp.lr=0.4", "methods.gce.q=0.1,0.2,0.3"))
    assert combinations(trials, "q", "lp.lr") == [(0.1, 0.4), (0.2, 0.4), (0.3, 0.4)]
    trials = planned(path, "method=turn", sets=("methods.turn.cleansing=[ 'once', 'none' ]",))
    assert combinations(trials, "cleansing", "balanced") == [
        ("once", True),
        ("once", False),
        ("none", True),
        ("none", False),
    ]
    # The last one given counts.
    trials = planned(path, "method=ce", "tuning=lp", sets=("lp.lr=0.4", "lp.lr=0.5,0.6"))
    assert combinations(trials, "lp.lr") == [(0.5,), (0.6,)]
    trials = planned(path, "method=ce", "tuning=lp", sets=("lp.lr=0.5,0.6", "lp.lr=0.4"))
    assert combinations(trials, "lp.lr") == [(0.4,)]


def test_set_method_drops_the_variants_of_others(path: Path) -> None:
    trials = planned(path, sets=("method=elr", "tuning=lp"))
    assert combinations(trials, "tuning", "method", "lp.lr") == [
        ("lp", "elr", 0.1),
        ("lp", "elr", 0.2),
        ("lp", "elr", 9.0),
    ]


def test_set_tuning_keeps_what_rows_vary(path: Path) -> None:
    trials = planned(path, "method=turn", sets=("tuning=fft",))
    assert combinations(trials, "tuning", "cleansing", "balanced") == [
        ("fft", cleansing, balanced) for cleansing in ("once", "multiple") for balanced in (True, False)
    ]


def test_a_value_that_is_the_default_is_the_same_trial(path: Path) -> None:
    path.write_text(
        GRID.split("[[rows]]")[0]
        + '[[rows]]\ntuning = "lp"\nmethod = "gce"\nset = { "methods.gce.q" = [0.7, 0.70] }\n'
        + '[[rows]]\ntuning = "lp"\nmethod = "gce"\n[lp]\nepochs = 1\n'
    )
    assert len(planned(path)) == 1


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("methods.gce.q=0.6", "The grid has no methods.gce.q '0.6'"),
        (
            "methods.gce.qq=0.5",
            "no axis 'methods.gce.qq' to filter on. Did you mean 'methods.gce.q'",
        ),
    ],
)
def test_unknown_filters(path: Path, where: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan(str(path), where=[where])
    assert message in str(caught.value)


def test_filters_that_exclude_each_other(path: Path) -> None:
    with pytest.raises(NothingSelectedError):
        plan(str(path), where=["methods.gce.q=0.5", "method=ce"])


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ('{ "methods.elr.lam" = 3 }', "The row has no method 'elr'"),
        ('{ "methods.gce.q" = [] }', "methods.gce.q is an empty list"),
        ('{ "methods.gce.qq" = 0.5 }', "Method 'gce' has no parameter 'qq'"),
        ('{ "methods.gce.q" = [0.5, true] }', "Parameter 'q' of method 'gce' is True"),
        ('{ "lp.lrr" = 1 }', "Unknown key 'lp.lrr'. Did you mean 'lp.lr'"),
        ('{ "lp.lr" = [1, -1] }', "lp.lr is -1; it must be positive"),
        ('{ "seeds" = [1] }', "Unknown key 'seeds'"),
        ("3", "set must be a table"),
    ],
)
def test_mistakes_are_located(path: Path, new: str, message: str) -> None:
    old = '{ "methods.gce.q" = [0.5, 0.7], "lp.lr" = [0.1, 0.2], "fft.lr" = 0.3 }'
    path.write_text(GRID.replace(old, new))
    with pytest.raises(GridError) as caught:
        plan(str(path))
    assert str(caught.value).startswith(f"{path}:8: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lp.lr=[]", "lp.lr is an empty list"),
        ("lp.lr=0.1,fast", 'lp.lr is the text "fast"; it must be a number'),
        ("lp.epochs=1,2", 'lp.epochs is the text "1,2"; it must be an integer'),
        ("dataset=,", "This sets nothing"),
    ],
)
def test_mistakes_on_the_command_line(path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan(str(path), sets=[text])
    assert str(caught.value).startswith(f"--set {text}: ")
    assert message in str(caught.value)


HYPERPARAMETERS = """\
schema = 1
[backbone.efficientnet_lite0.lp]
lr = 7
batch_size = 77
[backbone.efficientnet_lite0.fft]
lr = 6
"""


def budgets(made: Plan) -> dict[tuple[str, str], list[tuple[float, int]]]:
    return {
        (item.spec.backbone.label, item.spec.method.name): [(p.lr, p.batch_size) for p in item.spec.phases]
        for item in made.planned
    }


def test_hyperparameters_win_over_tables_and_nothing_else(path: Path, tmp_path: Path) -> None:
    (tmp_path / "ours.toml").write_text(HYPERPARAMETERS)
    path.write_text(GRID.replace("schema = 1", 'schema = 1\nhyperparameters = "ours.toml"'))
    made = plan(str(path), where=["tuning=lp-fft"], sets=["backbone=efficientnet_lite0,timm:resnet18"])
    found = budgets(made)
    # lp.lr and lp.batch_size by the override; fft.lr by the file, or by the grid's table.
    assert found["efficientnet_lite0", "turn"] == [(8.0, 8), (6.0, 128)]
    assert found["timm:resnet18", "turn"] == [(8.0, 8), (9.0, 128)]
    assert found["efficientnet_lite0", "ce"] == [(0.2, 8), (0.3, 128)]  # lr by the row
    probing = budgets(plan(str(path), where=["tuning=lp"]))
    assert probing["efficientnet_lite0", "ce"] == [(0.2, 77)]
    given = budgets(plan(str(path), where=["tuning=lp-fft"], sets=["fft.lr=0.5"]))
    assert given["efficientnet_lite0", "turn"] == [(8.0, 8), (0.5, 128)]


def test_the_plan_says_which_hyperparameters_it_has(path: Path, tmp_path: Path) -> None:
    assert "hyperparameters" not in plan(str(path)).source
    file = tmp_path / "ours.toml"
    file.write_text(HYPERPARAMETERS)
    sets = [f"hyperparameters={file}", "backbone=efficientnet_lite0,timm:resnet18"]
    source = plan(str(path), sets=sets).source["hyperparameters"]
    assert (source["name"], source["without"]) == ("ours", ["timm:resnet18"])
    file.write_text(HYPERPARAMETERS.replace("7", "5"))
    assert plan(str(path), sets=sets).source["hyperparameters"]["sha256"] != source["sha256"]
    assert "hyperparameters" not in plan(str(path), sets=[*sets, "hyperparameters=none"]).source


def test_paths_are_relative_to_the_grid_or_to_the_working_folder(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "ours.toml").write_text(HYPERPARAMETERS)
    with pytest.raises(UsageError, match=r"--set hyperparameters=ours\.toml: There is no hyperparameter"):
        plan(str(path), sets=["hyperparameters=ours.toml"])
    plan(str(path), sets=["hyperparameters=../ours.toml"])
    path.write_text(GRID.replace("schema = 1", 'schema = 1\nhyperparameters = "ours.toml"'))
    plan(str(path))
    path.write_text(GRID.replace("schema = 1", 'schema = 1\nhyperparameters = "theirs.toml"'))
    with pytest.raises(GridError, match=r"test\.toml:2: There is no hyperparameter file .*theirs\.toml"):
        plan(str(path))


def test_mistakes_in_the_hyperparameter_file_are_located_there(path: Path, tmp_path: Path) -> None:
    (tmp_path / "ours.toml").write_text(HYPERPARAMETERS.replace("7", "-7", 1))
    path.write_text(GRID.replace("schema = 1", 'schema = 1\nhyperparameters = "ours.toml"'))
    with pytest.raises(GridError, match=r"ours\.toml:3: lp\.lr is -7") as caught:
        plan(str(path))
    assert str(caught.value).startswith(f"{tmp_path}/ours.toml:3: ")


def test_the_figure_is_passed_on_unchecked(path: Path) -> None:
    path.write_text(GRID + '[figure]\nkind = "lines"\nx = ["lp.lr"]\n')
    made = plan(str(path))
    assert made.figure == {"kind": "lines", "x": ["lp.lr"]}
    assert made.to_dict()["figure"] == made.figure
    path.write_text("figure = 3\n" + GRID)
    with pytest.raises(GridError, match=r"test\.toml:1: figure must be a table"):
        plan(str(path))
