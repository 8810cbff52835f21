"""Image preprocessing in batches: what a model's own image processor does, as tensor operations.

Image processors work on one image at a time. Here a whole batch of uint8 images is resized,
cropped and normalised at once. Values are rounded to uint8 after resizing, as PIL does, so
results agree with the model's own processor to within its rounding (under test).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tvf

from lnlbench.errors import WeightsError

# Not nearest, whose choice between two pixels differs from PIL's by rounding, nor Lanczos,
# which tensors lack. No published classifier needs them.
_MODES = {
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
}
RESIZE_MODES = ("shortest", "exact")
CROP_ROUNDINGS = ("floor", "round")


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Resize, centre crop and normalise, as one model expects it.

    Attributes
    ----------
    size : int
        Side S of the model's square input, in pixels. The crop has this size.
    resize : int
        Target of the resize, in pixels; at least ``size``.
    mode : {"shortest", "exact"}
        ``shortest`` brings the shorter side to ``resize`` and keeps the aspect ratio;
        ``exact`` brings both sides to it.
    interpolation : {"bilinear", "bicubic"}
        Always antialiased when it shrinks.
    mean, std : tuple of three floats
        Per channel, of values multiplied by ``rescale``.
    rescale : float
        Factor for uint8 values. Default 1/255.
    crop_rounding : {"floor", "round"}
        Where a centre crop with an odd margin starts: transformers rounds down,
        torchvision and timm round half to even.
    """

    size: int
    resize: int
    mode: str
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    rescale: float = 1 / 255
    crop_rounding: str = "round"

    def __post_init__(self) -> None:
        for value, allowed, what in (
            (self.mode, RESIZE_MODES, "resize mode"),
            (self.interpolation, tuple(_MODES), "interpolation"),
            (self.crop_rounding, CROP_ROUNDINGS, "crop rounding"),
        ):
            if value not in allowed:
                raise WeightsError(
                    f"Preprocessing with {what} '{value}' is not available.",
                    f"Choose a model that uses one of: {', '.join(allowed)}.",
                )
        if not 0 < self.size <= self.resize:
            raise WeightsError(
                f"Preprocessing resizes to {self.resize} px, then crops {self.size} px from it."
            )
        if len(self.mean) != 3 or len(self.std) != 3:
            raise WeightsError("Preprocessing needs a mean and a standard deviation for each of 3 channels.")

    def with_size(self, size: int | None) -> Preprocessing:
        """Return the same preprocessing for another input size (None: unchanged).

        The resize scales along, so the crop keeps its share of the image.
        """
        if size is None or size == self.size:
            return self
        return dataclasses.replace(self, size=size, resize=round(size * self.resize / self.size))

    def to_dict(self) -> dict[str, Any]:
        """All fields as a JSON value; equal values give equal inputs (part of the cache key)."""
        value = dataclasses.asdict(self)
        return {name: list(item) if isinstance(item, tuple) else item for name, item in value.items()}

    def __call__(
        self,
        images: torch.Tensor | Sequence[torch.Tensor],
        device: torch.device | str | None = None,
        channels_last: bool = False,
    ) -> torch.Tensor:
        """Preprocess a batch.

        Parameters
        ----------
        images : uint8 Tensor of shape [B, 3, H, W], or sequence of uint8 Tensors [3, H, W]
            Images of a sequence may differ in size.
        device : torch.device or str, optional
            Where to compute and return; None stays on the images' device.
        channels_last : bool
            Memory format of the result.

        Returns
        -------
        float32 Tensor of shape [B, 3, S, S]
        """
        return self.normalise(self.fit(images, device), channels_last=channels_last)

    def fit(
        self, images: torch.Tensor | Sequence[torch.Tensor], device: torch.device | str | None = None
    ) -> torch.Tensor:
        """Resize and crop: the part whose result is still uint8, of shape [B, 3, S, S].

        Parameters are those of :meth:`__call__`, which is this and :meth:`normalise`.
        """
        if isinstance(images, torch.Tensor):
            return self._resize_and_crop(images.to(device) if device is not None else images)
        moved = [image.to(device) if device is not None else image for image in images]
        if len({image.shape for image in moved}) == 1:
            return self._resize_and_crop(torch.stack(moved))
        return torch.stack([self._resize_and_crop(image) for image in moved])

    def normalise(self, pixels: torch.Tensor, *, channels_last: bool = False) -> torch.Tensor:
        """Return (rescale · x − mean) / std of uint8 pixels [B, 3, S, S], as float32, where they are."""
        # Said in both cases: images that are stored as [N, H, W, 3] come as channels-last ones, and a
        # network whose weights are not would convert these in every layer of every step.
        layout = torch.channels_last if channels_last else torch.contiguous_format
        pixels = pixels.contiguous(memory_format=layout)
        scale, shift = _factors(self, pixels.device)
        return pixels.to(torch.float32).mul_(scale).add_(shift)

    def _resize_and_crop(self, images: torch.Tensor) -> torch.Tensor:
        target = [self.resize] if self.mode == "shortest" else [self.resize, self.resize]
        images = resize(images, target, self.interpolation)
        height, width = images.shape[-2:]
        top, left = self._offset(height), self._offset(width)
        return images[..., top : top + self.size, left : left + self.size]

    def _offset(self, length: int) -> int:
        margin = length - self.size
        return margin // 2 if self.crop_rounding == "floor" else round(margin / 2)


@lru_cache(maxsize=64)
def _factors(preprocessing: Preprocessing, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rescale / std and −mean / std: (rescale · x − mean) / std is one multiply and one add."""
    mean, std = (
        torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (preprocessing.mean, preprocessing.std)
    )
    scale, shift = (v.to(device, torch.float32) for v in (preprocessing.rescale / std, -mean / std))
    return scale, shift


def resize(images: torch.Tensor, target: list[int], interpolation: str) -> torch.Tensor:
    """Resize uint8 images [..., H, W], on any device as PIL and torch do it on a CPU.

    There each axis has a pass of its own, the width first, and what lies between is rounded and cut off at 0
    and 255. A device does both axes at once in float, which at the sharp edges of bicubic interpolation is
    off by 20 and more. In two passes it is off by at most 2, in about one of a hundred pixels: the CPU's
    weights are fixed-point numbers.

    Parameters
    ----------
    images : uint8 Tensor
    target : list of int
        Length of the shorter side, or height and width.
    interpolation : {"bilinear", "bicubic"}
    """
    if images.device.type == "cpu":
        resized: torch.Tensor = tvf.resize(
            images, target, interpolation=_MODES[interpolation], antialias=True
        )
        return resized
    return in_two_passes(images, target, interpolation)


def in_two_passes(images: torch.Tensor, target: list[int], interpolation: str) -> torch.Tensor:
    """Return what :func:`resize` does on a device other than a CPU."""
    height, width = images.shape[-2:]
    if len(target) == 1:  # torchvision's rule for the longer side
        short, long = sorted((height, width))
        longer = int(target[0] * long / short)
        target = [longer, target[0]] if height > width else [target[0], longer]
    for size in ((height, target[1]), (target[0], target[1])):
        if size != tuple(images.shape[-2:]):
            images = nn.functional.interpolate(
                images.to(torch.float32), size=size, mode=interpolation, antialias=True
            )
            images = images.add_(0.5).floor_().clamp_(0, 255)
    return images.to(torch.uint8)
