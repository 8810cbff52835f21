"""Partial, low-rank and prompt tuning: what they start from, what moves, and what a backward pass costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from tiny_models import tiny
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lnlbench.basics.facts import units_of
from lnlbench.errors import TrialError, UsageError
from lnlbench.grids.tuning import phase_kind
from lnlbench.models.calibration import Execution
from lnlbench.models.kinds.backward_cost import count_backward_units
from lnlbench.models.kinds.blocks import blocks_of
from lnlbench.models.kinds.low_rank import find_targets
from lnlbench.models.ledger import Ledger
from lnlbench.models.network import Network
from lnlbench.models.phase_kind import PhaseKind
from lnlbench.models.sources.huggingface import VisionTower

pytest.importorskip("peft")


def vit() -> nn.Module:
    """A small ViT of timm's."""
    return timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=48, depth=3, num_heads=3, num_classes=0
    )


def hub_vit() -> nn.Module:
    """A small ViT of transformers'."""
    return VisionTower(tiny("vit-headless")[0], "cls", 32)


def conv() -> nn.Module:
    return timm.create_model("test_efficientnet", num_classes=0)


def network(make: Callable[[], nn.Module]) -> Network:
    torch.manual_seed(0)
    backbone = make()
    width = backbone(torch.zeros(2, 3, 32, 32)).shape[1]
    made = Network(
        nn.Linear(width, 5),
        lambda: backbone,
        ledger=Ledger(),
        device=torch.device("cpu"),
        execution=Execution(channels_last=False),
    )
    made.build()
    return made


def kind(name: str, **options: Any) -> PhaseKind:
    chosen = phase_kind(name)
    return chosen(chosen.resolve(name, {"epochs": 1, **options}))


def images() -> torch.Tensor:
    return torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def step(made: Network) -> None:
    made.train()
    learning = [one for one in made.parameters() if one.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=0.1)
    for _ in range(2):  # A of a low-rank update has no gradient in the first step, where B is 0
        optimizer.zero_grad()
        nn.functional.cross_entropy(made(images()), torch.arange(6) % 5).backward()
        optimizer.step()


def moved(made: Network, prepare: Callable[[], None]) -> set[str]:
    """Names of all parameters and buffers of the backbone that two steps change."""
    prepare()
    backbone = made.build()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    step(made)
    return {name for name, value in backbone.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("make", [vit, hub_vit, conv])
def test_low_rank_tuning_starts_as_the_frozen_network_to_the_last_bit(make: Callable[[], nn.Module]) -> None:
    made = network(make)
    made.eval()
    expected = made(images())
    kind("lora", rank=2).prepare(made)
    made.eval()
    assert torch.equal(made(images()), expected)
    made.train()  # dropout of the updates changes nothing either while B is 0
    assert torch.equal(made(images()), expected)


@pytest.mark.parametrize("make", [vit, hub_vit, conv])
def test_low_rank_tuning_moves_its_updates_alone(make: Callable[[], nn.Module]) -> None:
    made = network(make)
    names = moved(made, lambda: kind("lora", rank=2).prepare(made))
    updates = {name for name in made.build().state_dict() if ".lora_" in name}
    assert names <= updates
    assert len(names) > 0.5 * len(updates)  # gates of the convolutional network may be shut


def test_low_rank_updates_have_the_size_and_scale_of_the_paper() -> None:
    made = network(vit)
    kind("lora", rank=2, alpha=6.0, dropout=0.0).prepare(made)
    learning = [one for one in made.build().parameters() if one.requires_grad]
    # Three blocks, each with one layer of 48 → 144: A is 2 × 48, B is 144 × 2.
    assert sum(one.numel() for one in learning) == 3 * (2 * 48 + 144 * 2)
    step(made)
    layer = made.build().blocks[0].attn.qkv
    a, b = (getattr(layer, f"lora_{one}")["default"].weight for one in "AB")
    tokens = torch.randn(4, 48)
    expected = tokens @ (layer.base_layer.weight + 6.0 / 2 * b @ a).T + layer.base_layer.bias
    assert torch.allclose(layer(tokens), expected, atol=1e-6)


@pytest.mark.parametrize("make", [vit, hub_vit, conv])
def test_merged_equals_unmerged(make: Callable[[], nn.Module]) -> None:
    from peft.tuners.tuners_utils import BaseTunerLayer

    made = network(make)
    kind("lora", rank=2).prepare(made)
    step(made)
    made.eval()
    apart = made(images())
    for module in made.build().modules():
        if isinstance(module, BaseTunerLayer):
            module.merge()
    assert torch.allclose(made(images()), apart, atol=1e-5)


def test_targets_can_be_named() -> None:
    assert find_targets(vit(), "fc1+fc2") == [
        f"blocks.{at}.mlp.{one}" for at in range(3) for one in ("fc1", "fc2")
    ]
    with pytest.raises(TrialError, match="has no such layer") as caught:
        find_targets(vit(), "query")
    assert "qkv" in str(caught.value)


@pytest.mark.parametrize("make", [vit, hub_vit])
def test_prompts_stand_beside_the_tokens_of_every_block(make: Callable[[], nn.Module]) -> None:
    made = network(make)
    plain = list(blocks_of(made.build()))
    kind("vpt", tokens=4).prepare(made)
    prompted = blocks_of(made.build())
    width = made.feature_dim
    assert [tuple(block.prompts.shape) for block in prompted] == [(4, width)] * len(plain)
    tokens = torch.randn(2, 17, width)
    made.eval()
    for block, inner in zip(prompted, plain, strict=True):
        # In front of the patches, as in the paper: the order does not matter to attention.
        ahead = inner(torch.cat([block.prompts.expand(2, -1, -1), tokens], dim=1))
        ahead = ahead[0] if isinstance(ahead, tuple) else ahead
        found = block(tokens)
        found = found[0] if isinstance(found, tuple) else found
        assert torch.allclose(found, ahead[:, 4:], atol=1e-6)


@pytest.mark.parametrize("make", [vit, hub_vit])
def test_prompts_alone_move(make: Callable[[], nn.Module]) -> None:
    made = network(make)
    names = moved(made, lambda: kind("vpt", tokens=4).prepare(made))
    assert names == {name for name in made.build().state_dict() if name.endswith(".prompts")}


def test_a_copied_network_has_prompts_of_its_own() -> None:
    import copy

    made = network(vit)
    kind("vpt").prepare(made)
    average = copy.deepcopy(made)
    step(made)
    assert not torch.equal(average(images()), made(images()))


def test_prompts_want_a_vision_transformer() -> None:
    with pytest.raises(TrialError, match="no vision transformer that takes prompts"):
        kind("vpt").prepare(network(conv))


@pytest.mark.parametrize(
    ("options", "learns"),
    [
        ({"blocks": 1}, lambda name: name.startswith("blocks.2.")),
        ({"blocks": 0, "norms": True}, lambda name: ".norm" in name or name.startswith("norm")),
        ({"blocks": 0, "biases": True}, lambda name: name.endswith("bias")),
        (
            {"blocks": 2, "norms": True},
            lambda name: name.startswith(("blocks.1.", "blocks.2.")) or "norm" in name,
        ),
    ],
)
def test_partial_tuning_moves_what_it_says(options: dict[str, Any], learns: Callable[[str], bool]) -> None:
    made = network(vit)
    names = moved(made, lambda: kind("partial", **options).prepare(made))
    # A bias of keys shifts all scores of a query alike, so it learns nothing; the rest of qkv's bias does.
    assert names == set(filter(learns, made.build().state_dict()))


def test_partial_tuning_of_a_residual_network_is_of_its_last_stage() -> None:
    made = network(lambda: timm.create_model("resnet10t", num_classes=0))
    kind("partial", batch_norm="frozen").prepare(made)
    learning = {name for name, one in made.build().named_parameters() if one.requires_grad}
    assert {name.partition(".")[0] for name in learning} == {"layer4"}
    with pytest.raises(TrialError, match=r"has 4 blocks, and partial\.blocks is 5"):
        kind("partial", blocks=5).prepare(made)


def test_a_backbone_without_blocks_is_refused() -> None:
    with pytest.raises(TrialError, match="no blocks, layers or stages"):
        blocks_of(nn.Sequential(nn.Flatten(), nn.Linear(3, 3)))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lora", {"rank": 0}, "lora.rank is 0"),
        ("lora", {"alpha": 0.0}, "lora.alpha is 0"),
        ("lora", {"dropout": 1.0}, "lora.dropout is 1"),
        ("vpt", {"tokens": 0}, "vpt.tokens is 0"),
        ("partial", {"blocks": -1}, "partial.blocks is -1"),
        ("partial", {"blocks": 0}, "neither norms nor biases learn"),
    ],
)
def test_options_that_cannot_be(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        kind(name, **options)


def backward_per_forward(name: str, **options: Any) -> float:
    """Multiplications of a backward pass for one of a forward pass, counted."""
    made = network(larger_vit)
    kind(name, **options).prepare(made)
    made.train()
    with FlopCounterMode(display=False) as forward:
        loss = made(images()).square().sum()
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    return backward.get_total_flops() / forward.get_total_flops()


def test_a_backward_pass_costs_what_the_kinds_say() -> None:
    assert backward_per_forward("fft") == pytest.approx(kind("fft").backward_units(), abs=0.05)
    assert backward_per_forward("lora", rank=4) == pytest.approx(kind("lora").backward_units(), abs=0.1)
    assert backward_per_forward("vpt", tokens=4) == pytest.approx(kind("vpt").backward_units(), abs=0.1)
    assert backward_per_forward("partial", blocks=0, norms=True) == pytest.approx(1.0, abs=0.1)


def larger_vit() -> nn.Module:
    return timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=192, depth=12, num_classes=0
    )


@pytest.mark.parametrize(
    ("options", "learning", "passed"),
    [
        ({"blocks": 1}, 1, 1),
        ({"blocks": 8}, 8, 8),
        ({"blocks": 12}, 12, 12),
        ({"blocks": 0, "norms": True}, 0, 12),
        ({"blocks": 0, "biases": True}, 0, 12),
        ({"blocks": 3, "norms": True}, 3, 12),
    ],
)
def test_what_partial_tuning_costs_is_counted_and_follows_from_the_architecture(
    options: dict[str, Any], learning: int, passed: int
) -> None:
    made = network(larger_vit)
    kind("partial", **options).prepare(made)
    tokens, width = 17, 192
    layers, attention = tokens * 12 * width**2, 2 * tokens**2 * width  # multiplications of a block
    patches = 16 * 3 * 8 * 8 * width
    # Gradients of activations: as many as forward, and twice in attention, where both factors have one.
    backward = passed * (layers + 2 * attention) + learning * layers
    expected = backward / (patches + 12 * (layers + attention))
    assert count_backward_units(made, 32, made._ledger) == pytest.approx(expected, abs=1e-4)


def multiplications(made: Network) -> tuple[float, float]:
    """Multiplications of convolutions and linear layers, forward and backward, by their shapes."""
    forward = backward = 0.0

    def add(layer: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal forward, backward
        each = output.numel() * layer.weight[0].numel()
        forward += each
        backward += each * (inputs[0].requires_grad + layer.weight.requires_grad)

    for layer in made.build().modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(add)
    made.build()(images())
    return forward, backward


@pytest.mark.parametrize("options", [{"blocks": 1}, {"blocks": 4}, {"blocks": 0, "norms": True}])
def test_what_partial_tuning_of_a_convolutional_network_costs(options: dict[str, Any]) -> None:
    made = network(conv)
    kind("partial", **options).prepare(made)
    counted = count_backward_units(made, 32, made._ledger)
    forward, backward = multiplications(made)
    assert counted == pytest.approx(backward / forward, abs=1e-4)


def test_counting_leaves_no_trace() -> None:
    made = network(conv)
    kind("partial").prepare(made)
    made.train()
    before = {name: value.clone() for name, value in made.state_dict().items() if torch.is_tensor(value)}
    modes = [module.training for module in made.modules()]
    ledger, pristine, drawn = made._ledger, made.pristine, torch.get_rng_state()
    counts = ledger.to_dict()
    count_backward_units(made, 32, ledger)
    assert ledger.to_dict() == counts
    assert all(
        torch.equal(value, before[name]) for name, value in made.state_dict().items() if name in before
    )
    assert [module.training for module in made.modules()] == modes
    assert (made.pristine, ledger.backward_units) == (pristine, 2.0)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(parameter.grad is None for parameter in made.parameters())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fft", {}),
        ("lora", {"rank": 4}),
        ("vpt", {"tokens": 4}),
        ("partial", {"blocks": 1}),
        ("partial", {"blocks": 9}),
    ],
)
def test_the_ledger_says_what_a_step_of_training_costs(name: str, options: dict[str, Any]) -> None:
    made, ledger = network(larger_vit), Ledger()
    made._ledger = ledger
    chosen = kind(name, **options)
    chosen.prepare(made)
    ledger.watch(made.build(), "backbone")
    ledger.backward_units = (
        count_backward_units(made, 32, ledger) if chosen.counts_backward else chosen.backward_units()
    )
    made.train()
    with torch.no_grad(), FlopCounterMode(display=False) as forward:
        made.build()(images())
    counts = ledger.to_dict()["training"]
    assert units_of(counts) == 6
    with FlopCounterMode(display=False) as step:
        made(images()).square().sum().backward()
    found = ledger.to_dict()["training"]
    # Six forward and six back.
    spent = 6 + 2 * found["backbone_backward"] - found.get("backbone_backward_saved", 0.0)
    assert spent / 6 == pytest.approx(step.get_total_flops() / forward.get_total_flops(), rel=0.05)
    assert {"fft": 3, "lora": 2, "vpt": 2}.get(name, spent / 6) == pytest.approx(spent / 6)
