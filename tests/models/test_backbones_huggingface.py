"""Backbones of transformers: tiny models saved in the hub's own format, loaded from a folder."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny_models import PATCH, SIZE, expected_features, save, tiny

from lnlbench.errors import UsageError, WeightsError
from lnlbench.models.execution import Execution
from lnlbench.models.sources.huggingface import HuggingFace
from lnlbench.models.sources.interpolation import InterpolatesOnCpu
from lnlbench.spec import BackboneSpec

KINDS = ("vit", "mae", "msn", "clip", "convnext", "resnet")


@pytest.fixture(autouse=True)
def _offline(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """One folder per kind of model."""
    root = tmp_path_factory.mktemp("models")
    for number, kind in enumerate(KINDS):
        save(kind, root / kind, seed=number)
    return root


@pytest.fixture
def vit(folders, tmp_path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(folders / "vit", tmp_path / "vit"))


def spec(folder: Path, **fields) -> BackboneSpec:
    options = tuple(sorted(fields.pop("options", {}).items()))
    return BackboneSpec(f"hf:{folder}", options=options, **fields)


def load(folder: Path, seed: int = 0, **fields):
    return HuggingFace().load(spec(folder, **fields), seed)


def some_images(size: int = SIZE) -> torch.Tensor:
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", KINDS)
def test_features_equal_transformers_own_forward_pass(kind, folders):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    backbone = load(folders / kind)
    assert torch.equal(torch.get_rng_state(), state)

    model = tiny(kind)[0]
    model = type(model).from_pretrained(folders / kind).eval()
    with torch.no_grad():
        expected = expected_features(kind, model, some_images())
        torch.testing.assert_close(backbone.module(some_images()), expected)
    assert backbone.feature_dim == expected.shape[1]
    assert backbone.preprocessing.size == SIZE
    assert backbone.preprocessing.resize == (36 if kind in ("convnext", "resnet") else SIZE)
    assert all(p.dtype == torch.float32 for p in backbone.module.parameters())
    assert HuggingFace().missing(str(folders / kind), spec(folders / kind)) is None


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_all_parameters(kind, folders):
    module = load(folders / kind).module.train()
    module(some_images()).square().sum().backward()
    unreached = [name for name, p in module.named_parameters() if p.requires_grad and p.grad is None]
    assert unreached == []


def test_gradient_checkpointing_that_a_model_lacks(tmp_path):
    configuration = transformers.RegNetConfig(
        embedding_size=8, hidden_sizes=[8] * 4, depths=[1] * 4, groups_width=4
    )
    transformers.RegNetModel(configuration).save_pretrained(tmp_path)
    transformers.ConvNextImageProcessor(size={"shortest_edge": SIZE}).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="gradient checkpointing"):
        load(tmp_path, options={"gradient_checkpointing": True})


def test_mae_draws_nothing_and_masks_nothing(folders):
    module = load(folders / "mae").module
    state = torch.get_rng_state()
    first = module(some_images())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(module(some_images()), first)
    # Every patch has an influence on the class token.
    images = some_images().requires_grad_()
    module(images).sum().backward()
    patches = images.grad.unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH).abs().amax(dim=(1, 4, 5))
    assert (patches > 0).all()


@pytest.mark.parametrize("kind", ["vit", "mae", "clip", "convnext"])
def test_mean_pooling(kind, folders):
    backbone = load(folders / kind, options={"pooling": "mean"})
    with torch.no_grad():
        unshuffled = {"noise": torch.arange(16.0).expand(3, -1)} if kind == "mae" else {}
        hidden = backbone.module.model(some_images(), **unshuffled).last_hidden_state
        expected = hidden.flatten(2).mean(-1) if kind == "convnext" else hidden[:, 1:].mean(1)
        torch.testing.assert_close(backbone.module(some_images()), expected)
    assert backbone.fingerprint != load(folders / kind).fingerprint


def test_class_token_pooling(folders):
    by_name = load(folders / "vit", options={"pooling": "cls"})
    assert by_name.fingerprint == load(folders / "vit").fingerprint
    with pytest.raises(UsageError, match="no class token"):
        load(folders / "convnext", options={"pooling": "cls"})


def test_unknown_pooling(folders):
    with pytest.raises(UsageError, match="Did you mean 'mean'"):
        load(folders / "vit", options={"pooling": "means"})


@pytest.mark.parametrize("kind", KINDS)
def test_other_image_sizes(kind, folders):
    backbone = load(folders / kind, image_size=64)
    assert backbone.preprocessing.size == 64
    assert backbone.module(some_images(64)).shape == (3, backbone.feature_dim)
    assert backbone.fingerprint == load(folders / kind).fingerprint


@pytest.mark.parametrize("kind", ["vit", "mae", "msn", "clip"])
def test_position_embeddings_are_interpolated_the_same_where_bits_must_repeat(kind, folders, monkeypatch):
    moved = []
    inner = InterpolatesOnCpu.__torch_function__
    monkeypatch.setattr(
        InterpolatesOnCpu,
        "__torch_function__",
        lambda self, function, *rest: moved.append(function.__name__) or inner(self, function, *rest),
    )
    passes = []
    for deterministic in (False, True):
        module = load(folders / kind, image_size=64).module
        with Execution(deterministic=deterministic).arithmetic(torch.device("cpu")):
            features = module(some_images(64))
            features.square().sum().backward()
        assert ("interpolate" in moved) is deterministic
        passes.append((features, [p.grad for p in module.parameters() if p.grad is not None]))
    (plain, gradients), (again, others) = passes
    assert torch.equal(plain, again)
    assert all(torch.equal(one, other) for one, other in zip(gradients, others, strict=True))


def test_image_size_that_does_not_fit_the_patches(folders):
    with pytest.raises(UsageError, match="Set image_size to 48"):
        load(folders / "vit", image_size=50)


@pytest.mark.parametrize("kind", ["vit", "clip", "convnext"])
def test_untrained_weights_depend_on_the_seed_alone(kind, folders, tmp_path):
    for name in ("config.json", "preprocessor_config.json"):
        shutil.copy(folders / kind / name, tmp_path)
    state = torch.get_rng_state()
    first = load(tmp_path, weights="none")
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(1)
    assert load(tmp_path, weights="none").fingerprint == first.fingerprint
    assert load(tmp_path, weights="none", seed=1).fingerprint != first.fingerprint
    assert HuggingFace().missing(str(tmp_path), spec(tmp_path, weights="none")) is None
    assert "no model.safetensors" in HuggingFace().missing(str(tmp_path), spec(tmp_path))


def test_fingerprint_is_of_content_not_of_place(folders, vit):
    first = load(folders / "vit").fingerprint
    assert load(vit, seed=9).fingerprint == first
    tensors = load_file(vit / "model.safetensors")
    tensors["vit.layernorm.bias"][3] += 1e-3
    save_file(tensors, vit / "model.safetensors", metadata={"format": "pt"})
    assert load(vit).fingerprint != first


def test_half_precision_weights_are_loaded_in_single(vit):
    tensors = {name: tensor.half() for name, tensor in load_file(vit / "model.safetensors").items()}
    save_file(tensors, vit / "model.safetensors", metadata={"format": "pt"})
    assert {p.dtype for p in load(vit).module.parameters()} == {torch.float32}


def test_sharded_weights(folders, tmp_path):
    model = transformers.ViTForImageClassification.from_pretrained(folders / "vit")
    model.save_pretrained(tmp_path, max_shard_size="8KB")
    shutil.copy(folders / "vit" / "preprocessor_config.json", tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    assert load(tmp_path).fingerprint == load(folders / "vit").fingerprint
    shard = sorted(tmp_path.glob("model-*.safetensors"))[-1]
    shard.unlink()
    assert shard.name in HuggingFace().missing(str(tmp_path), spec(tmp_path))
    with pytest.raises(WeightsError, match=shard.name):
        load(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(WeightsError, match="not an index"):
        load(tmp_path)


# --- a hub repository ---------------------------------------------------------------------

REPOSITORY = BackboneSpec("hf:someone/tiny-vit")


def test_repository_in_the_hubs_cache(folders, tmp_path):
    root = tmp_path / "hub" / "models--someone--tiny-vit"
    shutil.copytree(folders / "vit", root / "snapshots" / ("a" * 40))
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("a" * 40)
    assert HuggingFace().missing("someone/tiny-vit", REPOSITORY) is None
    assert HuggingFace().load(REPOSITORY, 0).fingerprint == load(folders / "vit").fingerprint
    pinned = BackboneSpec(REPOSITORY.name, revision="a" * 40)
    assert HuggingFace().missing("someone/tiny-vit", pinned) is None
    (root / "snapshots" / ("a" * 40) / "model.safetensors").unlink()
    assert "model.safetensors" in HuggingFace().missing("someone/tiny-vit", REPOSITORY)
    with pytest.raises(WeightsError, match=r"model\.safetensors"):
        HuggingFace().load(REPOSITORY, 0)


def test_repository_that_is_not_here():
    pinned = BackboneSpec(REPOSITORY.name, revision="v1")
    assert "hf download someone/tiny-vit --revision v1" in HuggingFace().missing("someone/tiny-vit", pinned)
    with pytest.raises(WeightsError, match="hf download someone/tiny-vit"):
        HuggingFace().load(REPOSITORY, 0)


def test_impossible_repository_name():
    with pytest.raises(UsageError, match="OWNER/NAME"):
        HuggingFace().missing("a/b/c", BackboneSpec("hf:a/b/c"))


# --- folders that cannot be used ----------------------------------------------------------


def test_folder_that_does_not_exist(tmp_path):
    assert "no model folder" in HuggingFace().missing("x", spec(tmp_path / "x"))
    with pytest.raises(WeightsError, match="no model folder"):
        load(tmp_path / "x")


def test_pickled_weights_are_refused(vit):
    tensors = load_file(vit / "model.safetensors")
    torch.save(tensors, vit / "pytorch_model.bin")
    (vit / "model.safetensors").unlink()
    assert "pickled (pytorch_model.bin)" in HuggingFace().missing(str(vit), spec(vit))
    with pytest.raises(WeightsError, match="safetensors"):
        load(vit)


def test_weights_that_lack_a_tensor(vit):
    tensors = load_file(vit / "model.safetensors")
    lost = next(name for name in tensors if name.endswith("layernorm.weight"))
    del tensors[lost]
    save_file(tensors, vit / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"lack 1 tensors .*layernorm\.weight"):
        load(vit)


def test_weights_of_another_shape(vit):
    configuration = json.loads((vit / "config.json").read_text())
    (vit / "config.json").write_text(json.dumps({**configuration, "intermediate_size": 48}))
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load(vit)


def test_truncated_weights(vit):
    content = (vit / "model.safetensors").read_bytes()
    (vit / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load(vit)


@pytest.mark.parametrize("content", ["not json", '{"model_type": "unheard_of"}', "{}"])
def test_configuration_that_transformers_does_not_know(content, vit):
    (vit / "config.json").write_text(content)
    with pytest.raises(WeightsError, match="configuration"):
        load(vit)


def test_remote_code_is_not_run(vit):
    marker = vit / "ran"
    (vit / "code.py").write_text(f"open({str(marker)!r}, 'w')")
    configuration = {"model_type": "own", "auto_map": {"AutoConfig": "code.Own", "AutoModel": "code.Own"}}
    (vit / "config.json").write_text(json.dumps(configuration))
    with pytest.raises(WeightsError, match="their own code"):
        load(vit)
    assert not marker.exists()


def test_text_model_is_refused(vit):
    configuration = transformers.BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=20
    )
    transformers.BertModel(configuration).save_pretrained(vit)
    with pytest.raises(UsageError, match="not a vision model"):
        load(vit)
