"""Select once by a detector of wrong labels, then train on what is kept as if all of it were right."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lnlbench.api import (
    Batch,
    Method,
    Passes,
    Phase,
    Selection,
    Task,
    TrialSpec,
    UsageError,
    functional,
    one_of,
)
from lnlbench.components.losses import generalized_cross_entropy
from lnlbench.components.selection_rules import with_every_class
from lnlbench.detectors.detect import BY_TEXTS, DETECTORS, detect
from lnlbench.detectors.evidence import Evidence


class SelectThenTune(Method):
    """Train on the samples that a detector does not flag.

    At the start of each phase a detector looks at features and given labels, and the phase trains on
    the samples that it leaves. In ``lp`` and ``fft`` features are those of the pre-trained backbone, and
    probabilities, for detectors that ask for them, those of linear heads out of fold. After probing, as in
    ``lp-fft``, selection is repeated with the probabilities of the probed head, as TURN does; detectors that
    ask neighbours alone then say the same again.

    A control: TURN is a point of this family (small losses of the probed head, equal shares, selected anew
    every epoch), and what it adds should be read against the others.

    A class of which nothing is left keeps its best scores, as many as the smallest other class has; if
    nothing is left at all, everything is kept. Events count both.

    Costs 3ρ forward units per sample and epoch, with ρ the share selected, and 1 for the features where
    no cache has them: before the first epoch of fine-tuning without probing.

    Deviations from the papers of the detectors: SimiFeat and WANN are followed by training as here in
    SimiFeat only; the probed head's probabilities are those of samples it may have learnt from, as TURN's
    are and confident learning's should not be.

    Source: Zhu, Dong & Liu, Detecting Corrupted Labels Without Training a Model to Predict, ICML 2022,
    for selection before training; each detector names its own.
    """

    title = "Select, then tune"
    paper = "Zhu et al. (2022)"
    unsaved = ("texts",)

    @dataclass(frozen=True)
    class Params:
        """Parameters of selection and training.

        Attributes
        ----------
        detector : str
            Who flags: "knn", "simifeat", "wann", "confident", "small_loss", "agreement", or "zero_shot",
            "clipcleaner" and "deft", which need a backbone that reads texts. Default "knn". Source:
            SimiFeat-V of Zhu et al.; for the others see :mod:`lnlbench.detectors`.
        loss : {"ce", "gce"}
            Trained on what is kept. Default "ce". Source: Zhu et al.; "gce" is ours, for what is
            missed.
        q : float
            Of generalised cross-entropy. Default 0.7. Source: Zhang & Sabuncu (2018).
        balanced : bool
            Whether every class keeps as many samples as the smallest one, drawn at random. Default False.
            Source: ours; True is a part of TURN.
        """

        detector: str = "knn"
        loss: str = "ce"
        q: float = 0.7
        balanced: bool = False

        def __post_init__(self) -> None:
            one_of(self.detector, tuple(DETECTORS), "detector of select_then_tune")
            one_of(self.loss, ("ce", "gce"), "loss of select_then_tune")
            if not 0.0 < self.q <= 1.0:
                raise UsageError(f"select_then_tune has q = {self.q:g}.", "It must lie in (0, 1].")

    @classmethod
    def reads_texts(cls, spec: TrialSpec) -> bool:
        """Ask for texts where the detector does."""
        return dict(spec.method.params).get("detector") in BY_TEXTS

    @classmethod
    def expected_passes(cls, spec: TrialSpec, share: float) -> tuple[Passes, ...]:
        """Return 3ρ units an epoch, and one for features that no cache has."""
        passes = []
        cached = False  # whether features of this backbone are at hand
        for phase in spec.phases:
            cached = (phase.kind == "lp" and phase.cache) or (cached and phase.kind != "lp")
            passes.append(Passes(forward=1 - cached, trained=share * phase.epochs))
        return tuple(passes)

    def setup(self, task: Task) -> None:
        """Make the network; nothing is selected yet."""
        super().setup(task)
        self.selected = torch.ones(task.samples, dtype=torch.bool)
        self.texts = task.texts() if self.params.detector in BY_TEXTS else None

    def epoch(self, phase: Phase) -> None:
        """Train on the selected samples, which the phase's first epoch selects."""
        if phase.epoch == 0:
            self.select(phase)
        for batch in phase.batches(self.selected.nonzero().squeeze(1)):
            phase.step(self.optimizer, self.loss(batch))

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean loss of a batch."""
        logits = self.network(batch.inputs)
        if self.params.loss == "gce":
            return generalized_cross_entropy(logits, batch.labels, self.params.q)
        return functional.cross_entropy(logits, batch.labels)

    def select(self, phase: Phase) -> None:
        """Ask the detector, and publish what it leaves."""
        features = phase.features(self.network)
        probabilities = None
        if phase.index > 0:
            with torch.no_grad():
                probabilities = self.network.head(features).softmax(1).cpu().numpy()
        evidence = Evidence(
            phase.labels.numpy(),
            phase.classes,
            features=features,
            probabilities=probabilities,
            texts=self.texts,
            seed=phase.seed("detector"),
        )
        found = detect(self.params.detector, evidence)
        score = torch.from_numpy(found.score)
        self.selected = self.kept(~torch.from_numpy(found.flags), score, phase)
        phase.publish(Selection(self.selected, score))

    def kept(self, clean: torch.Tensor, score: torch.Tensor, phase: Phase) -> torch.Tensor:
        """Return which samples to train on, bool ``[N]``: the clean ones, and some of every class.

        Parameters
        ----------
        clean : torch.Tensor, bool ``[N]``
        score : torch.Tensor, float ``[N]``
            Higher for cleaner samples.
        phase : Phase
        """
        selected = with_every_class(clean, score, phase)
        if self.params.balanced and clean.any():
            left = phase.labels[clean].bincount(minlength=phase.classes)
            smallest = int(left[left > 0].min())
            for label in (left > smallest).nonzero().flatten():
                members = (clean & (phase.labels == label)).nonzero().flatten()
                order = torch.randperm(len(members), generator=phase.generator)
                selected[members[order[smallest:]]] = False
        return selected
