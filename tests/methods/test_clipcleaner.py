"""CLIPCleaner: one selection by CLIP, classes that it would leave empty, and training on the rest."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lnlbench.methods.clipcleaner import CLIPCleaner
from lnlbench.methods.select_then_tune import SelectThenTune
from small_problem import CPU, SmallProblem, bare_trial, plain_copy, start
from torch.nn import functional
from toy_texts import toy_contexts

from lnlbench.api import Task
from lnlbench.basics.facts import units_of
from lnlbench.detectors.by_texts import clipcleaner, prompt_probabilities
from lnlbench.detectors.detect import BY_TEXTS, detect
from lnlbench.detectors.evidence import Evidence
from lnlbench.errors import UsageError
from lnlbench.models.text.class_texts import ClassTexts
from lnlbench.spec import PhaseSpec

COVERS = ("clipcleaner", "select_then_tune")


class NamedProblem(SmallProblem):
    """A small problem whose classes have texts, and a projection that brings their images to them."""

    asked: tuple[str, ...] | None = None

    def texts(self, templates: tuple[str, ...] = ()) -> ClassTexts:
        self.asked = templates
        true = functional.one_hot(torch.arange(len(self.labels)) % self.classes).double()
        projection = torch.linalg.lstsq(self.features(), true).solution.T
        embeddings = torch.eye(self.classes).double()
        return ClassTexts(embeddings[:, None], projection, 0.01, toy_contexts(embeddings))

    def task(self) -> Task:
        return Task(self.labels, tuple("abc"), CPU, self.network, self.texts)

    def evidence(self, seed: int = 0) -> Evidence:
        labels = self.labels.numpy()
        return Evidence(labels, self.classes, features=self.features(), texts=self.texts(), seed=seed)


def test_it_trains_on_what_the_rules_keep_and_selects_once():
    problem = NamedProblem(samples=120)
    found = clipcleaner(problem.evidence())
    kept = np.flatnonzero(~found.flags).tolist()
    assert 10 < len(kept) < 110
    lp = problem.phase("lp", 2)
    method = start(CLIPCleaner, problem, lp)
    assert problem.asked == ()
    problem.train(method, lp, range(1))
    assert lp.selection.selected.nonzero().flatten().tolist() == kept
    np.testing.assert_array_equal(lp.selection.score.numpy(), found.score)
    for number in (0, 1):
        if number:
            lp.drawn.clear()
            problem.train(method, lp, range(1, 2))
        assert sorted(i for batch in lp.drawn for i in batch.index.tolist()) == kept
    # Fine-tuning after it does not ask again: the selection is that of the pre-trained features.
    fft = problem.phase("fft", 1, index=1)
    problem.begin(method, fft)
    problem.train(method, fft)
    assert fft.selection is None
    assert sorted(i for batch in fft.drawn for i in batch.index.tolist()) == kept


def test_images_are_compared_with_texts_once(monkeypatch):
    compared = []
    similarities = ClassTexts.similarities

    def counted(self, features):
        compared.append(len(features))
        return similarities(self, features)

    monkeypatch.setattr(ClassTexts, "similarities", counted)
    problem = NamedProblem(samples=60)
    phase = problem.phase("lp", 1)
    problem.train(start(CLIPCleaner, problem, phase), phase)
    assert compared == [60]


def test_a_step_is_one_of_cross_entropy():
    problem = NamedProblem(samples=60)
    phase = problem.phase("fft", 1, batch_size=1000, momentum=0.0, weight_decay=0.0)
    method = start(CLIPCleaner, problem, phase)
    reference = plain_copy(method.network).train()
    problem.train(method, phase)
    (batch,) = phase.drawn
    loss = functional.cross_entropy(reference(problem.images[batch.index]), problem.labels[batch.index])
    loss.backward()
    weight = reference[1].weight
    torch.testing.assert_close(method.network.head.weight, weight - 0.05 * weight.grad)


def test_an_empty_class_gets_its_most_plausible_samples(monkeypatch):
    problem = NamedProblem(samples=90)
    labels = problem.labels.numpy()
    flags = (labels == 1) | (np.arange(90) % 2 == 0)
    monkeypatch.setattr("lnlbench.methods.clipcleaner.four_rules", given(flags))
    phase = problem.phase("lp", 1)
    method = start(CLIPCleaner, problem, phase)
    problem.train(method, phase)
    kept = ~flags
    quota = max(min((kept & (labels == label)).sum() for label in (0, 2)), 90 // 9)
    plausible = prompt_probabilities(problem.evidence(), 0.07)[:, 1]
    members = np.flatnonzero(labels == 1)
    best = sorted(members, key=lambda row: -plausible[row])[:quota]
    assert set(np.flatnonzero(phase.selection.selected.numpy())) == {*np.flatnonzero(kept), *best}
    assert phase.events == {"class_without_kept_samples": 1}


def test_an_empty_class_gets_a_fair_share_where_another_one_is_small(monkeypatch):
    problem = NamedProblem(samples=90)
    labels = problem.labels.numpy()
    flags = labels != 0
    flags[np.flatnonzero(labels == 2)[0]] = False  # one sample is left
    monkeypatch.setattr("lnlbench.methods.clipcleaner.four_rules", given(flags))
    phase = problem.phase("lp", 1)
    problem.train(start(CLIPCleaner, problem, phase), phase)
    assert int((phase.selection.selected & (problem.labels == 1)).sum()) == 90 // 9


def test_where_nothing_is_left_everything_is_kept(monkeypatch):
    problem = NamedProblem(samples=30)
    monkeypatch.setattr("lnlbench.methods.clipcleaner.four_rules", given(np.ones(30, dtype=bool)))
    phase = problem.phase("lp", 1)
    problem.train(start(CLIPCleaner, problem, phase), phase)
    assert phase.selection.selected.all()
    assert phase.events == {"nothing_kept": 1}


def given(flags):
    """Return a detector that flags what is given."""
    from lnlbench.detectors.evidence import Detection

    return lambda evidence, *_, **__: Detection((~flags).astype(float), flags, evidence.labels)


def test_its_template_and_temperature_reach_the_texts():
    problem = NamedProblem(samples=120)
    phase = problem.phase("lp", 1)
    start(CLIPCleaner, problem, phase, template="one {}")
    assert problem.asked == ("one {}",)
    method = start(CLIPCleaner, problem, phase, temperature=1.0, theta_gmm=0.2, theta_cons=0.9)
    problem.train(method, phase)
    found = clipcleaner(problem.evidence(), temperature=1.0, theta_gmm=0.2, theta_cons=0.9)
    assert phase.selection.selected.tolist() == (~found.flags).tolist()


def test_a_resumed_run_equals_an_uninterrupted_one():
    whole, half, rest = (NamedProblem() for _ in range(3))
    phases = [problem.phase("lp", 3) for problem in (whole, half, rest)]
    methods = [start(CLIPCleaner, *pair) for pair in zip((whole, half, rest), phases, strict=True)]
    whole.train(methods[0], phases[0])
    half.train(methods[1], phases[1], range(1))
    methods[2].load_state_dict(methods[1].state_dict())
    rest.train(methods[2], phases[2], range(1, 3))
    assert torch.equal(methods[0].predict(whole.features()), methods[2].predict(whole.features()))


def test_it_costs_what_it_keeps_and_one_pass_for_features():
    problem = NamedProblem(samples=60)
    phase = problem.phase("fft", 2)
    method = start(CLIPCleaner, problem, phase)
    problem.train(method, phase)
    kept = int(phase.selection.selected.sum()) if phase.selection else int(method.selected.sum())
    assert units_of(problem.ledger.to_dict()["training"]) == 60 + 2 * 3 * kept
    cached, live = PhaseSpec("lp", 4), PhaseSpec("fft", 2)
    spec = bare_trial("clipcleaner", "lp-fft")
    for phases, forward in (((cached, live), (0, 0)), ((live,), (1,))):
        object.__setattr__(spec, "phases", phases)
        passes = CLIPCleaner.expected_passes(spec, 0.5)
        assert tuple(one.forward for one in passes) == forward
        assert [one.trained for one in passes] == [0.5 * phase.epochs for phase in phases]


@pytest.mark.parametrize("detector", BY_TEXTS)
def test_select_then_tune_asks_texts_too(detector):
    problem = NamedProblem(samples=120)
    phase = problem.phase("lp", 1)
    method = start(SelectThenTune, problem, phase, detector=detector)
    problem.train(method, phase)
    found = detect(detector, problem.evidence(phase.seed("detector")))
    np.testing.assert_array_equal(phase.selection.score.numpy(), found.score)
    selected = phase.selection.selected.numpy()
    if phase.events:  # a class of which nothing was left
        assert selected[~found.flags].all()
    else:
        assert selected.tolist() == (~found.flags).tolist()
    spec = bare_trial("select_then_tune", "lp")
    assert not SelectThenTune.reads_texts(spec)
    object.__setattr__(spec, "method", SelectThenTune.resolve("x", "digits", {"detector": detector}))
    assert SelectThenTune.reads_texts(spec)


@pytest.mark.parametrize(
    "params", [{"theta_gmm": 1.1}, {"theta_cons": -0.1}, {"temperature": 0.0}, {"template": "a photo"}]
)
def test_parameters_that_mean_nothing_are_refused(params):
    with pytest.raises(UsageError):
        CLIPCleaner.Params(**params)
