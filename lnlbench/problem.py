"""What a trial works on: data, noisy labels, and who may see which of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lnlbench.data.source import Dataset
from lnlbench.data.split import split_validation
from lnlbench.noise import NoiseReport, corrupt, raw_inputs
from lnlbench.spec import TrialSpec
from lnlbench.workspace import Workspace


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
        Clean labels of the training rows; None where nobody knows them.
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
    clean = dataset.train.labels
    classes = len(dataset.classes)

    def noisy(part: str) -> Any:
        split = getattr(dataset, part)
        return corrupt(
            spec.noise,
            split.labels,
            classes,
            dataset=dataset.name,
            family=dataset.family,
            seed=spec.seed,
            inputs=raw_inputs(split) if spec.noise.type == "instance" else None,
            part=part,
        )

    # The whole training set is corrupted before it is split, so that the corruption depends on
    # (data set, noise, seed) alone, and validation labels are as noisy as training labels.
    corrupted = noisy("train")
    if dataset.validation is None:
        train, held_out = split_validation(
            clean, spec.dataset.validation_fraction, dataset=dataset.name, seed=spec.seed
        )
        part, source = "train", (clean if spec.dataset.validation_labels == "clean" else corrupted.labels)
    else:
        train, held_out = np.arange(len(clean)), np.arange(len(dataset.validation))
        part = "validation"
        keep = spec.dataset.validation_labels == "clean" or spec.noise.type in ("real", "none")
        source = dataset.validation.labels if keep else noisy("validation").labels
    return Problem(
        dataset=dataset,
        train_rows=torch.from_numpy(train),
        validation_rows=torch.from_numpy(held_out),
        validation_part=part,
        train_labels=torch.from_numpy(corrupted.labels[train]),
        validation_labels=torch.from_numpy(source[held_out]),
        test_labels=torch.from_numpy(dataset.test.labels),
        true_labels=None if spec.noise.type == "real" else clean[train],
        noise=corrupted.report,
    )
