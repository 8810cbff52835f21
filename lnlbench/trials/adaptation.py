"""Backbones whose batch normalisation has met the data: ``batch_norm = "adapt"``."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterator

import torch

from lnlbench.api.phase import EVALUATION_BATCH
from lnlbench.basics.seeding import derive_seed
from lnlbench.data.source import Dataset
from lnlbench.inputs.feature_cache import CachedFeatures, FeatureKey, View
from lnlbench.inputs.network_inputs import PLAIN, pieces_of
from lnlbench.models import batch_statistics
from lnlbench.models.backbone import Backbone
from lnlbench.models.execution import Execution
from lnlbench.trials.workspace import Workspace

# Images that statistics are estimated on, at most: each gives hundreds of positions to a layer.
IMAGES = 10_000


def adapted(
    backbone: Backbone, dataset: Dataset, workspace: Workspace, execution: Execution
) -> tuple[Backbone, CachedFeatures | None]:
    """Return a backbone with running statistics of the training images, in place of those of pre-training.

    They are estimated on at most :data:`IMAGES` images of the training split, drawn once for a data
    set, un-augmented, in batches of 256; held-out images may be among them. No label is looked at. The
    cache keeps them, and features of the new backbone have keys of their own.

    Parameters
    ----------
    backbone : Backbone
        Stays as it is.
    dataset : Dataset
        Of images.
    workspace : Workspace
    execution : Execution

    Returns
    -------
    backbone : Backbone
        With a module and a fingerprint of its own; the same one if it normalises no batches.
    statistics : CachedFeatures or None
        What the estimate took, as an array of one row; None if nothing was to be done.
    """
    size = batch_statistics.count(backbone.module)
    if not size:
        return backbone, None
    key = FeatureKey(
        dataset=dataset.fingerprint,
        split="train",
        backbone=backbone.fingerprint,
        preprocessing=json.dumps(backbone.preprocessing.to_dict(), sort_keys=True),
        view=View("statistics"),
        precision=execution.precision,
        device=workspace.device.type,
    )
    inputs = workspace.image_inputs(dataset, dataset.train, chosen_images(dataset), backbone, execution)

    @torch.no_grad()
    def extract() -> Iterator[torch.Tensor]:
        device = inputs.device
        module = execution.prepare(copy.deepcopy(backbone.module).to(device))

        def passes() -> Iterator[torch.Tensor]:
            for (images,) in inputs.stream(pieces_of(len(inputs), EVALUATION_BATCH), PLAIN, None):
                if len(images) == 1 and len(inputs) > 1:
                    continue  # one image has hardly any variance, and would count like a batch
                with execution.autocast(device):
                    yield module(images)

        with execution.arithmetic(device):
            statistics = batch_statistics.estimate(module, passes())
        yield statistics[None]

    entry = workspace.cache.obtain(key, (1, size), extract)
    module = copy.deepcopy(backbone.module)
    batch_statistics.write(module, entry.array[0])
    return dataclasses.replace(
        backbone, module=module, fingerprint=f"{backbone.fingerprint}+{key.digest}"
    ), entry


def chosen_images(dataset: Dataset) -> torch.Tensor:
    """Return the training images that statistics are estimated on, int64 ``[n]``, in random order."""
    # In the order of the files, which may be that of the classes, batches would be of one class.
    generator = torch.Generator().manual_seed(derive_seed("statistics", dataset.fingerprint))
    return torch.randperm(len(dataset.train), generator=generator)[:IMAGES]
