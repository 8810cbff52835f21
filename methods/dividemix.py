"""DivideMix: two networks split the samples for each other and learn from both parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from lnlbench.api import Phase, Preset, Selection, Task, UsageError, Views
from lnlbench.components.cotraining import CoTraining, CoTrainingParams, LabelSplit
from lnlbench.components.mixture import DIVIDEMIX, clean_posterior, scale_to_unit

# Epochs over which ``loss_history`` averages (their code).
HISTORY = 5

_APPENDIX = "Li et al. (2020): appendix, λ_u by data set and noise"


def _oracle(values: Mapping[str, Any], noise: str) -> Preset:
    return Preset(values, f"{_APPENDIX}; {noise}", noise_aware=True)


class DivideMix(CoTraining):
    """Learning with noisy labels as semi-supervised learning (Li et al., 2020).

    Each epoch after the warm-up, each network's cross-entropy on all samples is fitted by a
    two-component Gaussian mixture; samples whose posterior of the lower component exceeds τ
    are labelled for the *other* network, the rest unlabelled.

    The published selection is that of the mean posterior of both networks.

    Costs 2 + 36ρ forward units per sample and epoch, with ρ the share labelled; 6 in the warm-up.

    Deviations from the published code: on Clothing1M and WebVision theirs passes only the first 2B
    of the 4B mixed inputs through the network, so that the regulariser sees these alone, and on
    Clothing1M it always has the confidence penalty in the warm-up and draws 1,000 batches, balanced
    by label, for each epoch; here these data sets differ in ``alpha`` and ``lam_u`` only. Open: for
    WebVision their code has two scripts, which fit the mixture with ``reg_covar`` 5e-4 (one GPU) and
    1e-3 (two GPUs), and it is not said which one made the published numbers; here it is 5e-4, as
    everywhere else in their code.

    Source: Li, Socher & Hoi, DivideMix: Learning with Noisy Labels as Semi-supervised Learning,
    ICLR 2020, and their code.
    """

    title = "DivideMix"
    paper = "Li et al. (2020)"
    distributed = True

    @dataclass(frozen=True)
    class Params(CoTrainingParams):
        """Parameters of DivideMix.

        Attributes
        ----------
        warmup : int or None
            Epochs of cross-entropy first. Default None: a quarter of the first phase's,
            rounded up. Source: ours, for short budgets; theirs is 10 of 300 on CIFAR-10, 30 on
            CIFAR-100, 1 of 80 on Clothing1M and WebVision.
        tau : float
            Posterior above which a label is kept. Default 0.5. Source: their section 4.2.
        temperature : float
            T of the sharpening. Default 0.5. Source: their section 4.2.
        alpha : float
            Both parameters of mixup's Beta distribution. Default 4; 0.5 on Clothing1M and
            WebVision. Source: their section 4.2, and their code for Clothing1M and WebVision.
        lam_u : float
            Weight of the unlabelled loss. Default 25; 0 on Clothing1M and WebVision. Source:
            their code.
        ramp : int
            Epochs in which lam_u comes in, linearly. Default 16, or as many as there are after
            the warm-up. Source: their code.
        confidence_penalty : bool
            Add Σ p log p to the warm-up loss. Default False: on CIFAR theirs is on for asymmetric
            noise only, which takes knowing the noise. Source: their code.
        loss_history : bool
            Fit the mixture to the mean of the last five epochs' normalised losses. Default
            False: theirs is on for 90 % noise only, which takes knowing the noise. Source: their
            code.
        """

        tau: float = 0.5
        loss_history: bool = False

        def __post_init__(self) -> None:
            super().__post_init__()
            if not 0.0 <= self.tau < 1.0:
                raise UsageError(f"DivideMix has tau = {self.tau:g}.", "tau must lie in [0, 1).")

    views = Views(weak=2)
    dataset_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "clothing1m": {"alpha": 0.5, "lam_u": 0.0},
        "webvision": {"alpha": 0.5, "lam_u": 0.0},
        "webvision_mini": {"alpha": 0.5, "lam_u": 0.0},
    }
    presets: ClassVar[Mapping[str, Preset]] = {
        "cifar10-symmetric-0.2": _oracle({"lam_u": 0.0}, "CIFAR-10, 20 % symmetric"),
        "cifar10-symmetric-0.5": _oracle({"lam_u": 25.0}, "CIFAR-10, 50 % symmetric"),
        "cifar10-symmetric-0.8": _oracle({"lam_u": 25.0}, "CIFAR-10, 80 % symmetric"),
        "cifar10-symmetric-0.9": _oracle(
            {"lam_u": 50.0, "tau": 0.6, "loss_history": True}, "CIFAR-10, 90 % symmetric"
        ),
        "cifar10-asymmetric-0.4": _oracle(
            {"lam_u": 0.0, "confidence_penalty": True}, "CIFAR-10, 40 % asymmetric"
        ),
        "cifar100-symmetric-0.2": _oracle({"lam_u": 25.0}, "CIFAR-100, 20 % symmetric"),
        "cifar100-symmetric-0.5": _oracle({"lam_u": 150.0}, "CIFAR-100, 50 % symmetric"),
        "cifar100-symmetric-0.8": _oracle({"lam_u": 150.0}, "CIFAR-100, 80 % symmetric"),
        "cifar100-symmetric-0.9": _oracle(
            {"lam_u": 150.0, "tau": 0.6, "loss_history": True}, "CIFAR-100, 90 % symmetric"
        ),
    }

    def setup(self, task: Task) -> None:
        """Make the networks; no losses have been seen yet."""
        super().setup(task)
        self.history: list[list[torch.Tensor]] = [[], []]

    def co_train(self, phase: Phase) -> None:
        """Make both splits, then train each network on the other's."""
        posteriors = [self.posterior(phase, number) for number in (0, 1)]
        mean = (posteriors[0] + posteriors[1]) / 2
        phase.publish(Selection(mean > self.params.tau, mean))
        splits = [self.split(phase, posterior) for posterior in posteriors]
        for number in (0, 1):
            self.train_network(phase, number, splits[1 - number])

    def posterior(self, phase: Phase, number: int) -> torch.Tensor:
        """Return every sample's probability of a clean label by one network, float64 ``[N]``."""
        scaled = scale_to_unit(phase.losses(self.networks[number]).numpy())
        if self.params.loss_history:
            history = [*self.history[number], torch.from_numpy(scaled)][-HISTORY:]
            self.history[number] = history
            scaled = torch.stack(history).mean(0).numpy()
        fit = clean_posterior(scaled, DIVIDEMIX, phase.seed(f"mixture of network {number}"))
        if fit.collapsed:
            phase.count("mixture_collapsed")
        if not fit.monotone:
            phase.count("mixture_not_monotone")
        return torch.from_numpy(fit.probability)

    def split(self, phase: Phase, posterior: torch.Tensor) -> LabelSplit:
        """Split the samples at τ; the posterior is the trust in a label."""
        labelled = posterior > self.params.tau
        sizes = torch.bincount(phase.labels, minlength=phase.classes)
        kept = torch.bincount(phase.labels[labelled], minlength=phase.classes)
        empty = int(((sizes > 0) & (kept == 0)).sum())
        if empty:
            phase.count("class_without_clean_samples", empty)
        return LabelSplit(labelled, posterior, phase.spec.batch_size)
