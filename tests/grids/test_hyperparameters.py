"""Hyperparameter files: what is read, what is refused, and how they are found."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from lnlbench.errors import GridError, PluginError
from lnlbench.grids.hyperparameters import Hyperparameters, read_hyperparameters, tuned_keys
from lnlbench.plugins import registry

FILE = """\
schema = 1
title = "Ours"

[source]
metric = "validation"
seeds = [0, 1]

[backbone.vit_b16.lp]
optimizer = "adamw"
lr = 1

[backbone.vit_b16.fft]
batch_norm = "frozen"

[backbone."timm:resnet50.a1_in1k".fft]
batch_size = 32
"""


def read(tmp_path: Path, text: str) -> Hyperparameters:
    path = tmp_path / "ours.toml"
    path.write_text(text)
    return read_hyperparameters(path)


def values(file: Hyperparameters, backbone: str) -> dict[str, object]:
    return {key: setting.value for key, setting in file.settings_for(backbone).items()}


def test_reads_settings_by_backbone(tmp_path: Path) -> None:
    file = read(tmp_path, FILE)
    assert (file.name, file.title) == ("ours", "Ours")
    assert file.source == {"metric": "validation", "seeds": [0, 1]}
    assert values(file, "vit_b16") == {"lp.optimizer": "adamw", "lp.lr": 1.0, "fft.batch_norm": "frozen"}
    assert values(file, "timm:resnet50.a1_in1k") == {"fft.batch_size": 32}
    assert values(file, "resnet50") == {}
    origin = file.settings_for("timm:resnet50.a1_in1k")["fft.batch_size"].origin
    assert origin.text == f"{tmp_path}/ours.toml:16"


def test_folders_count_by_their_last_component(tmp_path: Path) -> None:
    file = read(tmp_path, 'schema = 1\n[backbone."hf:/models/vit".lp]\nlr = 0.1\n')
    assert values(file, "hf:/elsewhere/vit") == {"lp.lr": 0.1}


def test_the_hash_is_that_of_the_content(tmp_path: Path) -> None:
    one, two = read(tmp_path, FILE), read(tmp_path, FILE.replace("32", "64"))
    assert one.sha256 != two.sha256
    assert one.sha256 == read(tmp_path, FILE).sha256


def test_what_may_be_tuned() -> None:
    assert {"lr", "optimizer", "weight_decay", "batch_size", "momentum", "schedule"} <= set(tuned_keys("lp"))
    assert not {"kind", "epochs", "cache", "views"} & {*tuned_keys("lp"), *tuned_keys("fft")}


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("schema = 1", "schema = 2", 1, "schema is 2; this version reads 1"),
        ("schema = 1\n", "", 1, "schema is missing"),
        ('title = "Ours"', "titel = 1", 2, "Unknown key 'titel'. Did you mean 'title'"),
        ('title = "Ours"', "title = 1", 2, "title must be a text"),
        ('title = "Ours"', "source = 1", 4, "is not TOML"),
        ("lr = 1", "lr = -1", 10, "lp.lr is -1; it must be positive"),
        ("lr = 1", "lrr = 1", 10, "Unknown key 'lrr'. Did you mean 'lr'"),
        ("lr = 1", "epochs = 1", 10, "'epochs' is set by grids"),
        ("lr = 1", "cache = true", 10, "'cache' is set by grids"),
        ("lr = 1", 'batch_norm = "frozen"', 10, "Unknown key 'batch_norm'"),
        ('"adamw"', '"adam"', 9, "Unknown optimizer 'adam'. Did you mean 'adamw'"),
        ("batch_size = 32", "batch_size = 3.5", 16, "fft.batch_size is 3.5; it must be an integer"),
        ("[backbone.vit_b16.lp]", "[backbone.vit_b16.lpp]", 8, "Unknown key 'lpp'. Did you mean 'lp'"),
        ("batch_size = 32", "", 15, "Backbone 'timm:resnet50.a1_in1k' has no settings"),
        ("[backbone.vit_b16.fft]\nbatch_norm", "[backbone]\nvit", 13, "vit must be a table"),
    ],
)
def test_mistakes_are_located(tmp_path: Path, old: str, new: str, line: int, message: str) -> None:
    assert old in FILE
    with pytest.raises(GridError) as caught:
        read(tmp_path, FILE.replace(old, new))
    assert str(caught.value).startswith(f"{tmp_path}/ours.toml:{line}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("schema = 1", "The file has no backbone"),
        ("schema = 1\nbackbone = 3", "backbone must be a table"),
        ("schema = 1\nsource = 3\n[backbone.x.lp]\nlr = 1", "source must be a table"),
        (
            'schema = 1\n[backbone."hf:/a/vit".lp]\nlr = 1\n[backbone."hf:/b/vit".lp]\nlr = 1',
            "another backbone of the label 'hf:vit'",
        ),
    ],
)
def test_files_without_use(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(GridError, match=message):
        read(tmp_path, text)


def test_files_are_found_by_name_and_by_path(tmp_path: Path) -> None:
    assert registry.find_hyperparameters("paper_table8", tmp_path).name == "paper_table8.toml"
    (tmp_path / "ours.toml").write_text(FILE)
    assert registry.find_hyperparameters("ours.toml", tmp_path) == tmp_path / "ours.toml"
    absolute = str(tmp_path / "ours.toml")
    assert registry.find_hyperparameters(absolute, Path("elsewhere")) == tmp_path / "ours.toml"
    with pytest.raises(PluginError, match=r"no hyperparameter file .*theirs\.toml.*paper_table8"):
        registry.find_hyperparameters("theirs.toml", tmp_path)
    with pytest.raises(PluginError, match=r"file 'paper_table9'\. Did you mean"):
        registry.find_hyperparameters("paper_table9", tmp_path)


def test_table_8_is_the_papers() -> None:
    path = registry.find_hyperparameters("paper_table8", Path())
    file = read_hyperparameters(path)
    with (path.parents[1] / "paper" / "table8.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        assert values(file, row["backbone"]) == {
            f"{phase}.{name}": kind(row["batch_size" if name == "batch_size" else f"{phase}_{name}"])
            for phase in ("lp", "fft")
            for name, kind in (
                ("optimizer", str),
                ("lr", float),
                ("weight_decay", float),
                ("batch_size", int),
            )
        }
    assert len(rows) == 6
    assert values(file, "vit_l16") == values(file, "vit_b16")
    assert values(file, "clip_vit_l14") == values(file, "clip_vit_b")
    assert set(file.backbones) == {row["backbone"] for row in rows} | {"vit_l16", "clip_vit_l14"}
