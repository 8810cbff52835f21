"""LoRA beside its model: files that peft loads on the library's own backbone; the model needs no peft."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import tiny_models
import torch
import transformers
from torch import nn

import lnlbench
from lnlbench.basics.files import read_checked, write_checked
from lnlbench.deploy.model_files import MANIFEST, WEIGHTS
from lnlbench.grids.tuning import kinds_of, phase_kind
from lnlbench.models.kinds.low_rank import LowRank
from lnlbench.records.record import Record
from lnlbench.spec import BackboneSpec, DatasetSpec, MethodSpec, NoiseSpec, TrialSpec
from lnlbench.trials.problem import prepare_problem
from lnlbench.trials.recording import record_of
from lnlbench.trials.trial import Trial
from lnlbench.trials.workspace import RunSettings, Workspace

peft = pytest.importorskip("peft")
RANK, ALPHA = 2, 6.0
# Query and value of two blocks, 16 → 16; and query, key and value in one layer of 12 blocks, 192 → 576.
SIZES = {"hf": 4 * RANK * (16 + 16), "timm": 12 * RANK * (192 + 576)}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("place")
    tiny_models.save("vit-headless", place / "hf")
    (place / "timm").mkdir()
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=0)
    safetensors.torch.save_file(model.state_dict(), place / "timm" / "model.safetensors")
    (place / "timm" / "config.json").write_text('{"num_classes": 0}')
    return place


def spec(place: Path, library: str, tuning: str = "lora", method: str = "ce") -> TrialSpec:
    backbone = {
        "hf": BackboneSpec(f"hf:{place / 'hf'}"),
        "timm": BackboneSpec(
            "timm:vit_tiny_patch16_224", image_size=32, options=(("path", str(place / "timm")),)
        ),
    }[library]
    phases = tuple(
        phase_kind(kind).resolve(
            kind,
            {"epochs": 2, "batch_size": 8, "lr": 0.05}
            | ({"rank": RANK, "alpha": ALPHA} if kind == "lora" else {}),
        )
        for kind in kinds_of(tuning)
    )
    data = DatasetSpec("digits", train_per_class=4, test_per_class=3)
    noise = NoiseSpec.parse("symmetric-0.4")
    return TrialSpec(data, noise, backbone, tuning, MethodSpec(method), 0, phases, precision="fp32")


def trained(place: Path, chosen: TrialSpec, models: Path) -> tuple[Record, Trial]:
    workspace = Workspace(RunSettings(data=None, cache=place / "cache", models=models))
    trial = Trial(chosen, workspace)
    for _ in trial.epochs():
        pass
    return record_of(trial), trial


def library_model(place: Path, library: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """The backbone as its library loads it, without lnlbench."""
    if library == "hf":
        return transformers.ViTModel.from_pretrained(place / "hf")
    return timm.create_model(
        "vit_tiny_patch16_224",
        img_size=32,
        num_classes=0,
        pretrained=True,
        pretrained_cfg_overlay={"file": str(place / "timm" / "model.safetensors"), "num_classes": 0},
    )


@pytest.mark.parametrize("library", ["hf", "timm"])
def test_peft_loads_the_adapter_on_the_backbone_of_its_library(
    library: str, place: Path, tmp_path: Path
) -> None:
    chosen = spec(place, library)
    record, trial = trained(place, chosen, tmp_path)
    folder = tmp_path / chosen.trial_id / "last"
    adapter = folder / "adapters" / "0"
    assert {path.name for path in adapter.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    adapted = peft.PeftModel.from_pretrained(library_model(place, library), adapter).eval()

    test = prepare_problem(chosen, trial.workspace).dataset.test
    model = lnlbench.load_model(folder)
    inputs = model.preprocessing(test.images.take(np.arange(len(test))))
    live = trial.model.networks[0].eval()
    with torch.no_grad():
        output = adapted(inputs)
        features = output.last_hidden_state[:, 0] if library == "hf" else output
        untouched = live.initial_backbone()(inputs)
        assert (live.features(inputs) - untouched).abs().max() > 1e-2
        assert torch.allclose(features, live.features(inputs), atol=1e-4)
        # The merged model is the same function, in as many bits as float32 has for another order of sums.
        assert torch.allclose(model(inputs), live(inputs), atol=1e-4)
        accuracy = 100 * float((model(inputs).argmax(1).numpy() == test.labels).mean())
    assert accuracy == pytest.approx(record.metrics["last"])


@pytest.mark.parametrize("library", ["hf", "timm"])
def test_the_adapter_holds_what_was_added_and_nothing_else(library: str, place: Path, tmp_path: Path) -> None:
    chosen = spec(place, library)
    _, trial = trained(place, chosen, tmp_path)
    folder = tmp_path / chosen.trial_id / "best"
    added = folder / "adapters" / "0" / "adapter_model.safetensors"
    header = int.from_bytes(added.read_bytes()[:8], "little")  # of the format: length, names, tensors
    assert added.stat().st_size == 8 + header + 4 * SIZES[library]
    merged = safetensors.torch.load_file(folder / WEIGHTS)
    assert not [name for name in merged if "lora" in name or "base_layer" in name]
    head = trial.model.feature_dim * 10 + 10
    whole = sum(one.numel() for one in trial.model.initial.module.parameters())
    assert sum(one.numel() for one in merged.values()) == whole + head
    configuration = json.loads((added.parent / "adapter_config.json").read_text())
    assert (configuration["r"], configuration["lora_alpha"]) == (RANK, ALPHA)
    assert configuration["base_model_name_or_path"] in chosen.backbone.name


def test_updates_are_folded_by_the_formula_of_the_paper() -> None:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Flatten(), nn.Linear(24, 5)).double()
    configuration = peft.LoraConfig(
        r=RANK, lora_alpha=ALPHA, target_modules=["0", "2"], init_lora_weights=False
    )
    peft.inject_adapter_in_model(configuration, backbone)
    backbone = backbone.double().eval()
    kind = LowRank(LowRank.resolve("lora", {"epochs": 1, "rank": RANK, "alpha": ALPHA}))
    folded = kind.fold(backbone.state_dict())
    plain = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Flatten(), nn.Linear(24, 5)).double()
    before = plain.state_dict()
    plain.load_state_dict(folded)
    images = torch.randn(4, 3, 2, 2, dtype=torch.float64)
    assert torch.allclose(plain(images), backbone(images), atol=1e-12)
    assert folded.keys() == before.keys()


def test_a_saved_model_needs_no_peft(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = spec(place, "hf", "lora")
    trained(place, chosen, tmp_path)
    monkeypatch.setitem(sys.modules, "peft", None)
    model = lnlbench.load_model(tmp_path / chosen.trial_id)
    assert model.manifest["folded"] == [0]
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_a_model_of_format_1_holds_the_updates_apart_and_is_loaded(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = spec(place, "hf")
    trained(place, chosen, tmp_path / "new")
    with monkeypatch.context() as before:
        before.setattr(LowRank, "fold", lambda self, state: None)
        trained(place, chosen, tmp_path / "old")
    folder = tmp_path / "old" / chosen.trial_id / "last"
    manifest: dict[str, Any] = dict(read_checked(folder / MANIFEST))
    assert manifest.pop("folded") == []
    write_checked(folder / MANIFEST, manifest | {"format": 1})
    old, new = (lnlbench.load_model(tmp_path / age / chosen.trial_id / "last") for age in ("old", "new"))
    images = torch.randn(3, 3, 32, 32)
    assert torch.allclose(old(images), new(images), atol=1e-4)


def test_every_network_has_an_adapter(place: Path, tmp_path: Path) -> None:
    chosen = spec(place, "hf", "lp-lora", "dividemix")
    record, _ = trained(place, chosen, tmp_path)
    folder = tmp_path / chosen.trial_id / "last"
    assert [path.name for path in sorted((folder / "adapters").iterdir())] == ["0", "1"]
    model = lnlbench.load_model(folder)
    assert len(model.networks) == 2
    assert model.manifest["folded"] == [1]
    assert model.manifest["test"] == record.metrics["last"]


@pytest.mark.parametrize("tuning", ["fft-lora", "partial"])
def test_no_adapter_where_it_would_not_be_the_model(tuning: str, place: Path, tmp_path: Path) -> None:
    chosen = spec(place, "hf", tuning)
    trained(place, chosen, tmp_path)
    folder = tmp_path / chosen.trial_id / "last"
    assert not (folder / "adapters").exists()
    assert lnlbench.load_model(folder).manifest["folded"] == ([1] if tuning == "fft-lora" else [])


def test_an_adapter_of_another_backbone_is_refused_by_peft(place: Path, tmp_path: Path) -> None:
    chosen = spec(place, "hf")
    trained(place, chosen, tmp_path)
    with pytest.raises((ValueError, RuntimeError)):
        peft.PeftModel.from_pretrained(
            library_model(place, "timm"), tmp_path / chosen.trial_id / "last" / "adapters" / "0"
        )
