"""Networks: what learns, what stays, what is counted."""

import pytest
import torch
from torch import nn

from lnlbench.basics.facts import units_of
from lnlbench.models.calibration import Execution
from lnlbench.models.ledger import COUNTERS, Ledger
from lnlbench.models.network import Network

COVERS = ("tuning",)


class Tiny(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.fixture
def ledger():
    return Ledger()


@pytest.fixture
def network(ledger):
    torch.manual_seed(0)
    backbone = Tiny()
    made = []

    def make():
        made.append(backbone)
        return backbone

    network = Network(nn.Linear(4, 3), make, ledger=ledger, device=torch.device("cpu"), execution=Execution())
    network.made = made
    return network


IMAGES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_features_go_to_the_head_and_never_load_the_backbone(network, ledger):
    features = torch.randn(5, 4)
    torch.testing.assert_close(network(features), network.head(features))
    assert network.made == []
    counts = ledger.to_dict()["training"]
    assert counts["head_forward_grad"] == 10
    assert sum(counts[name] for name in COUNTERS if name.startswith("backbone")) == 0


def test_a_frozen_backbone_gets_no_gradient_and_keeps_its_statistics(network, ledger):
    network.freeze(True)
    network.train()
    before = {name: value.clone() for name, value in network.build().state_dict().items()}
    network(IMAGES).sum().backward()
    for name, value in network.backbone.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.grad is None for p in network.backbone.parameters())
    assert network.pristine
    counts = ledger.to_dict()["training"]
    assert (counts["backbone_forward"], counts["backbone_forward_grad"], counts["backbone_backward"]) == (
        6,
        0,
        0,
    )
    assert (counts["head_forward_grad"], counts["head_backward"]) == (6, 6)


def test_a_learning_backbone_is_counted_forward_and_backward(network, ledger):
    network.freeze(False)
    network.train()
    network(IMAGES).sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    assert not network.pristine
    counts = ledger.to_dict()["training"]
    assert (counts["backbone_forward"], counts["backbone_forward_grad"], counts["backbone_backward"]) == (
        0,
        6,
        6,
    )
    assert units_of(counts) == 3 * 6


def test_frozen_statistics_stay_while_scale_and_shift_learn(network):
    network.freeze(False, statistics=True)
    network.train()
    norm = network.backbone[1]
    mean = norm.running_mean.clone()
    network(IMAGES).sum().backward()
    assert torch.equal(norm.running_mean, mean)
    assert norm.weight.grad is not None
    assert norm.weight.grad.abs().sum() > 0


def test_evaluation_is_counted_apart(network, ledger):
    network.freeze(True)
    with ledger.bucket("evaluation"), torch.no_grad():
        network(IMAGES)
    counts = ledger.to_dict()
    assert counts["evaluation"]["backbone_forward"] == 6
    assert sum(counts["training"].values()) == 0


def test_state_carries_the_backbone_and_whether_it_is_pristine(network, ledger):
    network.freeze(False)
    network.train()
    network(IMAGES)
    other = Network(nn.Linear(4, 3), Tiny, ledger=ledger, device=torch.device("cpu"), execution=Execution())
    other.load_state_dict(network.state_dict())
    assert not other.pristine
    network.eval()
    other.eval()
    torch.testing.assert_close(other(IMAGES), network(IMAGES), rtol=0, atol=0)
