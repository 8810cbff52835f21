"""Weak and strong views: what they do, and where their randomness comes from."""

import numpy as np
import pytest
import torch
from photos import photo
from PIL import Image

from lnlbench.data.source import DatasetSource
from lnlbench.errors import DataError, PluginError, UsageError
from lnlbench.inputs import augment
from lnlbench.inputs.augment import choose_recipe, strong, weak
from lnlbench.plugins import registry
from lnlbench.spec import RECIPES, DatasetSpec
from lnlbench.trials.workspace import RunSettings, Workspace


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise_images(count: int = 4, size: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, size, size), generator=generator(9), dtype=torch.uint8)


# Which recipe


def test_recipes_have_the_names_that_a_trial_may_choose():
    assert {name: recipe.name for name, recipe in augment.RECIPES.items()} == {name: name for name in RECIPES}


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        *(("cifar10", "cifar"), ("cifar100", "cifar"), ("digits", "digits")),
        *((name, "photo") for name in ("clothing1m", "webvision", "webvision_mini", "npz", "imagefolder")),
    ],
)
def test_every_data_set_names_its_recipe(name, recipe):
    assert registry.datasets().load(name).recipe == recipe


def test_a_trial_may_choose_another_recipe(tmp_path):
    workspace = Workspace(RunSettings(data=None, cache=tmp_path))
    assert workspace.dataset(DatasetSpec("digits")).recipe == "digits"
    chosen = workspace.dataset(DatasetSpec("digits", recipe="crop-flip"))
    assert chosen.recipe == "crop-flip"
    assert chosen.fingerprint == workspace.dataset(DatasetSpec("digits")).fingerprint


class OwnRecipe(DatasetSource):
    summary = "a plugin's"
    recipe = "crop-flip"

    def missing(self, path, root):
        return None

    def load(self, spec, root):
        return registry.datasets().load("digits")().load(DatasetSpec("digits"), root)


def test_a_plugin_names_a_recipe_or_gets_that_of_photos():
    digits = OwnRecipe().load(DatasetSpec("own"), None)
    assert choose_recipe(DatasetSpec("own"), OwnRecipe(), digits) == "crop-flip"
    assert choose_recipe(DatasetSpec("own", recipe="photo"), OwnRecipe(), digits) == "photo"
    silent = type("Silent", (OwnRecipe,), {"recipe": DatasetSource.recipe})
    assert choose_recipe(DatasetSpec("own"), silent(), digits) == "photo"


def test_a_plugin_that_names_an_unknown_recipe_is_told_which_there_are():
    wrong = type("Wrong", (OwnRecipe,), {"recipe": "cropflip"})
    with pytest.raises(PluginError, match=r"unknown recipe, 'cropflip'.* Did you mean 'crop-flip'"):
        choose_recipe(DatasetSpec("own"), wrong(), wrong().load(DatasetSpec("own"), None))


def test_features_have_no_recipe_to_choose(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(6, 3)), np.arange(6) % 2
    np.savez(tmp_path / "f.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    workspace = Workspace(RunSettings(data=None, cache=tmp_path))
    workspace.dataset(DatasetSpec(f"features:{tmp_path / 'f.npz'}"))
    with pytest.raises(DataError, match="recipe is for images, and these are features"):
        workspace.dataset(DatasetSpec(f"features:{tmp_path / 'f.npz'}", recipe="cifar"))


def write_folder(root, sizes):
    """Write two classes of square images of some sizes as PNG files."""
    for part in ("train", "test"):
        for label in "ab":
            (root / part / label).mkdir(parents=True)
            for number, size in enumerate(sizes):
                pixels = photo(size, size, number).permute(1, 2, 0).numpy()
                Image.fromarray(pixels).save(root / part / label / f"{number}.png")


def test_files_of_several_sizes_are_refused_before_a_run_and_those_of_one_size_taken(tmp_path):
    workspace = Workspace(RunSettings(data=None, cache=tmp_path))
    for name, sizes in (("equal", (32, 32)), ("mixed", (32, 40))):
        write_folder(tmp_path / name, sizes)
    equal = DatasetSpec(f"imagefolder:{tmp_path / 'equal'}", recipe="crop-flip")
    assert workspace.dataset(equal).recipe == "crop-flip"
    with pytest.raises(DataError, match=r"'crop-flip' needs images of one size.*recipe=photo"):
        workspace.dataset(DatasetSpec(f"imagefolder:{tmp_path / 'mixed'}", recipe="crop-flip"))


# What views are


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


def cropped(image: np.ndarray, top: int, left: int, mirrored: bool) -> np.ndarray:
    """A window of an image [3, H, W] with four black pixels on each side, by slices."""
    padded = np.pad(image, ((0, 0), (4, 4), (4, 4)))
    window = padded[:, top : top + image.shape[1], left : left + image.shape[2]]
    return window[:, :, ::-1] if mirrored else window


@pytest.mark.parametrize("shape", [(32, 32), (8, 12)])
def test_crop_flip_cuts_the_window_that_was_drawn(shape):
    images = torch.randint(0, 256, (50, 3, *shape), generator=generator(9), dtype=torch.uint8)
    draws = generator(4)
    top, left = (torch.randint(9, (50,), generator=draws).tolist() for _ in range(2))
    mirrored = (torch.rand(50, generator=draws) < 0.5).tolist()
    expected = [cropped(*drawn) for drawn in zip(images.numpy(), top, left, mirrored, strict=True)]
    assert np.array_equal(weak(images, "crop-flip", generator(4)).numpy(), np.stack(expected))


def test_crop_flip_draws_all_windows_equally_often_and_half_of_them_mirrored():
    # All pixels differ and at least 2 × 2 of them stay in sight, so a view tells how it was made.
    image = np.arange(1, 109, dtype=np.uint8).reshape(3, 6, 6)
    ways = [(top, left, mirrored) for top in range(9) for left in range(9) for mirrored in (False, True)]
    way_of = {cropped(image, *way).tobytes(): number for number, way in enumerate(ways)}
    assert len(way_of) == 162
    views = weak(torch.from_numpy(image).expand(16_200, -1, -1, -1), "crop-flip", generator())
    counts = np.bincount([way_of[view.tobytes()] for view in views.numpy()], minlength=162)
    assert counts.sum() == 16_200
    assert ((counts - 100) ** 2 / 100).sum() < 161 + 5 * (2 * 161) ** 0.5  # χ² of 161 degrees of freedom
    assert abs(counts.reshape(81, 2)[:, 1].sum() - 8_100) < 5 * (16_200 / 4) ** 0.5


def test_a_strong_view_of_crop_flip_is_a_weak_one_changed_by_the_policy(monkeypatch):
    monkeypatch.setattr(augment, "_auto_augment", lambda policy: lambda views: views // 2)
    assert augment.RECIPES["crop-flip"].policy == augment.AutoAugmentPolicy.CIFAR10
    views = strong(noise_images(), "crop-flip", generator())
    assert torch.equal(views, weak(noise_images(), "crop-flip", generator()) // 2)


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
