"""What a careful person writes by hand to train one network with cross-entropy: the yardstick.

These loops use the backbone and the data set of lnlbench and nothing else of it: no phase, no
ledger, no method, no shared preprocessing.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tvf

from lnlbench.models.preprocessing import Preprocessing
from lnlbench.plugins import registry
from lnlbench.spec import BackboneSpec, DatasetSpec, split_reference

from .trials import describe_backbone

LR, MOMENTUM, WEIGHT_DECAY = 1e-2, 0.9, 1e-4


def preprocess(images: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """Resize, crop and normalise uint8 images ``[B, 3, H, W]`` to float ``[B, 3, S, S]``."""
    mode = InterpolationMode(preprocessing.interpolation)
    images = tvf.resize(images, [preprocessing.resize], mode, antialias=True)
    images = tvf.center_crop(images, [preprocessing.size, preprocessing.size])
    normalised: torch.Tensor = tvf.normalize(
        images.float() / 255, list(preprocessing.mean), list(preprocessing.std)
    )
    return normalised


def random_affine(images: torch.Tensor) -> torch.Tensor:
    """Turn (± 15°), shift (± 10 %) and scale (0.9 to 1.1) every image at random."""
    count = len(images)
    angle = (torch.rand(count) * 2 - 1) * math.radians(15)
    shift = (torch.rand(count, 2) * 2 - 1) * 0.2
    scale = 0.9 + 0.2 * torch.rand(count)
    cos, sin = angle.cos() / scale, angle.sin() / scale
    matrices = torch.stack([cos, -sin, shift[:, 0], sin, cos, shift[:, 1]], 1).view(count, 2, 3)
    grid = functional.affine_grid(matrices, list(images.shape), align_corners=False)
    views = functional.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
    return views.round().to(torch.uint8)


@dataclass(frozen=True, slots=True)
class FineTuningSizes:
    """Sizes of a fine-tuning epoch on the digits."""

    backbone: BackboneSpec
    per_class: int
    batch_size: int

    @property
    def dataset(self) -> DatasetSpec:
        """The first images of each class."""
        return DatasetSpec("digits", train_per_class=self.per_class)

    def describe(self) -> str:
        """Return the sizes in words."""
        return (
            f"{10 * self.per_class} digits, {describe_backbone(self.backbone)}, batch {self.batch_size}, fp32"
        )


class PlainLoop(ABC):
    """A training loop as short as it can be.

    Parameters
    ----------
    model : nn.Module
    labels : torch.Tensor, int64 ``[N]``
    batch_size : int
    """

    def __init__(self, model: nn.Module, labels: torch.Tensor, batch_size: int) -> None:
        self.model = model
        self.labels = labels
        self.batch_size = batch_size
        self.optimizer = torch.optim.SGD(
            model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
        )

    @abstractmethod
    def inputs(self, index: torch.Tensor) -> torch.Tensor:
        """Return what the model is fed for the samples ``index``."""

    def epoch(self) -> float:
        """Train for one epoch and return its seconds."""
        started = time.perf_counter()
        order = torch.randperm(len(self.labels))
        for start in range(0, len(order), self.batch_size):
            index = order[start : start + self.batch_size]
            loss = functional.cross_entropy(self.model(self.inputs(index)), self.labels[index])
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        return time.perf_counter() - started


class FineTuning(PlainLoop):
    """The loop on images: all parameters learn.

    Parameters
    ----------
    problem : FineTuningSizes
    channels_last : bool
        Memory layout of weights and images; False is PyTorch's default.
    augment : bool
        Whether every image is turned, shifted and scaled first.
    """

    def __init__(self, problem: FineTuningSizes, *, channels_last: bool, augment: bool = False) -> None:
        dataset = registry.datasets().load("digits")().load(problem.dataset, None)
        source = registry.backbones().load(split_reference(problem.backbone.name)[0])()
        backbone = source.load(problem.backbone, 0)
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        head = nn.Linear(backbone.feature_dim, len(dataset.classes))
        model = nn.Sequential(backbone.module, head).train().to(memory_format=self.layout)
        super().__init__(model, torch.from_numpy(dataset.train.labels), problem.batch_size)
        images = dataset.train.images
        assert images is not None  # the digits are images
        self.images = torch.as_tensor(images.take(np.arange(len(images))))
        self.preprocessing = backbone.preprocessing
        self.augment = augment

    def inputs(self, index: torch.Tensor) -> torch.Tensor:
        """Return preprocessed images, augmented first if asked for."""
        images = self.images[index]
        if self.augment:
            images = random_affine(images)
        return preprocess(images, self.preprocessing).contiguous(memory_format=self.layout)


class LinearProbing(PlainLoop):
    """The loop on features: a linear head learns.

    Parameters
    ----------
    features : torch.Tensor, ``[N, d]``
    labels : torch.Tensor, int64 ``[N]``
    classes, batch_size : int
    """

    def __init__(self, features: torch.Tensor, labels: torch.Tensor, classes: int, batch_size: int) -> None:
        super().__init__(nn.Linear(features.shape[1], classes), labels, batch_size)
        self.features = features

    def inputs(self, index: torch.Tensor) -> torch.Tensor:
        """Return rows of the features."""
        return self.features[index]
