"""A kind of phase in a distribution of its own: all that it takes to add one to lnlbench."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lnlbench.api import Network, PhaseKind, Skip
from lnlbench.errors import TrialError, UsageError
from lnlbench.spec import PhaseSpec, TrialSpec

NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)


class Last(PhaseKind):
    """The last blocks of the backbone learn, and all of its normalisation layers."""

    title = "Last"
    takes = ("batch_norm",)

    @dataclass(frozen=True)
    class Options:
        """How many blocks learn."""

        blocks: int = 1

        def __post_init__(self) -> None:
            if self.blocks < 1:
                raise UsageError(f"last.blocks is {self.blocks}; it must be at least 1.")

    @classmethod
    def supports(cls, spec: TrialSpec, phase: PhaseSpec) -> Skip | None:
        """Decline backbones that nothing has trained before."""
        if spec.backbone.weights == "none":
            return Skip("the blocks before the last would stay random")
        return None

    def backward_units(self) -> float:
        """One unit: gradients pass through all blocks, to their norms, and few weights have any."""
        return 1.0

    def prepare(self, network: Network) -> None:
        """Let the last blocks and all norms learn."""
        backbone = network.build()
        blocks = list(getattr(backbone, "blocks", ()))
        if len(blocks) < self.options.blocks:
            raise TrialError(
                f"This backbone has {len(blocks)} blocks, and last.blocks is {self.options.blocks}.",
                "Choose another backbone, or fewer blocks.",
            )
        norms = [module for module in backbone.modules() if isinstance(module, NORMS)]
        statistics = self.phase.batch_norm == "frozen"
        network.learn(*blocks[-self.options.blocks :], *norms, statistics=statistics)
