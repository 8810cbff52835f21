"""DeFT: its selection on frozen features, its first phase with images that learn, and tuning on the rest."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import tiny_models
import torch
from lnlbench.methods.deft import DeFT
from small_grid import SMALL_GRID
from small_problem import bare_trial, plain_copy, start
from test_clipcleaner import NamedProblem, given
from torch.nn import functional

import lnlbench
from lnlbench.basics.facts import units_of
from lnlbench.cli import main
from lnlbench.detectors.dual_prompts import deft
from lnlbench.errors import ExitCode, UsageError
from lnlbench.spec import PhaseSpec

COVERS = ("deft",)

QUICK = {"tokens": 2, "epochs": 3, "batch_size": 32, "temperature": 0.1}
TUNED = {"images": "tuned", "tokens": 2, "temperature": 0.1}


def drawn_rows(phase):
    return sorted(row for batch in phase.drawn for row in batch.index.tolist())


def test_it_trains_on_what_texts_say_yes_to_and_asks_once():
    problem = NamedProblem(samples=120)
    lp = problem.phase("lp", 2)
    found = deft(problem.evidence(lp.seed("detector")), **QUICK)
    kept = np.flatnonzero(~found.flags).tolist()
    assert 10 < len(kept) < 110
    method = start(DeFT, problem, lp, **QUICK)
    problem.train(method, lp, range(1))
    assert lp.selection.selected.nonzero().flatten().tolist() == kept
    np.testing.assert_array_equal(lp.selection.score.numpy(), found.score)
    assert drawn_rows(lp) == kept
    lp.drawn.clear()
    problem.train(method, lp, range(1, 2))
    assert lp.selection is None
    assert drawn_rows(lp) == kept
    fft = problem.phase("fft", 1, index=1)
    problem.begin(method, fft)
    problem.train(method, fft)
    assert fft.selection is None
    assert drawn_rows(fft) == kept


def test_tuning_takes_steps_of_cross_entropy():
    problem = NamedProblem(samples=60)
    phase = problem.phase("fft", 1, batch_size=1000, momentum=0.0, weight_decay=0.0)
    method = start(DeFT, problem, phase, **QUICK)
    reference = plain_copy(method.network).train()
    problem.train(method, phase)
    (batch,) = phase.drawn
    functional.cross_entropy(reference(problem.images[batch.index]), batch.labels).backward()
    weight = reference[1].weight
    torch.testing.assert_close(method.network.head.weight, weight - 0.05 * weight.grad)
    torch.testing.assert_close(method.predict(problem.images), method.network(problem.images))


def test_its_parameters_reach_the_detector(monkeypatch):
    asked = {}

    def spy(evidence, **settings):
        asked.update(settings)
        return given(np.zeros(30, dtype=bool))(evidence)

    monkeypatch.setattr("lnlbench.methods.deft.deft", spy)
    problem = NamedProblem(samples=30)
    phase = problem.phase("lp", 1)
    wanted = {
        "tokens": 3,
        "epochs": 4,
        "warmup": 5,
        "lr": 0.1,
        "momentum": 0.2,
        "weight_decay": 0.3,
        "batch_size": 6,
        "temperature": 0.7,
    }
    problem.train(start(DeFT, problem, phase, **wanted), phase)
    assert asked == wanted


def test_an_empty_class_keeps_its_best_scores(monkeypatch):
    problem = NamedProblem(samples=90)
    labels = problem.labels.numpy()
    flags = (labels == 1) | (np.arange(90) % 2 == 0)
    monkeypatch.setattr("lnlbench.methods.deft.deft", given(flags))
    phase = problem.phase("lp", 1)
    problem.train(start(DeFT, problem, phase), phase)
    quota = min((~flags & (labels == label)).sum() for label in (0, 2))
    assert int((phase.selection.selected & (problem.labels == 1)).sum()) == quota
    assert phase.events == {"class_without_kept_samples": 1}


# The paper's first phase


def test_a_step_of_the_first_phase_by_hand():
    """Images learn from the cross-entropy of yes, contexts from all of the loss, the head from nothing."""
    problem = NamedProblem(samples=30)
    phase = problem.phase("fft", 3, batch_size=1000, momentum=0.0, weight_decay=0.0)
    method = start(DeFT, problem, phase, **TUNED, warmup=0)
    reference = plain_copy(method.network).train()
    before = method.prompts.contexts.detach().clone()
    head = copy.deepcopy(method.network.head.state_dict())
    problem.train(method, phase, range(1))
    (batch,) = phase.drawn
    phase.start_epoch(0)
    steps = torch.randint(1, 3, (30,), generator=phase.generator)
    others = ((problem.labels + steps) % 3)[batch.index]

    texts = problem.texts()
    contexts = before.clone().requires_grad_()
    spoken = texts.with_context(2)(contexts)
    spoken = spoken / spoken.norm(dim=2, keepdim=True)
    images = reference[0](problem.images[batch.index]) @ texts.projection.T
    images = images / images.norm(dim=1, keepdim=True)
    yes, no = images @ spoken[0].T / 0.1, images.detach() @ spoken[1].T / 0.1
    rows = torch.arange(30)
    p = torch.stack([yes.detach(), no], -1).softmax(-1)
    kept = p[rows, batch.labels, 0] > 0.5
    assert 0 < kept.sum() < 30
    crossed = functional.cross_entropy(yes[kept], batch.labels[kept])
    named = torch.where(kept, batch.labels, yes.argmax(1))
    about_no = -p[rows, others, 1].log().mean() - p[rows, named, 0].log().mean()
    (crossed + about_no).backward()
    torch.testing.assert_close(method.prompts.contexts.detach(), before - 0.05 * contexts.grad)
    moved = method.network.build()[0].weight
    weight = reference[0][0].weight
    torch.testing.assert_close(moved, weight - 0.05 * weight.grad)
    assert weight.grad.abs().max() > 0
    for name, value in head.items():
        assert torch.equal(method.network.head.state_dict()[name], value)


def test_the_last_epoch_of_the_first_phase_selects_on_plain_images_with_the_final_texts():
    problem = NamedProblem(samples=60)
    phase = problem.phase("fft", 2, augmentation="weak")
    method = start(DeFT, problem, phase, **TUNED)
    problem.train(method, phase, range(1))
    assert phase.selection is None
    problem.train(method, phase, range(1, 2))
    texts = problem.texts()
    with torch.no_grad():
        images = texts.projected(method.network.build().eval()(problem.images))
        spoken = functional.normalize(texts.with_context(2)(method.prompts.contexts), dim=2)
        yes, no = (images @ side.T / 0.1 for side in spoken)
        odds = (yes - no).gather(1, problem.labels[:, None]).squeeze(1)
        assert torch.equal(phase.selection.selected, odds > 0)
        torch.testing.assert_close(phase.selection.score, odds.sigmoid())
        torch.testing.assert_close(method.predict(problem.images), yes)
    kept = (odds > 0).nonzero().flatten().tolist()
    assert 5 < len(kept) < 60
    later = problem.phase("fft", 1, index=1, cached=False)
    problem.begin(method, later)
    problem.train(method, later)
    assert later.selection is None
    assert drawn_rows(later) == kept
    torch.testing.assert_close(method.predict(problem.images), method.network(problem.images))


@pytest.mark.parametrize("stop", [(0, 1), (0, 2), (1, 1)])
def test_a_resumed_run_equals_an_uninterrupted_one(stop):
    def phases(problem):
        return problem.phase("fft", 2), problem.phase("fft", 2, index=1, cached=False)

    whole, half, rest = (NamedProblem() for _ in range(3))
    methods = []
    for problem in (whole, half, rest):
        method = DeFT(DeFT.Params(**TUNED))
        method.setup(problem.task())
        methods.append(method)
    for phase in phases(whole):
        whole.begin(methods[0], phase)
        whole.train(methods[0], phase)
    last, epoch = stop
    for number, phase in enumerate(phases(half)[: last + 1]):
        half.begin(methods[1], phase)
        half.train(methods[1], phase, range(epoch) if number == last else None)
    for number, phase in enumerate(phases(rest)):
        if number < last:
            continue
        rest.begin(methods[2], phase)
        if number == last:
            methods[2].load_state_dict(copy.deepcopy(methods[1].state_dict()))
        rest.train(methods[2], phase, range(epoch if number == last else 0, 2))
    assert torch.equal(methods[0].selected, methods[2].selected)
    assert torch.equal(methods[0].predict(whole.images), methods[2].predict(whole.images))


# Costs, modes, parameters


def test_it_costs_what_it_keeps_and_one_pass_for_features():
    problem = NamedProblem(samples=60)
    phase = problem.phase("fft", 2)
    method = start(DeFT, problem, phase, **QUICK)
    problem.train(method, phase)
    kept = int(method.selected.sum())
    assert 0 < kept < 60
    assert units_of(problem.ledger.to_dict()["training"]) == 60 + 2 * 3 * kept


def test_detection_in_a_phase_costs_all_samples_and_a_look_at_them():
    problem = NamedProblem(samples=60)
    phases = problem.phase("fft", 2), problem.phase("fft", 1, index=1, cached=False)
    method = start(DeFT, problem, phases[0], **TUNED)
    problem.train(method, phases[0])
    problem.begin(method, phases[1])
    problem.train(method, phases[1])
    kept = int(method.selected.sum())
    assert units_of(problem.ledger.to_dict()["training"]) == 2 * 3 * 60 + 60 + 3 * kept


@pytest.mark.parametrize(
    ("images", "phases", "expected"),
    [
        ("frozen", (PhaseSpec("lp", 4), PhaseSpec("fft", 2)), [(0, 2.0), (0, 1.0)]),
        ("frozen", (PhaseSpec("fft", 2),), [(1, 1.0)]),
        ("frozen", (PhaseSpec("lp", 4, cache=False),), [(1, 2.0)]),
        ("tuned", (PhaseSpec("vpt", 10), PhaseSpec("fft", 2)), [(1, 10.0), (0, 1.0)]),
        ("tuned", (PhaseSpec("lp", 4), PhaseSpec("fft", 2)), [(0, 4.0), (0, 1.0)]),
    ],
)
def test_plans_know_what_it_costs(images, phases, expected):
    spec = bare_trial("deft", "-".join(phase.kind for phase in phases))
    object.__setattr__(spec, "method", DeFT.resolve("deft", "digits", {"images": images}))
    object.__setattr__(spec, "phases", phases)
    assert [(one.forward, one.trained) for one in DeFT.expected_passes(spec, 0.5)] == expected


@pytest.mark.parametrize(
    ("tuning", "images", "declined"),
    [("lp", "frozen", False), ("fft", "tuned", True), ("vpt-fft", "tuned", False)],
)
def test_a_phase_that_detects_needs_one_that_tunes(tuning, images, declined):
    spec = bare_trial("deft", tuning)
    object.__setattr__(spec, "method", DeFT.resolve("deft", "digits", {"images": images}))
    assert DeFT.reads_texts(spec)
    answer = DeFT.supports(spec)
    assert (answer is not None and "use vpt-fft" in answer.reason) == declined


def test_the_longer_warm_up_is_marked_as_knowing_the_noise():
    spec = DeFT.resolve("deft", "cifar100", {}, "real")
    assert dict(spec.params)["warmup"] == 5
    assert spec.noise_aware
    assert not DeFT.resolve("deft", "cifar100", {}).noise_aware


@pytest.mark.parametrize(
    "params",
    [
        {"images": "thawed"},
        {"tokens": 0},
        {"epochs": 0},
        {"batch_size": 0},
        {"lr": 0.0},
        {"temperature": 0.0},
        {"warmup": -1},
        {"momentum": -0.1},
        {"weight_decay": -1.0},
    ],
)
def test_parameters_that_mean_nothing_are_refused(params):
    with pytest.raises(UsageError):
        DeFT.Params(**params)


def test_a_run_with_a_small_clip(tmp_path):
    tiny_models.save("clip", tmp_path / "clip", seed=5)
    grid = tmp_path / "small.toml"
    grid.write_text(SMALL_GRID)
    command = ["run", "--grid", str(grid), "--executor", "inline", "--cache-dir", str(tmp_path / "cache")]
    sets = [f"backbone=hf:{tmp_path}/clip,efficientnet_lite0", "method=deft", "methods.deft.tokens=4"]
    of_detection = {"frozen": ["methods.deft.epochs=2"], "tuned": ["vpt.tokens=3", "vpt.epochs=2"]}
    for images, tuning in (("frozen", "lp,fft"), ("tuned", "vpt-fft")):
        mine = [*sets, f"tuning={tuning}", f"methods.deft.images={images}", *of_detection[images]]
        words = [word for one in mine for word in ("--set", one)]
        assert main([*command, *words, "--out", str(tmp_path / images)]) == ExitCode.OK
        frame = lnlbench.load(tmp_path / images)
        ours = frame[frame["backbone"] == "hf:clip"]
        assert (ours["status"] == "done").all()
        assert len(ours) == len(tuning.split(","))
        assert (frame[frame["backbone"] != "hf:clip"]["status"] == "skipped").all()
