"""Residual networks from scratch: sizes counted by hand, a forward pass by formula, whole runs."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

import lnlbench
from lnlbench.cli import main
from lnlbench.errors import ExitCode, UsageError
from lnlbench.models.backbone import Backbone
from lnlbench.models.sources.cifar_resnets import PreActNet
from lnlbench.plugins import registry
from lnlbench.spec import BackboneSpec
from lnlbench.trials.workspace import RunSettings, Workspace

NAMES = ("preact_resnet18", "resnet34_cifar")


def load(name: str, seed: int = 0, **fields) -> Backbone:
    spec = BackboneSpec(name, **{"weights": "none", **fields})
    return registry.backbones().load(name)().load(spec, seed)


def images(samples: int = 4, size: int = 32) -> torch.Tensor:
    return torch.randn(samples, 3, size, size, generator=torch.Generator().manual_seed(0))


def convolution(inputs: int, outputs: int, side: int = 3) -> int:
    return inputs * outputs * side**2


def norm(channels: int) -> int:
    return 2 * channels  # scale and shift


def preact_block(inputs: int, outputs: int) -> int:
    projection = convolution(inputs, outputs, 1) if inputs != outputs else 0
    return (
        norm(inputs)
        + convolution(inputs, outputs)
        + norm(outputs)
        + convolution(outputs, outputs)
        + projection
    )


def basic_block(inputs: int, outputs: int) -> int:
    projection = convolution(inputs, outputs, 1) + norm(outputs) if inputs != outputs else 0
    return (
        convolution(inputs, outputs)
        + norm(outputs)
        + convolution(outputs, outputs)
        + norm(outputs)
        + projection
    )


def stages(block, depths: tuple[int, ...]) -> int:
    total, channels = 0, 64
    for width, depth in zip((64, 128, 256, 512), depths, strict=True):
        total += block(channels, width) + (depth - 1) * block(width, width)
        channels = width
    return total


STEM = convolution(3, 64)
PARAMETERS = {
    "preact_resnet18": STEM + stages(preact_block, (2, 2, 2, 2)) + norm(512),
    "resnet34_cifar": STEM + norm(64) + stages(basic_block, (3, 4, 6, 3)),
}


@pytest.mark.parametrize("name", NAMES)
def test_sizes(name):
    backbone = load(name)
    assert backbone.feature_dim == 512
    assert sum(p.numel() for p in backbone.module.parameters()) == PARAMETERS[name]
    with_ten_classes = PARAMETERS[name] + 512 * 10 + 10
    assert with_ten_classes == {"preact_resnet18": 11_172_170, "resnet34_cifar": 21_282_122}[name]


@pytest.mark.parametrize("name", NAMES)
def test_the_first_stage_keeps_the_resolution_and_the_last_has_an_eighth(name):
    module = load(name).module
    sides = []
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda _, __, output: sides.append(output.shape[-1]))
    features = module(images())
    assert (sides[0], sides[1], sides[-1]) == (32, 32, 4)
    assert features.shape == (4, 512)
    assert (features >= 0).all()  # the last activation comes before the average


def test_preact_forward_is_that_of_the_formula():
    torch.manual_seed(0)
    net = PreActNet().double().train()
    inputs = images(size=16).double()
    layers = iter(net)

    def activated(x, layer):
        return functional.relu(functional.batch_norm(x, None, None, layer.weight, layer.bias, training=True))

    stem = next(layers)
    x = functional.conv2d(inputs, stem.weight, padding=1)
    for number in range(8):
        block = next(layers)
        stride = 2 if number in (2, 4, 6) else 1
        a = activated(x, block.norm1)
        residual = functional.conv2d(a, block.conv1.weight, stride=stride, padding=1)
        residual = functional.conv2d(activated(residual, block.norm2), block.conv2.weight, padding=1)
        if number in (2, 4, 6):
            shortcut = functional.conv2d(a, block.projection.weight, stride=2)
        else:
            shortcut = a if number == 0 else x
        x = shortcut + residual
    expected = activated(x, next(layers)).mean(dim=(2, 3))
    torch.testing.assert_close(net(inputs), expected)


@pytest.mark.parametrize("name", NAMES)
def test_initial_weights_depend_on_the_seed_alone(name):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = load(name)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert load(name).fingerprint == first.fingerprint
    assert load(name, seed=1).fingerprint != first.fingerprint


@pytest.mark.parametrize("name", NAMES)
def test_convolutions_keep_the_variance_of_gradients(name):
    for layer in load(name).module.modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
            expected = (2 / (9 * layer.out_channels)) ** 0.5  # He et al. (2015), by fan-out
            assert float(layer.weight.detach().std()) == pytest.approx(expected, rel=0.06)


def test_images_of_32_pixels_are_normalised_only():
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    mean = torch.tensor([0.4914, 0.4822, 0.4465]).view(3, 1, 1)
    std = torch.tensor([0.2470, 0.2435, 0.2616]).view(3, 1, 1)
    torch.testing.assert_close(load("preact_resnet18").preprocessing(pixels), (pixels / 255 - mean) / std)
    assert load("preact_resnet18", image_size=64).preprocessing(pixels).shape == (2, 3, 64, 64)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_checkpointing_changes_nothing(name):
    gradients, states = [], []
    for on in (False, True):
        module = load(name, options=(("gradient_checkpointing", on),), image_size=8).module
        module = copy.deepcopy(module).double().train()
        module(images(size=8).double()).square().sum().backward()
        gradients.append([p.grad for p in module.parameters()])
        states.append(module.state_dict())
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_pre_trained_weights_are_refused(name):
    source = registry.backbones().load(name)()
    for ask in (lambda spec: source.missing(None, spec), lambda spec: source.load(spec, 0)):
        with pytest.raises(UsageError, match="no pre-trained weights") as caught:
            ask(BackboneSpec(name))
        assert caught.value.hint == 'Set backbone_options.weights = "none".'
    assert source.missing(None, BackboneSpec(name, weights="none")) is None


def test_a_workspace_keeps_the_weights_of_one_seed(tmp_path):
    workspace = Workspace(RunSettings(data=None, cache=tmp_path))
    spec = BackboneSpec("preact_resnet18", weights="none", image_size=8)
    first, second = workspace.backbone(spec, 0), workspace.backbone(spec, 1)
    assert first.fingerprint != second.fingerprint
    assert workspace.backbone(spec, 1) is second
    assert workspace.backbone(spec, 0).fingerprint == first.fingerprint
    assert workspace.backbone(spec, 0) is not first


# Runs

GRID = """
schema = 1
title = "Digits from scratch"
seeds = [0]
dataset = "digits"
backbone = "preact_resnet18"
noise = ["symmetric-0.4"]
precision = "fp32"
[[rows]]
tuning = "fft"
method = ["ce", "dividemix"]
[dataset_options]
train_per_class = 3
test_per_class = 2
[backbone_options]
weights = "none"
image_size = 8
[fft]
epochs = 2
batch_size = 32
[[override]]
where = { method = "ce" }
set = { "fft.epochs" = 1 }
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("scratch.toml").write_text(GRID)

    def call(*options):
        arguments = ["run", "--grid", "scratch.toml", "--executor", "inline", "--cpus-per-trial", "1"]
        code = main([*arguments, "--cache-dir", str(tmp_path / "cache"), *options])
        return code, capsys.readouterr()

    return call


def test_a_run_from_scratch(run):
    code, captured = run()
    assert code == ExitCode.OK, captured.err
    frame = lnlbench.load("runs/scratch").set_index("method")
    assert set(frame["status"]) == {"done"}
    images_of_an_epoch = frame.loc["ce", "backbone_backward"]
    assert 20 <= images_of_an_epoch < 30  # three of each class, less the validation samples
    # Two networks warm up on them, and then train on views of them.
    assert frame.loc["dividemix", "backbone_backward"] > 2 * images_of_an_epoch
    assert "0 trials to run; 2 done" in run()[1].err


def test_a_grid_that_forgets_to_say_from_scratch(run):
    for options in (["--dry-run"], []):
        code, captured = run("--set", "weights=pretrained", *options)
        assert code == ExitCode.USAGE
        assert "no pre-trained weights" in captured.err
        assert 'Set backbone_options.weights = "none"' in captured.err
    assert not list(Path().glob("runs/*/trials/*"))
