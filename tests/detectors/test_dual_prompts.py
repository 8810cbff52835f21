"""DeFT's dual prompts, against its formulas written out sample by sample."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from test_detectors import TEXTS, clusters

from lnlbench.basics.seeding import derive_seed
from lnlbench.detectors.dual_prompts import DualPrompts, deft, draw_others, dual_loss, read_off
from lnlbench.detectors.evidence import Evidence
from lnlbench.errors import UsageError
from lnlbench.models.text.class_texts import ClassTexts

COVERS = ("deft", "detectors")


def said(samples=9, classes=4, seed=0, spread=3.0):
    """What texts say of some images, labels, and other classes."""
    generator = torch.Generator().manual_seed(seed)
    yes, no = spread * torch.randn(2, samples, classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, classes, (samples,), generator=generator)
    return yes.requires_grad_(), no.requires_grad_(), labels, draw_others(labels, classes, generator)


def by_hand(yes, no, labels, others, warm):
    """The loss, one sample after the other, in numpy."""
    crossed, about_no = [], 0.0
    for row, (likes, dislikes) in enumerate(zip(yes.detach().numpy(), no.detach().numpy(), strict=True)):
        p_yes = np.exp(likes) / (np.exp(likes) + np.exp(dislikes))
        p_no = np.exp(dislikes) / (np.exp(likes) + np.exp(dislikes))
        label, other = int(labels[row]), int(others[row])
        kept = warm or p_yes[label] > 0.5
        if kept:
            crossed.append(-np.log(np.exp(likes[label]) / np.exp(likes).sum()))
        named = label if kept else likes.argmax()
        about_no -= math.log(max(p_no[other], 1e-5)) + math.log(max(p_yes[named], 1e-5))
    return (np.mean(crossed) if crossed else 0.0) + about_no / len(labels), len(crossed)


@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.parametrize("spread", [1.0, 10.0])
def test_the_loss_by_hand(warm, spread):
    yes, no, labels, others = said(seed=1, spread=spread)
    expected, kept = by_hand(yes, no, labels, others, warm)
    assert kept == 9 if warm else 0 < kept < 9
    assert dual_loss(yes, no, labels, others, warm=warm).item() == pytest.approx(expected, rel=1e-9)


def test_only_no_learns_from_what_is_said_of_labels():
    yes, no, labels, others = said(seed=2)
    dual_loss(yes, no, labels, others, warm=True).backward()
    # Cross-entropy is all that reaches yes: (softmax − one-hot) / B.
    expected = yes.detach().softmax(1)
    expected[torch.arange(9), labels] -= 1
    torch.testing.assert_close(yes.grad, expected / 9)
    # −log σ(−(y − n)) at the other class, −log σ(y − n) at the label: of n, −σ(y − n) and 1 − σ(y − n).
    odds = (yes - no).detach().sigmoid()
    expected = torch.zeros_like(odds)
    rows = torch.arange(9)
    expected[rows, others] -= odds[rows, others]
    expected[rows, labels] += 1 - odds[rows, labels]
    torch.testing.assert_close(no.grad, expected / 9)


def test_a_batch_of_which_nothing_is_kept_has_a_finite_loss():
    yes, no, labels, others = said()
    with torch.no_grad():
        no += 50.0
    loss = dual_loss(yes, no, labels, others, warm=False)
    loss.backward()
    assert loss.item() == pytest.approx(by_hand(yes, no, labels, others, False)[0], rel=1e-9)
    assert torch.equal(yes.grad, torch.zeros_like(yes))
    assert no.grad.isfinite().all()


def test_others_are_any_class_but_the_label():
    labels = torch.arange(4).repeat(500)
    others = draw_others(labels, 4, torch.Generator().manual_seed(0))
    assert (others != labels).all()
    counts = torch.bincount(4 * labels + others, minlength=16).view(4, 4)
    assert counts[~torch.eye(4, dtype=torch.bool)].min() > 120  # of 167 expected


def learnt_by_hand(evidence, *, tokens, epochs, warmup, lr, momentum, weight_decay, batch_size, temperature):
    """Contexts after training: gradients by autograd of a loss written anew, SGD written out."""
    generator = torch.Generator().manual_seed(derive_seed("dual prompts", evidence.seed))
    encoder = evidence.texts.with_context(tokens)
    contexts = (0.02 * torch.randn(2, tokens, encoder.width, generator=generator)).requires_grad_()
    images = evidence.features @ evidence.texts.projection.T
    images = images / images.norm(dim=1, keepdim=True)
    labels = torch.from_numpy(evidence.labels)
    velocity = torch.zeros_like(contexts)
    for epoch in range(epochs):
        rate = lr * (1 + math.cos(math.pi * epoch / epochs)) / 2
        steps = torch.randint(1, evidence.classes, (len(labels),), generator=generator)
        others = (labels + steps) % evidence.classes
        order = torch.randperm(len(labels), generator=generator)
        for start in range(0, len(labels), batch_size):
            rows = order[start : start + batch_size]
            texts = encoder(contexts)
            texts = texts / texts.norm(dim=2, keepdim=True)
            yes, no = (images[rows] @ side.T / temperature for side in texts)
            pairs = torch.stack([yes.detach(), no], dim=-1).softmax(-1)
            at = torch.arange(len(rows))
            kept = pairs[at, labels[rows], 0] > 0.5
            if epoch < warmup:
                kept[:] = True
            named = torch.where(kept, labels[rows], yes.argmax(1))
            loss = -pairs[at, others[rows], 1].clamp(1e-5, 1).log().mean()
            loss = loss - pairs[at, named, 0].clamp(1e-5, 1).log().mean()
            if kept.any():
                loss = loss - yes.log_softmax(1)[at, labels[rows]][kept].mean()
            (gradient,) = torch.autograd.grad(loss, contexts)
            with torch.no_grad():
                velocity = momentum * velocity + gradient + weight_decay * contexts
                contexts -= rate * velocity
    return contexts.detach(), encoder, images


SETTING = {
    "tokens": 3,
    "epochs": 4,
    "warmup": 2,
    "lr": 0.02,
    "momentum": 0.8,
    "weight_decay": 0.01,
    "batch_size": 16,
    "temperature": 0.05,
}


def test_a_whole_detection_by_hand():
    features, _, labels = clusters(60, wrong=0.3, seed=8)
    evidence = Evidence(labels, 4, features=features, texts=TEXTS, seed=11)
    found = deft(evidence, **SETTING)
    contexts, encoder, images = learnt_by_hand(evidence, **SETTING)
    texts = encoder(contexts)
    texts = texts / texts.norm(dim=2, keepdim=True)
    yes, no = (images @ side.T / 0.05 for side in texts)
    odds = (yes - no)[torch.arange(60), labels]
    np.testing.assert_allclose(found.score, odds.sigmoid(), atol=2e-4)
    assert found.flags.tolist() == (odds <= 0).tolist()
    assert 0 < found.flags.sum() < 60
    likes = yes.numpy().copy()
    likes[np.arange(60), labels] = -np.inf
    assert found.suggested.tolist() == np.where(odds <= 0, likes.argmax(1), labels).tolist()


def test_pieces_are_the_whole_and_a_seed_decides(monkeypatch):
    features, _, labels = clusters(60, seed=8)
    evidence = Evidence(labels, 4, features=features, texts=TEXTS)
    prompts = DualPrompts(TEXTS, 3, 0.05, torch.Generator().manual_seed(0))
    whole = read_off(prompts, features, evidence)
    monkeypatch.setattr("lnlbench.detectors.dual_prompts.ROWS", 7)
    pieces = read_off(prompts, features, evidence)
    np.testing.assert_allclose(whole.score, pieces.score, atol=1e-5)
    assert whole.suggested.tolist() == pieces.suggested.tolist()
    one, again = deft(evidence, **SETTING), deft(evidence, **SETTING)
    assert one.score.tolist() == again.score.tolist()
    other = deft(Evidence(labels, 4, features=features, texts=TEXTS, seed=1), **SETTING)
    assert one.score.tolist() != other.score.tolist()


def test_nothing_but_contexts_learns_or_is_kept():
    prompts = DualPrompts(TEXTS, 3, 0.05, torch.Generator().manual_seed(0))
    assert [name for name, _ in prompts.named_parameters()] == ["contexts"]
    assert prompts.state_dict().keys() == {"contexts"}
    assert prompts.contexts.shape == (2, 3, 4)


def test_texts_that_take_no_vectors_are_refused():
    bare = ClassTexts(TEXTS.embeddings, TEXTS.projection, TEXTS.temperature)
    features, _, labels = clusters(30)
    with pytest.raises(UsageError, match="in front of the texts"):
        deft(Evidence(labels, 4, features=features, texts=bare))
