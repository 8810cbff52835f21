"""SSR: its labels, its votes, its steps, written out."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from lnlbench.methods.ssr import SSR, agreement, neighbours
from small_problem import SmallProblem, plain_copy, record_mixups, resumed, start
from torch.nn import functional

from lnlbench.basics.facts import units_of
from lnlbench.errors import UsageError
from lnlbench.spec import NO_BACKBONE, BackboneSpec, DatasetSpec, MethodSpec, NoiseSpec, TrialSpec

COVERS = ("ssr",)


def test_votes_by_hand():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(60, 5))
    labels = generator.integers(0, 3, 60)
    near = neighbours(torch.from_numpy(features), 9)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    expected = []
    for row in range(60):
        order = np.argsort(-(unit @ unit[row]))[:9]
        assert set(near[row]) == set(order)
        assert row in near[row]
        votes = [sum(labels[order] == label) / sum(labels == label) for label in range(3)]
        expected.append(votes[labels[row]] / max(votes))
    np.testing.assert_allclose(agreement(near, labels, 3), expected)


def test_pieces_and_absent_classes_do_not_matter(monkeypatch):
    generator = np.random.default_rng(1)
    features = torch.from_numpy(generator.normal(size=(40, 5)))
    labels = generator.integers(0, 3, 40)
    near = neighbours(features, 7)
    whole = agreement(near, labels, 5)
    monkeypatch.setattr("lnlbench.methods.ssr.QUERIES", 11)
    monkeypatch.setattr("lnlbench.methods.ssr.VOTES", 30)
    assert np.array_equal(neighbours(features, 7), near)
    assert np.array_equal(agreement(near, labels, 5), whole)


def test_an_epoch_written_out(monkeypatch):
    mixes = record_mixups(monkeypatch)
    problem = SmallProblem()
    phase = problem.phase("lp", 2)
    method = start(SSR, problem, phase, theta_r=0.5, k=12, theta_s=0.9)
    head = plain_copy(method.network)[1]
    optimizer = torch.optim.SGD(head.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    features = problem.features()
    steps = 0
    for epoch in range(2):
        with torch.no_grad():
            sure, predicted = head(features).softmax(1).max(1)
        labels = torch.where(sure > 0.5, predicted, problem.labels)
        problem.train(method, phase, range(epoch, epoch + 1))
        assert phase.selection.labels.tolist() == labels.tolist()
        share = agreement(neighbours(features, 12), labels.numpy(), 3)
        assert phase.selection.selected.tolist() == (share >= 0.9).tolist()
        batches, drawn = phase.drawn[steps:], mixes[steps:]
        assert len(batches) == len(drawn) == 6  # as many steps as 48 samples in batches of 8
        for batch, mix in zip(batches, drawn, strict=True):
            assert (share[batch.index] >= 0.9).all()
            both = torch.cat(batch.strong)
            targets = functional.one_hot(labels[batch.index], 3).double().repeat(2, 1)
            part = mix.coefficient
            mixed = part * both + (1 - part) * both[mix.partners]
            aims = part * targets + (1 - part) * targets[mix.partners]
            optimizer.zero_grad()
            (-(aims * head(mixed).log_softmax(1)).sum(1).mean()).backward()
            optimizer.step()
        steps += 6
    torch.testing.assert_close(method.predict(features), head(features), atol=1e-10, rtol=0)
    assert sorted(labels.unique().tolist()) == [0, 1, 2]


def test_labels_come_equally_often():
    problem = SmallProblem(samples=60)
    phase = problem.phase("lp", 1, batch_size=60)
    method = start(SSR, problem, phase, theta_s=0.0)
    index = {}
    endless = phase.endless

    def spy(chosen, **kwargs):
        index["drawn"] = chosen
        return endless(chosen, **kwargs)

    phase.endless = spy
    problem.train(method, phase)
    counts = method.labels[index["drawn"]].bincount(minlength=3).tolist()
    assert len(set(counts)) == 1


def test_nothing_kept_keeps_everything(monkeypatch):
    problem = SmallProblem()
    phase = problem.phase("lp", 1)
    method = start(SSR, problem, phase)
    monkeypatch.setattr("lnlbench.methods.ssr.agreement", lambda near, labels, classes: np.zeros(len(labels)))
    problem.train(method, phase)
    assert phase.events == {"nothing_kept": 1}
    assert phase.selection.selected.all()


def test_it_costs_seven_units_an_epoch_and_judges_first_by_the_features_of_probing():
    problem = SmallProblem()
    lp = problem.phase("lp", 1)
    method = start(SSR, problem, lp, k=10)
    problem.train(method, lp)
    assert units_of(problem.ledger.to_dict()["training"]) == 0
    fft = problem.phase("fft", 2, index=1)
    problem.begin(method, fft)
    problem.train(method, fft, range(1))
    first = units_of(problem.ledger.to_dict()["training"])
    problem.train(method, fft, range(1, 2))
    both = units_of(problem.ledger.to_dict()["training"])
    passed = [sum(2 * len(batch) for batch in fft.drawn[part]) for part in (slice(0, 6), slice(6, 12))]
    assert first == 3 * passed[0]
    assert both - first == 48 + 3 * passed[1]


@pytest.mark.parametrize("kind", ["lp", "fft"])
def test_a_resumed_run_equals_an_uninterrupted_one(kind):
    straight, continued = resumed(SSR, kind, 3, 1, k=10)
    assert torch.equal(straight, continued)


@pytest.mark.parametrize("values", [{"theta_r": 0.0}, {"theta_s": 1.1}, {"k": 0}, {"alpha": -1.0}])
def test_impossible_parameters_are_usage_errors(values):
    with pytest.raises(UsageError):
        SSR.Params(**values)


def test_features_without_images_are_declined():
    bare = TrialSpec(
        DatasetSpec("features:x.npz"),
        NoiseSpec.parse("none"),
        BackboneSpec(NO_BACKBONE),
        "lp",
        MethodSpec("ssr"),
        0,
        (),
    )
    assert "augmented views" in SSR.supports(bare).reason
    assert SSR.supports(dataclasses.replace(bare, backbone=BackboneSpec("efficientnet_lite0"))) is None


def test_the_preset_for_much_noise_is_noise_aware():
    assert SSR.resolve("ssr", "cifar100", {}, "hard-noise").noise_aware
    assert not SSR.resolve("ssr", "cifar100", {}).noise_aware
