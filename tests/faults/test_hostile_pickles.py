"""Pickles in the place of data and weights: refused without being read."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lnlbench.data.arrays import FeaturesFile, NpzFile
from lnlbench.data.known.cifar import CIFAR10
from lnlbench.errors import DataError, NoiseError, WeightsError
from lnlbench.inputs.feature_cache import FeatureCache, FeatureKey, View
from lnlbench.models.sources.huggingface import HuggingFace
from lnlbench.models.sources.timm_source import Timm
from lnlbench.models.sources.torchvision_source import TorchVision, cached_file, default_weights
from lnlbench.noise.noise_file import read_noise_file
from lnlbench.spec import BackboneSpec, DatasetSpec
from lnlbench.trials import checkpoint


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LNLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LNLBENCH_DATA", raising=False)
    return tmp_path


class Mine:
    """What an attacker pickles: reading it makes a file."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (str(Path("pwned").absolute()), "w")


def mine_works() -> None:
    pickle.loads(pickle.dumps(Mine())).close()
    assert Path("pwned").exists()
    Path("pwned").unlink()


@pytest.fixture
def mine() -> Any:
    mine_works()
    yield pickle.dumps(Mine())
    assert not Path("pwned").exists()


def object_array() -> np.ndarray[Any, Any]:
    array = np.empty(3, dtype=object)
    array[:] = [Mine(), 1, 2]
    return array


@pytest.mark.parametrize("dtype", ["objects", "a field of objects"])
@pytest.mark.parametrize("name", ["x_train", "y_train", "classes"])
def test_data_sets_that_are_pickles(mine: bytes, name: str, dtype: str) -> None:
    array = object_array()
    if dtype == "a field of objects":
        array = np.array([(1, Mine())], dtype=[("a", "i4"), ("b", object)])
    arrays = {
        "x_train": np.zeros((4, 8, 8), np.uint8),
        "y_train": np.array([0, 1, 0, 1]),
        "x_test": np.zeros((2, 8, 8), np.uint8),
        "y_test": np.array([0, 1]),
    }
    np.savez("evil.npz", **(arrays | {name: array}), allow_pickle=True)
    for source, scheme in ((NpzFile(), "npz"), (FeaturesFile(), "features")):
        with pytest.raises(DataError, match="holds Python objects, which can run code"):
            source.load(DatasetSpec(f"{scheme}:evil.npz"), None)
    with pytest.raises(NoiseError):
        read_noise_file(Path("evil.npz"))
    Path("cifar10.npz").write_bytes(mine)
    with pytest.raises(DataError, match="cannot be read as an npz archive"):
        CIFAR10().load(DatasetSpec("cifar10"), Path())


def test_noise_files_that_are_pickles(mine: bytes) -> None:
    np.savez("labels.npz", labels=object_array(), metadata=np.array("{}"), allow_pickle=True)
    np.savez("metadata.npz", labels=np.zeros(3, np.int64), metadata=object_array(), allow_pickle=True)
    Path("bare.npz").write_bytes(mine)
    for name in ("labels", "metadata", "bare"):
        with pytest.raises(NoiseError):
            read_noise_file(Path(f"{name}.npz"))


def test_official_archives_that_were_exchanged(mine: bytes) -> None:
    folder = Path("cifar-10-batches-py")
    folder.mkdir()
    for name in (
        "data_batch_1",
        "data_batch_2",
        "data_batch_3",
        "data_batch_4",
        "data_batch_5",
        "test_batch",
    ):
        (folder / name).write_bytes(mine)
    (folder / "batches.meta").write_bytes(mine)
    with pytest.raises(DataError, match="damaged or incomplete"):
        CIFAR10().load(DatasetSpec("cifar10"), Path())


CONFIGURATION = {
    "model_type": "vit",
    "architectures": ["ViTModel"],
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 16,
    "patch_size": 8,
}
PROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "size": {"height": 16, "width": 16},
    "resample": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "rescale_factor": 1 / 255,
}


@pytest.mark.parametrize(
    "files",
    [
        {"pytorch_model.bin": None},
        {"model.safetensors": None},
        {
            "pytorch_model.bin": None,
            "model.safetensors.index.json": {"weight_map": {"a": "pytorch_model.bin"}},
        },
        {"model.safetensors.index.json": {"weight_map": {"a": "../evil.bin"}}},
        {
            "model-1.safetensors": None,
            "model.safetensors.index.json": {"weight_map": {"a": "model-1.safetensors"}},
        },
        {"model.safetensors.index.json": {"weight_map": "x"}},
        {"model.safetensors.index.json": [1]},
    ],
)
def test_weights_that_are_pickles(mine: bytes, files: dict[str, Any]) -> None:
    folder = Path("model")
    folder.mkdir()
    Path("evil.bin").write_bytes(mine)
    (folder / "config.json").write_text(json.dumps(CONFIGURATION))
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    for name, content in files.items():
        (folder / name).write_bytes(mine if content is None else json.dumps(content).encode())
    with pytest.raises(WeightsError):
        HuggingFace().load(BackboneSpec("hf:./model"), 0)


def test_a_model_that_brings_its_own_code(mine: bytes) -> None:
    folder = Path("model")
    folder.mkdir()
    code = "open('pwned', 'w')\nclass C: pass\n"
    (folder / "code.py").write_text(code)
    own = {"AutoConfig": "code.C", "AutoModel": "code.C", "AutoImageProcessor": "code.C"}
    (folder / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": own}))
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR | {"auto_map": own}))
    save_file({"a": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(WeightsError, match="cannot be read by transformers"):
        HuggingFace().load(BackboneSpec("hf:./model"), 0)


@pytest.mark.parametrize("name", ["evil.bin", "evil.pth", "evil.safetensors", "evil.npz"])
def test_weights_of_timm_that_are_pickles(mine: bytes, name: str) -> None:
    Path(name).write_bytes(mine)
    with pytest.raises(WeightsError):
        Timm().load(BackboneSpec("timm:test_resnet", options=(("path", name),)), 0)


def test_weights_of_torchvision_that_were_exchanged(mine: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(Path("hub").absolute()))
    path = cached_file(default_weights("shufflenet_v2_x0_5"))
    path.parent.mkdir(parents=True)
    path.write_bytes(mine)
    with pytest.raises(WeightsError, match="cannot be loaded"):
        TorchVision().load(BackboneSpec("torchvision:shufflenet_v2_x0_5"), 0)
    torch.save({"fc.weight": Mine()}, path)
    with pytest.raises(WeightsError, match="cannot be loaded"):
        TorchVision().load(BackboneSpec("torchvision:shufflenet_v2_x0_5"), 0)


def test_checkpoints_that_are_pickles(mine: bytes) -> None:
    folder = Path("checkpoints")
    saved = checkpoint.Checkpoints(folder)
    folder.mkdir()
    torch.save({"state": Mine()}, folder / "torch.ckpt")
    (folder / "bare.ckpt").write_bytes(mine)
    assert {Path(item.path).stem for item in saved.damaged()} == {"torch", "bare"}
    state, refusal = saved.load("torch", {})
    assert state is None
    assert refusal == "it was not written by lnlbench"


def test_checkpoints_whose_content_was_exchanged(mine: bytes) -> None:
    saved = checkpoint.Checkpoints(Path("checkpoints"))
    saved.save("exchanged", {}, {})
    torch.save({"trial_id": "exchanged", "identity": {}, "state": Mine()}, "zip.pt")
    torch.save({"state": Mine()}, "legacy.pt", _use_new_zipfile_serialization=False)
    for body in (mine, Path("zip.pt").read_bytes(), Path("legacy.pt").read_bytes()):
        # An attacker can compute sums.
        digest = checkpoint._checksum(checkpoint._MAGICS[0], memoryview(body))
        saved.path("exchanged").write_bytes(checkpoint._MAGICS[0] + digest + body)
        state, refusal = saved.load("exchanged", {})
        assert state is None
        assert refusal is not None
        assert refusal.startswith("it is not a checkpoint")


def test_cached_features_that_are_pickles(mine: bytes) -> None:
    cache = FeatureCache(Path("cache"))
    key = FeatureKey("d", "train", "b", "p", View("plain"), "fp32")

    def extract() -> Any:
        yield torch.ones(3, 2)

    cache.obtain(key, (3, 2), extract)
    array = Path("cache/features") / f"{key.digest}.npy"
    np.save(array, object_array(), allow_pickle=True)
    manifest = array.with_suffix(".json")
    content = json.loads(manifest.read_text())
    content["sha256"] = hashlib.sha256(array.read_bytes()).hexdigest()  # an attacker can compute sums
    manifest.write_text(json.dumps(content))
    found = FeatureCache(Path("cache")).obtain(key, (3, 2), extract)
    assert torch.equal(found.array, torch.ones(3, 2))
