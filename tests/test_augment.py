"""Weak and strong views: what they do, and where their randomness comes from."""

import pytest
import torch

from lnlbench.data import augment
from lnlbench.data.augment import recipe_for, strong, weak
from lnlbench.errors import DataError, UsageError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise_images(count: int = 4, size: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, size, size), generator=generator(9), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("family", "recipe"),
    [("cifar10", "cifar"), ("cifar100", "cifar"), ("digits", "digits"), ("webvision", "photo")],
)
def test_recipe_for_family(family, recipe):
    assert recipe_for(family) == recipe


@pytest.mark.parametrize("view", [weak, strong])
@pytest.mark.parametrize("recipe", augment.RECIPES)
def test_views_depend_on_the_generator_alone(view, recipe):
    images = noise_images()
    before = images.clone()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = view(images, recipe, generator())
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(view(images, recipe, generator()), first)
    assert not torch.equal(view(images, recipe, generator(1)), first)
    assert torch.equal(images, before)
    assert first.dtype == torch.uint8
    assert first.shape == images.shape


@pytest.mark.parametrize("recipe", augment.RECIPES)
def test_generator_advances(recipe):
    source = generator()
    assert not torch.equal(weak(noise_images(), recipe, source), weak(noise_images(), recipe, source))


@pytest.mark.parametrize("view", [weak, strong])
@pytest.mark.parametrize("recipe", augment.RECIPES)
def test_every_image_draws_its_own_parameters(view, recipe):
    same = noise_images(1).expand(6, -1, -1, -1)
    views = view(same, recipe, generator())
    assert len({bytes(v.numpy().tobytes()) for v in views}) >= 5


def still(monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    """Set all strengths to zero, then those given."""
    for name, value in {
        "ROTATION": 0.0,
        "TRANSLATION": 0.0,
        "SCALE": (1.0, 1.0),
        "FLIP": 0.0,
        **changes,
    }.items():
        monkeypatch.setattr(augment, name, value)


@pytest.mark.parametrize("recipe", ["cifar", "digits"])
def test_affine_of_zero_strength_is_the_identity(recipe, monkeypatch):
    still(monkeypatch)
    assert torch.equal(weak(noise_images(), recipe, generator()), noise_images())


def test_flip_mirrors_left_and_right_exactly(monkeypatch):
    still(monkeypatch, FLIP=1.0)
    assert torch.equal(weak(noise_images(), "cifar", generator()), noise_images().flip(-1))


def test_digits_are_never_mirrored(monkeypatch):
    still(monkeypatch, FLIP=1.0)
    assert torch.equal(weak(noise_images(), "digits", generator()), noise_images())


def test_about_half_of_the_images_are_flipped(monkeypatch):
    still(monkeypatch, FLIP=0.5)
    images = noise_images(400, size=8)
    flipped = (weak(images, "cifar", generator()) != images).flatten(1).any(1).sum().item()
    assert abs(flipped - 200) < 50  # five standard deviations


def centroid(images: torch.Tensor) -> torch.Tensor:
    """Centre of mass as [B, 2] (x, y) in pixels, from the middle of the image."""
    mass = images[:, 0].double()
    length = mass.shape[-1]
    axis = torch.arange(length).double() - (length - 1) / 2
    total = mass.sum((1, 2))
    return torch.stack((mass.sum(1) @ axis / total, mass.sum(2) @ axis / total), dim=1)


def blob(x: int, y: int, count: int = 64, size: int = 65) -> torch.Tensor:
    """A white square of 5 px, its centre at (x, y) from the middle, on black."""
    images = torch.zeros(count, 3, size, size, dtype=torch.uint8)
    middle = size // 2
    images[:, :, middle + y - 2 : middle + y + 3, middle + x - 2 : middle + x + 3] = 255
    return images


def test_translation_stays_within_its_limits(monkeypatch):
    still(monkeypatch, TRANSLATION=0.1)
    shift = centroid(weak(blob(0, 0), "digits", generator()))
    assert shift.abs().max() <= 6.5 + 0.1
    assert (shift.amax(0) > 4).all()
    assert (shift.amin(0) < -4).all()


def test_rotation_keeps_the_radius_and_stays_within_its_limits(monkeypatch):
    still(monkeypatch, ROTATION=15.0)
    position = centroid(weak(blob(20, 0), "digits", generator()))
    torch.testing.assert_close(position.norm(dim=1), torch.full((64,), 20.0).double(), atol=0.2, rtol=0)
    angle = torch.rad2deg(torch.atan2(position[:, 1], position[:, 0]))
    assert angle.abs().max() <= 15.5
    assert angle.max() > 10
    assert angle.min() < -10


def test_rotation_of_a_rectangle_keeps_distances(monkeypatch):
    still(monkeypatch, ROTATION=15.0)
    images = torch.zeros(32, 3, 41, 81, dtype=torch.uint8)
    images[:, :, 18:23, 55:60] = 255  # centre 17 px right of the middle
    mass = weak(images, "digits", generator())[:, 0].double()
    total = mass.sum((1, 2))
    x = mass.sum(1) @ (torch.arange(81).double() - 40) / total
    y = mass.sum(2) @ (torch.arange(41).double() - 20) / total
    torch.testing.assert_close(torch.hypot(x, y), torch.full((32,), 17.0).double(), atol=0.2, rtol=0)


def test_scale_stays_within_its_limits(monkeypatch):
    still(monkeypatch, SCALE=(0.9, 1.1))
    distance = centroid(weak(blob(20, 0), "digits", generator()))[:, 0]
    assert distance.min() >= 18 - 0.1
    assert distance.max() <= 22 + 0.1
    assert distance.max() - distance.min() > 2


@pytest.mark.parametrize("recipe", ["cifar", "digits"])
def test_affine_uncovers_no_border(recipe):
    images = torch.full((16, 3, 32, 32), 77, dtype=torch.uint8)
    assert torch.equal(weak(images, recipe, generator()), images)


def test_photos_of_several_sizes_become_one_batch():
    photos = [noise_images(1, size)[0] for size in (40, 70)]
    assert weak(photos, "photo", generator(), size=24).shape == (2, 3, 24, 24)
    assert strong(photos, "photo", generator(), size=24).shape == (2, 3, 24, 24)
    assert weak(photos, "photo", generator()).shape == (2, 3, augment.PHOTO_SIZE, augment.PHOTO_SIZE)


@pytest.mark.parametrize("recipe", ["cifar", "digits"])
def test_strong_adds_colours_and_grey_borders(recipe):
    # Weak views of a constant image are that image: all that changes is AutoAugment's.
    images = torch.full((60, 3, 32, 32), 77, dtype=torch.uint8)
    views = strong(images, recipe, generator())
    pixels = views[:, 0].flatten(1)
    assert ((pixels == 77).any(dim=1) & (pixels == 128).any(dim=1)).any()
    assert (pixels != 77).all(dim=1).any()


def test_images_of_several_sizes_are_an_error_outside_photos():
    with pytest.raises(DataError, match="one size"):
        weak([noise_images(1, 8)[0], noise_images(1, 9)[0]], "cifar", generator())


def test_unknown_recipe_is_an_error():
    with pytest.raises(UsageError, match="Did you mean 'photo'"):
        weak(noise_images(), "photos", generator())
