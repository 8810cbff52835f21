"""AutoAugment (Cubuk et al., 2019) of whole batches: torchvision's, drawn and computed to the same bits.

torchvision takes an image at a time, and of small images most of its time goes into calls. What is drawn for
an image does not depend on the others, so all is drawn first, in torchvision's order. Then all images of a
batch that share an operation go through it together, each in its own strength. Geometric operations are one
lookup: at nearest neighbours each is a table that says, per pixel, which one it was before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional
from torchvision.transforms import v2
from torchvision.transforms.v2 import AutoAugmentPolicy

_GEOMETRIC = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
_BINS = 10  # strengths of an operation
_LARGEST = 255
# Whole numbers below this, and so their sums in any order, are exact in float32.
_EXACT = 2**24
_DRAWS = 5  # for an image at most: its policy, and for both operations whether and in which direction
_FRACTION = 2**24  # of the 32 bits of a draw, a uniform float32 has the last 24


class Operation(NamedTuple):
    """What is done with an image, and how strongly."""

    name: str
    strength: float


class BatchedAutoAugment:
    """Like ``v2.AutoAugment(policy, fill=fill)``, for batches.

    Parameters
    ----------
    policy : AutoAugmentPolicy
    fill : sequence of three int
        Colour of what geometric operations uncover.
    """

    def __init__(self, policy: AutoAugmentPolicy, fill: Sequence[int]) -> None:
        self._fill = torch.tensor(fill, dtype=torch.uint8)
        # Of what torchvision keeps for itself: its policies, its strengths, and one image's operation.
        self._single: Any = v2.AutoAugment(policy)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return augmented images.

        Parameters
        ----------
        images : uint8 Tensor of shape [B, 3, H, W]
            On the CPU.

        Returns
        -------
        uint8 Tensor of shape [B, 3, H, W]
            What torchvision makes of the images one after the other, from the same state of the global
            generator; which is advanced further.
        """
        drawn = self.draw(len(images), *images.shape[-2:])
        images = images.clone()
        for position in range(max(map(len, drawn), default=0)):
            here = [(each[position], row) for row, each in enumerate(drawn) if position < len(each)]
            here.sort(key=lambda entry: (_kind(entry[0]), entry))
            for kind, of_kind in groupby(here, key=lambda entry: _kind(entry[0])):
                operations, rows = zip(*of_kind, strict=True)
                index = torch.tensor(rows)
                images.index_copy_(0, index, self.apply(kind, images.index_select(0, index), operations))
        return images

    def draw(self, count: int, height: int, width: int) -> list[list[Operation]]:
        """Draw the operations of some images from the global generator."""
        policies = self._single._policies
        bits = _words(_DRAWS * count)
        drawn = []
        for _ in range(count):
            operations = []
            for name, probability, level in policies[next(bits) % len(policies)]:
                if next(bits) % _FRACTION > float(np.float32(probability)) * _FRACTION:
                    continue
                of_bins, signed = self._single._AUGMENTATION_SPACE[name]
                strengths = _strengths(of_bins, height, width)
                strength = 0.0 if strengths is None else strengths[level]
                if strengths is not None and signed and next(bits) % _FRACTION <= _FRACTION // 2:
                    strength = -strength
                operations.append(Operation(name, strength))
            drawn.append(operations)
        return drawn

    def apply(self, kind: str, images: torch.Tensor, operations: Sequence[Operation]) -> torch.Tensor:
        """Apply to each image its own operation; all are geometric, or of one name, and sorted."""
        height, width = images.shape[-2:]
        if kind == "":
            return self._move(images, operations)
        exact = height * width * _LARGEST < _EXACT
        if kind in _TOGETHER and (exact or kind != "Contrast"):  # that takes a mean
            return _TOGETHER[kind](images, [operation.strength for operation in operations])
        if kind in ("AutoContrast", "Equalize", "Invert"):
            return self._one(images, operations[0], None)
        pairs = zip(images, operations, strict=True)
        return torch.stack([self._one(image, operation, None) for image, operation in pairs])

    def _one(self, image: torch.Tensor, operation: Operation, fill: Any) -> torch.Tensor:
        applied: torch.Tensor = self._single._apply_image_or_video_transform(
            image, *operation, interpolation=self._single.interpolation, fill={type(image): fill}
        )
        return applied

    def _move(self, images: torch.Tensor, operations: Sequence[Operation]) -> torch.Tensor:
        size = images.shape[-2:]
        table = torch.stack([_table(self, operation, *size) for operation in operations])[:, None]
        found = images.flatten(2).gather(2, table.clamp(min=0).expand(-1, 3, -1))
        return torch.where(table < 0, self._fill[:, None], found).view_as(images)


def _kind(operation: Operation) -> str:
    """Return what must be the same of operations that are applied together: "" for all geometric ones."""
    return "" if operation.name in _GEOMETRIC else operation.name


def _words(count: int) -> Iterator[int]:
    """Draw words of 32 bits from the global generator, many times faster than one at a time, and the same."""
    pairs = torch.empty((count + 1) // 2, dtype=torch.int64).random_(torch.iinfo(torch.int64).min, None)
    bits = pairs.numpy().view(np.uint64)
    return iter(np.stack([bits >> np.uint64(32), bits & np.uint64(2**32 - 1)], axis=1).ravel().tolist())


@lru_cache(maxsize=256)
def _strengths(of_bins: Any, height: int, width: int) -> tuple[float, ...] | None:
    magnitudes = of_bins(_BINS, height, width)
    return None if magnitudes is None else tuple(float(magnitude) for magnitude in magnitudes)


@lru_cache(maxsize=128)
def _table(augment: BatchedAutoAugment, operation: Operation, height: int, width: int) -> torch.Tensor:
    """Return which pixel each pixel was before, int64 ``[H · W]``; −1 for none."""
    if height * width >= _EXACT:
        raise ValueError(f"images of {height} × {width} are too large for AutoAugment")
    # torchvision moves the pixels' numbers as it would move their colours.
    numbers = torch.arange(height * width, dtype=torch.float32).view(1, height, width)
    return augment._one(numbers, operation, [-1.0]).flatten().to(torch.int64)


# Colours, of images [B, 3, H, W] in a strength each. Products and sums are taken in torchvision's order.


def _column(values: Sequence[float], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype).view(-1, 1, 1, 1)


def _to_pixels(values: torch.Tensor) -> torch.Tensor:
    return values.clamp_(0, _LARGEST).to(torch.uint8)


def _add(target: torch.Tensor, other: torch.Tensor, strengths: Sequence[float]) -> None:
    """Add to images others, times −strength; one call for all images of a strength."""
    start = 0
    for strength, equal in groupby(strengths):
        stop = start + len(list(equal))
        # 1 − (1 + s), since that is what it is rounded like.
        target[start:stop].add_(other[start:stop], alpha=1.0 - (1.0 + strength))
        start = stop


def _brightness(images: torch.Tensor, strengths: Sequence[float]) -> torch.Tensor:
    return _to_pixels(images.mul(_column([1.0 + strength for strength in strengths])))


def _grey(images: torch.Tensor) -> torch.Tensor:
    red, green, blue = images.unbind(1)
    return red.mul(0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114).floor_()[:, None]


def _color(images: torch.Tensor, strengths: Sequence[float]) -> torch.Tensor:
    return _blend(images, _grey(images), strengths)


def _contrast(images: torch.Tensor, strengths: Sequence[float]) -> torch.Tensor:
    return _blend(images, _grey(images).mean((1, 2, 3), keepdim=True), strengths)


def _blend(images: torch.Tensor, other: torch.Tensor, strengths: Sequence[float]) -> torch.Tensor:
    blended = images.mul(_column([1.0 + strength for strength in strengths]))
    _add(blended, other, strengths)
    return _to_pixels(blended)


def _sharpness(images: torch.Tensor, strengths: Sequence[float]) -> torch.Tensor:
    if min(images.shape[-2:]) <= 2:
        return images
    values = images.to(torch.float32)
    inside = values[..., 1:-1, 1:-1]  # borders stay
    # torchvision's blur: a pixel counts five times, its neighbours once. Thirteenths never lie halfway
    # between whole numbers, so how the sum is taken does not matter to what is rounded.
    sums = functional.avg_pool2d(values, 3, stride=1, divisor_override=1).add_(inside, alpha=4.0)
    _add(inside, sums.div_(13.0).round_().sub_(inside), strengths)
    return _to_pixels(values)


def _posterize(images: torch.Tensor, strengths: Sequence[float]) -> torch.Tensor:
    masks = [_LARGEST & (_LARGEST << (8 - int(strength))) for strength in strengths]
    return images & _column(masks, torch.uint8)


def _solarize(images: torch.Tensor, strengths: Sequence[float]) -> torch.Tensor:
    thresholds = _column([_LARGEST * strength for strength in strengths])
    return torch.where(images >= thresholds, _LARGEST - images, images)


_TOGETHER: dict[str, Callable[[torch.Tensor, Sequence[float]], torch.Tensor]] = {
    "Brightness": _brightness,
    "Color": _color,
    "Contrast": _contrast,
    "Sharpness": _sharpness,
    "Posterize": _posterize,
    "Solarize": _solarize,
}
