"""What a trial works on: data, noisy labels, and who may see which of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from lnlbench.basics.paths import located
from lnlbench.data.dataset import UNKNOWN
from lnlbench.data.holdout import split_validation
from lnlbench.data.source import Dataset, Index, Labels, Split
from lnlbench.noise import NoiseReport, NoisyLabels, corrupt, raw_inputs, real_labels
from lnlbench.spec import TrialSpec
from lnlbench.trials.workspace import Workspace


@dataclass(frozen=True)
class Problem:
    """Data and labels of a trial; only the runner sees all of it.

    Attributes
    ----------
    train_rows, validation_rows : torch.Tensor, int64
        Rows of the data set's training split; validation rows count in its own validation
        split where it has one.
    validation_part : {"train", "validation"}
        The split that ``validation_rows`` point into.
    train_labels, validation_labels, test_labels : torch.Tensor, int64
        As given: the first two are noisy (the second unless asked otherwise).
    true_labels : ndarray or None
        Clean labels of the training rows; None where nobody knows them, and
        :data:`lnlbench.data.dataset.UNKNOWN` or ``WRONG`` where nobody knows that of a sample.
    """

    dataset: Dataset
    train_rows: torch.Tensor
    validation_rows: torch.Tensor
    validation_part: str
    train_labels: torch.Tensor
    validation_labels: torch.Tensor
    test_labels: torch.Tensor
    true_labels: np.ndarray | None
    noise: NoiseReport

    @property
    def classes(self) -> int:
        """Number of classes, C."""
        return len(self.dataset.classes)


def prepare_problem(spec: TrialSpec, workspace: Workspace) -> Problem:
    """Load the data, corrupt the labels and hold out validation samples (protocol, section 1)."""
    dataset = workspace.dataset(spec.dataset)
    given, clean = dataset.train.labels, dataset.train.base
    real = spec.noise.type == "real"
    # The whole training set is corrupted before it is split, so that the corruption depends on
    # (data set, noise, seed) alone, and validation labels are as noisy as training labels.
    corrupted = noisy_labels(spec, dataset, workspace, "train")
    if dataset.validation is None:
        train, held_out = split_validation(
            given, spec.dataset.validation_fraction, dataset=dataset.name, seed=spec.seed
        )
        part, source = "train", (clean if spec.dataset.validation_labels == "clean" else corrupted.labels)
    else:
        train, held_out = np.arange(len(clean)), np.arange(len(dataset.validation))
        part = "validation"
        keep = spec.dataset.validation_labels == "clean" or spec.noise.type == "none"
        source = dataset.validation.base
        if not keep:
            source = noisy_labels(spec, dataset, workspace, "validation").labels
    return Problem(
        dataset=dataset,
        train_rows=torch.from_numpy(train),
        validation_rows=torch.from_numpy(held_out),
        validation_part=part,
        train_labels=torch.from_numpy(corrupted.labels[train]),
        validation_labels=torch.from_numpy(source[held_out]),
        test_labels=torch.from_numpy(dataset.test.labels),
        true_labels=_rows(dataset.train.clean if real else clean, train),
        noise=corrupted.report,
    )


def noisy_labels(spec: TrialSpec, dataset: Dataset, workspace: Workspace, part: str) -> NoisyLabels:
    """Return the labels of all of a data set's ``train`` or ``validation`` part, as a trial is given them."""
    split: Split = getattr(dataset, part)
    if spec.noise.type == "real":
        return real_labels(split.labels, split.clean, len(dataset.classes))
    return corrupt(
        located(spec.noise, workspace.setting.folder),
        split.base,
        len(dataset.classes),
        dataset=dataset.name,
        maps=dataset.maps,
        human=dataset.human,
        seed=spec.seed,
        inputs=raw_inputs(split) if spec.noise.type == "instance" else None,
        part=part,
    )


def _rows(labels: Labels | None, rows: Index) -> Labels | None:
    """Return some of the true labels; None if none of these is known."""
    if labels is None or (labels[rows] == UNKNOWN).all():
        return None
    return labels[rows]
