"""Partial tuning: the last blocks of the backbone learn, its norms, or its biases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lnlbench.errors import UsageError
from lnlbench.models.phase_kind import PhaseKind
from lnlbench.spec import PhaseSpec, Skip, TrialSpec

if TYPE_CHECKING:
    from lnlbench.models.network import Network


class PartialTuning(PhaseKind):
    """The last blocks of the backbone learn, or its norms or biases.

    Sources: the last blocks, Yosinski et al., "How transferable are features in deep neural networks?",
    NeurIPS 2014; biases, Ben Zaken et al., "BitFit", ACL 2022; norms, Basu et al., "Strong baselines for
    parameter-efficient few-shot fine-tuning", AAAI 2024.
    """

    title = "Partial"
    settings_of = "fft"
    takes = ("batch_norm",)
    counts_backward = True

    @dataclass(frozen=True)
    class Options:
        """Number of blocks from the end that learn; whether all norms, and all biases, learn as well."""

        blocks: int = 1
        norms: bool = False
        biases: bool = False

        def __post_init__(self) -> None:
            if self.blocks < 0:
                raise UsageError(f"partial.blocks is {self.blocks}; it must be 0 or more.")
            if not (self.blocks or self.norms or self.biases):
                raise UsageError(
                    "partial.blocks is 0 and neither norms nor biases learn.", "That is lp; set one of them."
                )

    @classmethod
    def supports(cls, spec: TrialSpec, phase: PhaseSpec) -> Skip | None:
        """Decline backbones that nothing has trained before."""
        return Skip("what does not learn would stay random") if spec.backbone.weights == "none" else None

    def backward_units(self) -> float:
        """Return 1, for plans: from next to none (the last block) to 2 (all of them), which trials count."""
        return 1.0

    def prepare(self, network: Network) -> None:
        """Let the chosen parts learn."""
        from torch import nn
        from torch.nn.modules.batchnorm import _BatchNorm

        from lnlbench.errors import TrialError
        from lnlbench.models.kinds.blocks import blocks_of

        backbone, options = network.build(), self.options
        parts: list[nn.Module | nn.Parameter] = []
        if options.blocks:
            blocks = blocks_of(backbone)
            if len(blocks) < options.blocks:
                raise TrialError(
                    f"This backbone has {len(blocks)} blocks, and partial.blocks is {options.blocks}.",
                    f"Set partial.blocks to at most {len(blocks)}.",
                )
            parts += blocks[-options.blocks :]
        if options.norms:
            norms = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)
            parts += [module for module in backbone.modules() if isinstance(module, norms)]
        if options.biases:
            parts += [one for name, one in backbone.named_parameters() if name.endswith("bias")]
        network.learn(*parts, statistics=self.phase.batch_norm == "frozen")
