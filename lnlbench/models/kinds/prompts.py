"""Visual prompt tuning: learnt tokens beside the patches, in every block of a vision transformer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lnlbench.errors import UsageError
from lnlbench.models.phase_kind import PhaseKind
from lnlbench.spec import PhaseSpec, Skip, TrialSpec

if TYPE_CHECKING:
    from lnlbench.models.network import Network


class VisualPrompts(PhaseKind):
    """Prompt tokens in every block of a vision transformer learn.

    The deep variant: each block sees its own prompts beside the tokens of the image, and what becomes of
    them is dropped before the next. Since prompts share the attention, the network does not start as the
    pre-trained one, which the paper accepts as well.

    Source: Jia et al., "Visual Prompt Tuning", ECCV 2022: deep prompts, uniform initialisation, no dropout.
    """

    title = "VPT"
    settings_of = "fft"

    @dataclass(frozen=True)
    class Options:
        """Number of prompts of each block. Default: 10, in the range that the paper searches (1 to 200)."""

        tokens: int = 10

        def __post_init__(self) -> None:
            if self.tokens < 1:
                raise UsageError(f"vpt.tokens is {self.tokens}; it must be at least 1.")

    @classmethod
    def supports(cls, spec: TrialSpec, phase: PhaseSpec) -> Skip | None:
        """Decline backbones that nothing has trained before."""
        return Skip("the frozen weights would stay random") if spec.backbone.weights == "none" else None

    def backward_units(self) -> float:
        """Return 1: gradients of activations all the way back, and next to none of weights."""
        return 1.0

    def prepare(self, network: Network) -> None:
        """Put the prompts into the backbone, and let them learn."""
        from lnlbench.models.kinds.prompted_block import add_prompts

        network.learn(*add_prompts(network.build(), self.options.tokens))
