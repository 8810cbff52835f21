"""lnlbench doctor, on real folders and real (throw-away) installations."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest
import torch
from tiny_models import save

from lnlbench.cli import main
from lnlbench.cli.doctor import Diagnosis, examine
from lnlbench.console import health
from lnlbench.console.health import Folders, Level
from lnlbench.errors import ExitCode
from lnlbench.inputs.feature_cache import FeatureCache, FeatureKey, View
from lnlbench.models.backbone import Backbone
from lnlbench.models.sources import efficientnet_lite
from lnlbench.plugins import registry
from lnlbench.spec import BackboneSpec
from lnlbench.trials.workspace import Workspace


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path / "cache", tmp_path / "runs", None)


Check = Callable[[Folders], Iterator[health.HealthFinding]]


def levels(check: Check, folders: Folders) -> list[Level]:
    return [level for level, _, _ in check(folders)]


# The command


def test_a_sound_installation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["doctor", "--cache-dir", str(tmp_path / "cache"), "--out", str(tmp_path / "runs")]
    assert main(arguments) == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    assert all(line[0] in "✓!" for line in lines)
    assert list(dict.fromkeys(line[2:14].strip() for line in lines)) == list(health.CHECKS)
    assert not (tmp_path / "cache").exists()  # it looks, and makes nothing


def test_something_broken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "doctor",
        "--data",
        str(tmp_path / "nowhere"),
        "--cache-dir",
        str(tmp_path),
        "--format",
        "json",
    ]
    assert main(arguments) == ExitCode.USAGE
    broken = [entry for entry in json.loads(capsys.readouterr().out) if entry["level"] == "broken"]
    assert broken == [
        {
            "topic": "data",
            "level": "broken",
            "text": f"the data folder {tmp_path / 'nowhere'} does not exist.",
            "remedy": "Correct --data or LNLBENCH_DATA.",
        }
    ]


def test_a_line_has_mark_topic_finding_and_remedy() -> None:
    assert (
        str(Diagnosis("disk", Level.WARNING, "little.", "Free some.")) == "! disk          little. Free some."
    )


def test_a_package_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr("lnlbench.cli.doctor.CHECKS", {"executor": health.executor, "disk": health.disk})
    diagnoses = list(examine(None, tmp_path, tmp_path))
    assert [(d.topic, d.level) for d in diagnoses] == [
        ("executor", Level.BROKEN),
        ("disk", Level.FINE),
        ("disk", Level.FINE),
    ]
    assert "ray" in diagnoses[0].text


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from lnlbench.cli import main; main(['doctor', '--help']); print(sorted(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'lnlbench.cli.doctor'" in out
    assert not {"torch", "ray", "pandas", "transformers"}.intersection(out.split("'"))


# Disk and cache


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    findings = list(health.disk(Folders(file / "cache", tmp_path, None)))
    assert findings[0] == (
        Level.BROKEN,
        f"cache: {file} cannot be written.",
        "Choose another folder with --cache-dir.",
    )
    assert findings[1][0] is Level.FINE


def test_little_space(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_LITTLE_DISK", float("inf"))
    assert levels(health.disk, folders) == [Level.WARNING, Level.WARNING]


def test_little_memory(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    assert levels(health.compute, folders) == [Level.FINE, Level.FINE]
    monkeypatch.setattr(health, "_LITTLE_MEMORY", float("inf"))
    assert levels(health.compute, folders) == [Level.FINE, Level.WARNING]


def fill_cache(folder: Path, number: int) -> Path:
    """Make an entry of the feature cache, and return its array."""
    key = FeatureKey("data", "train", "backbone", "{}", View("plain", number), "fp32")
    FeatureCache(folder).obtain(key, (3, 2), lambda: iter([torch.ones(3, 2)]))
    return folder / "features" / f"{key.digest}.npy"


def test_a_sound_cache(folders: Folders) -> None:
    fill_cache(folders.cache, 0)
    fill_cache(folders.cache, 1)
    ((level, text, _),) = health.cache(folders)
    assert level is Level.FINE
    assert text.startswith("2 entries, ")


def test_a_damaged_entry_of_the_cache(folders: Folders) -> None:
    fill_cache(folders.cache, 0)
    array = fill_cache(folders.cache, 1)
    content = bytearray(array.read_bytes())
    content[-1] ^= 1
    array.write_bytes(content)
    (_, (level, text, _)) = health.cache(folders)
    assert (level, text) == (Level.WARNING, f"damaged: {array.stem}.")


@pytest.mark.parametrize("manifest", ["{", "{}", "[]"])
def test_a_damaged_manifest(folders: Folders, manifest: str) -> None:
    array = fill_cache(folders.cache, 0)
    array.with_suffix(".json").write_text(manifest)
    assert levels(health.cache, folders) == [Level.FINE, Level.WARNING]


def test_leftovers_in_the_cache(folders: Folders) -> None:
    array = fill_cache(folders.cache, 0)
    array.with_name("x.npy.damaged").write_bytes(b"0" * 20_000_000)
    (_, (level, text, remedy)) = health.cache(folders)
    assert level is Level.WARNING
    assert text.startswith("1 files that nothing reads (0.02 GB)")
    assert remedy.startswith("When nothing runs: rm ")


# Data


def test_a_data_folder(folders: Folders, tmp_path: Path) -> None:
    (tmp_path / "cifar-100-python").mkdir()
    ((level, text, _),) = health.data(Folders(folders.cache, folders.out, tmp_path))
    assert level is Level.FINE
    assert text == (
        "available: cifar100, digits; "
        "not here: animal10n, cifar10, clothing1m, food101n, webvision, webvision_mini "
        "(lnlbench data fetch NAME)"
    )


# Plugins


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Install a distribution: its entry points and a module."""
    monkeypatch.syspath_prepend(tmp_path / "site")

    def install(points: str, module: str = "", source: str = "") -> None:
        info = tmp_path / "site" / "other-2.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 2\n")
        (info / "entry_points.txt").write_text(dedent(points))
        if module:
            (tmp_path / "site" / f"{module}.py").write_text(source)

    yield install
    for cached in (registry.methods, registry.backbones, registry.datasets):
        cached.cache_clear()


def broken_plugins(folders: Folders) -> list[str]:
    return [text for level, text, _ in health.plugins(folders) if level is Level.BROKEN]


def test_our_own_plugins(folders: Folders) -> None:
    ((level, text, _),) = health.plugins(folders)
    assert level is Level.FINE
    assert re.match(r"found \d+ methods, 15 backbones, ", text)


def test_a_plugin_that_does_not_load(folders: Folders, install: Callable[..., None]) -> None:
    install("[lnlbench.methods]\nodd = odd_plugin:Odd\n", "odd_plugin", "1 / 0")
    (text,) = broken_plugins(folders)
    assert text.startswith("The method 'odd' of other 2 cannot be loaded")
    assert "ZeroDivisionError" in text


def test_a_name_that_is_claimed_twice(folders: Folders, install: Callable[..., None]) -> None:
    install("[lnlbench.methods]\nce = odd_plugin:Odd\n")
    (text,) = broken_plugins(folders)
    assert text.startswith("The method name 'ce' is claimed by lnlbench ")
    assert "other 2 (odd_plugin:Odd)" in text


def test_a_grid_that_cannot_be_read(folders: Folders, install: Callable[..., None], tmp_path: Path) -> None:
    install("[lnlbench.grids]\nother = odd_grids\n")
    grids = tmp_path / "site" / "odd_grids" / "grids"
    grids.mkdir(parents=True)
    (grids.parent / "__init__.py").touch()
    (grids / "odd.toml").write_text("schema = \n")
    (text,) = broken_plugins(folders)
    assert f"{grids / 'odd.toml'}:1" in text


def test_two_grids_of_one_name(folders: Folders, install: Callable[..., None], tmp_path: Path) -> None:
    install("[lnlbench.grids]\nother = odd_grids\n")
    grids = tmp_path / "site" / "odd_grids" / "grids"
    grids.mkdir(parents=True)
    (grids.parent / "__init__.py").touch()
    (grids / "quickstart.toml").write_text(registry.grids()[-1].path.read_text())  # type: ignore[union-attr]
    (text,) = broken_plugins(folders)
    assert text.startswith("The grid name 'quickstart' is claimed by ")


def test_entry_points_that_were_edited(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source tree"
    source.mkdir()
    info = tmp_path / "site" / "edited-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: edited\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[lnlbench.methods]\nold = odd:Old\nsame = odd:Same\n")
    (info / "direct_url.json").write_text(
        json.dumps({"url": source.as_uri(), "dir_info": {"editable": True}})
    )
    monkeypatch.syspath_prepend(tmp_path / "site")

    def found(points: str) -> list[health.HealthFinding]:
        (source / "setup.cfg").write_text(points)
        return [finding for finding in health.entry_points(folders) if "those of edited" in finding.text]

    section = "[options.entry_points]\nlnlbench.methods =\n    same = odd:Same\n"
    text = (
        "those of edited were edited after it was installed (lnlbench.methods: new, lnlbench.methods: old)."
    )
    assert found(f"{section}    new=odd:New\n") == [(Level.WARNING, text, f"pip install -e {source}")]
    assert found(f"{section}    old = odd:Old\n") == []
    assert found("[metadata]\nname = edited\n") == []  # entry points are in pyproject.toml


# Weights


def test_weights_that_are_not_the_official_ones(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"not weights")
    monkeypatch.setattr(efficientnet_lite, "weights_path", lambda _: file)
    monkeypatch.setattr("lnlbench.cli.doctor.CHECKS", {"weights": health.weights})
    (diagnosis,) = examine(None, folders.cache, folders.out)
    assert diagnosis.level is Level.BROKEN
    assert "is not the file of weights" in diagnosis.text
    assert diagnosis.remedy.startswith("Install it again")


def test_named_backbones_that_are_here_and_that_are_not(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("LNLBENCH_WEIGHTS", str(tmp_path))
    save("msn", tmp_path / "facebook" / "vit-msn-base")
    _, (level, text, _) = health.weights(folders)
    assert level is Level.FINE
    here, absent = text.split("; not here: ")
    assert (
        here
        == f"LNLBENCH_WEIGHTS is {tmp_path}; available: efficientnet_lite0, efficientnet_lite2, msn_vit_b"
    )
    assert "vit_b16" in absent
    assert "resnet34_cifar" not in absent  # it has no weights that could be here


def test_a_folder_of_models_that_does_not_exist(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LNLBENCH_WEIGHTS", str(tmp_path / "nowhere"))
    _, (level, text, remedy) = health.weights(folders)
    assert level is Level.WARNING
    assert str(tmp_path / "nowhere") in text
    assert "LNLBENCH_WEIGHTS" in remedy


# Batch normalisation


def test_modes_of_a_backbone_on_a_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = tmp_path / "cache"
    arguments = ["doctor", "--backbone", "efficientnet_lite0", "--dataset", "digits", "--image-size", "32"]
    assert main([*arguments, "--cache-dir", str(cache)]) == ExitCode.OK
    (line,) = capsys.readouterr().out.splitlines()
    found = re.fullmatch(
        r"! batch norm +efficientnet_lite0 on digits at 32 px: batch statistics change (\d+) % of the "
        r"predictions by class means \(128 images\), weak views \d+ %; "
        r'with batch_norm = "adapt" it is (\d+) % and \d+ %\. Set .*',
        line,
    )
    assert found, line
    # Statistics of these very images bring the two modes together.
    assert int(found[1]) >= 25 > int(found[2])
    assert not cache.exists()


def test_a_backbone_without_batch_normalisation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load = Workspace.backbone

    def flat(workspace: Workspace, spec: BackboneSpec, seed: int = 0) -> Backbone:
        return dataclasses.replace(load(workspace, spec, seed), module=torch.nn.Flatten())

    monkeypatch.setattr(Workspace, "backbone", flat)
    assert main(["doctor", "--backbone", "efficientnet_lite0", "--dataset", "digits"]) == ExitCode.OK
    assert "there is no batch normalisation" in capsys.readouterr().out


def test_backbone_and_data_set_go_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--backbone", "efficientnet_lite0"]) == ExitCode.USAGE
    assert "--backbone and --dataset go together" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        ((), "images of 8 px that are scaled up to 48"),
        (("fft.batch_norm=frozen",), None),
        (("fft.batch_norm=adapt",), None),
        (("tuning=lp",), None),
        (("dataset_options.resize=48",), None),
    ],
)
def test_a_plan_that_fine_tunes_by_batch_statistics_of_small_images_says_so(
    sets: tuple[str, ...], expected: str | None
) -> None:
    from lnlbench.console.mode_check import upscaled
    from lnlbench.grids.plan import plan

    overrides = ["method=ce", "fft.batch_norm=update", *sets]
    specs = [planned.spec for planned in plan("quickstart", sets=overrides).planned if planned.skip is None]
    sentences = upscaled(specs)
    assert len(sentences) == (expected is not None)
    for sentence in sentences:
        assert expected is not None
        assert expected in sentence
        assert "lnlbench doctor --backbone efficientnet_lite0 --dataset digits --image-size 48" in sentence


def test_the_paper_s_resnet_on_small_images_is_named() -> None:
    from lnlbench.console.mode_check import upscaled
    from lnlbench.grids.plan import plan

    (sentence,) = upscaled(planned.spec for planned in plan("paper_table2").planned)
    assert sentence.startswith("resnet50 normalises by batches, and cifar100 has images of 32 px")
