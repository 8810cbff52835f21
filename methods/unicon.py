"""UNICON: DivideMix with class-balanced selection by divergence, and a contrastive term."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from lnlbench.api import (
    Batch,
    Passes,
    Phase,
    PhaseSpec,
    Preset,
    Selection,
    Task,
    TrialSpec,
    UsageError,
    Views,
    one_of,
)
from lnlbench.components.contrastive import nt_xent, projection_head
from lnlbench.components.cotraining import CoTraining, CoTrainingParams, LabelSplit
from lnlbench.components.selection_rules import (
    divergence_cutoff,
    label_divergence,
    label_probabilities,
    lowest_of_each_class,
)

PROJECTION = 128  # length of a projection (their code)
# Labels of samples whose divergence is below it are taken as they are (their code).
TRUSTED = 0.5


class UNICON(CoTraining):
    """Uniform selection and contrastive learning (Karim et al., 2022).

    Before each network trains, all samples are ranked by the Jensen–Shannon divergence between
    the mean prediction of both networks and the given label, and every class keeps equally
    many.

    The published selection is the last one of the epoch, with one minus the divergence as score.
    On a frozen backbone the contrastive term cannot change the classifier: there it is computed
    on request only, and the event ``contrastive_term_left_out`` says so.

    Costs 20 + 16ρ forward units per sample and epoch, with ρ the share selected; 6 in the warm-up.

    Deviations from the published code: no sample is selected twice, and none is added (wherever
    the number below the cut-off is no multiple of the number of classes C, theirs fills up to C − 1
    places with copies of sample 0, which it thereby labels even if it was not selected; a class
    that is too small adds to them), networks are in eval mode for both rankings, last batches that
    are smaller are not dropped, and the unlabelled batch is bounded. Divergences are float64: in
    float32, as theirs, all p_y below about 1e-7 tie at ln 2 and an unstable sort chooses among them.
    On Clothing1M and WebVision theirs passes only the first 2B of the mixed inputs through the
    network, so that the regulariser sees these alone. On Clothing1M it has no warm-up, draws 1,000
    batches for each epoch and trains twice on each selection; on WebVision it warms up for 2 of 120
    epochs, and every 25th epoch is one of cross-entropy at learning rate 0.001 ("jump-restart").
    Here these data sets differ in ``alpha`` and ``lam_u`` only.

    Source: Karim, Rizve, Rahnavard, Mian & Shah, UNICON: Combating Label Noise Through Uniform
    Selection and Contrastive Learning, CVPR 2022, and their code.
    """

    title = "UNICON"
    paper = "Karim et al. (2022)"

    @dataclass(frozen=True)
    class Params(CoTrainingParams):
        """Parameters of UNICON.

        Attributes
        ----------
        warmup : int or None
            Epochs of cross-entropy first. Default None: a quarter of the first phase's,
            rounded up. Source: ours, for short budgets; theirs is 10 of 350 on CIFAR-10, 30 on
            CIFAR-100, none on Clothing1M, 2 of 120 on WebVision.
        d_u : float
            Mean divergence above which the cut-off is lowered. Default 0.7. Source: their
            section 4.
        tau : float
            By how much: a τ-th of the way to the smallest divergence. Default 5. Source: their
            section 4.
        cutoff : {"as_coded", "as_published"}
            Whether the mean is compared with d_u in nats, where it never exceeds ln 2 = 0.693
            and the rule never acts, or in bits, where the published 0.7 can be exceeded, as the
            paper means it to be. Default "as_coded". Source: their code; "as_published" is ours.
        temperature : float
            T of the sharpening. Default 0.5. Source: their section 4.
        alpha : float
            Both parameters of mixup's Beta distribution. Default 4; 0.5 on Clothing1M and
            WebVision. Source: their code.
        lam_u : float
            Weight of the unlabelled loss. Default 30; 0 on Clothing1M and WebVision. Source: their
            section 4, and their code for Clothing1M and WebVision, which mixes unlabelled inputs in
            but has no unlabelled loss.
        ramp : int
            Epochs in which lam_u comes in, linearly. Default 16, or as many as there are after
            the warm-up. Source: their code.
        lam_c : float
            Weight of the contrastive loss. Default 0.025. Source: their section 4.
        contrastive_temperature : float
            Temperature of the contrastive loss. Default 0.05. Source: their code.
        lp_contrastive : bool
            Compute the contrastive loss on a frozen backbone as well. Default False. Source: ours,
            because theirs has no frozen backbone.
        max_unlabelled_ratio : float
            Bound of the unlabelled batch B/(2R), in labelled batches B. Default 4, which is
            reached when fewer than an eighth of the samples are below the cut-off; the event
            ``unlabelled_batch_bounded`` says when it acts. Source: ours, a bound on memory.
        confidence_penalty : bool
            Add Σ p log p to the warm-up loss. Default False: theirs is on for asymmetric
            noise only, which takes knowing the noise. Source: their code.
        """

        lam_u: float = 30.0
        d_u: float = 0.7
        tau: float = 5.0
        cutoff: str = "as_coded"
        lam_c: float = 0.025
        contrastive_temperature: float = 0.05
        lp_contrastive: bool = False
        max_unlabelled_ratio: float = 4.0

        def __post_init__(self) -> None:
            super().__post_init__()
            one_of(self.cutoff, ("as_coded", "as_published"), "cutoff of UNICON")
            if self.d_u < 0.0 or self.tau < 1.0:
                raise UsageError(
                    f"UNICON has d_u = {self.d_u:g} and tau = {self.tau:g}.",
                    "d_u must not be negative, tau must be at least 1.",
                )
            if self.lam_c < 0.0 or not self.contrastive_temperature > 0.0 or self.max_unlabelled_ratio < 0.5:
                raise UsageError(
                    f"UNICON has lam_c = {self.lam_c:g}, contrastive_temperature = "
                    f"{self.contrastive_temperature:g} and max_unlabelled_ratio = "
                    f"{self.max_unlabelled_ratio:g}.",
                    "lam_c must not be negative, contrastive_temperature must be positive, "
                    "max_unlabelled_ratio must be at least 0.5.",
                )

    views = Views(weak=2, strong=2)
    dataset_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "clothing1m": {"alpha": 0.5, "lam_u": 0.0},
        "webvision": {"alpha": 0.5, "lam_u": 0.0},
        "webvision_mini": {"alpha": 0.5, "lam_u": 0.0},
    }
    presets: ClassVar[Mapping[str, Preset]] = {
        "asymmetric": Preset(
            {"confidence_penalty": True},
            "Karim et al. (2022): their code for asymmetric noise",
            noise_aware=True,
        ),
    }

    @classmethod
    def co_training_passes(cls, spec: TrialSpec, phase: PhaseSpec, share: float) -> Passes:
        """Return the passes of a semi-supervised epoch; see :meth:`CoTraining.co_training_passes`.

        Divergences are computed twice, and B/(2R) makes the unlabelled samples of an epoch half of
        all, whatever the share, until the batch is bounded.
        """
        params = cls.Params(**dict(spec.method.params))
        labelled, unlabelled = 2 * share, 2 * min(0.5, params.max_unlabelled_ratio * share)
        contrastive = params.lam_c > 0.0 and (phase.kind != "lp" or params.lp_contrastive)
        trained = 2 * labelled + 2 * unlabelled + (2 * unlabelled if contrastive else 0.0)
        return Passes(forward=4 + 2 * labelled + 4 * unlabelled, trained=trained)

    def setup(self, task: Task) -> None:
        """Make the networks; their projection heads are made by the first phase that uses them."""
        super().setup(task)
        self.projections: list[nn.Sequential] = []

    def begin_phase(self, phase: Phase) -> None:
        """Decide on the contrastive term, and make optimisers over networks and projections."""
        self.contrastive = self.params.lam_c > 0.0 and (phase.kind != "lp" or self.params.lp_contrastive)
        if self.contrastive and not self.projections:
            self.projections = [
                projection_head(network.feature_dim, PROJECTION, phase.seed(f"projection {number}")).to(
                    network.head.weight
                )
                for number, network in enumerate(self.networks)
            ]
        super().begin_phase(phase)

    def make_optimizer(self, phase: Phase, number: int) -> torch.optim.Optimizer:
        """Return the phase's optimiser of one network and its projection head."""
        projection = [self.projections[number]] if self.contrastive else []
        return phase.optimizer(self.networks[number], *projection)

    def co_train(self, phase: Phase) -> None:
        """Rank, select and train, for one network after the other."""
        if self.params.lam_c > 0.0 and not self.contrastive:
            phase.count("contrastive_term_left_out")
        for number in (0, 1):
            self.train_network(phase, number, self.split(phase))

    def split(self, phase: Phase) -> LabelSplit:
        """Select equally many samples of every class, those of smallest divergence."""
        divergence = self.divergence(phase)
        cutoff = divergence_cutoff(
            divergence, self.params.d_u, self.params.tau, in_bits=self.params.cutoff == "as_published"
        )
        below = int((divergence < cutoff).sum())
        quota = below // phase.classes
        labelled, short = lowest_of_each_class(divergence, phase.labels, phase.classes, quota)
        if short:
            phase.count("class_smaller_than_its_share", short)
        phase.publish(Selection(labelled, 1.0 - divergence))
        weight = torch.where(divergence < TRUSTED, 1.0, 1.0 - divergence)
        return LabelSplit(labelled, weight, self.unlabelled_batch(phase, below))

    def divergence(self, phase: Phase) -> torch.Tensor:
        """Return every sample's divergence from its label, float64 ``[N]``, in nats."""
        first, second = (label_probabilities(phase, network) for network in self.networks)
        return label_divergence((first + second) / 2)

    def unlabelled_batch(self, phase: Phase, below: int) -> int:
        """Return B/(2R) rounded down, bounded, with R = below/N the share below the cut-off."""
        size = phase.spec.batch_size
        bound = int(self.params.max_unlabelled_ratio * size)
        wanted = size * phase.samples // (2 * below) if below else bound
        if wanted > bound:
            phase.count("unlabelled_batch_bounded")
        return max(1, min(wanted, bound))

    def added_loss(self, phase: Phase, number: int, unlabelled: Batch | None) -> torch.Tensor | None:
        """Return the weighted contrastive loss of the unlabelled batch's strong views."""
        # The loss of a batch of one is zero, and batch normalisation could not take it.
        if not self.contrastive or unlabelled is None or len(unlabelled) == 1:
            return None
        network, projection = self.networks[number], self.projections[number]
        first, second = (projection(network.features(view)) for view in unlabelled.strong)
        loss: torch.Tensor = self.params.lam_c * nt_xent(first, second, self.params.contrastive_temperature)
        return loss
