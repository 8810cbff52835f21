"""What a selection from the whole training set takes: its losses, piece by piece, and its mixtures."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lnlbench.api import Phase
from lnlbench.components.mixture import DIVIDEMIX, class_posteriors, clean_posterior
from lnlbench.inputs.network_inputs import FeatureInputs
from lnlbench.spec import PhaseSpec

from .core_epoch import CPU
from .measure import Line, apart, interleave, memory_of_this, seconds

# As many classes as WebVision has; memory and time are linear in N, of which it has 2.3 million.
SAMPLES, DIM, CLASSES = 100_000, 64, 1000
QUICK_SAMPLES, QUICK_CLASSES = 2000, 210
PER_CLASS, QUICK_PER_CLASS = 475, 20
ROUNDS, QUICK_ROUNDS = 3, 1
AIMS = {"losses": 1.15, "mixtures": 1 / 5}


def run(threads: int, quick: bool) -> Iterator[Line]:
    """Measure; yield two lines on the losses and one on the mixtures."""
    torch.set_num_threads(threads)
    yield from _losses(quick)
    yield _mixtures(quick)


def _ways(quick: bool) -> dict[str, Callable[[], object]]:
    """Return the two ways to the losses of the whole set, by name."""
    samples, classes = _size(quick)
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(samples, DIM, generator=draw)
    labels = torch.randint(classes, (samples,), generator=draw)
    inputs = FeatureInputs(features, (), (), torch.arange(samples), CPU)
    spec = PhaseSpec("lp", epochs=1)
    phase = Phase(
        spec, 0, inputs=inputs, cached_plain=None, labels=labels, classes=classes, device=CPU, seed=0
    )
    head = nn.Linear(DIM, classes)

    def at_once() -> None:
        functional.cross_entropy(phase.logits(head).double(), labels, reduction="none")

    return {"by piece": lambda: phase.losses(head), "all logits": at_once}


def _size(quick: bool) -> tuple[int, int]:
    return (QUICK_SAMPLES, QUICK_CLASSES) if quick else (SAMPLES, CLASSES)


def _losses(quick: bool) -> Iterator[Line]:
    samples, classes = _size(quick)
    competitors = _ways(quick)
    times = interleave(
        {name: (lambda act=act: seconds(act)) for name, act in competitors.items()},
        QUICK_ROUNDS if quick else ROUNDS,
    )
    where = f"N = {samples:,}, C = {classes:,}, d = {DIM}"
    yield Line(
        "select",
        "losses of the whole set piece by piece / from all logits in double precision",
        where,
        {name: times.median(name) for name in competitors},
        times.ratios("by piece", "all logits"),
        aim=AIMS["losses"],
    )
    # Apart: what this process has freed it may keep, and need no more for the next one.
    needed = {name: apart(_peak_memory, name, quick) for name in competitors}
    yield Line(
        "select",
        f"memory of the losses, from all logits {needed['all logits']:.3g} GB",
        where,
        {},
        (needed["by piece"],),
        unit="GB",
        aim=2.0,
    )


def _peak_memory(name: str, quick: bool) -> float:
    """Return by how much a way makes this process larger at some time, in GB; 0 where nobody says."""
    act = _ways(quick)[name]
    before = memory_of_this("VmRSS")
    act()
    return max(memory_of_this("VmHWM") - before, 0.0)


def _mixtures(quick: bool) -> Line:
    classes, each = (QUICK_CLASSES, QUICK_PER_CLASS) if quick else (CLASSES, PER_CLASS)
    draw = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), each)
    clean = draw.random(len(labels)) < 0.6
    losses = np.where(clean, draw.gamma(1.0, 0.1, len(labels)), draw.normal(0.8, 0.1, len(labels)))

    def one_by_one() -> None:
        for label in range(classes):
            clean_posterior(losses[labels == label], DIVIDEMIX, seed=0)

    times = interleave(
        {
            "together": lambda: seconds(lambda: class_posteriors(losses, labels, classes, DIVIDEMIX)),
            "one by one": lambda: seconds(one_by_one),
        },
        QUICK_ROUNDS if quick else ROUNDS,
    )
    return Line(
        "select",
        "a mixture for each class, together / by scikit-learn one after the other",
        f"{classes:,} classes of {each} losses, 10 iterations",
        {name: times.median(name) for name in times.values},
        times.ratios("together", "one by one"),
        aim=AIMS["mixtures"],
    )
