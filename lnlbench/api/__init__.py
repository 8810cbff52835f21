"""All that the author of a method imports.

A loss is enough for most methods::

    from dataclasses import dataclass
    from lnlbench.api import Batch, Method, functional as F

    class LabelSmoothing(Method):
        \"\"\"Cross-entropy with smoothed labels.\"\"\"

        @dataclass(frozen=True)
        class Params:
            smoothing: float = 0.1

        def loss(self, batch: Batch):
            return F.cross_entropy(
                self.network(batch.inputs), batch.labels, label_smoothing=self.params.smoothing
            )

A method that needs more replaces :meth:`Method.epoch` and :meth:`Method.predict` and owns its
networks and state. The verbs are called in the order in which they stand in :class:`Method`;
only :meth:`Method.epoch` is timed as training.
"""

from dataclasses import dataclass, field

from torch.nn import functional

from lnlbench.api.heads import Heads
from lnlbench.api.method import Method, NoParams, Passes, Preset, Task, Views
from lnlbench.api.metric import Metric, Predictions
from lnlbench.api.phase import Batch, Phase
from lnlbench.api.selection import Selection
from lnlbench.errors import PluginError, TrialError, UsageError
from lnlbench.models.network import Network
from lnlbench.models.phase_kind import AddedWeights, PhaseKind
from lnlbench.spec import PhaseSpec, Skip, TrialSpec, has_images, one_of

__all__ = [
    "AddedWeights",
    "Batch",
    "Heads",
    "Method",
    "Metric",
    "Network",
    "NoParams",
    "Passes",
    "Phase",
    "PhaseKind",
    "PhaseSpec",
    "PluginError",
    "Predictions",
    "Preset",
    "Selection",
    "Skip",
    "Task",
    "TrialError",
    "TrialSpec",
    "UsageError",
    "Views",
    "dataclass",
    "field",
    "functional",
    "has_images",
    "one_of",
]
