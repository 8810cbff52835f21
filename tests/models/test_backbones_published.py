"""The paper's backbones by name, on tiny models in the hub's layout (``LNLBENCH_WEIGHTS``)."""

import copy
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from photos import assert_within_rounding, photo
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_models import expected_features, save, tiny
from torch import nn

from lnlbench.errors import UsageError, WeightsError
from lnlbench.models.backbone import Backbone
from lnlbench.models.calibration import Execution
from lnlbench.models.ledger import Ledger
from lnlbench.models.network import Network
from lnlbench.models.sources.huggingface import HuggingFace, VisionTower
from lnlbench.plugins import registry
from lnlbench.spec import BackboneSpec

# Protocol, section 5: name, repository, and the architecture that it holds.
REPOSITORIES = {
    "vit_b16": ("google/vit-base-patch16-224", "vit"),
    "convnext_t": ("facebook/convnext-tiny-224", "convnext"),
    "mae_vit_b": ("facebook/vit-mae-base", "mae"),
    "msn_vit_b": ("facebook/vit-msn-base", "msn"),
    "clip_vit_b": ("openai/clip-vit-base-patch16", "clip"),
    "resnet50": ("microsoft/resnet-50", "bottleneck"),
    "vit_l16": ("google/vit-large-patch16-224-in21k", "vit-headless"),
    "clip_vit_l14": ("openai/clip-vit-large-patch14", "clip"),
}
NAMES = tuple(REPOSITORIES)
PATCHES = {"clip_vit_b": 16, "clip_vit_l14": 14}


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("weights")
    for number, (name, (repository, kind)) in enumerate(REPOSITORIES.items()):
        patch = {"patch": PATCHES[name]} if name in PATCHES else {}
        save(kind, root / repository, seed=number, **patch)
    save("clip", root / "openai/clip-vit-base-patch32", seed=90, patch=32)
    return root


@pytest.fixture(autouse=True)
def weights(saved, tmp_path, monkeypatch) -> Path:
    """All models in a folder of the user's, nothing in the hub's cache, and no network."""
    monkeypatch.setenv("LNLBENCH_WEIGHTS", str(saved))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return saved


@pytest.fixture
def one(saved, tmp_path, monkeypatch) -> Path:
    """A folder of models with nothing but ViT-B/16, to be changed; returns that model's folder."""
    folder = tmp_path / "some weights" / REPOSITORIES["vit_b16"][0]
    shutil.copytree(saved / REPOSITORIES["vit_b16"][0], folder)
    monkeypatch.setenv("LNLBENCH_WEIGHTS", str(tmp_path / "some weights"))
    return folder


def spec(name: str, **fields) -> BackboneSpec:
    options = tuple(sorted(fields.pop("options", {}).items()))
    return BackboneSpec(name, options=options, **fields)


def load(name: str, **fields) -> Backbone:
    return registry.backbones().load(name)().load(spec(name, **fields), 0)


def missing(name: str, **fields) -> str | None:
    return registry.backbones().load(name)().missing(None, spec(name, **fields))


def original(name: str, root: Path):
    """The model as transformers itself loads it, with its published head, and its processor."""
    repository, kind = REPOSITORIES[name]
    model = type(tiny(kind)[0]).from_pretrained(root / repository).eval()
    return model, transformers.AutoImageProcessor.from_pretrained(root / repository)


def batch(backbone: Backbone, samples: int = 4) -> torch.Tensor:
    size = backbone.preprocessing.size
    return torch.randn(samples, 3, size, size, generator=torch.Generator().manual_seed(3))


def network_of(backbone: Backbone, execution: Execution | None = None) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        head = nn.Linear(backbone.feature_dim, 3)
    return Network(
        head,
        lambda: copy.deepcopy(backbone.module),
        ledger=Ledger(),
        device=torch.device("cpu"),
        execution=execution or Execution(),
    )


# --- features, preprocessing, learning ----------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_features_and_preprocessing_are_the_models_own(name, weights):
    assert missing(name) is None
    backbone = load(name)
    model, processor = original(name, weights)
    images = [photo(70, 90, seed) for seed in range(3)]
    pixels = processor([Image.fromarray(i.permute(1, 2, 0).numpy()) for i in images], return_tensors="pt")
    theirs = pixels["pixel_values"]
    ours = backbone.preprocessing(images)
    assert_within_rounding(ours, theirs, backbone.preprocessing.std)
    with torch.no_grad():
        expected = expected_features(REPOSITORIES[name][1], model, theirs)
        torch.testing.assert_close(backbone.module(theirs), expected)
        difference = backbone.module(ours) - expected
    assert difference.norm() < 0.02 * expected.norm()
    assert backbone.name == name
    assert backbone.feature_dim == expected.shape[1]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("frozen", [False, True], ids=["fft", "lp"])
def test_fine_tuning_moves_every_parameter_and_probing_none(name, frozen):
    backbone = load(name)
    network = network_of(backbone)
    network.build()
    network.freeze(frozen)
    network.train()
    parameters = dict(network.named_parameters())
    learning = {key: p for key, p in parameters.items() if p.requires_grad}
    state = {**parameters, **dict(network.named_buffers())}
    before = {key: value.detach().clone() for key, value in state.items()}
    optimizer = torch.optim.AdamW(learning.values(), lr=1e-2)
    loss = nn.functional.cross_entropy(network(batch(backbone)), torch.tensor([0, 1, 2, 0]))
    loss.backward()
    assert [key for key, p in learning.items() if p.grad is None] == []
    optimizer.step()
    changed = {key for key, value in state.items() if not torch.equal(before[key], value)}
    if frozen:
        assert changed == {"head.weight", "head.bias"}  # and no running statistics
        return
    assert parameters.keys() <= changed
    # A bias of the keys shifts all scores of a query alike, which a softmax does not see.
    seen = [key for key in learning if not re.search(r"k(ey|_proj)\.bias$", key)]
    assert [key for key in seen if not learning[key].grad.any()] == []


@pytest.mark.parametrize("name", NAMES)
def test_gradient_checkpointing_changes_nothing_but_the_work(name):
    passes, states, gradients = [], [], []
    for on in (False, True):
        backbone = load(name, options={"gradient_checkpointing": on})
        module = copy.deepcopy(backbone.module).double().train()  # as every network gets a copy
        calls = []
        for leaf in module.modules():
            if isinstance(leaf, nn.Linear | nn.Conv2d):
                leaf.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        module(batch(backbone).double()).square().sum().backward()
        passes.append(len(calls))
        states.append(module.state_dict())
        gradients.append({key: p.grad for key, p in module.named_parameters() if p.requires_grad})
        assert all(p.grad is None for p in backbone.module.parameters())
    assert passes[1] > passes[0]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)  # statistics of batches, too


@pytest.mark.parametrize("name", NAMES)
def test_gradient_checkpointing_is_no_other_backbone(name):
    plain, checkpointed = load(name), load(name, options={"gradient_checkpointing": True})
    assert plain.fingerprint == checkpointed.fingerprint


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_is_close_and_trains(name):
    backbone = load(name)
    features = []
    for precision in ("fp32", "bf16"):
        network = network_of(backbone, Execution(precision))
        network.freeze(False)
        network.eval()
        with torch.no_grad():
            features.append(network.features(batch(backbone)))
        network.train()
        logits = network(batch(backbone))
        assert logits.dtype == torch.float32
        logits.square().sum().backward()
        assert all(p.grad.isfinite().all() and p.grad.dtype == torch.float32 for p in network.parameters())
    assert 0 < (features[1] - features[0]).norm() < 0.05 * features[0].norm()


# Of the published size, by the default configurations of transformers, which are those of these models.
FULL_SIZE = {
    "vit_b16": (transformers.ViTConfig(), 768, 85.8),
    "convnext_t": (transformers.ConvNextConfig(), 768, 27.8),
    "mae_vit_b": (transformers.ViTMAEConfig(), 768, 85.8),
    "msn_vit_b": (transformers.ViTMSNConfig(), 768, 85.8),
    "clip_vit_b": (transformers.CLIPVisionConfig(patch_size=16), 768, 85.8),
    "resnet50": (transformers.ResNetConfig(), 2048, 23.5),
    "vit_l16": (
        transformers.ViTConfig(
            hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
        ),
        1024,
        303.3,
    ),
    "clip_vit_l14": (
        transformers.CLIPVisionConfig(
            hidden_size=1024,
            num_hidden_layers=24,
            num_attention_heads=16,
            intermediate_size=4096,
            patch_size=14,
        ),
        1024,
        303.2,
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_published_sizes_are_documented(name):
    configuration, dimension, millions = FULL_SIZE[name]
    with torch.device("meta"):
        tower = VisionTower(transformers.AutoModel.from_config(configuration), "model", 224)
        features = tower(torch.empty(1, 3, 224, 224))
    assert features.shape == (1, dimension)
    assert sum(p.numel() for p in tower.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)
    page = (Path(__file__).parents[2] / "docs" / "data-and-backbones.md").read_text(encoding="utf-8")
    (row,) = (line for line in page.splitlines() if line.startswith(f"| `{name}` | "))
    cells = [cell.strip() for cell in row.split("|")]
    assert REPOSITORIES[name][0] in row
    assert f"{dimension:,}" in cells
    assert f"{millions:.1f}" in cells


# --- which model --------------------------------------------------------------------------


def test_clips_patch_size_is_an_option(weights):
    backbone = load("clip_vit_b", options={"patch": 32})
    assert backbone.preprocessing.size == 128
    folder = BackboneSpec(f"hf:{weights}/openai/clip-vit-base-patch32")
    assert backbone.fingerprint == HuggingFace().load(folder, 0).fingerprint
    assert load("clip_vit_b").preprocessing.size == 64
    with pytest.raises(UsageError, match="Choose one of: 16, 32"):
        missing("clip_vit_b", options={"patch": 14})


def test_a_name_is_the_same_backbone_as_its_repository(weights):
    repository, _ = REPOSITORIES["vit_b16"]
    named = load("vit_b16")
    for reference in (repository, weights / repository):
        assert HuggingFace().load(BackboneSpec(f"hf:{reference}"), 9).fingerprint == named.fingerprint


def test_a_name_takes_no_reference():
    with pytest.raises(UsageError, match=r"Write vit_b16\.$"):
        registry.backbones().load("vit_b16")().missing("large", BackboneSpec("vit_b16:large"))


def test_pooling_can_be_chosen(weights):
    mean = load("vit_b16", options={"pooling": "mean"})
    model, _ = original("vit_b16", weights)
    with torch.no_grad():
        expected = model.vit(batch(mean)).last_hidden_state[:, 1:].mean(dim=1)
        torch.testing.assert_close(mean.module(batch(mean)), expected)


def test_another_architecture_in_the_folder_is_refused(one, saved):
    shutil.rmtree(one)
    shutil.copytree(saved / REPOSITORIES["convnext_t"][0], one)
    with pytest.raises(WeightsError, match=r"type 'convnext'; vit_b16 is a 'vit'"):
        load("vit_b16")


# --- the user's folder of models ----------------------------------------------------------


def test_missing_weights_come_with_the_command_that_puts_them_there(one, monkeypatch):
    root = one.parents[1]
    said = missing("msn_vit_b")
    assert said == (
        "config.json of the hub repository 'facebook/vit-msn-base' is not on this machine. Fetch it with: "
        "hf download facebook/vit-msn-base --include '*.json' --include 'model*.safetensors' "
        f"--local-dir '{root}/facebook/vit-msn-base'"
    )
    with pytest.raises(WeightsError, match="--local-dir"):
        load("msn_vit_b")
    monkeypatch.delenv("LNLBENCH_WEIGHTS")
    assert missing("msn_vit_b").endswith("--include 'model*.safetensors'")


@pytest.mark.parametrize(("revision", "folder"), [("abc123", "@abc123"), ("refs/pr/1", "@refs--pr--1")])
def test_a_pinned_revision_has_a_folder_of_its_own(one, revision, folder):
    said = missing("vit_b16", revision=revision)
    assert f"--revision {revision} " in said
    assert said.endswith(f"--local-dir '{one}{folder}'")
    pinned = Path(shutil.copytree(one, f"{one}{folder}"))
    tensors = load_file(pinned / "model.safetensors")
    tensors["vit.layernorm.bias"][0] += 1.0
    save_file(tensors, pinned / "model.safetensors", metadata={"format": "pt"})
    assert missing("vit_b16", revision=revision) is None
    assert load("vit_b16", revision=revision).fingerprint != load("vit_b16").fingerprint


def test_the_users_folder_comes_before_the_hubs_cache(one, saved, tmp_path):
    root = tmp_path / "hub" / "models--google--vit-base-patch16-224"
    shutil.copytree(saved / REPOSITORIES["vit_l16"][0], root / "snapshots" / ("a" * 40))
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("a" * 40)
    mine = load("vit_b16").fingerprint
    (one / "model.safetensors").unlink()
    assert f"'{one}' has no model.safetensors" in missing("vit_b16")
    with pytest.raises(WeightsError, match=r"no model\.safetensors.*--local-dir"):
        load("vit_b16")
    shutil.rmtree(one)
    assert missing("vit_b16") is None
    assert load("vit_b16").fingerprint != mine


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
def test_a_folder_without_its_configurations_is_incomplete(one, file):
    (one / file).unlink()
    assert f"has no {file}" in missing("vit_b16")
    with pytest.raises(WeightsError, match=f"has no {file}"):
        load("vit_b16")


def test_pickled_weights_in_the_folder_are_refused(one):
    torch.save(load_file(one / "model.safetensors"), one / "pytorch_model.bin")
    (one / "model.safetensors").unlink()
    assert "can run code" in missing("vit_b16")
    with pytest.raises(WeightsError, match="convert the weights"):
        load("vit_b16")


def test_the_conversion_of_the_docs_makes_pickled_weights_usable(one, monkeypatch):
    before = load("vit_b16").fingerprint
    torch.save(load_file(one / "model.safetensors"), one / "pytorch_model.bin")
    (one / "model.safetensors").unlink()
    page = (Path(__file__).parents[2] / "docs" / "data-and-backbones.md").read_text(encoding="utf-8")
    blocks = [part.partition("```")[0] for part in page.split("```python\n")[1:]]
    (code,) = (block for block in blocks if "pytorch_model.bin" in block)
    monkeypatch.chdir(one)
    exec(compile(code, "data-and-backbones.md", "exec"), {})
    assert load("vit_b16").fingerprint == before


def test_from_scratch_needs_the_configuration_only(one):
    (one / "model.safetensors").unlink()
    assert missing("vit_b16", weights="none") is None
    untrained = load("vit_b16", weights="none")
    assert untrained.fingerprint == load("vit_b16", weights="none").fingerprint
    configuration = json.loads((one / "config.json").read_text())
    assert untrained.feature_dim == configuration["hidden_size"]
