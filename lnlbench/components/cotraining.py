"""Co-training of two networks by semi-supervised learning: what DivideMix and UNICON share.

After a warm-up on all labels, the samples are split in every epoch into a labelled and an
unlabelled set, and each network learns from both sets as in MixMatch (Berthelot et al. 2019).
How the split is made is the subclass's business.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from lnlbench.api import (
    Batch,
    Method,
    Passes,
    Phase,
    PhaseSpec,
    Skip,
    Task,
    TrialSpec,
    UsageError,
    functional,
    has_images,
)
from lnlbench.components.mixing import Mixup
from lnlbench.components.ramp import linear_ramp
from lnlbench.components.soft_labels import (
    mean_prediction,
    negative_entropy,
    sharpen,
    soft_cross_entropy,
    uniform_prior_divergence,
)
from lnlbench.models.transport import to_device


@dataclass(frozen=True)
class CoTrainingParams:
    """Parameters of warm-up and semi-supervised steps; each method documents its own."""

    warmup: int | None = None
    temperature: float = 0.5
    alpha: float = 4.0
    lam_u: float = 25.0
    ramp: int = 16
    confidence_penalty: bool = False

    def __post_init__(self) -> None:
        warmup_sound = self.warmup is None or (type(self.warmup) is int and self.warmup >= 0)
        if not warmup_sound or self.ramp < 0:
            raise UsageError(
                f"warmup is {self.warmup!r} and ramp is {self.ramp}.",
                "Both are whole numbers of epochs, not negative; warmup can be left out.",
            )
        if not self.temperature > 0.0 or self.alpha < 0.0 or self.lam_u < 0.0:
            raise UsageError(
                f"temperature is {self.temperature:g}, alpha is {self.alpha:g}, lam_u is {self.lam_u:g}.",
                "temperature must be positive, alpha and lam_u must not be negative.",
            )


@dataclass(frozen=True, slots=True)
class LabelSplit:
    """What one network trains on for an epoch.

    Attributes
    ----------
    labelled : torch.Tensor, bool ``[N]``
        Samples whose labels are used; the others are used without.
    weight : torch.Tensor, float ``[N]``
        Trust in each label, 0 to 1, in the refinement of the labelled samples.
    unlabelled_batch : int
        Unlabelled samples per step.
    """

    labelled: torch.Tensor
    weight: torch.Tensor
    unlabelled_batch: int


def default_warmup(epochs: int) -> int:
    """Return the length of the warm-up where none is given: a quarter of the first phase."""
    return math.ceil(epochs / 4)


class CoTraining(Method, ABC):
    """Two networks, warm-up, and semi-supervised steps on splits that a subclass makes.

    Epochs are counted over all phases, so a second phase goes on where the first one ended: it
    has no warm-up of its own, and the ramp of the unlabelled loss continues.

    Deviations from the published code: with ``warmup = None`` the warm-up takes a quarter of
    the epochs of the first phase, rounded up. The ramp takes ``ramp`` epochs, or as many as
    are left in the phase in which the warm-up ends, if they are fewer. Batches of one sample
    pass through a network with both views together, because batch normalisation has no
    variance of one row. On CIFAR their weak views are random crops and flips; here they are those of
    the data set's recipe, and ``dataset_options.recipe = "crop-flip"`` has theirs.

    Attributes
    ----------
    networks : list of two Network
    warmup, ramp : int or None
        Lengths in epochs; None until the phase that decides them begins.
    epochs_done : int
    """

    warmup: int | None
    ramp: int | None

    predicting_networks = 2

    @classmethod
    def supports(cls, spec: TrialSpec) -> Skip | None:
        """Decline data sets of features, which cannot be augmented."""
        if not has_images(spec):
            return Skip("needs augmented views, and a data set of features has none")
        return None

    @classmethod
    def expected_passes(cls, spec: TrialSpec, share: float) -> tuple[Passes, ...]:
        """Return the passes of warm-up and of semi-supervised epochs."""
        warmup = dict(spec.method.params)["warmup"]
        left = default_warmup(spec.phases[0].epochs) if warmup is None else warmup
        passes = []
        for phase in spec.phases:
            warm = min(left, phase.epochs)
            left -= warm
            semi_supervised = cls.co_training_passes(spec, phase, share).times(phase.epochs - warm)
            passes.append(Passes(trained=2).times(warm) + semi_supervised)
        return tuple(passes)

    @classmethod
    def co_training_passes(cls, spec: TrialSpec, phase: PhaseSpec, share: float) -> Passes:
        """Return the passes of a semi-supervised epoch with a share ρ labelled.

        Both networks look at all losses; each guesses labels of the unlabelled samples, as many
        as there are labelled ones, together with the other, refines those of the labelled ones,
        and learns from two mixed views of both.
        """
        labelled = unlabelled = 2 * share
        return Passes(forward=2 + 2 * labelled + 4 * unlabelled, trained=2 * labelled + 2 * unlabelled)

    def setup(self, task: Task) -> None:
        """Make two networks with different heads."""
        self.networks = [task.network(0), task.network(1)]
        self.warmup = self.params.warmup
        self.ramp = None
        self.epochs_done = 0

    def begin_phase(self, phase: Phase) -> None:
        """Make both optimisers, and settle the lengths of warm-up and ramp."""
        self.optimizers = [self.make_optimizer(phase, number) for number in (0, 1)]
        if self.warmup is None:
            self.warmup = default_warmup(phase.epochs)
        semi_supervised = phase.epochs - max(0, self.warmup - self.epochs_done)
        if self.ramp is None and semi_supervised > 0:
            self.ramp = min(self.params.ramp, semi_supervised)

    def make_optimizer(self, phase: Phase, number: int) -> torch.optim.Optimizer:
        """Return the phase's optimiser of one network."""
        return phase.optimizer(self.networks[number])

    def epoch(self, phase: Phase) -> None:
        """Warm up, or split and train, both networks one after the other."""
        assert self.warmup is not None  # begin_phase has set it
        if self.epochs_done < self.warmup:
            for number in (0, 1):
                self.warm_up(phase, number)
            if phase.epoch + 1 == phase.epochs:
                phase.count("phase_ended_in_warmup")
        else:
            self.co_train(phase)
        self.epochs_done += 1

    @abstractmethod
    def co_train(self, phase: Phase) -> None:
        """Split the samples and call :meth:`train_network` for both networks."""

    def predict(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the sum of both networks' logits."""
        first, second = self.networks
        logits: torch.Tensor = first(inputs) + second(inputs)
        return logits

    # Training one network

    def warm_up(self, phase: Phase, number: int) -> None:
        """Train a network for an epoch with cross-entropy on one weak view of every sample.

        As in the original, a batch has twice the size of a semi-supervised step's.
        """
        network = self.networks[number].train()
        for batch in phase.batches(batch_size=2 * phase.spec.batch_size, plain=False, weak=1):
            logits = network(batch.weak[0])
            loss = functional.cross_entropy(logits, batch.labels)
            if self.params.confidence_penalty:
                loss = loss + negative_entropy(logits)
            phase.step(self.optimizers[number], loss)

    def train_network(self, phase: Phase, number: int, split: LabelSplit) -> None:
        """Train a network for an epoch: as many steps as there are labelled batches.

        Unlabelled batches are drawn for as long as there are labelled ones, in a new order
        whenever all have been seen. Without labelled samples the network has an epoch of
        warm-up instead; without unlabelled ones it learns from the labelled alone. Both are
        counted.
        """
        labelled = split.labelled.nonzero().squeeze(1)
        unlabelled = (~split.labelled).nonzero().squeeze(1)
        if not len(labelled):
            phase.count("no_labelled_samples")
            self.warm_up(phase, number)
            return
        views = self.views
        others = None
        if len(unlabelled):
            others = phase.endless(
                unlabelled, batch_size=split.unlabelled_batch, weak=views.weak, strong=views.strong
            )
        else:
            phase.count("no_unlabelled_samples")
        self.networks[number].train()
        self.networks[1 - number].eval()
        steps = len(labelled) // phase.spec.batch_size + 1  # as their code counts them, for the ramp
        batches = phase.batches(labelled, plain=False, weak=views.weak, strong=views.strong)
        for step, batch in enumerate(batches):
            position = self.epochs_done + step / steps
            other = next(others) if others is not None else None
            loss = self.step_loss(phase, number, batch, other, split.weight, position)
            phase.step(self.optimizers[number], loss)
        self.networks[1 - number].train()

    def step_loss(
        self,
        phase: Phase,
        number: int,
        labelled: Batch,
        unlabelled: Batch | None,
        weight: torch.Tensor,
        position: float,
    ) -> torch.Tensor:
        """Return L_x + λ_u · ramp · L_u + the regulariser (+ what a subclass adds).

        Parameters
        ----------
        phase : Phase
        number : int
            Of the network that trains.
        labelled : Batch
        unlabelled : Batch or None
        weight : torch.Tensor, ``[N]``
            Of each sample's label; see :class:`LabelSplit`.
        position : float
            In epochs since the start of training.
        """
        network, other = self.networks[number], self.networks[1 - number]
        temperature = self.params.temperature
        inputs: list[torch.Tensor] = []
        targets: list[torch.Tensor] = []
        guess = None
        with torch.no_grad():
            if unlabelled is not None:
                if len(unlabelled) == 1:
                    phase.count("unlabelled_batch_of_one")
                both = mean_prediction(network, unlabelled.weak) + mean_prediction(other, unlabelled.weak)
                guess = sharpen(both / 2, temperature)
            if len(labelled) == 1:
                phase.count("labelled_batch_of_one")
            own = mean_prediction(network, labelled.weak)
            trust = to_device(weight[labelled.index], own.device).to(own)[:, None]
            given = functional.one_hot(labelled.labels, phase.classes).to(own)
            refined = sharpen(trust * given + (1.0 - trust) * own, temperature)
        for batch, target in ((labelled, refined), (unlabelled, guess)):
            if batch is not None and target is not None:
                views = batch.strong or batch.weak
                inputs += views
                targets += [target] * len(views)
        added = self.added_loss(phase, number, unlabelled)
        mix = Mixup.draw(sum(len(view) for view in inputs), self.params.alpha, phase.generator)
        mixed_targets = mix(torch.cat(targets))
        logits = network(mix(torch.cat(inputs)))
        rows = 2 * len(labelled)
        loss = soft_cross_entropy(logits[:rows], mixed_targets[:rows]) + uniform_prior_divergence(logits)
        if unlabelled is not None:
            loss_u = (logits[rows:].softmax(1) - mixed_targets[rows:]).square().mean()
            loss = loss + self.unlabelled_weight(position) * loss_u
        return loss if added is None else loss + added

    def added_loss(self, phase: Phase, number: int, unlabelled: Batch | None) -> torch.Tensor | None:
        """Return a further, weighted term of the loss of a step; None for none."""
        return None

    def unlabelled_weight(self, position: float) -> float:
        """Return λ_u times its ramp, at a position in epochs since the start of training."""
        assert self.warmup is not None  # begin_phase has set both
        assert self.ramp is not None
        weight: float = self.params.lam_u * linear_ramp(position - self.warmup, self.ramp)
        return weight
