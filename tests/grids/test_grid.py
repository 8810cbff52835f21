"""Grids: order, filters, overrides and what the command line changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lnlbench.errors import UsageError
from lnlbench.grids.grid import Grid, with_changes
from lnlbench.grids.grid_file import read_grid
from lnlbench.grids.settings import phase_spec
from lnlbench.records.filters import make_condition, parse_seeds

GRID = """\
schema = 1
dataset = ["digits", "npz:/data/pets.npz"]
backbone = ["efficientnet_lite0", "timm:resnet18"]
noise = ["symmetric-0.6", "symmetric-0.60", "asymmetric-0.4", "none"]
seeds = [1, 0]
[[rows]]
tuning = "fft"
method = ["gce", "ce"]
[[rows]]
tuning = ["lp", "lp-fft"]
method = ["ce", "ce"]
[lp]
epochs = 20
lr = 0.1
[fft]
epochs = 5
[lp-fft.fft]
epochs = 4
[[override]]
where = { backbone = "timm:resnet18" }
set = { lp.lr = 0.2, fft.lr = 0.3 }
[[override]]
where = { method = "ce", tuning = "lp" }
set = { lp.lr = 0.4 }
[[exclude]]
where = { noise = "none", method = "gce" }
reason = "first"
[[exclude]]
where = { noise = ["none", "asymmetric"] }
reason = "second"
"""


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    path = tmp_path / "test.toml"
    path.write_text(GRID)
    return read_grid(path)


def test_size_is_the_number_of_points(grid: Grid) -> None:
    points = list(grid.points())
    assert len(points) == grid.size == 2 * 2 * 4 * 2 * 4  # "0.60" is another text; plans drop the copy
    assert len({(point.tuning, point.method) for point in points}) == 4


def test_order_is_that_of_the_table(grid: Grid) -> None:
    cells = dict.fromkeys((point.tuning, point.method) for point in grid.points())
    assert list(cells) == [("fft", "gce"), ("fft", "ce"), ("lp", "ce"), ("lp-fft", "ce")]
    first = list(grid.points())[: 2 * 4]
    assert [point.seed for point in first] == [1, 0] * 4
    assert {(point.dataset, point.backbone, point.method) for point in first} == {
        ("digits", "efficientnet_lite0", "gce")
    }


def count(grid: Grid, **where: list[str]) -> int:
    wanted = make_condition(where, grid.axis_values())
    return sum(point.matches(wanted) for point in grid.points())


@pytest.mark.parametrize(
    ("where", "share"),
    [
        ({"dataset": ["digits"]}, 1 / 2),
        ({"dataset": ["npz:/data/pets.npz"]}, 1 / 2),
        ({"dataset": ["npz:pets.npz"]}, 1 / 2),
        ({"backbone": ["timm:resnet18"]}, 1 / 2),
        ({"noise": ["symmetric"]}, 1 / 2),
        ({"noise": ["symmetric-0.600"]}, 1 / 2),
        ({"noise": ["none", "asymmetric"]}, 1 / 2),
        ({"rate": ["0.40"]}, 1 / 4),
        ({"rate": ["0"]}, 1 / 4),
        ({"tuning": ["fft", "lp"]}, 3 / 4),
        ({"method": ["gce"]}, 1 / 4),
        ({"seed": ["0-1"]}, 1),
        ({"seed": ["1"], "tuning": ["fft"], "method": ["ce"]}, 1 / 8),
        ({"tuning": ["lp"], "method": ["gce"]}, 0),
        ({}, 1),
    ],
)
def test_conditions(grid: Grid, where: dict[str, list[str]], share: float) -> None:
    assert count(grid, **where) == share * grid.size


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"metod": ["ce"]}, "no axis 'metod' to filter on. Did you mean 'method'"),
        ({"method": ["cee"]}, "no method 'cee'. Did you mean 'ce'"),
        ({"noise": ["symmetric-0.9"]}, "no noise 'symmetric-0.9'. Did you mean 'symmetric-0.6'"),
        ({"noise": ["instance"]}, "no noise 'instance'"),
        ({"rate": ["0.9"]}, "no rate '0.9'"),
        ({"rate": ["high"]}, "no rate 'high'"),
        ({"seed": ["7"]}, "no seed '7'"),
        ({"seed": ["x"]}, "Seeds 'x' cannot be read"),
    ],
)
def test_unknown_conditions(grid: Grid, where: dict[str, list[str]], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_condition(where, grid.axis_values())
    assert message in str(caught.value)


def learning_rates(grid: Grid) -> dict[tuple[str, str, str, str], float]:
    return {
        (point.backbone, point.tuning, point.method, kind): phase_spec(
            grid.settings_for(point), point.tuning, kind
        ).lr
        for point in grid.points()
        for kind in point.tuning.split("-")
    }


def test_later_overrides_win_and_the_command_line_wins_over_all(grid: Grid) -> None:
    lr = learning_rates(grid)
    assert lr["efficientnet_lite0", "lp-fft", "ce", "lp"] == 0.1
    assert lr["efficientnet_lite0", "fft", "ce", "fft"] == 0.01  # default
    assert lr["timm:resnet18", "fft", "ce", "fft"] == 0.3
    assert lr["timm:resnet18", "lp-fft", "ce", "lp"] == 0.2
    assert lr["timm:resnet18", "lp", "ce", "lp"] == 0.4
    changed = learning_rates(with_changes(grid, ["lp.lr=0.7", "lp.lr=0.9"]))
    assert {rate for (*_, kind), rate in changed.items() if kind == "lp"} == {0.9}


def test_two_phase_mode_deviates_from_both_modes(grid: Grid) -> None:
    point = next(point for point in grid.points() if point.tuning == "lp-fft")
    settings = grid.settings_for(point)
    assert [phase_spec(settings, "lp-fft", kind).epochs for kind in ("lp", "fft")] == [20, 4]
    assert phase_spec(settings, "fft", "fft").epochs == 5


def test_augmentation_defaults_to_weak_where_images_are_seen(grid: Grid) -> None:
    settings = grid.settings_for(next(grid.points()))
    assert phase_spec(settings, "lp", "lp").augmentation == "none"
    assert phase_spec(settings, "fft", "fft").augmentation == "weak"


def test_missing_epochs_are_said(grid: Grid) -> None:
    settings = {key: value for key, value in grid.settings.items() if key != "lp.epochs"}
    with pytest.raises(UsageError, match=r"Tuning 'lp' needs lp\.epochs"):
        phase_spec(settings, "lp", "lp")


def test_first_matching_exclude_gives_the_reason(grid: Grid) -> None:
    reasons = {
        (point.noise.type, point.method): grid.exclusion(point) for point in grid.points() if not point.seed
    }
    assert reasons == {
        ("symmetric", "gce"): None,
        ("symmetric", "ce"): None,
        ("asymmetric", "gce"): "second",
        ("asymmetric", "ce"): "second",
        ("none", "gce"): "first",
        ("none", "ce"): "second",
    }


def test_set_replaces_axes(grid: Grid) -> None:
    changed = with_changes(
        grid,
        ["dataset=cifar10,digits", "backbone=hf:a/b", "noise=instance-0.4", "method=ce,mine"],
        seeds="0-2",
    )
    assert changed.datasets == ("cifar10", "digits")
    assert changed.backbones == ("hf:a/b",)
    assert changed.noise == ("instance-0.4",)
    assert [row.methods for row in changed.rows] == [("ce", "mine")] * 3
    assert [row.tuning for row in changed.rows] == ["fft", "lp", "lp-fft"]
    assert changed.seeds == (0, 1, 2)
    assert with_changes(grid, ["seeds=3"]).seeds == (3,)


def test_set_tuning_runs_all_methods_in_it(grid: Grid) -> None:
    rows = with_changes(grid, ["tuning=lp"]).rows
    assert [(row.tuning, row.methods) for row in rows] == [("lp", ("gce", "ce"))]


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("lp.epochs=3", "lp.epochs", 3),
        ("lp.lr = 1e-3", "lp.lr", 0.001),
        ("fft.lr=1", "fft.lr", 1.0),
        ("cache=false", "lp.cache", False),
        ("train_per_class=100", "dataset_options.train_per_class", 100),
        ("train_per_class=none", "dataset_options.train_per_class", None),
        ("revision=123", "backbone_options.revision", "123"),
        ('lp.optimizer="adamw"', "lp.optimizer", "adamw"),
        ("lp.optimizer=adamw", "lp.optimizer", "adamw"),
        ("lp-fft.lp.epochs=2", "lp-fft.lp.epochs", 2),
        ("precision=fp32", "precision", "fp32"),
        ("methods.turn.tau=0.7", "methods.turn.tau", 0.7),
        ("methods.turn.mixture=tight", "methods.turn.mixture", "tight"),
        ("methods.turn.monotone=false", "methods.turn.monotone", False),
        ("noise_options.symmetric.variant=exclusive", "noise_options.symmetric.variant", "exclusive"),
        ("backbone_options.pooling=mean", "backbone_options.pooling", "mean"),
    ],
)
def test_set_values(grid: Grid, text: str, key: str, value: object) -> None:
    given = with_changes(grid, [text]).given
    assert {name: setting.value for name, setting in given.items()} == {key: value}
    assert type(given[key].value) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lp.epochs", "This is not KEY=VALUE"),
        ("lp.epochs=", "This is not KEY=VALUE"),
        ("epoch=3", "Unknown key 'epoch'. Did you mean 'epochs'"),
        ("epochs=3", "'epochs' is short for several keys. Write fft.epochs or lora.epochs"),
        ("cache=False", 'lp.cache is the text "False"; it must be true or false'),
        ("cache=0", "lp.cache is 0; it must be true or false"),
        ("lp.epochs=true", "lp.epochs is true; it must be an integer"),
        ("lp.lr=fast", 'lp.lr is the text "fast"; it must be a number'),
        ("train_per_class=many", 'is the text "many"; it must be an integer or "none"'),
        ("lp.lr=nan", "lp.lr is nan; it must be a finite number"),
        ("noise=symmetric-1.2", "must lie in [0, 1]"),
        ("tuning=lpp", "Unknown tuning mode 'lpp'"),
        ("seeds=a", "Seeds 'a' cannot be read"),
        ("title=x", "Unknown key 'title'"),
    ],
)
def test_wrong_set(grid: Grid, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        with_changes(grid, [text])
    assert str(caught.value).startswith(f"--set {text}: ")
    assert message in str(caught.value)


def test_absurd_grids_are_refused_before_they_are_expanded(grid: Grid) -> None:
    large = with_changes(grid, seeds="0-99999")
    with pytest.raises(UsageError, match=r"has 6,400,000 trials; 100,000 are the limit"):
        next(large.points())


@given(st.lists(st.integers(0, 500), min_size=1, max_size=20))
def test_seeds_listed(seeds: list[int]) -> None:
    assert parse_seeds(",".join(map(str, seeds))) == tuple(dict.fromkeys(seeds))


@given(st.integers(0, 500), st.integers(0, 500))
def test_seeds_as_a_range(first: int, length: int) -> None:
    assert parse_seeds(f"{first}-{first + length}") == tuple(range(first, first + length + 1))


@pytest.mark.parametrize("text", ["", "a", "-1", "1-", "1,,2", "1.5", "0-1-2", "²", "4-0", "0-100000"])
def test_wrong_seeds(text: str) -> None:
    with pytest.raises(UsageError, match="Seeds"):
        parse_seeds(text)
