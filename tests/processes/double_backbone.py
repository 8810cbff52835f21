"""Plugins: a network in double precision that looks at each image on its own, and one that does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from timm.layers import BatchNormAct2d
from torch import nn

from lnlbench.models.backbone import Backbone, BackboneSource, finish, initialisation
from lnlbench.models.preprocessing import Preprocessing
from lnlbench.spec import BackboneSpec

SIZE = 12
PREPROCESSING = Preprocessing(SIZE, SIZE, "exact", "bilinear", (0.5,) * 3, (0.5,) * 3)


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

    def named_parameters(self, *args: Any, **options: Any) -> Iterator[tuple[str, nn.Parameter]]:
        # Every trial asks for them before it makes heads, which are then in double precision too; the
        # default is put back when the trial ends.
        torch.set_default_dtype(torch.float64)
        return super().named_parameters(*args, **options)


class _Normalised(nn.Sequential):
    """Convolutions with batch normalisation."""

    def __init__(self, width: int = 8) -> None:
        super().__init__(
            nn.Conv2d(3, width, 3, stride=2, bias=False),
            nn.BatchNorm2d(width),
            nn.SiLU(),
            BatchNormAct2d(width, act_layer=nn.ReLU),  # does more than to normalise
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )


class Double(BackboneSource):
    """A small network in double precision."""

    pretrained = False

    def missing(self, reference: str | None, spec: BackboneSpec) -> str | None:
        return None

    def load(self, spec: BackboneSpec, seed: int) -> Backbone:
        self.options(spec)
        with initialisation(seed):
            module = _Exact()
        return finish(spec, "double", module, PREPROCESSING)


class Normalised(BackboneSource):
    """A small network with batch normalisation, in single precision."""

    pretrained = False

    def missing(self, reference: str | None, spec: BackboneSpec) -> str | None:
        return None

    def load(self, spec: BackboneSpec, seed: int) -> Backbone:
        self.options(spec)
        with initialisation(seed):
            module = _Normalised()
        return finish(spec, "normalised", module, PREPROCESSING)
