"""A plugin: a small network in double precision, which looks at each image on its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

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

    def named_parameters(self, *args: Any, **options: Any) -> Iterator[tuple[str, nn.Parameter]]:
        # Every trial asks for them before it makes heads, which are then in double precision too; the
        # default is put back when the trial ends.
        torch.set_default_dtype(torch.float64)
        return super().named_parameters(*args, **options)


class Double(BackboneSource):
    """A small network in double precision."""

    pretrained = False

    def missing(self, reference: str | None, spec: BackboneSpec) -> str | None:
        return None

    def load(self, spec: BackboneSpec, seed: int) -> Backbone:
        self.options(spec)
        with initialisation(seed):
            module = _Exact()
        preprocessing = Preprocessing(SIZE, SIZE, "exact", "bilinear", (0.5,) * 3, (0.5,) * 3)
        return finish(spec, "double", module, preprocessing)
