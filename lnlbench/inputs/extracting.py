"""Passing all images of a split through a frozen backbone, for the feature cache."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch

from lnlbench.basics.seeding import derive_seed
from lnlbench.inputs.feature_cache import FeatureKey
from lnlbench.inputs.network_inputs import ImageInputs, Wanted, pieces_of
from lnlbench.models.backbone import Backbone
from lnlbench.models.execution import Execution


def feature_extractor(
    backbone: Backbone, inputs: ImageInputs, key: FeatureKey, execution: Execution, size: int
) -> Callable[[], Iterator[torch.Tensor]]:
    """Return a function that yields the features of a view, in order, on the CPU.

    Parameters
    ----------
    backbone : Backbone
    inputs : ImageInputs
    key : FeatureKey
        Says which view, and seeds it.
    execution : Execution
    size : int
        Images per pass.
    """
    view = key.view

    @torch.no_grad()
    def extract() -> Iterator[torch.Tensor]:
        device = inputs.device
        # A view is a property of the data set: no trial's seed goes into it.
        generator = torch.Generator().manual_seed(
            derive_seed("view", key.dataset, key.split, view.kind, view.number)
        )
        pieces = pieces_of(len(inputs), size)
        wanted = Wanted(None, strong=1) if view.kind == "strong" else Wanted(view.kind)
        with execution.arithmetic(device):
            module = execution.prepare(copy.deepcopy(backbone.module).to(device)).eval()
            for (images,) in inputs.stream(pieces, wanted, generator):
                with execution.autocast(device):
                    features = module(images)
                yield features.float().cpu()

    return extract
