"""Weak and strong views of images (protocol, section 5).

All randomness comes from the generator that is passed in: the same state gives the same
views, and the global random state is left as it was. Every image draws its own parameters.

The paper names the operations but gives no strengths. Those below are the usual defaults of
torchvision and of the augmentation literature, and are ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch.nn import functional
from torchvision.transforms import v2
from torchvision.transforms.v2 import AutoAugmentPolicy

from lnlbench.errors import DataError
from lnlbench.spec import one_of

Images = torch.Tensor | Sequence[torch.Tensor]

RECIPES = ("cifar", "digits", "photo")

ROTATION = 15.0  # degrees, uniform in ± this
TRANSLATION = 0.1  # of the image's side, per axis, uniform in ± this
SCALE = (0.9, 1.1)  # uniform
FLIP = 0.5  # probability
CROP_AREA = (0.08, 1.0)  # share of the area that a random resized crop keeps
JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
PHOTO_SIZE = 256  # pixels; side of the views of photos that differ in size
FILL = (128, 128, 128)  # what AutoAugment's shears and rotations uncover, as in its original code

_FAMILIES = {"cifar10": "cifar", "cifar100": "cifar", "digits": "digits"}
# Outside of the image, small photos are mirrored; a digit's background goes on.
_PADDING = {"cifar": "reflection", "digits": "border"}
_POLICIES = {
    "cifar": AutoAugmentPolicy.CIFAR10,
    "digits": AutoAugmentPolicy.SVHN,
    "photo": AutoAugmentPolicy.IMAGENET,
}


def recipe_for(family: str) -> str:
    """Return the recipe for a family of data sets: ``cifar``, ``digits``, or ``photo`` for all others."""
    return _FAMILIES.get(family, "photo")


def weak(images: Images, recipe: str, generator: torch.Generator, size: int | None = None) -> torch.Tensor:
    """Return one weak view of each image.

    ``cifar``: horizontal flip (p = 0.5) and affine map (±15°, ±10 % translation, scale 0.9
    to 1.1), mirrored at the borders. ``digits``: the affine map alone, because a mirrored
    digit is another sign; borders are repeated. ``photo``: random resized crop (8 to 100 % of
    the area), flip, colour jitter (brightness, contrast, saturation 0.4, hue 0.1).

    Parameters
    ----------
    images : uint8 Tensor of shape [B, 3, H, W], or sequence of uint8 Tensors [3, H, W]
        Only ``photo`` takes images of different sizes.
    recipe : {"cifar", "digits", "photo"}
    generator : torch.Generator
        On the CPU; it is advanced.
    size : int, optional
        Side of a photo's view in pixels. Default: the shorter side of a batch of equal
        images, 256 for images of different sizes.

    Returns
    -------
    uint8 Tensor of shape [B, 3, H, W], or [B, 3, size, size] for photos
    """
    one_of(recipe, RECIPES, "augmentation recipe")
    if recipe == "photo":
        return _photo(images, generator, size)
    return _affine(_stack(images, recipe), generator, flip=recipe == "cifar", padding=_PADDING[recipe])


def strong(images: Images, recipe: str, generator: torch.Generator, size: int | None = None) -> torch.Tensor:
    """Return one strong view of each image: a weak view, then AutoAugment (Cubuk et al., 2019).

    The policy is that of CIFAR-10, of SVHN for digits, and of ImageNet for photos; what its
    geometric operations uncover is grey. Parameters and result as in :func:`weak`.
    """
    views = weak(images, recipe, generator, size)
    augment = v2.AutoAugment(_POLICIES[recipe], fill=list(FILL))
    with _torchvision_randomness(generator):
        return torch.stack([augment(view) for view in views])


def _stack(images: Images, recipe: str) -> torch.Tensor:
    if isinstance(images, torch.Tensor):
        return images
    if len({image.shape for image in images}) > 1:
        raise DataError(
            f"The augmentation of {recipe} images needs images of one size.",
            "Resize the data set, or give it the family of photos.",
        )
    return torch.stack(list(images))


def _affine(images: torch.Tensor, generator: torch.Generator, *, flip: bool, padding: str) -> torch.Tensor:
    count, _, height, width = images.shape

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    angle = uniform(-ROTATION, ROTATION) * (math.pi / 180)
    shift_x, shift_y = (2 * uniform(-TRANSLATION, TRANSLATION) for _ in range(2))  # sides are 2 wide
    scale = uniform(*SCALE)
    mirror = 1.0 - 2.0 * (torch.rand(count, generator=generator) < FLIP) if flip else torch.ones(count)
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    aspect = height / width
    # From output to input coordinates, both in [-1, 1]; a rotation of a rectangle needs its aspect.
    matrices = torch.stack(
        (
            torch.stack((mirror * cos, -sin * aspect, shift_x), dim=1),
            torch.stack((mirror * sin / aspect, cos, shift_y), dim=1),
        ),
        dim=1,
    ).to(images.device)
    grid = functional.affine_grid(matrices, list(images.shape), align_corners=False)
    views = functional.grid_sample(
        images.to(torch.float32), grid, mode="bilinear", padding_mode=padding, align_corners=False
    )
    return views.round_().clamp_(0, 255).to(torch.uint8)


def _photo(images: Images, generator: torch.Generator, size: int | None) -> torch.Tensor:
    if size is None:
        shapes = {tuple(image.shape[-2:]) for image in images}
        size = min(shapes.pop()) if len(shapes) == 1 else PHOTO_SIZE
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=CROP_AREA, antialias=True),
            v2.RandomHorizontalFlip(FLIP),
            v2.ColorJitter(**JITTER),
        ]
    )
    with _torchvision_randomness(generator):
        return torch.stack([transform(image) for image in images])


@contextmanager
def _torchvision_randomness(generator: torch.Generator) -> Iterator[None]:
    """Let torchvision, which draws from the global state, draw from ``generator`` instead."""
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
