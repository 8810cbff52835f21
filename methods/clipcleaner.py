"""CLIPCleaner: what CLIP's texts and features take for clean is selected once, and then trained on."""

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
)
from lnlbench.components.selection_rules import with_every_class
from lnlbench.detectors.by_texts import four_rules, prompt_probabilities
from lnlbench.detectors.evidence import Evidence


class CLIPCleaner(Method):
    """CLIPCleaner's selection (Feng et al., 2024), then cross-entropy on what is kept.

    Once, before the first epoch, a sample is kept if both CLIP's zero-shot probabilities and a balanced
    logistic regression on CLIP's features take its label for clean, by two rules each: see
    :func:`lnlbench.detectors.by_texts.clipcleaner`. Selection looks at the pre-trained features alone, also
    in modes with several phases, so that training cannot confirm its own mistakes. Backbones that read no
    texts are declined.

    A class of which nothing is left gets its most plausible samples by texts, as many as the smallest other
    class has kept, and N/C² at least; if nothing is left at all, everything is kept. Events count both.

    Costs 3ρ forward units per sample and epoch, with ρ the share selected, and 1 once for the features where
    no cache has them.

    Deviations from the paper and its code: cross-entropy follows, not MixFix, whose thresholds are set by
    data set and noise; what is trained is the CLIP that selects, not another network; prompts are the data
    set's templates, not eight attributes of each class that a language model wrote; mixtures start from the
    best split of the sorted values, not from a random k-means. The code fills an empty class with its least
    plausible samples, because it sorts upwards a score that is higher for cleaner ones; here they are the
    most plausible ones.

    Source: Feng, Tzimiropoulos & Patras, CLIPCleaner: Cleaning Noisy Labels with CLIP, ACM Multimedia 2024,
    section 3; code of the authors, clipcleaner.py.
    """

    title = "CLIPCleaner"
    paper = "Feng et al. (2024)"
    homepage = "github.com/MrChenFeng/CLIPCleaner_ACMMM2024"
    unsaved = ("texts",)

    @dataclass(frozen=True)
    class Params:
        """Parameters of the selection.

        Attributes
        ----------
        theta_gmm : float
            Least posterior of the cleaner Gaussian. Default 0.5. Source: their code, theta_gmm.
        theta_cons : float
            Least probability of the label, as a share of the largest one. Default 0.8. Source: their code,
            theta_cons.
        temperature : float
            Cosine similarities to prompts are divided by it before exp. Default 0.07. Source: their code;
            CLIP's own is 0.01.
        template : str
            One sentence with ``{}`` for the name of a class, instead of the data set's; empty for the data
            set's. Default "". Source: ours.
        """

        theta_gmm: float = 0.5
        theta_cons: float = 0.8
        temperature: float = 0.07
        template: str = ""

        def __post_init__(self) -> None:
            for name in ("theta_gmm", "theta_cons"):
                if not 0.0 <= getattr(self, name) <= 1.0:
                    raise UsageError(
                        f"clipcleaner has {name} = {getattr(self, name):g}.", "It must lie in [0, 1]."
                    )
            if not self.temperature > 0.0:
                raise UsageError(
                    f"clipcleaner has temperature = {self.temperature:g}.", "It must be positive."
                )
            if self.template and self.template.count("{}") != 1:
                raise UsageError(
                    f"clipcleaner has template = '{self.template}'.", "Write {} where a class's name belongs."
                )

    @classmethod
    def reads_texts(cls, spec: TrialSpec) -> bool:
        """Ask for texts, always."""
        return True

    @classmethod
    def expected_passes(cls, spec: TrialSpec, share: float) -> tuple[Passes, ...]:
        """Return 3ρ units an epoch, and one in the first phase for features that no cache has."""
        return tuple(
            Passes(
                forward=float(number == 0 and not (phase.kind == "lp" and phase.cache)),
                trained=share * phase.epochs,
            )
            for number, phase in enumerate(spec.phases)
        )

    def setup(self, task: Task) -> None:
        """Make the network, and embed the texts of the classes."""
        super().setup(task)
        self.texts = task.texts((self.params.template,) if self.params.template else ())
        self.selected = torch.ones(task.samples, dtype=torch.bool)

    def epoch(self, phase: Phase) -> None:
        """Train on the selected samples, which the trial's first epoch selects."""
        if phase.index == 0 and phase.epoch == 0:
            self.select(phase)
        for batch in phase.batches(self.selected.nonzero().squeeze(1)):
            phase.step(self.optimizer, self.loss(batch))

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean cross-entropy of a batch."""
        return functional.cross_entropy(self.network(batch.inputs), batch.labels)

    def select(self, phase: Phase) -> None:
        """Keep what CLIP takes for clean, and some of every class; publish it."""
        params = self.params
        evidence = Evidence(
            phase.labels.numpy(), phase.classes, features=phase.features(self.network), texts=self.texts
        )
        by_texts = prompt_probabilities(evidence, params.temperature)
        found = four_rules(evidence, by_texts, params.theta_gmm, params.theta_cons)
        plausible = evidence.of_given(by_texts)
        clean, least = torch.from_numpy(~found.flags), len(found.flags) // phase.classes**2
        self.selected = with_every_class(clean, torch.from_numpy(plausible), phase, least)
        phase.publish(Selection(self.selected, torch.from_numpy(found.score)))
