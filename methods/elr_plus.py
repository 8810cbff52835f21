"""ELR+: early-learning regularisation with two networks, weight averages and mixup."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from lnlbench.api import (
    Batch,
    Method,
    Network,
    Passes,
    Phase,
    Preset,
    Task,
    TrialSpec,
    UsageError,
    functional,
    one_of,
)
from lnlbench.components.mixing import Mixup
from lnlbench.components.ramp import sigmoid_ramp
from lnlbench.components.running_targets import PLACES, STORAGE, RunningTargets
from lnlbench.components.soft_labels import soft_cross_entropy
from lnlbench.components.weight_average import move_average, rising_momentum, weight_average


class ELRPlus(Method):
    """ELR with two networks, temporal ensembling, weight averaging and mixup (Liu et al., 2020).

    Each network learns on mixed inputs. Its targets t are running averages of what the *other*
    network's weight average predicts for the inputs before mixing; labels and targets are mixed
    like the inputs.

    Costs 8 forward units per sample and epoch: 3 for a step and 1 for the targets, twice.

    As in their code the networks take turns by the epoch, weight averages are in train mode when
    they predict, and the prediction is the sum of the logits of the networks themselves (theirs is
    half of it, with the same largest class).

    Deviations from the published code: ramps are shares of the steps of the first phase where
    theirs are numbers of steps, and a weight average starts as a copy of its network, theirs
    with other random weights that the ramp soon overwrites. Clothing1M is not drawn anew, balanced
    by label, for each epoch. On CIFAR theirs sees random crops and flips; here it is the data set's
    recipe, and ``dataset_options.recipe = "crop-flip"`` has theirs.

    Source: Liu, Niles-Weed, Razavian & Fernandez-Granda, Early-Learning Regularization Prevents
    Memorization of Noisy Labels, NeurIPS 2020, section 4 and appendix, and their code.
    """

    title = "ELR+"
    paper = "Liu et al. (2020)"

    @dataclass(frozen=True)
    class Params:
        """Parameters of ELR+.

        Attributes
        ----------
        beta : float
            Momentum of the targets, in [0, 1). Default 0.7; 0.9 on CIFAR-100. Source: their
            code, 0.7 on CIFAR-10, Clothing1M and WebVision.
        lam : float
            Weight λ of the regulariser. Default 3; 7 on CIFAR-100. Source: their code, 3 on
            CIFAR-10, Clothing1M and WebVision.
        lam_ramp : float
            Share of the first phase's steps in which λ comes in, exp(−5(1 − x)²). Default 0:
            at once; 0.4 on CIFAR-100. Source: their code, 40,000 of 98,000 steps on CIFAR-100.
        gamma : float
            Momentum of the weight averages, in [0, 1). Default 0.997; 0.9999 on Clothing1M.
            Source: their appendix, and their code for Clothing1M (an early version of which had
            0.999).
        gamma_ramp : float
            Share of the first phase's steps in which γ comes in, exp(−5(1 − x)²). Default 0:
            plain averaging, 1 − 1/(step + 1), until γ is reached; 0.5 on CIFAR-10 and 0.4 on
            CIFAR-100. Source: their code, plain on Clothing1M and WebVision, 40,000 steps on CIFAR.
        alpha : float
            Both parameters of mixup's Beta distribution. Default 1; 1.5 on WebVision; 0 for no
            mixup. Source: their appendix, and their code for WebVision (an early version of which
            had 1).
        weighted_labels : bool
            Multiply the mixed labels by the mixed targets and normalise them before the
            cross-entropy. Default False; True on CIFAR-100. Source: their code.
        storage : {"float32", "float16", "bfloat16"}
            Type in which the two N × C arrays of targets are kept. Default "float32". Source:
            theirs; the smaller types are ours.
        place : {"device", "cpu"}
            Where they are kept. Default "device". Source: theirs; "cpu" is ours.
        """

        beta: float = 0.7
        lam: float = 3.0
        lam_ramp: float = 0.0
        gamma: float = 0.997
        gamma_ramp: float = 0.0
        alpha: float = 1.0
        weighted_labels: bool = False
        storage: str = "float32"
        place: str = "device"

        def __post_init__(self) -> None:
            one_of(self.storage, STORAGE, "storage of ELR+'s targets")
            one_of(self.place, PLACES, "place of ELR+'s targets")
            if not (0.0 <= self.beta < 1.0 and 0.0 <= self.gamma < 1.0):
                raise UsageError(
                    f"ELR+ has beta = {self.beta:g} and gamma = {self.gamma:g}.", "Both must lie in [0, 1)."
                )
            if min(self.lam, self.alpha, self.lam_ramp, self.gamma_ramp) < 0.0:
                raise UsageError(
                    f"ELR+ has lam = {self.lam:g}, alpha = {self.alpha:g}, lam_ramp = {self.lam_ramp:g} "
                    f"and gamma_ramp = {self.gamma_ramp:g}.",
                    "None of them may be negative.",
                )

    predicting_networks = 2
    dataset_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "cifar10": {"gamma_ramp": 0.5},
        "cifar100": {
            "beta": 0.9,
            "lam": 7.0,
            "lam_ramp": 0.4,
            "gamma_ramp": 0.4,
            "weighted_labels": True,
        },
        "clothing1m": {"gamma": 0.9999},
        "webvision": {"alpha": 1.5},
        "webvision_mini": {"alpha": 1.5},
    }
    presets: ClassVar[Mapping[str, Preset]] = {
        "cifar10-asymmetric": Preset(
            {"beta": 0.9, "lam": 1.0}, "Liu et al. (2020): CIFAR-10, asymmetric noise", noise_aware=True
        ),
    }

    @classmethod
    def expected_passes(cls, spec: TrialSpec, share: float) -> tuple[Passes, ...]:
        """Return, for each network, one pass for its targets and one that it learns from."""
        return tuple(Passes(forward=2, trained=2).times(phase.epochs) for phase in spec.phases)

    def setup(self, task: Task) -> None:
        """Make two networks with different heads, and their targets, all zero."""
        params = self.params
        self.networks = [task.network(0), task.network(1)]
        self.targets = [
            RunningTargets(task.samples, task.classes, params.storage, params.place, task.device)
            for _ in range(2)
        ]
        self.averages: list[Network] = []
        self.steps = [0, 0]
        self.steps_of_first_phase = 0

    def begin_phase(self, phase: Phase) -> None:
        """Make both optimisers, and weight averages that learn what their networks learn."""
        self.optimizers = [phase.optimizer(network) for network in self.networks]
        earlier: Sequence[Network | None] = self.averages or (None, None)
        self.averages = [weight_average(*pair) for pair in zip(self.networks, earlier, strict=True)]
        if not self.steps_of_first_phase:
            self.steps_of_first_phase = phase.epochs * math.ceil(phase.samples / phase.spec.batch_size)

    def epoch(self, phase: Phase) -> None:
        """Train one network for an epoch, then the other."""
        for number in (0, 1):
            self.networks[number].train()
            self.averages[1 - number].train()
            for batch in phase.batches():
                phase.step(self.optimizers[number], self.step_loss(phase, number, batch))
                self.steps[number] += 1
                self.average_weights(number)

    def step_loss(self, phase: Phase, number: int, batch: Batch) -> torch.Tensor:
        """Move the batch's targets, then return CE + λ · mean log(1 − ⟨t, p̃⟩), all on mixed samples."""
        params = self.params
        mix = Mixup.draw(len(batch), params.alpha, phase.generator)
        logits = self.networks[number](mix(batch.inputs))
        with torch.no_grad():
            taught = self.averages[1 - number](batch.inputs).softmax(1)
            targets = mix(self.targets[number].update(batch.index, taught, params.beta))
            labels = mix(functional.one_hot(batch.labels, phase.classes).to(logits))
            if params.weighted_labels:
                # A target can underflow to zero for both labels of a mixture.
                labels = labels * targets.clamp_min(torch.finfo(targets.dtype).tiny ** 0.5)
                labels = labels / labels.sum(1, keepdim=True)
        p = logits.softmax(1).clamp(1e-4, 1.0 - 1e-4)
        regulariser = torch.log1p(-(targets * p).sum(1)).mean()
        ramp = sigmoid_ramp(self.steps[number] + 1, params.lam_ramp * self.steps_of_first_phase)
        loss: torch.Tensor = soft_cross_entropy(logits, labels) + params.lam * ramp * regulariser
        return loss

    def average_weights(self, number: int) -> None:
        """Move a weight average towards its network, after a step of it."""
        step, params = self.steps[number], self.params
        if params.gamma_ramp > 0.0:
            momentum = params.gamma * sigmoid_ramp(step + 1, params.gamma_ramp * self.steps_of_first_phase)
        else:
            momentum = rising_momentum(step, params.gamma)
        move_average(self.averages[number], self.networks[number], momentum)

    def predict(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the sum of both networks' logits."""
        first, second = self.networks
        logits: torch.Tensor = first(inputs) + second(inputs)
        return logits
