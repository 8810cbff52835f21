"""What a careful person writes by hand to train one network with cross-entropy: the yardstick.

These loops use the backbone and the data set of lnlbench and nothing else of it: no phase, no
ledger, no method, no shared preprocessing.
"""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tvf

from lnlbench import registry
from lnlbench.models.preprocessing import Preprocessing
from lnlbench.spec import BackboneSpec, DatasetSpec, split_reference

from .trials import describe_backbone

LR, MOMENTUM, WEIGHT_DECAY = 1e-2, 0.9, 1e-4


def preprocess(images: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """Resize, crop and normalise uint8 images ``[B, 3, H, W]`` to float ``[B, 3, S, S]``."""
    images = tvf.resize(images, [preprocessing.resize], InterpolationMode.BICUBIC, antialias=True)
    images = tvf.center_crop(images, [preprocessing.size, preprocessing.size])
    return tvf.normalize(images.float() / 255, list(preprocessing.mean), list(preprocessing.std))


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
class Problem:
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


class FineTuning:
    """The loop on images: all parameters learn.

    Parameters
    ----------
    problem : Problem
    channels_last : bool
        Memory layout of weights and images; False is PyTorch's default.
    augment : bool
        Whether every image is turned, shifted and scaled first.
    """

    def __init__(self, problem: Problem, *, channels_last: bool, augment: bool = False) -> None:
        dataset = registry.datasets().load("digits")().load(problem.dataset, None)
        backbone = (
            registry.backbones().load(split_reference(problem.backbone.name)[0])().load(problem.backbone, 0)
        )
        images = dataset.train.images
        assert images is not None
        self.images = torch.as_tensor(images.take(torch.arange(len(images)).numpy()))
        self.labels = torch.from_numpy(dataset.train.labels)
        self.preprocessing = backbone.preprocessing
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        head = nn.Linear(backbone.feature_dim, len(dataset.classes))
        self.model = nn.Sequential(copy.deepcopy(backbone.module), head).train()
        self.model.to(memory_format=self.layout)
        self.optimizer = _sgd(self.model)
        self.batch_size = problem.batch_size
        self.augment = augment

    def epoch(self) -> float:
        """Train for one epoch and return its seconds."""
        started = time.perf_counter()
        for index in torch.randperm(len(self.labels)).split(self.batch_size):
            images = self.images[index]
            if self.augment:
                images = random_affine(images)
            inputs = preprocess(images, self.preprocessing).contiguous(memory_format=self.layout)
            loss = functional.cross_entropy(self.model(inputs), self.labels[index])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return time.perf_counter() - started


class LinearProbing:
    """The loop on features: a linear head learns.

    Parameters
    ----------
    features : torch.Tensor, ``[N, d]``
    labels : torch.Tensor, int64 ``[N]``
    classes, batch_size : int
    """

    def __init__(self, features: torch.Tensor, labels: torch.Tensor, classes: int, batch_size: int) -> None:
        self.features = features
        self.labels = labels
        self.head = nn.Linear(features.shape[1], classes)
        self.optimizer = _sgd(self.head)
        self.batch_size = batch_size

    def epoch(self) -> float:
        """Train for one epoch and return its seconds."""
        started = time.perf_counter()
        for index in torch.randperm(len(self.labels)).split(self.batch_size):
            loss = functional.cross_entropy(self.head(self.features[index]), self.labels[index])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return time.perf_counter() - started


def _sgd(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
