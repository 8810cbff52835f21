"""The samples that are audited: features, given labels, and what a reader wants to see of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from lnlbench.data.class_prompts import are_only_numbered
from lnlbench.data.dataset import UNKNOWN, Images, Index, Labels
from lnlbench.inputs.feature_cache import View
from lnlbench.models.text.class_texts import ClassTexts
from lnlbench.spec import TrialSpec, has_images
from lnlbench.trials.problem import noisy_labels
from lnlbench.trials.workspace import Workspace


@dataclass(frozen=True, eq=False)
class Subject:
    """Training samples of a data set.

    Attributes
    ----------
    name : str
        Of the data set, as tables write it.
    classes : tuple of str
    labels : int64 array ``[N]``
        As given.
    truth : int64 array ``[N]``
        True labels, :data:`~lnlbench.data.dataset.UNKNOWN`, or ``WRONG`` where nobody knows more than that.
    images : Images or None
    """

    name: str
    classes: tuple[str, ...]
    labels: Labels
    truth: Labels
    images: Images | None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def known(self) -> Index:
        """Rows of the samples of which it is known whether their label is wrong."""
        return np.flatnonzero(self.truth != UNKNOWN)

    @property
    def wrong(self) -> npt.NDArray[np.bool_]:
        """Which of the ``known`` have a wrong label, bool."""
        wrong: npt.NDArray[np.bool_] = self.labels[self.known] != self.truth[self.known]
        return wrong

    @property
    def files(self) -> tuple[str, ...] | None:
        """Path of each sample below the data set's folder; None where samples are not in files."""
        return None if self.images is None else self.images.files


def load_subject(spec: TrialSpec, workspace: Workspace) -> Subject:
    """Load the training samples that a specification means, all of them: nothing is held out."""
    dataset = workspace.dataset(spec.dataset)
    labels = noisy_labels(spec, dataset, workspace, "train").labels
    truth = dataset.train.clean if spec.noise.type == "real" else dataset.train.base
    if truth is None:
        truth = np.full(len(labels), UNKNOWN)
    return Subject(dataset.name, dataset.classes, labels, truth, dataset.train.images)


def load_texts(spec: TrialSpec, workspace: Workspace) -> ClassTexts | None:
    """Return the texts of the classes; None where the backbone reads none, or classes have no names."""
    dataset = workspace.dataset(spec.dataset)
    if not has_images(spec) or are_only_numbered(dataset.classes, dataset.templates):
        return None
    return workspace.class_texts(spec.backbone, dataset, ()) if workspace.reads_texts(spec.backbone) else None


def load_features(spec: TrialSpec, workspace: Workspace) -> torch.Tensor:
    """Return the features of the training samples, float32 ``[N, d]``: cached, or the data themselves."""
    dataset = workspace.dataset(spec.dataset)
    if not has_images(spec):
        assert dataset.train.features is not None
        return dataset.train.features.to(workspace.device)
    backbone = workspace.backbone(spec.backbone, spec.seed)
    execution = workspace.execution(spec.backbone, spec.seed, spec.precision)
    return workspace.features(dataset, "train", backbone, View("plain"), execution).array.to(workspace.device)
