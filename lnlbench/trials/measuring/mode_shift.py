"""How much a network changes its mind between eval and train mode, and between images and views of them.

A probed head knows the features of a network in eval mode on images as they are; fine-tuning trains
the network in train mode, on weak views. Where the two disagree on most predictions, fine-tuning starts
from a network that nobody probed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from lnlbench.api.phase import EVALUATION_BATCH
from lnlbench.basics.facts import LARGE_SHIFT, ShiftFacts
from lnlbench.inputs.network_inputs import Inputs, Wanted
from lnlbench.models import batch_statistics
from lnlbench.models.backbone import Backbone
from lnlbench.models.execution import Execution
from lnlbench.models.ledger import Ledger
from lnlbench.models.network import Network
from lnlbench.spec import TrialSpec


@torch.no_grad()
def measure_shift(network: Network, inputs: Inputs, size: int, seed: int, ledger: Ledger) -> ShiftFacts:
    """Compare a network's predictions for one batch; nothing of the network or the ledger changes.

    Parameters
    ----------
    network : Network
        Ready for the phase: what it normalises by in train mode is what the phase says.
    inputs : Inputs
        Training images.
    size : int
        Images in the batch; all there are if these are fewer.
    seed : int
        Of the choice of images, and of their views.
    ledger : Ledger
        Does not count these three passes of a batch, which are neither training nor accuracy.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(inputs), generator=generator)[:size]
    plain, weak = inputs.make(rows, Wanted("plain", weak=1), generator)
    counts: dict[str, Any] = {**ledger.to_dict()}
    with _as_it_was(network):
        network.eval()
        expected, of_views = network(plain).argmax(1), network(weak).argmax(1)
        network.train()
        in_train_mode = network(plain).argmax(1)
    ledger.load(counts)
    return {
        "samples": len(rows),
        "train_mode": _changed(expected, in_train_mode),
        "weak_views": _changed(expected, of_views),
        "batch_norm": bool(batch_statistics.count(network)),
    }


@torch.no_grad()
def shift_by_class_means(backbone: Backbone, inputs: Inputs, labels: torch.Tensor, size: int) -> ShiftFacts:
    """Measure the shift of a network whose head predicts the nearest class mean of its features.

    So before anything is probed: what a trained head would say is much the same.

    Parameters
    ----------
    backbone : Backbone
        Its statistics are as they were, afterwards.
    inputs : Inputs
        Images ``[N]`` that means are taken of, and ``size`` of which are compared.
    labels : torch.Tensor, int64 ``[N]``
    size : int
    """
    classes, labels = torch.unique(labels, return_inverse=True)  # of the images at hand
    head = nn.Linear(backbone.feature_dim, len(classes))
    ledger = Ledger()
    network = Network(
        head, lambda: backbone.module, ledger=ledger, device=torch.device("cpu"), execution=Execution()
    )
    network.freeze(False)
    network.eval()
    features = torch.cat([network.features(images) for _, images in inputs.in_order(EVALUATION_BATCH)])
    members = functional.one_hot(labels, len(classes)).to(features)
    means = members.T @ features / members.sum(0)[:, None]
    head.weight.copy_(2.0 * means)
    head.bias.copy_(-means.square().sum(1))
    return measure_shift(network, inputs, size, 0, ledger)


def shift_warning(spec: TrialSpec, entry: Mapping[str, Any]) -> str | None:
    """Return what a user should know of a shift that an epoch of a trial has told, or None."""
    shift = entry.get("shift")
    if shift is None or not shift["batch_norm"] or shift["train_mode"] < LARGE_SHIFT:
        return None
    phase = next(phase for phase in spec.phases if phase.kind == entry["phase"])
    return (
        f"Batch statistics change {shift['train_mode']:.0f} % of the predictions of {spec.backbone.label} on "
        f"{spec.dataset.label} where {phase.kind} begins (weak views change {shift['weak_views']:.0f} %), "
        f"so it starts from another network than the one that was probed. {phase.kind}.batch_norm is "
        f'"{phase.batch_norm}"; see docs/measurement.md.'
    )


def _changed(before: torch.Tensor, after: torch.Tensor) -> float:
    return 100.0 * float((before != after).double().mean())


@contextmanager
def _as_it_was(network: Network) -> Iterator[None]:
    """Put buffers, mode and the mark of a network back afterwards: a pass in train mode moves all of them."""
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    training, pristine = network.training, network.pristine
    try:
        yield
    finally:
        for name, buffer in network.named_buffers():
            buffer.copy_(buffers[name])
        network.train(training)
        network.pristine = pristine
