"""Grid files: what is read, and where mistakes are said to be."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lnlbench.errors import GridError
from lnlbench.grids.grid import Grid
from lnlbench.grids.grid_file import read_grid
from lnlbench.grids.settings import flatten
from lnlbench.grids.toml import key_lines
from lnlbench.plugins.registry import grids

GRID = """\
schema = 1
title = "Test"
dataset = "digits"
backbone = ["efficientnet_lite0"]
noise = ["symmetric-0.6",
         "none"]

[[rows]]
tuning = "lp"
method = ["ce", "gce"]

[[rows]]
tuning = "lp-fft"
method = "turn"

[lp]
epochs = 20

[fft]
epochs = 4
"""


def read(tmp_path: Path, text: str) -> Grid:
    path = tmp_path / "test.toml"
    path.write_text(text)
    return read_grid(path)


def test_reads_all_parts(tmp_path: Path) -> None:
    grid = read(
        tmp_path,
        GRID.replace('"digits"', '["digits", "npz:some.npz"]').replace(
            "schema = 1", 'schema = 1\nseeds = "0-2"'
        )
        + """
        [lp-fft.fft]
        epochs = 3
        lr = 1
        [methods.turn]
        tau = 0.7
        [noise_options.symmetric]
        variant = "exclusive"
        [[override]]
        where = { method = ["ce", "gce"], rate = 0.6 }
        set = { "lp.batch_size" = 64, lp.cache = false, image_size = 32 }
        [[exclude]]
        where = { noise = "none", seed = "1-2" }
        reason = "nothing to learn from"
        [table]
        rows = ["tuning", "method"]
        metric = "best / last"
        """,
    )
    assert (grid.name, grid.title) == ("test", "Test")
    assert grid.datasets == ("digits", "npz:some.npz")
    assert grid.backbones == ("efficientnet_lite0",)
    assert grid.noise == ("symmetric-0.6", "none")
    assert grid.seeds == (0, 1, 2)
    assert [(row.tuning, row.methods) for row in grid.rows] == [("lp", ("ce", "gce")), ("lp-fft", ("turn",))]
    assert {key: setting.value for key, setting in grid.settings.items()} == {
        "lp.epochs": 20,
        "fft.epochs": 4,
        "lp-fft.fft.epochs": 3,
        "lp-fft.fft.lr": 1.0,
        "methods.turn.tau": 0.7,
        "noise_options.symmetric.variant": "exclusive",
    }
    (override,) = grid.overrides
    assert override.where == {"method": {"ce", "gce"}, "rate": {"0.6"}}
    assert {key: setting.value for key, setting in override.settings.items()} == {
        "lp.batch_size": 64,
        "lp.cache": False,
        "backbone_options.image_size": 32,
    }
    (exclude,) = grid.excludes
    assert exclude.where == {"noise": {"none"}, "seed": {"1", "2"}}
    assert exclude.reason == "nothing to learn from"
    assert grid.table == {"rows": ["tuning", "method"], "metric": "best / last"}
    assert grid.size == 2 * 2 * 3 * 3


def test_integer_becomes_the_float_that_the_key_takes(tmp_path: Path) -> None:
    value = read(tmp_path, GRID + "lr = 1\n").settings["fft.lr"].value
    assert (value, type(value)) == (1.0, float)


def test_none_unsets(tmp_path: Path) -> None:
    grid = read(tmp_path, GRID + '[dataset_options]\ntrain_per_class = "none"\n')
    assert grid.settings["dataset_options.train_per_class"].value is None


def test_installed_grids_are_read() -> None:
    sizes = {entry.name: read_grid(entry.path).size for entry in grids() if entry.path}
    assert sizes.keys() >= {"quickstart", "cifar10_cpu"}
    assert all(size > 0 for size in sizes.values())


# The line is that of the mistake, counted in GRID (which has 20) or in what is appended to it.
@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("schema = 1\n", "", 1, "schema is missing"),
        ("schema = 1", "schema = 2", 1, "schema is 2; this version reads 1"),
        ("title", "titel", 2, "Unknown key 'titel'. Did you mean 'title'"),
        ('"Test"', "3", 2, "title must be a text"),
        ('dataset = "digits"\n', "", 1, "dataset is missing"),
        ('"digits"', "[]", 3, "dataset must be a text or a list of texts"),
        ('"digits"', "[1]", 3, "dataset must be a text or a list of texts"),
        ('"none"]', '"symetric-0.6"]', 5, "Unknown noise 'symetric'. Did you mean 'symmetric'"),
        ('"none"]', '"symmetric-60"]', 5, "The rate of symmetric noise is 60"),
        ('"none"]', '"symmetric"]', 5, "no rate that can be read"),
        ("schema = 1", "schema = 1\nseeds = [true]", 2, "seeds must be integers"),
        ("schema = 1", "schema = 1\nseeds = 3", 2, "seeds must be a list"),
        ("schema = 1", 'schema = 1\nseeds = "4-0"', 2, "run backwards"),
        ("schema = 1", 'schema = 1\nprecision = "fp8"', 2, "Unknown precision 'fp8'"),
        ('"lp-fft"', '"lpfft"', 13, "Unknown tuning mode 'lpfft'. Did you mean 'lp-fft'"),
        ('method = "turn"', 'methods = "turn"', 14, "Unknown key 'methods'. Did you mean 'method'"),
        ('method = "turn"', "", 12, "method is missing"),
        ("epochs = 20", "epoch = 20", 17, "Unknown key 'lp.epoch'. Did you mean 'lp.epochs'"),
        ("epochs = 20", "epochs = 0", 17, "lp.epochs is 0; it must be at least 1"),
        ("epochs = 20", "epochs = 20.0", 17, "lp.epochs is 20.0; it must be an integer"),
        ("epochs = 20", "epochs = true", 17, "lp.epochs is true; it must be an integer"),
        ("epochs = 20", "cache = 1", 17, "lp.cache is 1; it must be true or false"),
        ("epochs = 20", 'cache = "yes"', 17, 'lp.cache is the text "yes"; it must be true or false'),
        ("epochs = 20", 'optimizer = "adam"', 17, "Unknown optimizer 'adam'. Did you mean 'adamw'"),
        ("epochs = 4", "views = 3", 20, "Unknown key 'fft.views'"),
        ("epochs = 4", "epochs = ", 20, "is not TOML"),
        ("[lp]\nepochs = 20", "[[lp]]\nepochs = 20", 16, "lp must be a table"),
    ],
)
def test_mistake_in_file(tmp_path: Path, old: str, new: str, line: int, message: str) -> None:
    assert old in GRID
    with pytest.raises(GridError) as caught:
        read(tmp_path, GRID.replace(old, new))
    assert str(caught.value).startswith(f"{tmp_path}/test.toml:{line}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("added", "line", "message"),
    [
        ("[dataset_options]\nvalidation_fraction = 1.5", 2, "validation_fraction is 1.5"),
        ("[dataset_options]\nvalidation_labels = 'dirty'", 2, "Unknown validation_labels 'dirty'"),
        ("[backbone_options]\nimage_size = 4", 2, "image_size is 4; it must be at least 8"),
        ("[noise_options.symetric]\nvariant = 'x'", 2, "Unknown noise 'symetric'"),
        ("[noise_options]\nvariant = 'x'", 2, "Unknown noise 'variant'"),
        ("[methods]\ntau = 0.6", 2, "'methods.tau' names no parameter"),
        ("[lp-fft]\nepochs = 3", 2, "Unknown key 'lp-fft.epochs'"),
        ("[[override]]\nset = {lp.epochs = 3}", 1, "of no trial"),
        ("[[override]]\nwhere = {method = 'ce'}", 1, "sets nothing"),
        ("[[override]]\nwhere = {methods = 'ce'}\nset = {lp.epochs = 3}", 2, "no axis 'methods'"),
        ("[[override]]\nwhere = {method = 'elr'}\nset = {lp.epochs = 3}", 2, "The grid has no method 'elr'"),
        ("[[override]]\nwhere = {method = true}\nset = {lp.epochs = 3}", 2, "method must be a text"),
        ("[[override]]\nwhere = {method = 'ce'}\nset = {lr = 3}", 3, "'lr' is short for several keys"),
        (
            "[[override]]\nwhere = {method = 'ce'}\n[override.set]\nlp.lr = -1",
            4,
            "lp.lr is -1; it must be pos",
        ),
        ("[[override]]\nwhere = {method = 'ce'}\nset = {seeds = 3}", 3, "Unknown key 'seeds'"),
        ("[[override]]\nwhen = 1", 2, "Unknown key 'when'. Did you mean 'where'"),
        ("[override]\nwhere = {method = 'ce'}", 1, "override must be an array of tables"),
        ("[[exclude]]\nwhere = {method = 'ce'}", 1, "gives no reason"),
        ("[[exclude]]\nwhere = {method = 'ce'}\nreason = ' '", 3, "gives no reason"),
        ("[table]\ncolums = 'noise'", 2, "Unknown key 'colums'. Did you mean 'columns'"),
        ("[table]\nrows = 3", 2, "rows must be a text or a list of texts"),
    ],
)
def test_mistake_in_added_part(tmp_path: Path, added: str, line: int, message: str) -> None:
    with pytest.raises(GridError) as caught:
        read(tmp_path, f"{GRID}{added}\n")
    assert str(caught.value).startswith(f"{tmp_path}/test.toml:{20 + line}: ")
    assert message in str(caught.value)


def test_grid_without_rows(tmp_path: Path) -> None:
    with pytest.raises(GridError, match="The grid has no rows"):
        read(tmp_path, GRID.split("[[rows]]")[0])


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(GridError, match="cannot be read: No such file"):
        read_grid(tmp_path / "absent.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(GridError, match="is not UTF-8 text"):
        read_grid(tmp_path / "binary.toml")


def test_lines_of_awkward_documents() -> None:
    text = '''\
# a = 1
a = """
b = 2
[c]
"""  # still a
"quoted key" = [
  "[c]",
  { x = 1 },
]
[ c . d ]
e.f = { g = 1 }
[[c.list]]
x = 1
[c.list.inner]
y = 1
[[c.list]]
x = 2'''
    assert key_lines(text) == {
        "a": 2,
        "quoted key": 6,
        "c.d": 10,
        "c.d.e": 11,
        "c.d.e.f": 11,
        "c.d.e.f.g": 11,
        "c.list[0]": 12,
        "c.list[0].x": 13,
        "c.list[0].inner": 14,
        "c.list[0].inner.y": 15,
        "c.list[1]": 16,
        "c.list[1].x": 17,
    }


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["1", '"x = 1"', "[1,\n2]", "'''\n[t]\nk0 = 1\n'''", "{ y = 1 }", "true"]),
            st.sampled_from(["", "\n", "# k0 = 3\n", "\n\n"]),
        ),
        max_size=6,
    )
)
def test_every_key_is_found_on_its_line(items: list[tuple[str, str]]) -> None:
    text = ""
    expected = {}
    for number, (value, gap) in enumerate(items):
        text += f"{gap}[t{number}]\n"
        text += f"k{number} = {value}\n"
        before = text[: text.rindex(f"k{number} = {value}")]
        expected[f"t{number}.k{number}"] = before.count("\n") + 1
    lines = key_lines(text)
    assert {key: lines[key] for key in expected} == expected
    assert {key for key, _ in flatten(tomllib.loads(text))} <= set(lines)
