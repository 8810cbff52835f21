"""A plugin: a small network in double precision, which looks at each image on its own."""

from __future__ import annotations

import torch
from torch import nn

from lnlbench.models.backbone import Backbone, BackboneSource, finish, initialisation
from lnlbench.models.preprocessing import Preprocessing
from lnlbench.spec import BackboneSpec

SIZE = 12


class _Exact(nn.Module):
    """Convolutions, and normalisation of each image on its own."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2),
            nn.GroupNorm(2, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        ).double()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images.double())


class Double(BackboneSource):
    """A small network in double precision."""

    pretrained = False

    def missing(self, reference: str | None, spec: BackboneSpec) -> str | None:
        return None

    def load(self, spec: BackboneSpec, seed: int) -> Backbone:
        self.options(spec)
        torch.set_default_dtype(torch.float64)  # heads are made in it; it is put back after the trial
        with initialisation(seed):
            module = _Exact()
        preprocessing = Preprocessing(SIZE, SIZE, "exact", "bilinear", (0.5,) * 3, (0.5,) * 3)
        return finish(spec, "double", module, preprocessing)
