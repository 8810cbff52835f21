"""UNICON against a plain implementation, and its selection, options, events and state."""

from __future__ import annotations

import math

import pytest
import torch
from lnlbench.methods.unicon import UNICON
from reference import dividemix, unicon
from small_problem import (
    WIDTH,
    SmallProblem,
    largest_difference,
    plain_copy,
    record_mixups,
    resumed,
    sgd,
    start,
    steps_of,
)
from torch import nn

from lnlbench.errors import UsageError

COVERS = ("unicon",)


def projection_like(projection):
    """An ordinary copy of a projection head."""
    copy = nn.Sequential(nn.Linear(WIDTH, 128), nn.BatchNorm1d(128)).double()
    copy.load_state_dict(projection.state_dict())
    return copy


@pytest.mark.parametrize(("kind", "epochs"), [("fft", 4), ("lp", 6)])
def test_epochs_equal_the_reference_parameter_by_parameter(monkeypatch, kind, epochs):
    mixes = record_mixups(monkeypatch)
    problem = SmallProblem()
    # Live probing, so that the reference can be fed the same images in both modes.
    phase = problem.phase(kind, epochs, cached=False)
    method = start(UNICON, problem, phase, lp_contrastive=True)
    inputs = problem.images
    nets = [plain_copy(network) for network in method.networks]
    projections = [projection_like(projection) for projection in method.projections]
    if kind == "lp":
        for net in nets:
            net[0].requires_grad_(False).eval()
            net[0].train = lambda mode=True: None
    optimizers = [
        sgd(net if kind == "fft" else net[1], projection)
        for net, projection in zip(nets, projections, strict=True)
    ]
    warm = math.ceil(epochs / 4)
    for epoch in range(epochs):
        drawn_before, mixed_before = len(phase.drawn), len(mixes)
        problem.train(method, phase, range(epoch, epoch + 1))
        drawn, draws = phase.drawn[drawn_before:], mixes[mixed_before:]
        for k, net in enumerate(nets):
            if epoch < warm:
                batches = [(b.weak[0], b.labels) for b in drawn[3 * k : 3 * k + 3]]
                dividemix.warm_up(net, optimizers[k], batches)
                continue
            d = unicon.divergences(net, nets[1 - k], inputs, problem.labels)
            chosen, share = unicon.select(d, problem.labels, problem.classes)
            steps = 0  # those of this network: until all chosen samples have been seen
            while sum(len(b) for b in drawn[: 2 * steps : 2]) < len(chosen):
                steps += 1
            part, drawn = drawn[: 2 * steps], drawn[2 * steps :]
            mine, draws = draws[:steps], draws[steps:]
            assert sorted(i for b in part[::2] for i in b.index.tolist()) == sorted(chosen)
            assert not set(chosen) & {i for b in part[1::2] for i in b.index.tolist()}
            assert max(len(b) for b in part[1::2]) <= int(8 / (2 * share)) + 1

            def contrast(net, step, projection=projections[k]):
                z1, z2 = (projection(net[0](view)) for view in step["mixed_u"])
                return 0.025 * unicon.nt_xent(z1, z2, 0.05)

            dividemix.semi_supervised_epoch(
                net,
                nets[1 - k],
                optimizers[k],
                steps_of(part, mine, views="strong"),
                unicon.refinement_weights(d),
                problem.classes,
                size=8,
                lam_u=30.0,
                ramp=epochs - warm,
                start=epoch,
                warm=warm,
                extra=contrast,
            )
        for network, net in zip(method.networks, nets, strict=True):
            assert largest_difference(network, net) < 1e-10
        for mine, theirs in zip(method.projections, projections, strict=True):
            for name, value in theirs.state_dict().items():
                torch.testing.assert_close(mine.state_dict()[name], value, atol=1e-10, rtol=0)
    assert len(mixes) > 8  # the comparison did cover semi-supervised steps
    both = nets[0].eval()(inputs) + nets[1].eval()(inputs)
    torch.testing.assert_close(method.predict(inputs), both, atol=1e-9, rtol=0)


def with_divergence(method, values):
    """Let a method see given divergences."""
    method.divergence = lambda phase: torch.as_tensor(values, dtype=torch.float64)
    return method


def test_selection_takes_equal_shares_and_weighs_labels():
    problem = SmallProblem(samples=12, classes=3, flipped=0.0)
    phase = problem.phase("lp", 1)
    d = [0.0, 0.1, 0.2, 0.05, 0.6, 0.65, 0.1, 0.3, 0.55, 0.69, 0.69, 0.69]  # labels 0 1 2 0 1 2 …
    method = with_divergence(start(UNICON, problem, phase), d)
    split = method.split(phase)
    # The mean is 0.385; six are below it, so each class keeps two.
    assert split.labelled.nonzero().flatten().tolist() == [0, 1, 2, 3, 7, 8]
    expected = [1.0, 1.0, 1.0, 1.0, 0.4, 0.35, 1.0, 1.0, 0.45, 0.31, 0.31, 0.31]
    torch.testing.assert_close(split.weight, torch.tensor(expected, dtype=torch.float64))
    assert split.unlabelled_batch == 8  # B/(2R) with B = 8 and R = 1/2
    torch.testing.assert_close(phase.selection.score, 1.0 - torch.tensor(d, dtype=torch.float64))
    assert "class_smaller_than_its_share" not in phase.events


def test_a_small_class_is_taken_whole_and_counted():
    problem = SmallProblem(samples=12, classes=3, flipped=0.0)
    problem.labels = torch.tensor([0] * 6 + [1] * 5 + [2])
    phase = problem.phase("lp", 1)
    method = with_divergence(start(UNICON, problem, phase), [0.0] * 9 + [0.6] * 3)
    labelled = method.split(phase).labelled
    assert torch.bincount(problem.labels[labelled]).tolist() == [3, 3, 1]
    assert phase.events["class_smaller_than_its_share"] == 1


def test_published_cutoff_acts_where_the_coded_one_never_does():
    d = [0.3] * 3 + [0.49] * 3 + [0.605] * 6  # mean 0.5 nats = 0.72 bits
    below = {}
    for cutoff in ("as_coded", "as_published"):
        problem = SmallProblem(samples=12, classes=3, flipped=0.0)
        phase = problem.phase("lp", 1)
        method = with_divergence(start(UNICON, problem, phase, cutoff=cutoff), d)
        method.unlabelled_batch = lambda phase, count, cutoff=cutoff: below.setdefault(cutoff, count)
        method.split(phase)
    # Lowered to 0.5 − (0.5 − 0.3)/5 = 0.46.
    assert below == {"as_coded": 6, "as_published": 3}


def test_the_unlabelled_batch_is_bounded_and_the_bound_is_counted():
    problem = SmallProblem()
    phase = problem.phase("lp", 1)
    method = start(UNICON, problem, phase, max_unlabelled_ratio=2.0)
    assert method.unlabelled_batch(phase, 24) == 8
    assert method.unlabelled_batch(phase, 47) == 4
    assert method.unlabelled_batch(phase, 13) == 14
    assert "unlabelled_batch_bounded" not in phase.events
    assert method.unlabelled_batch(phase, 4) == 16
    assert phase.events["unlabelled_batch_bounded"] == 1


def test_equal_divergences_select_nothing_and_train_on_all_labels():
    problem = SmallProblem()
    phase = problem.phase("fft", 1)
    method = with_divergence(start(UNICON, problem, phase, warmup=0), [0.25] * 48)
    problem.train(method, phase)
    assert phase.events["no_labelled_samples"] == 2
    assert len(phase.drawn) == 6  # two epochs of warm-up batches of 16


def test_an_unlabelled_batch_of_one_has_no_contrast():
    problem = SmallProblem()
    phase = problem.phase("fft", 1)
    method = start(UNICON, problem, phase, warmup=0)
    (batch,) = phase.batches(torch.tensor([3]), weak=2, strong=2)
    assert method.added_loss(phase, 0, batch) is None
    assert method.added_loss(phase, 0, None) is None


def test_on_a_frozen_backbone_the_contrastive_term_is_left_out_and_said_so():
    problem = SmallProblem()
    phase = problem.phase("lp", 3)
    method = start(UNICON, problem, phase)
    problem.train(method, phase)
    assert phase.events["contrastive_term_left_out"] == 2
    assert method.projections == []


def test_on_a_frozen_backbone_the_contrastive_term_does_not_change_the_classifier():
    heads = []
    for lp_contrastive in (False, True):
        problem = SmallProblem()
        phase = problem.phase("lp", 4)
        method = start(UNICON, problem, phase, lp_contrastive=lp_contrastive)
        problem.train(method, phase)
        heads.append(method.networks[0].head.weight)
    assert torch.equal(heads[0], heads[1])


def test_projections_start_the_same_for_the_same_seed_and_leave_the_global_state():
    weights = []
    for _ in range(2):
        torch.manual_seed(5)
        problem = SmallProblem()
        method = start(UNICON, problem, problem.phase("fft", 2))
        weights.append([projection[0].weight for projection in method.projections])
        assert torch.rand(1) == torch.rand(1, generator=torch.Generator().manual_seed(5))
        torch.rand(3)
    assert torch.equal(weights[0][0], weights[1][0])
    assert not torch.equal(weights[0][0], weights[0][1])


@pytest.mark.parametrize(
    ("kind", "stop", "contrastive"), [("lp", 2, False), ("lp", 2, True), ("fft", 1, False), ("fft", 3, False)]
)
def test_a_resumed_run_equals_an_uninterrupted_one(kind, stop, contrastive):
    straight, continued = resumed(UNICON, kind, 4, stop, lp_contrastive=contrastive)
    assert torch.equal(straight, continued)


def test_probing_then_fine_tuning_makes_projections_when_they_are_needed():
    problem = SmallProblem()
    phase = problem.phase("lp", 2)
    method = start(UNICON, problem, phase)
    problem.train(method, phase)
    second = problem.phase("fft", 2, index=1)
    problem.begin(method, second)
    problem.train(method, second)
    assert len(method.projections) == 2
    assert "contrastive_term_left_out" not in second.events
    assert method.epochs_done == 4


@pytest.mark.parametrize(
    "values",
    [
        {"cutoff": "as_guessed"},
        {"d_u": -0.1},
        {"tau": 0.5},
        {"lam_c": -1.0},
        {"contrastive_temperature": 0.0},
        {"max_unlabelled_ratio": 0.1},
        {"warmup": -1},
    ],
)
def test_impossible_parameters_are_usage_errors(values):
    with pytest.raises(UsageError):
        UNICON.Params(**values)


def test_defaults_are_noise_agnostic_and_the_asymmetric_preset_is_not():
    assert dict(UNICON.resolve("unicon", "cifar10", {}).params)["lam_u"] == 30.0
    for photos in ("clothing1m", "webvision", "webvision_mini"):
        resolved = dict(UNICON.resolve("unicon", photos, {}).params)
        assert (resolved["alpha"], resolved["lam_u"]) == (0.5, 0.0), photos
    preset = UNICON.resolve("unicon", "cifar10", {}, "asymmetric")
    assert preset.noise_aware
    assert dict(preset.params)["confidence_penalty"]
