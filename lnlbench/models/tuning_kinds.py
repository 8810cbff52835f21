"""The kinds of phases of the protocol (section 2): linear probing and full fine-tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lnlbench.models.phase_kind import PhaseKind

if TYPE_CHECKING:
    from lnlbench.models.network import Network


class LinearProbing(PhaseKind):
    """The head learns, on the features of a frozen backbone."""

    title = "LP"
    keeps_features = True
    takes = ("cache", "views")
    # A cache holds few views of an image, if any: the image as it is, unless a grid wants otherwise.
    augmentation = "none"

    def prepare(self, network: Network) -> None:
        """Fix the backbone in eval mode."""
        network.freeze(True)


class FullFineTuning(PhaseKind):
    """All parameters learn."""

    title = "FFT"
    takes = ("batch_norm",)

    def prepare(self, network: Network) -> None:
        """Let the backbone learn, with batch statistics as the phase says."""
        network.freeze(False, statistics=self.phase.batch_norm == "frozen")
