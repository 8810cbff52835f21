"""A problem of a few dozen samples in double precision, for tests of methods.

Inputs are small random images (or features of a frozen backbone), a view is an input plus
noise, and the backbone has a convolution and batch normalisation.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from lnlbench.api import Batch, Method, Network, Phase, Task
from lnlbench.components.mixing import Mixup
from lnlbench.inputs.network_inputs import Inputs, Views, Wanted
from lnlbench.models.calibration import Execution
from lnlbench.models.ledger import Ledger
from lnlbench.spec import BackboneSpec, DatasetSpec, MethodSpec, NoiseSpec, PhaseSpec, TrialSpec

CPU = torch.device("cpu")
WIDTH = 6  # length of a feature vector


def make_backbone(seed: int = 0) -> nn.Module:
    """Return a backbone in double precision; the same for the same seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, WIDTH, 3), nn.BatchNorm2d(WIDTH), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        ).double()


@dataclass
class NoisyViews(Inputs):
    """Inputs in memory; every view adds fresh noise."""

    values: torch.Tensor

    def __len__(self) -> int:
        return len(self.values)

    def make(self, index: torch.Tensor, wanted: Wanted, generator: torch.Generator | None) -> Views:
        plain = (self.values[index],) if wanted.inputs == "plain" else ()
        strengths = [0.1] * (wanted.weak + (wanted.inputs == "weak")) + [0.5] * wanted.strong
        return plain + tuple(self._noisy(index, strength, generator) for strength in strengths)

    def _noisy(self, index: torch.Tensor, strength: float, generator: torch.Generator | None) -> torch.Tensor:
        values = self.values[index]
        return values + strength * torch.randn(values.shape, generator=generator, dtype=values.dtype)


class RecordingPhase(Phase):
    """Remembers the batches that were drawn, in the order in which they were used."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.drawn: list[Batch] = []

    def batches(self, *args: Any, **kwargs: Any) -> Iterator[Batch]:
        for batch in super().batches(*args, **kwargs):
            self.drawn.append(batch)
            yield batch


class SmallProblem:
    """Images, noisy labels, and what a method needs to train on them.

    Parameters
    ----------
    samples, classes : int
    flipped : float
        Share of the labels that are drawn anew.
    """

    def __init__(self, samples: int = 48, classes: int = 3, flipped: float = 0.3, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.classes = classes
        true = torch.arange(samples) % classes
        means = torch.randn(classes, 3, 1, 1, generator=generator, dtype=torch.float64)
        noise = torch.randn(samples, 3, 5, 5, generator=generator, dtype=torch.float64)
        self.images = means[true] + 0.7 * noise
        wrong = torch.rand(samples, generator=generator) < flipped
        drawn = torch.randint(classes, (samples,), generator=generator)
        self.labels = torch.where(wrong, drawn, true)
        self.ledger = Ledger()
        self.networks: list[Network] = []

    def network(self, number: int) -> Network:
        with torch.random.fork_rng():
            torch.manual_seed(100 + number)
            head = nn.Linear(WIDTH, self.classes).double()
        network = Network(head, make_backbone, ledger=self.ledger, device=CPU, execution=Execution())
        self.networks.append(network)
        return network

    def task(self) -> Task:
        names = tuple(f"class {number}" for number in range(self.classes))
        return Task(self.labels, names, CPU, self.network)

    def features(self) -> torch.Tensor:
        """Features of the images by the frozen backbone."""
        with torch.no_grad():
            return make_backbone().eval()(self.images)

    def phase(
        self, kind: str, epochs: int, *, index: int = 0, cached: bool = True, batch_size: int = 8, **spec: Any
    ) -> RecordingPhase:
        """Return a phase; in ``lp`` networks are fed features, unless ``cached`` is off."""
        features = NoisyViews(self.features())
        return RecordingPhase(
            PhaseSpec(kind, epochs, batch_size=batch_size, **{"lr": 0.05, **spec}),
            index,
            inputs=features if kind == "lp" and cached else NoisyViews(self.images),
            cached_plain=features if cached and index > 0 else None,
            labels=self.labels,
            classes=self.classes,
            device=CPU,
            seed=7,
        )

    def begin(self, method: Method, phase: Phase) -> None:
        """Freeze or thaw the networks as the phase says, and begin it."""
        for network in self.networks:
            network.freeze(phase.kind == "lp")
        method.begin_phase(phase)

    def train(self, method: Method, phase: Phase, epochs: range | None = None) -> list[float | None]:
        """Train for some epochs of a phase (default all) and return their losses."""
        losses = []
        for epoch in epochs if epochs is not None else range(phase.epochs):
            phase.start_epoch(epoch)
            for network in self.networks:
                network.train()
            method.epoch(phase)
            losses.append(phase.end_epoch())
            for network in self.networks:
                network.eval()
        return losses


def start(method_class: type[Method], problem: SmallProblem, phase: Phase, **params: Any) -> Method:
    """Make a method, set it up and begin a phase."""
    method = method_class(method_class.Params(**params))
    method.setup(problem.task())
    problem.begin(method, phase)
    return method


def plain_copy(network: Network) -> nn.Sequential:
    """Return backbone and head as an ordinary module with the same weights."""
    backbone = make_backbone()
    backbone.load_state_dict(network.build().state_dict())
    head = nn.Linear(network.feature_dim, network.classes).double()
    head.load_state_dict(network.head.state_dict())
    return nn.Sequential(backbone, head)


def largest_difference(network: Network, reference: nn.Sequential) -> float:
    """Return the largest difference between the weights and buffers of two networks."""
    mine = {**network.build().state_dict(prefix="0."), **network.head.state_dict(prefix="1.")}
    theirs = reference.state_dict()
    assert mine.keys() == theirs.keys()
    return max(float((mine[name] - theirs[name]).abs().max()) for name in mine)


def steps_of(batches: list[Batch], mixes: list[Mixup], views: str = "weak") -> list[dict[str, Any]]:
    """Pair labelled and unlabelled batches as the reference takes them."""
    pairs = zip(batches[::2], batches[1::2], strict=True)
    return [
        {
            "x": x.weak,
            "u": u.weak,
            "mixed_x": getattr(x, views),
            "mixed_u": getattr(u, views),
            "labels": x.labels,
            "index": x.index,
            "l": mix.coefficient,
            "idx": mix.partners,
        }
        for (x, u), mix in zip(pairs, mixes, strict=True)
    ]


def sgd(net: nn.Module, *more: nn.Module) -> torch.optim.SGD:
    """Return the optimiser of :meth:`SmallProblem.phase` over all parameters."""
    parameters = [p for module in (net, *more) for p in module.parameters()]
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=1e-4)


def resumed(
    method_class: type[Method], kind: str, epochs: int, stop: int, **params: Any
) -> list[torch.Tensor]:
    """Train straight through, and in two halves with a saved state between; return both."""
    whole, first, second = SmallProblem(), SmallProblem(), SmallProblem()
    phases = [problem.phase(kind, epochs) for problem in (whole, first, second)]
    methods = [
        start(method_class, problem, phase, **params)
        for problem, phase in zip((whole, first, second), phases, strict=True)
    ]
    whole.train(methods[0], phases[0])
    first.train(methods[1], phases[1], range(stop))
    methods[2].load_state_dict(copy.deepcopy(methods[1].state_dict()))
    second.train(methods[2], phases[2], range(stop, epochs))
    inputs = whole.images if kind == "fft" else whole.features()
    return [method.predict(inputs) for method in (methods[0], methods[2])]


def record_mixups(monkeypatch: pytest.MonkeyPatch) -> list[Mixup]:
    """Return a list that will hold every draw of mixup, in order; they are real ones."""
    drawn = []
    draw = Mixup.draw

    def spy(*args: Any) -> Mixup:
        drawn.append(draw(*args))
        return drawn[-1]

    monkeypatch.setattr(Mixup, "draw", spy)
    return drawn


def bare_trial(method: str, tuning: str) -> TrialSpec:
    """Return a trial as ``supports`` is asked about it: all that it needs is a method and a tuning mode."""
    return TrialSpec(
        DatasetSpec("digits"),
        NoiseSpec.parse("none"),
        BackboneSpec("none"),
        tuning,
        MethodSpec(method),
        0,
        (),
    )
