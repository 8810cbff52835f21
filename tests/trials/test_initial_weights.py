"""Checkpoints name the weights that are still the backbone's own, and hold the others: counted, and exact."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from torch import nn

from lnlbench.grids.tuning import kinds_of, phase_kind
from lnlbench.models.backbone import Backbone
from lnlbench.models.preprocessing import Preprocessing
from lnlbench.spec import BackboneSpec, DatasetSpec, MethodSpec, NoiseSpec, TrialSpec
from lnlbench.trials import checkpoint
from lnlbench.trials.attempt import StopTrial, run_trial
from lnlbench.trials.checkpoint import Checkpoints, decode, encode
from lnlbench.trials.networks import InitialWeights
from lnlbench.trials.workspace import RunSettings, Workspace

pytest.importorskip("peft")
CPU = torch.device("cpu")
HEAD = 192 * 10 + 10
RANK, TOKENS = 2, 4
OPTIONS = {"lora": {"rank": RANK}, "vpt": {"tokens": TOKENS}, "lp": {"cache": False}}


def write_vit(path: Path, seed: int) -> None:
    """Write weights of a ViT of timm's, of 192 wide tokens in 12 blocks."""
    torch.manual_seed(seed)
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=0)
    safetensors.torch.save_file(model.state_dict(), path / "model.safetensors")
    (path / "config.json").write_text('{"num_classes": 0}')


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vit")
    write_vit(path, 0)
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def spec(vit: Path, tuning: str, method: str = "ce") -> TrialSpec:
    phases = tuple(
        phase_kind(kind).resolve(
            kind, {"epochs": 2, "batch_size": 16, "lr": 1e-2, "momentum": 0.9, **OPTIONS.get(kind, {})}
        )
        for kind in kinds_of(tuning)
    )
    data = DatasetSpec("digits", train_per_class=3, test_per_class=2)
    backbone = BackboneSpec("timm:vit_tiny_patch16_224", image_size=32, options=(("path", str(vit)),))
    return TrialSpec(data, NoiseSpec.parse("symmetric-0.4"), backbone, tuning, MethodSpec(method), 0, phases)


def settings(cache: Path, **more: Any) -> Workspace:
    return Workspace(RunSettings(data=None, cache=cache, **more))


def interrupted(chosen: TrialSpec, workspace: Workspace, epochs: int) -> Path:
    """Run some epochs of a trial, and return its checkpoint."""
    seen: list[Any] = []

    def interrupt(entry: Any) -> None:
        seen.append(entry)
        if len(seen) == epochs:
            raise StopTrial

    with pytest.raises(StopTrial):
        run_trial(chosen, workspace, interrupt)
    assert workspace.setting.checkpoints is not None
    return workspace.setting.checkpoints / f"{chosen.trial_id}.ckpt"


def tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors(item)


BLOCK = 2 * 2 * 192 + (192 * 3 * 192 + 3 * 192) + (192 * 192 + 192) + 2 * 4 * 192 * 192 + 5 * 192
WHOLE = 12 * BLOCK + 2 * 192 + (3 * 16 * 16 * 192 + 192) + 192 + 5 * 192
ADDED = {
    "lp": 0,  # on live images
    "lora": 12 * (RANK * 192 + 3 * 192 * RANK),
    "vpt": 12 * TOKENS * 192,
    "partial": BLOCK,
    "fft": WHOLE,
}


@pytest.mark.parametrize("tuning", [*ADDED, "lp-lora"])
def test_a_checkpoint_holds_what_learns_and_its_momentum(
    tuning: str, vit: Path, cache: Path, tmp_path: Path
) -> None:
    path = interrupted(
        spec(vit, tuning), settings(cache, checkpoints=tmp_path), 2 * len(kinds_of(tuning)) - 1
    )
    content = path.read_bytes()
    held = list(tensors(decode(content)["state"]["method"]))
    learns = HEAD + ADDED[kinds_of(tuning)[-1]]
    # float32: the weights, and as many momenta. What the ViT has of zeros and ones is its own after one
    # epoch only where it has not learnt: of the key's biases, no gradient comes.
    assert sum(one.nbytes for one in held) == pytest.approx(
        2 * 4 * learns, rel=1e-3 if tuning == "fft" else 0
    )
    assert len(content) < 2 * 4 * learns + 1000 * (len(held) + 30)
    if tuning != "fft":
        assert len(content) < 4 * WHOLE / 3  # once the backbone is 22 MB


@pytest.mark.parametrize(
    ("tuning", "method"),
    [("vpt", "elr_plus"), ("lp-lora", "dividemix"), ("partial", "ce"), ("fft-lora", "ce")],
)
def test_a_continued_trial_is_the_uninterrupted_one_to_the_last_bit(
    tuning: str, method: str, vit: Path, cache: Path, tmp_path: Path
) -> None:
    chosen = spec(vit, tuning, method)
    whole = run_trial(chosen, settings(cache, models=tmp_path / "whole"))
    stopped = settings(cache, checkpoints=tmp_path, models=tmp_path / "continued")
    interrupted(chosen, stopped, chosen.epochs - 1)
    continued = run_trial(chosen, settings(cache, checkpoints=tmp_path, models=tmp_path / "continued"))
    assert continued.execution["continued"]
    numbers = ("phase", "epoch", "loss", "validation", "test")
    assert [[entry[name] for name in numbers] for entry in continued.history] == [
        [entry[name] for name in numbers] for entry in whole.history
    ]
    assert continued.models == whole.models  # checksums of the best weights, and of the last
    assert continued.ledger == whole.ledger


def test_a_checkpoint_of_another_backbone_is_refused(vit: Path, cache: Path, tmp_path: Path) -> None:
    chosen = spec(vit, "lora")
    stopped = settings(cache, checkpoints=tmp_path / "checkpoints")
    interrupted(chosen, stopped, 1)
    copy = tmp_path / "vit"
    copy.mkdir()
    for seed, refusal in ((0, None), (1, "other backbone")):
        write_vit(copy, seed)
        saved = (tmp_path / "checkpoints" / f"{chosen.trial_id}.ckpt").read_bytes()
        # The spec of the copy is another trial's: what is tried is the weights of the same one.
        moved = spec(copy, "lora")
        state = decode(saved) | {"trial_id": moved.trial_id}
        other = tmp_path / str(seed)
        other.mkdir()
        (other / f"{moved.trial_id}.ckpt").write_bytes(encode(state))
        record = run_trial(moved, settings(cache, checkpoints=other))
        assert record.execution["discarded_checkpoint"] == refusal
        assert bool(record.execution["continued"]) == (refusal is None)


def test_a_checkpoint_of_format_2_is_continued(
    vit: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = spec(vit, "lora")
    with monkeypatch.context() as before:
        before.setattr(InitialWeights, "named", lambda self, value: value)
        before.setattr(checkpoint, "_MAGICS", checkpoint._MAGICS[1:])
        path = interrupted(chosen, settings(cache, checkpoints=tmp_path), 1)
    assert path.read_bytes().startswith(b"lnlbench checkpoint 2\n")
    assert path.stat().st_size > 4 * WHOLE
    continued = run_trial(chosen, settings(cache, checkpoints=tmp_path))
    assert continued.execution["continued"]
    whole = run_trial(chosen, settings(cache))
    assert [entry["loss"] for entry in continued.history] == [entry["loss"] for entry in whole.history]
    assert Checkpoints(tmp_path).damaged() == []


def backbone(module: nn.Module) -> Backbone:
    return Backbone("small", module, 4, Preprocessing(8, 8, "exact", "bilinear", (0.5,) * 3, (0.5,) * 3), "f")


def test_only_the_same_bits_are_named() -> None:
    module = nn.Conv2d(3, 4, 3)
    with torch.no_grad():
        module.bias.zero_()
    weights = InitialWeights(backbone(module))
    kept = module.weight.detach().clone()
    moved = kept.clone()
    moved[1, 1, 1, 1] = torch.nextafter(
        moved[1, 1, 1, 1], torch.tensor(9.0)
    )  # at none of the places looked at
    state = {
        "kept": kept,
        "moved": moved,
        "signed": -torch.zeros(4),  # equal as numbers
        "double": kept.double(),
        "turned": kept.contiguous(memory_format=torch.channels_last),
        "sparse": torch.zeros(1).expand(4),
        "other": [1, "text", None, (kept,)],
    }
    named = weights.named(state)
    left = {name for name, value in named.items() if isinstance(value, torch.Tensor)}
    assert left == {"moved", "signed", "double", "sparse"}
    assert not list(tensors([named["kept"], named["turned"], named["other"]]))
    filled = weights.filled(decode(encode(named)), CPU)
    for name in ("kept", "turned"):
        assert torch.equal(filled[name], state[name])
        assert filled[name].stride() == state[name].stride()
        assert filled[name].data_ptr() != module.weight.data_ptr()  # the source's own stays what it is
    assert filled["other"][:3] == [1, "text", None]
    assert torch.equal(filled["other"][3][0], kept)


def test_without_a_backbone_nothing_is_named() -> None:
    state = {"zeros": torch.zeros(3)}
    assert torch.equal(InitialWeights(None).named(state)["zeros"], state["zeros"])
