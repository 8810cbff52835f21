"""Zero-shot classification: what a model of images and texts says without any training."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lnlbench.api import Passes, Phase, Task, TrialSpec, UsageError
from lnlbench.components.training_free import TrainingFree


class ZeroShot(TrainingFree):
    """Zero-shot CLIP (Radford et al., 2021): the class whose texts are most like the image.

    A control: it never looks at a label, so that no noise harms it, and what a method makes of labels
    should be read against it. The texts are the data set's, one embedding a class: the mean over its
    templates. Every epoch repeats its result, so one is enough. Backbones that read no texts are
    declined.

    Costs nothing in training. Its features are those that linear probing has cached: only CLIP's projection
    is applied to them. The texts pass through CLIP's text tower once per data set and backbone, which the
    ledger does not count.

    No deviations known. Prompts are those that CLIP's authors published for CIFAR, digits and food; for
    animals and clothes their ends are those of CLIPCleaner's, and for all others "a photo of a {}.".

    Source: Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML
    2021, section 3.1.
    """

    declines = "zero-shot classification trains nothing; run zero_shot in lp"
    title = "Zero-shot"
    paper = "Radford et al. (2021)"
    unsaved = ("texts",)

    @dataclass(frozen=True)
    class Params:
        """Parameters of zero-shot classification.

        Attributes
        ----------
        template : str
            One sentence with ``{}`` for the name of a class, instead of the data set's; empty for the data
            set's. Default "". Source: Radford et al., section 3.1.4, who choose them by data set.
        temperature : float
            Logits are cosine similarities divided by it: no prediction depends on it, calibration does.
            Default 0.01. Source: section 2.5, whose scale of logits is at most 100; in the published models
            it is 100.
        """

        template: str = ""
        temperature: float = 0.01

        def __post_init__(self) -> None:
            if not self.temperature > 0.0:
                raise UsageError(
                    f"zero_shot has temperature = {self.temperature:g}.",
                    "It must be positive; CLIP's is 0.01.",
                )
            if self.template and self.template.count("{}") != 1:
                raise UsageError(
                    f"zero_shot has template = '{self.template}'.",
                    "Write {} where the name of a class belongs.",
                )

    @classmethod
    def reads_texts(cls, spec: TrialSpec) -> bool:
        """Ask for texts, always."""
        return True

    @classmethod
    def expected_passes(cls, spec: TrialSpec, share: float) -> tuple[Passes, ...]:
        """Return none."""
        return (Passes(),)

    def setup(self, task: Task) -> None:
        """Make the network, whose head is not used, and embed the texts of the classes."""
        super().setup(task)
        self.texts = task.texts((self.params.template,) if self.params.template else ())

    def epoch(self, phase: Phase) -> None:
        """Nothing is trained."""

    def predict(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the similarity of each image to the texts of each class, over the temperature."""
        return self.texts.logits(self.network.features(inputs), self.params.temperature)
