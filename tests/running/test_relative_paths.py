"""Relative paths of every kind, through whole runs under Ray, whose workers work elsewhere."""

from __future__ import annotations

from pathlib import Path

import given_plugins
import numpy as np
import pytest
import timm
import tiny_models
import torch
from PIL import Image
from safetensors.torch import save_file

import lnlbench
from lnlbench.basics.paths import absolute, located
from lnlbench.cli import main
from lnlbench.errors import ExitCode, UsageError
from lnlbench.noise import corrupt, save_noise_file
from lnlbench.spec import BackboneSpec, DatasetSpec, NoiseSpec

CLASSES, TRAIN, TEST, SIDE = ("cat", "dog"), 10, 3, 32

GRID = """
schema = 1
title = "Paths of every kind"
seeds = [0]
dataset = ["npz:pets.npz", "npz:./more/birds.npz", "npz:kept.npz", "imagefolder:photos",
           "features:embeddings.npz"]
backbone = ["hf:./models/vit", "hf:models/other", "timm:test_vit"]
noise = ["file:noise.npz"]
hyperparameters = "ours.toml"
[[rows]]
tuning = "lp"
method = ["ce", "mine"]
[backbone_options]
image_size = 32
[[override]]
where = { backbone = "timm:test_vit" }
set = { "backbone_options.path" = "models/timm/model.safetensors" }
[lp]
epochs = 1
"""

HYPERPARAMETERS = """
schema = 1
title = "Found here"
[backbone."hf:./models/vit".lp]
lr = 0.05
"""

PLUGIN = """
from pathlib import Path
from lnlbench.api import Method, functional

class Mine(Method):
    '''Cross-entropy that reads a file beside the command by itself, as a plugin may.'''

    def setup(self, task):
        super().setup(task)
        assert Path("settings.txt").read_text() == "mine"

    def loss(self, batch):
        return functional.cross_entropy(self.network(batch.inputs), batch.labels)
"""


def write_images(path: Path, seed: int, *, flat: bool = False) -> None:
    rng = np.random.default_rng(seed)
    arrays = {}
    for part, count in (("train", TRAIN), ("test", TEST)):
        labels = np.repeat(np.arange(len(CLASSES)), count)
        images = rng.integers(0, 256, (len(labels), SIDE, SIDE, 3), dtype=np.uint8)
        arrays[f"x_{part}"] = images.reshape(len(labels), -1)[:, :16] / np.float32(255) if flat else images
        arrays[f"y_{part}"] = labels
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)


def fill(folder: Path) -> None:
    """Write data, weights, noise, a grid and a plugin; the labels of all data sets are the same."""
    write_images(folder / "pets.npz", 0)
    write_images(folder / "more" / "birds.npz", 1)
    write_images(folder / "data" / "kept.npz", 2)  # in the data folder only
    write_images(folder / "embeddings.npz", 3, flat=True)
    rng = np.random.default_rng(4)
    for part, count in (("train", TRAIN), ("test", TEST)):
        for name in CLASSES:
            (folder / "photos" / part / name).mkdir(parents=True)
            for number in range(count):
                image = Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
                image.save(folder / "photos" / part / name / f"{number}.png")
    tiny_models.save("vit", folder / "models" / "vit")
    tiny_models.save("vit", folder / "models" / "other", seed=1)
    (folder / "models" / "timm").mkdir()
    torch.manual_seed(0)
    weights = timm.create_model("test_vit", pretrained=False).state_dict()
    save_file(weights, folder / "models" / "timm" / "model.safetensors")
    clean = np.repeat(np.arange(len(CLASSES)), TRAIN)
    noise = NoiseSpec("symmetric", 0.4)
    noisy = corrupt(noise, clean, len(CLASSES), dataset="pets", seed=0).labels
    save_noise_file(folder / "noise.npz", noisy, clean, spec=noise, dataset="pets", classes=2, seed=0)
    (folder / "grid.toml").write_text(GRID)
    (folder / "ours.toml").write_text(HYPERPARAMETERS)
    (folder / "mine.py").write_text(PLUGIN)
    (folder / "settings.txt").write_text("mine")


def run(*options: str, plugin: str = "./mine.py") -> int:
    given_plugins.forget()
    return main(["run", "--jobs", "2", "--cpus-per-trial", "1", "--plugin", plugin, *options])


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with all that relative paths may lead to."""
    folder = tmp_path / "work"
    fill(folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("LNLBENCH_DATA", "data")
    monkeypatch.setenv("LNLBENCH_CACHE", "cache")
    return folder


def test_relative_paths_of_every_kind_reach_every_trial(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--grid", "./grid.toml", "--out", "results/out") == ExitCode.OK, capsys.readouterr().err
    assert (work / "cache" / "features").is_dir()
    frame = lnlbench.load("results/out")
    assert set(frame["status"]) == {"done"}
    assert len(set(frame["data_fingerprint"])) == len(set(frame["dataset"])) == 5
    assert set(frame["backbone"]) >= {"hf:vit", "hf:models/other", "timm:test_vit"}

    # What was written is kept, and nothing on disk says where on this machine that was.
    for path in (work / "results" / "out").rglob("*.json"):
        assert str(work.parent) not in path.read_text(), path
    (stored,) = (work / "results" / "out" / "plans").iterdir()
    assert "npz:./more/birds.npz" in stored.read_text()

    # From another folder, and by other paths to the same files, it is the same run.
    elsewhere = work / "models"
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("LNLBENCH_DATA", "../data")
    monkeypatch.setenv("LNLBENCH_CACHE", "../cache")
    names = (
        "npz:../pets.npz,npz:../more/birds.npz,npz:kept.npz,imagefolder:../photos,features:../embeddings.npz"
    )
    sets = [f"dataset={names}", "noise=file:../noise.npz", "backbone=hf:./vit"]
    options = [option for text in sets for option in ("--set", text)]
    code = run("--grid", "../grid.toml", *options, "--out", "../results/out", plugin="../mine.py")
    captured = capsys.readouterr()
    assert code == ExitCode.OK, captured.err
    assert "0 trials to run; 10 done" in captured.err


def test_relative_paths_reach_the_trials_of_a_search(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--tuning", "lp", "--grid", "grid.toml", "--where", "backbone=hf:./models/vit"]
    arguments += ["--set", "dataset=imagefolder:photos", "--set", "lp.epochs=2", "--search", "asha"]
    arguments += ["--samples", "2", "--write", "found/best.toml", "--jobs", "2", "--cpus-per-trial", "1"]
    (work / "found").mkdir()
    assert main(["tune", *arguments, "--out", "search"]) == ExitCode.OK, capsys.readouterr().err
    assert set(lnlbench.load("search")["status"]) == {"done"}
    assert (work / "found" / "best.toml").is_file()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("dataset=npz:no/where.npz", "no/where.npz"),
        ("dataset=imagefolder:nowhere", "nowhere"),
        ("noise=file:no/noise.npz", "'no/noise.npz'"),
        ("backbone=hf:./nowhere", "'nowhere'"),
        ("noise=file:~/no/noise.npz", "'~/no/noise.npz'"),
    ],
)
def test_a_path_that_leads_nowhere_is_named_as_it_was_written(
    change: str, named: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = [] if change.startswith("backbone") else ["--where", "backbone=hf:./models/vit"]
    assert run("--grid", "grid.toml", "--set", change, *where) != ExitCode.OK
    error = capsys.readouterr().err
    assert named in error
    assert str(work) not in error


def test_a_spec_is_located_from_the_folder_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("here/pets.npz", "here/resnet50", "home/pets.npz", "here/owner/name/config.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "here" / "link.npz").symlink_to("pets.npz")
    here = tmp_path / "here"

    def dataset(name: str) -> str:
        return located(DatasetSpec(name), here).name

    assert dataset("npz:pets.npz") == f"npz:{here}/pets.npz"
    assert dataset("npz:link.npz") == f"npz:{here}/link.npz"  # its name is part of the identity
    assert dataset("npz:~/pets.npz") == f"npz:{tmp_path}/home/pets.npz"
    assert dataset("npz:/no/where.npz") == "npz:/no/where.npz"
    assert dataset("npz:missing.npz") == "npz:missing.npz"  # perhaps in the data folder
    assert dataset("digits") == "digits"
    assert located(BackboneSpec("timm:resnet50"), here).name == "timm:resnet50"  # a name, no path
    assert located(BackboneSpec("hf:owner/name"), here).name == f"hf:{here}/owner/name"
    assert located(BackboneSpec("hf:owner/other"), here).name == "hf:owner/other"
    options = (("map", "pets.npz"), ("path", "pets.npz"))
    assert located(NoiseSpec("file", 0.0, options), here).options == (
        ("map", "pets.npz"),
        ("path", f"{here}/pets.npz"),
    )
    assert located(DatasetSpec("npz:pets.npz"), None).name == "npz:pets.npz"


def test_a_working_folder_that_was_removed_is_needed_by_relative_paths_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert absolute("/data") == Path("/data")
    with pytest.raises(UsageError, match="'data' is relative to the working folder, which was removed"):
        absolute("data")
    monkeypatch.chdir(tmp_path)
    assert absolute("data") == tmp_path / "data"
