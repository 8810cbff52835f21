"""Rules of backbones and data sets: what keeps them passes, and each broken rule is found by its check."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from lnlbench.cli import main
from lnlbench.conformance import Outcome, check_backbone, check_dataset, check_plugin
from lnlbench.conformance.backbone_rules import BACKBONE_RULES, BackboneSubject
from lnlbench.conformance.dataset_rules import DATASET_RULES, DatasetSubject
from lnlbench.data.arrays import ArrayImages
from lnlbench.data.source import Dataset, DatasetSource, Split, assemble
from lnlbench.errors import DataError, ExitCode, PluginError, WeightsError
from lnlbench.models.backbone import Backbone, BackboneSource, finish, initialisation
from lnlbench.models.gradient_checkpointing import checkpoint_blocks
from lnlbench.models.preprocessing import Preprocessing
from lnlbench.spec import BackboneSpec, DatasetSpec

PREPROCESSING = Preprocessing(16, 16, "shortest", "bilinear", (0.5,) * 3, (0.25,) * 3)


class Sound(BackboneSource):
    """A convolution, batch normalisation and a global average, with gradient checkpointing."""

    pretrained = False
    option_defaults: ClassVar[dict[str, bool]] = {"gradient_checkpointing": False}

    def missing(self, reference: str | None, spec: BackboneSpec) -> str | None:
        self.options(spec)
        return None

    def build(self) -> nn.Module:
        block = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        return nn.Sequential(block, nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def load(self, spec: BackboneSpec, seed: int) -> Backbone:
        options = self.options(spec)
        with initialisation(seed):
            module = self.build()
        if options["gradient_checkpointing"]:
            checkpoint_blocks(
                module,
                lambda part: (
                    type(part) is nn.Sequential and len(part) == 3 and isinstance(part[0], nn.Conv2d)
                ),
            )
        return finish(spec, "test:sound", module, PREPROCESSING.with_size(spec.image_size))


def broken_backbone(source: BackboneSource) -> dict[str, str]:
    """Return the rules that a backbone without weights breaks, with the reasons."""
    subject = BackboneSubject(source, BackboneSpec("sound", weights="none"))
    findings = [rule.judge(subject, "none") for rule in BACKBONE_RULES]
    return {finding.check: finding.reason for finding in findings if finding.outcome is Outcome.FAILED}


def test_a_sound_backbone_breaks_no_rule() -> None:
    assert broken_backbone(Sound()) == {}


class Layer(nn.Module):
    """Changes the features of a sound module in a way that a test chooses."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.register_buffer("calls", torch.zeros(()))
        self.unused = nn.Parameter(torch.zeros(1000)) if what == "unused" else None

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if self.what == "random":
            return features + torch.rand_like(features)
        if self.what == "batch":
            return features - features.mean(0)
        if self.what == "constant":
            return features * 0 + 1
        if self.what == "nan":
            return features / 0
        if self.what == "detached":
            return features.detach().requires_grad_()
        if self.what == "counts":
            self.calls += 1
        return features


@pytest.mark.parametrize(
    ("what", "rules"),
    [
        ("random", {"deterministic", "companions"}),
        ("batch", {"companions"}),
        ("constant", {"features", "gradients"}),
        ("nan", {"features"}),
        ("detached", {"gradients"}),
        ("unused", {"gradients"}),
        ("counts", {"deterministic", "frozen"}),
    ],
)
def test_each_broken_backbone_is_found(what: str, rules: set[str]) -> None:
    class Broken(Sound):
        def build(self) -> nn.Module:
            return nn.Sequential(super().build(), Layer(what))

    assert broken_backbone(Broken()).keys() >= rules


def changed(**fields: Any) -> BackboneSource:
    class Changed(Sound):
        def load(self, spec: BackboneSpec, seed: int) -> Backbone:
            return dataclasses.replace(super().load(spec, seed), **fields)

    return Changed()


def test_what_a_backbone_says_of_itself_must_be_true() -> None:
    assert broken_backbone(changed(feature_dim=9))["features"] == (
        "features have shape (4, 8); feature_dim promises (4, 9)"
    )
    assert broken_backbone(changed(fingerprint="0" * 64)) == {
        "fingerprint": "other weights have the same fingerprint"
    }
    assert "no SHA-256" in broken_backbone(changed(fingerprint="v1"))["fingerprint"]
    # Mean and standard deviation of pixels from 0 to 255, whereas pixels are multiplied by 1/255.
    pixels = Preprocessing(16, 16, "shortest", "bilinear", (127.5,) * 3, (64.0,) * 3)
    assert "black becomes -1.99" in broken_backbone(changed(preprocessing=pixels))["preprocessing"]
    assert broken_backbone(changed(preprocessing=PREPROCESSING))["image_size"] == (
        "image_size = 32 gives 16 px: use preprocessing.with_size(…)"
    )


def test_weights_that_ignore_the_seed_or_touch_the_random_state_are_found() -> None:
    class Careless(Sound):
        def load(self, spec: BackboneSpec, seed: int) -> Backbone:
            torch.manual_seed(0)
            return finish(spec, "test:careless", self.build(), PREPROCESSING.with_size(spec.image_size))

    broken = broken_backbone(Careless())
    assert broken.keys() == {"loads", "fingerprint", "options"}
    assert "another seed gives the same weights" in broken["fingerprint"]


def test_a_backbone_that_is_not_here_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("LNLBENCH_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match=r"cannot be checked here.*vit-base-patch16-224"):
        check_backbone("vit_b16")


def test_a_backbone_from_scratch_passes_and_has_no_weights_to_try() -> None:
    report = check_plugin("timm:test_vit")
    assert report.passed, report
    assert report.kind == "backbone"
    assert report.name == "timm:test_vit"


# Data sets


class SoundData(DatasetSource):
    """Random images of three classes."""

    summary = "Random images"

    def missing(self, path: str | None, root: Path | None) -> str | None:
        return None

    def parts(self) -> dict[str, Any]:
        rng = np.random.default_rng(0)
        labels = np.array([2, 0, 1, 0, 1, 2, 2])
        pixels = rng.integers(0, 256, (7, 5, 6, 3), dtype=np.uint8)
        split = Split(images=ArrayImages(pixels), features=None, labels=labels)
        return {"family": "sound", "classes": ("a", "b", "c"), "train": split, "test": split}

    def load(self, spec: DatasetSpec, root: Path | None) -> Dataset:
        return assemble(spec, **self.parts())


def broken_data(source: DatasetSource) -> dict[str, str]:
    subject = DatasetSubject(source, DatasetSpec("sound"), None)
    findings = [rule.judge(subject, "data") for rule in DATASET_RULES]
    return {finding.check: finding.reason for finding in findings if finding.outcome is Outcome.FAILED}


def test_a_sound_data_set_breaks_no_rule() -> None:
    assert broken_data(SoundData()) == {}


def with_parts(**parts: Any) -> DatasetSource:
    class Changed(SoundData):
        def parts(self) -> dict[str, Any]:
            return {**super().parts(), **parts}

    return Changed()


def split(labels: list[int], dtype: type = np.int64, pixels: Any = None) -> Split:
    values = np.zeros((len(labels), 5, 6, 3), dtype=np.uint8) if pixels is None else pixels
    return Split(images=ArrayImages(values), features=None, labels=np.array(labels, dtype=dtype))


@pytest.mark.parametrize(
    ("parts", "rule", "reason"),
    [
        ({"classes": ("a", "b", "a")}, "classes", "two are called 'a'"),
        ({"classes": ("a", "b", "c", "d")}, "classes", "the train split has no sample of 'd'"),
        ({"classes": ("a", "b")}, "labels", "train split: label 2 is none of 2 classes"),
        ({"test": split([])}, "splits", "the test split is empty"),
        (
            {"train": split([0, 1, 2], np.int32)},
            "labels",
            "train split: labels are int32, of shape (3,)",
        ),
        (
            {"test": split([0, 1], pixels=np.zeros((2, 5, 6, 3), np.float32))},
            "samples",
            "test split: image 1 is torch.float32 of shape (3, 5, 6), not uint8 [3, H, W]",
        ),
    ],
)
def test_each_broken_data_set_is_found(parts: dict[str, Any], rule: str, reason: str) -> None:
    assert broken_data(with_parts(**parts))[rule] == reason


def test_true_labels_and_maps_are_judged() -> None:
    found = broken_data(with_parts(train=dataclasses.replace(split([0, 1, 2]), clean=np.array([0, -2, -1]))))
    assert "labels" not in found
    found = broken_data(with_parts(train=dataclasses.replace(split([0, 1, 2]), clean=np.array([0, -3, 1]))))
    assert found["labels"] == "train split: true label -3 is none of 3 classes"

    class Mapped(SoundData):
        maps: ClassVar = {"mine": (1, 0)}

    assert broken_data(Mapped()) == {"noise map": "'mine' is for 2 classes, not for 3"}


def test_data_that_change_or_ignore_what_is_asked_for_are_found() -> None:
    class Restless(SoundData):
        loads = 0

        def load(self, spec: DatasetSpec, root: Path | None) -> Dataset:
            self.loads += 1
            data = super().load(DatasetSpec("sound"), root)
            return dataclasses.replace(data, fingerprint=f"{self.loads:064x}")

    broken = broken_data(Restless())
    assert broken.keys() == {"fingerprint", "subset"}
    assert broken["subset"] == "train_per_class = 1 gives 7 samples for 3 classes"


def test_a_stand_in_is_checked_where_the_data_are_missing(tmp_path: Path) -> None:
    report = check_dataset("clothing1m", data=tmp_path)
    assert report.passed, report
    assert {finding.outcome for finding in report.findings if finding.mode == "data"} == {
        Outcome.NOT_APPLICABLE
    }
    assert sum(finding.mode == "stand-in" for finding in report.findings) == len(DATASET_RULES)
    with pytest.raises(DataError, match="cannot be checked here"):
        check_dataset(f"npz:{tmp_path / 'none.npz'}")


def test_a_stand_in_with_other_classes_or_no_mark_is_found() -> None:
    data = SimpleNamespace(standin=True, classes=2)
    subject = DatasetSubject(SoundData(), DatasetSpec("sound"), None, **vars(data))
    assert "does not say that it is one" in DATASET_RULES[0].judge(subject, "stand-in").reason
    marked = DatasetSubject(with_parts(standin=True), DatasetSpec("sound"), None, **vars(data))
    assert "3 classes, and the real data have 2" in DATASET_RULES[0].judge(marked, "stand-in").reason


# The command


def test_the_command_finds_the_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = {f"x_{part}": np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8) for part in ("train", "test")}
    arrays |= {f"y_{part}": np.array([0, 1, 0, 1]) for part in ("train", "test")}
    np.savez(tmp_path / "pets.npz", **arrays)
    assert main(["check", f"npz:{tmp_path / 'pets.npz'}", "--format", "json"]) == ExitCode.OK
    value = json.loads(capsys.readouterr().out)
    assert (value["kind"], value["passed"], len(value["findings"])) == ("data set", True, 9)
    assert main(["check", "digits"]) == ExitCode.OK
    assert "digits (lnlbench" in capsys.readouterr().out.splitlines()[-1]


def test_a_broken_data_set_in_a_file_fails_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from lnlbench.data.source import DatasetSource\n"
        "class MyData(DatasetSource):\n"
        "    'Nothing.'\n    summary = 'Nothing'\n"
        "    def missing(self, path, root): return None\n"
        "    def load(self, spec, root): return 3\n"
    )
    assert main(["check", str(path)]) == ExitCode.INCOMPLETE
    assert "load() returns int, not a Dataset" in capsys.readouterr().out


def test_kinds_of_phases_have_no_rules(tmp_path: Path) -> None:
    path = tmp_path / "kind.py"
    path.write_text("from lnlbench.api import PhaseKind\nclass Last(PhaseKind):\n    name = 'last'\n")
    with pytest.raises(PluginError, match="neither a method"):
        check_plugin(str(path))
