"""DivideMix against a plain implementation, and its schedule, events and state."""

from __future__ import annotations

import copy

import pytest
import torch
from lnlbench.methods.dividemix import DivideMix
from reference import dividemix as reference
from small_problem import (
    SmallProblem,
    largest_difference,
    plain_copy,
    record_mixups,
    resumed,
    sgd,
    start,
    steps_of,
)

from lnlbench.errors import TrialError, UsageError
from lnlbench.spec import BackboneSpec, DatasetSpec, MethodSpec, NoiseSpec, TrialSpec

COVERS = ("dividemix",)


def epoch_batches(phase, first, networks_labelled):
    """Split an epoch's batches by the network that trained on them."""
    drawn = phase.drawn[first:]
    for cut in range(2, len(drawn) + 1, 2):
        if set(torch.cat([b.index for b in drawn[:cut:2]]).tolist()) == networks_labelled[0]:
            return drawn[:cut], drawn[cut:]
    raise AssertionError("the first network's labelled batches are not its split")


@pytest.mark.parametrize(
    ("confidence_penalty", "loss_history"), [(False, False), (True, True)], ids=["default", "oracle"]
)
def test_epochs_equal_the_reference_parameter_by_parameter(monkeypatch, confidence_penalty, loss_history):
    mixes = record_mixups(monkeypatch)
    problem = SmallProblem()
    phase = problem.phase("fft", epochs=5)
    method = start(
        DivideMix, problem, phase, confidence_penalty=confidence_penalty, loss_history=loss_history
    )
    nets = [plain_copy(network) for network in method.networks]
    optimizers = [sgd(net) for net in nets]
    histories = [[], []]
    for epoch in range(5):
        before, mixed_before = len(phase.drawn), len(mixes)
        problem.train(method, phase, range(epoch, epoch + 1))
        if epoch < 2:  # a quarter of five epochs, rounded up
            drawn = phase.drawn[before:]
            assert [len(batch) for batch in drawn] == [16, 16, 16] * 2
            for net, optimizer, part in zip(nets, optimizers, (drawn[:3], drawn[3:]), strict=True):
                batches = [(batch.weak[0], batch.labels) for batch in part]
                reference.warm_up(net, optimizer, batches, confidence_penalty)
        else:
            w = []
            for number, net in enumerate(nets):
                posterior, losses = reference.clean_probability(
                    net,
                    problem.images,
                    problem.labels,
                    phase.seed(f"mixture of network {number}"),
                    histories[number] if loss_history else (),
                )
                histories[number].append(losses)
                w.append(posterior)
            labelled = [set((w[1 - k] > 0.5).nonzero().flatten().tolist()) for k in (0, 1)]
            parts = epoch_batches(phase, before, labelled)
            draws = mixes[mixed_before:]
            cut = len(parts[0]) // 2
            for k, (part, draw) in enumerate(zip(parts, (draws[:cut], draws[cut:]), strict=True)):
                reference.semi_supervised_epoch(
                    nets[k],
                    nets[1 - k],
                    optimizers[k],
                    steps_of(part, draw),
                    w[1 - k],
                    problem.classes,
                    size=8,
                    lam_u=25.0,
                    ramp=3,
                    start=epoch,
                    warm=2,
                )
                assert set(torch.cat([b.index for b in part[::2]]).tolist()) == labelled[k]
                assert not labelled[k] & set(torch.cat([b.index for b in part[1::2]]).tolist())
            mean = (w[0] + w[1]) / 2
            torch.testing.assert_close(phase.selection.score, mean, atol=1e-9, rtol=0)
            assert torch.equal(phase.selection.selected, mean > 0.5)
        for network, net in zip(method.networks, nets, strict=True):
            assert largest_difference(network, net) < 1e-10
    assert len(mixes) > 6  # the comparison did cover semi-supervised steps
    both = nets[0].eval()(problem.images) + nets[1].eval()(problem.images)
    torch.testing.assert_close(method.predict(problem.images), both, atol=1e-9, rtol=0)


def test_a_second_phase_continues_the_schedule():
    problem = SmallProblem()
    phase = problem.phase("lp", epochs=4)
    method = start(DivideMix, problem, phase)
    problem.train(method, phase)
    assert (method.warmup, method.ramp) == (1, 3)
    second = problem.phase("fft", epochs=8, index=1)
    problem.begin(method, second)
    assert (method.warmup, method.ramp, method.epochs_done) == (1, 3, 4)
    problem.train(method, second, range(1))
    assert second.selection is not None  # no second warm-up
    assert method.unlabelled_weight(4.0) == 25.0


@pytest.mark.parametrize(
    ("epochs", "warmup", "ramp"), [(1, 1, None), (2, 1, 1), (4, 1, 3), (5, 2, 3), (20, 5, 15), (100, 25, 16)]
)
def test_default_warmup_and_ramp(epochs, warmup, ramp):
    problem = SmallProblem()
    method = start(DivideMix, problem, problem.phase("lp", epochs))
    assert (method.warmup, method.ramp) == (warmup, ramp)


def test_ramp_of_the_unlabelled_loss_is_linear_from_the_end_of_warmup():
    problem = SmallProblem()
    method = start(DivideMix, problem, problem.phase("lp", 40), warmup=10, lam_u=50.0)
    weights = [method.unlabelled_weight(position) for position in (9.0, 10.0, 14.0, 26.0, 39.0)]
    assert weights == [0.0, 0.0, 12.5, 50.0, 50.0]


def test_a_warmup_that_fills_the_phase_is_counted():
    problem = SmallProblem()
    phase = problem.phase("lp", 2)
    problem.train(start(DivideMix, problem, phase, warmup=10), phase)
    assert phase.events["phase_ended_in_warmup"] == 1
    assert phase.selection is None


def test_nothing_labelled_trains_on_all_labels_and_is_counted():
    problem = SmallProblem()
    phase = problem.phase("fft", 2)
    method = start(DivideMix, problem, phase, tau=0.999999999999)
    problem.train(method, phase, range(1))
    before = len(phase.drawn)
    problem.train(method, phase, range(1, 2))
    assert phase.events["no_labelled_samples"] == 2
    assert sorted(torch.cat([b.index for b in phase.drawn[before:]]).tolist()) == sorted([*range(48)] * 2)


def test_nothing_unlabelled_uses_the_labelled_alone(monkeypatch):
    mixes = record_mixups(monkeypatch)
    problem = SmallProblem()
    phase = problem.phase("fft", 2)
    method = start(DivideMix, problem, phase, tau=0.0)
    posterior = method.posterior
    method.posterior = lambda *args: posterior(*args).clamp_min(1e-300)
    losses = problem.train(method, phase)
    assert phase.events["no_unlabelled_samples"] == 2
    assert all(len(mix.partners) in (16, 18) for mix in mixes)
    assert all(torch.isfinite(torch.tensor(losses)))


def test_a_collapsed_mixture_is_counted_and_survived():
    problem = SmallProblem()
    phase = problem.phase("lp", 2)
    method = start(DivideMix, problem, phase, warmup=0)
    for network in method.networks:  # every loss is ln 3
        torch.nn.init.zeros_(network.head.weight)
        torch.nn.init.zeros_(network.head.bias)
    problem.train(method, phase, range(1))
    assert phase.events["mixture_collapsed"] == 2
    assert phase.events["no_labelled_samples"] == 2


@pytest.mark.parametrize("alone", ["labelled", "unlabelled"])
def test_a_set_of_one_sample_passes_batch_normalisation(alone):
    problem = SmallProblem()
    phase = problem.phase("fft", 1)
    method = start(DivideMix, problem, phase, warmup=0)
    posterior = torch.full((48,), 0.0 if alone == "labelled" else 1.0, dtype=torch.float64)
    posterior[5] = 1.0 - posterior[5]
    method.posterior = lambda *_: posterior
    # 1×1 features leave batch normalisation no variance in one image.
    for network in method.networks:
        network.backbone = torch.nn.Sequential(
            torch.nn.AdaptiveAvgPool2d(1),
            torch.nn.Conv2d(3, 6, 1),
            torch.nn.BatchNorm2d(6),
            torch.nn.Flatten(),
        ).double()
    problem.begin(method, phase)
    (loss,) = problem.train(method, phase)
    assert loss == loss
    assert phase.events[f"{alone}_batch_of_one"] == (2 if alone == "labelled" else 12)


def test_classes_without_clean_samples_are_counted():
    problem = SmallProblem()
    phase = problem.phase("lp", 1)
    method = start(DivideMix, problem, phase, warmup=0)
    method.split(phase, (problem.labels == 1).double())
    assert phase.events["class_without_clean_samples"] == 2


def test_weights_that_are_not_finite_fail_with_advice():
    problem = SmallProblem()
    phase = problem.phase("lp", 1)
    method = start(DivideMix, problem, phase, warmup=0)
    method.networks[0].head.weight.data[0, 0] = torch.nan
    with pytest.raises(TrialError, match=r"Lower lp\.lr"):
        problem.train(method, phase)


@pytest.mark.parametrize("stop", [1, 2, 3])
@pytest.mark.parametrize("kind", ["lp", "fft"])
def test_a_resumed_run_equals_an_uninterrupted_one(kind, stop):
    straight, continued = resumed(DivideMix, kind, 4, stop, loss_history=True)
    assert torch.equal(straight, continued)


def test_probing_cached_or_live_leaves_the_backbones_as_they_were():
    for cached in (True, False):
        problem = SmallProblem()
        phase = problem.phase("lp", 2, cached=cached)
        method = start(DivideMix, problem, phase)
        backbones = [copy.deepcopy(network.build().state_dict()) for network in method.networks]
        problem.train(method, phase)
        for network, before in zip(method.networks, backbones, strict=True):
            assert all(torch.equal(network.build().state_dict()[name], before[name]) for name in before)


@pytest.mark.parametrize(
    "values",
    [
        {"tau": 1.0},
        {"warmup": -1},
        {"warmup": 2.5},
        {"ramp": -1},
        {"temperature": 0.0},
        {"alpha": -1.0},
        {"lam_u": -1.0},
    ],
)
def test_impossible_parameters_are_usage_errors(values):
    with pytest.raises(UsageError):
        DivideMix.Params(**values)


@pytest.mark.parametrize(
    ("preset", "lam_u", "tau", "history"),
    [
        ("cifar10-symmetric-0.2", 0.0, 0.5, False),
        ("cifar10-symmetric-0.9", 50.0, 0.6, True),
        ("cifar100-symmetric-0.5", 150.0, 0.5, False),
        ("cifar100-symmetric-0.9", 150.0, 0.6, True),
    ],
)
def test_presets_are_the_published_ones_and_noise_aware(preset, lam_u, tau, history):
    spec = DivideMix.resolve("dividemix", "cifar10", {}, preset)
    params = dict(spec.params)
    assert (params["lam_u"], params["tau"], params["loss_history"]) == (lam_u, tau, history)
    assert spec.noise_aware
    assert not DivideMix.resolve("dividemix", "cifar10", {}).noise_aware


def test_data_sets_of_features_are_declined():
    def spec(dataset):
        return TrialSpec(
            DatasetSpec(dataset),
            NoiseSpec.parse("none"),
            BackboneSpec("none" if dataset.startswith("features") else "resnet50"),
            "lp",
            MethodSpec("dividemix"),
            0,
            (),
        )

    assert "augmented views" in DivideMix.supports(spec("features:x.npz")).reason
    assert DivideMix.supports(spec("digits")) is None
