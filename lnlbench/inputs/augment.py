"""Weak and strong views of images, by recipes that have names (protocol, section 5).

All randomness comes from the generator that is passed in: the same state gives the same
views, and the global random state is left as it was. Every image draws its own parameters.

The paper names the operations of ``cifar`` and ``photo`` but gives no strengths. Those below are the
usual defaults of torchvision and of the augmentation literature, and are ours. ``crop-flip`` is what
the published codes of DivideMix, ELR, ELR+ and UNICON train CIFAR with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
from torch.nn import functional
from torchvision.transforms import v2
from torchvision.transforms.v2 import AutoAugmentPolicy

from lnlbench.data.dataset import Dataset
from lnlbench.data.source import DatasetSource
from lnlbench.errors import DataError, PluginError, suggest
from lnlbench.inputs.auto_augment import BatchedAutoAugment
from lnlbench.spec import RECIPES as NAMES
from lnlbench.spec import DatasetSpec, one_of

Images = torch.Tensor | Sequence[torch.Tensor]

ROTATION = 15.0  # degrees, uniform in ± this
TRANSLATION = 0.1  # of the image's side, per axis, uniform in ± this
SCALE = (0.9, 1.1)  # uniform
FLIP = 0.5  # probability
CROP_PADDING = 4  # black pixels on each side, before a window of the image's own size is cut out
CROP_AREA = (0.08, 1.0)  # share of the area that a random resized crop keeps
JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
PHOTO_SIZE = 256  # pixels; side of the views of photos that differ in size
FILL = (128, 128, 128)  # what AutoAugment's shears and rotations uncover, as in its original code
_LOOKED_AT = 16  # images whose sizes are compared before a run


@dataclass(frozen=True)
class Recipe:
    """How weak and strong views of an image are made.

    Attributes
    ----------
    name : str
        Part of the feature cache's keys: another way of making views needs another name.
    make_weak : callable
        From images, generator and size to weak views, as :meth:`weak`.
    policy : AutoAugmentPolicy
        What makes a strong view of a weak one (Cubuk et al., 2019); what its geometric operations
        uncover is grey.
    one_size : bool
        Whether the images of a batch have to have one size. Default True.
    """

    name: str
    make_weak: Callable[..., torch.Tensor]
    policy: AutoAugmentPolicy
    one_size: bool = True

    def weak(self, images: Images, generator: torch.Generator, size: int | None = None) -> torch.Tensor:
        """Return one weak view of each image; see :func:`weak`."""
        if self.one_size:
            images = self.stack(images)
        return self.make_weak(images, generator, size)

    def strong(self, images: Images, generator: torch.Generator, size: int | None = None) -> torch.Tensor:
        """Return one strong view of each image; see :func:`strong`."""
        views = self.weak(images, generator, size)
        with _torchvision_randomness(generator):
            return _auto_augment(self.policy)(views)

    def stack(self, images: Images) -> torch.Tensor:
        """Return images of one size as one tensor.

        Raises
        ------
        DataError
            If they have several sizes.
        """
        if isinstance(images, torch.Tensor):
            return images
        if len({image.shape for image in images}) > 1:
            raise DataError(
                f"The augmentation recipe '{self.name}' needs images of one size, and these have several.",
                "Resize the data set, or choose --set dataset_options.recipe=photo.",
            )
        return torch.stack(list(images))


def weak(images: Images, recipe: str, generator: torch.Generator, size: int | None = None) -> torch.Tensor:
    """Return one weak view of each image.

    ``cifar``: horizontal flip (p = 0.5) and affine map (±15°, ±10 % translation, scale 0.9
    to 1.1), mirrored at the borders. ``digits``: the affine map alone, because a mirrored
    digit is another sign; borders are repeated. ``photo``: random resized crop (8 to 100 % of
    the area), flip, colour jitter (brightness, contrast, saturation 0.4, hue 0.1).
    ``crop-flip``: a window of the image's own size out of the image with 4 black pixels on each side,
    all 81 places alike, and flip.

    Parameters
    ----------
    images : uint8 Tensor of shape [B, 3, H, W], or sequence of uint8 Tensors [3, H, W]
        Only ``photo`` takes images of different sizes.
    recipe : {"cifar", "digits", "photo", "crop-flip"}
    generator : torch.Generator
        On the CPU; it is advanced.
    size : int, optional
        Side of a photo's view in pixels. Default: the shorter side of a batch of equal
        images, 256 for images of different sizes.

    Returns
    -------
    uint8 Tensor of shape [B, 3, H, W], or [B, 3, size, size] for photos
    """
    return _named(recipe).weak(images, generator, size)


def strong(images: Images, recipe: str, generator: torch.Generator, size: int | None = None) -> torch.Tensor:
    """Return one strong view of each image: a weak view, then AutoAugment (Cubuk et al., 2019).

    The policy is that of CIFAR-10, of SVHN for digits, and of ImageNet for photos; what its
    geometric operations uncover is grey. Parameters and result as in :func:`weak`.
    """
    return _named(recipe).strong(images, generator, size)


def choose_recipe(spec: DatasetSpec, source: DatasetSource, dataset: Dataset) -> str:
    """Return the name of the recipe for a trial's data set: the trial's choice, else the source's.

    Raises
    ------
    DataError
        If the trial chooses one and the data set holds features, or if the recipe needs images of
        one size and the first images have several.
    PluginError
        If the source names a recipe that does not exist.
    """
    if source.recipe not in RECIPES:
        raise PluginError(
            f"The source of data set '{dataset.name}' names an unknown recipe, '{source.recipe}'.",
            suggest(source.recipe, NAMES),
        )
    images = dataset.train.images
    if images is None:
        if spec.recipe is not None:
            raise DataError("dataset_options.recipe is for images, and these are features.", "Leave it out.")
        return source.recipe
    recipe = _named(spec.recipe or source.recipe)
    if recipe.one_size and images.size is None:
        # Files of one size are fine, but only a look at all of them could tell.
        recipe.stack(images.take(np.arange(min(_LOOKED_AT, len(images)))))
    return recipe.name


def _named(recipe: str) -> Recipe:
    return RECIPES[one_of(recipe, NAMES, "augmentation recipe")]


def _affine(
    images: torch.Tensor, generator: torch.Generator, _size: int | None, *, flip: bool, padding: str
) -> torch.Tensor:
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


def _crop_flip(images: torch.Tensor, generator: torch.Generator, _size: int | None) -> torch.Tensor:
    count, _, height, width = images.shape
    # Drawn for the whole batch: rows, then columns, then flips.
    top, left = (torch.randint(2 * CROP_PADDING + 1, (count,), generator=generator) for _ in range(2))
    mirrored = torch.rand(count, generator=generator) < FLIP
    device = images.device
    padded = functional.pad(images, (CROP_PADDING,) * 4)
    # Every window of the image's size, as a view of the padded pixels: [B, 3, 9, 9, H, W].
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    chosen = windows[torch.arange(count, device=device), :, top.to(device), left.to(device)]
    return torch.where(mirrored.to(device)[:, None, None, None], chosen.flip(3), chosen)


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


@cache
def _auto_augment(policy: AutoAugmentPolicy) -> BatchedAutoAugment:
    return BatchedAutoAugment(policy, FILL)


@contextmanager
def _torchvision_randomness(generator: torch.Generator) -> Iterator[None]:
    """Let torchvision, which draws from the global state, draw from ``generator`` instead."""
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        # Outside of the image, small photos are mirrored; a digit's background goes on.
        Recipe("cifar", partial(_affine, flip=True, padding="reflection"), AutoAugmentPolicy.CIFAR10),
        Recipe("digits", partial(_affine, flip=False, padding="border"), AutoAugmentPolicy.SVHN),
        Recipe("photo", _photo, AutoAugmentPolicy.IMAGENET, one_size=False),
        Recipe("crop-flip", _crop_flip, AutoAugmentPolicy.CIFAR10),
    )
}
