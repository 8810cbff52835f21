"""AutoAugment in batches gives what torchvision gives an image at a time, bit for bit."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import AutoAugmentPolicy

from lnlbench.inputs.auto_augment import BatchedAutoAugment, Operation

FILL = (128, 0, 255)
GEOMETRIC = ["ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"]
COLOURS = ["Brightness", "Color", "Contrast", "Sharpness"]
STRENGTHS = {
    **{key: [-0.3, -1 / 30, 0.0, 0.1, 0.3] for key in ("ShearX", "ShearY")},
    **{key: [-14.501, -1.6, 0.0, 3.2, 14.501] for key in ("TranslateX", "TranslateY")},
    "Rotate": [-30.0, -10 / 3, 0.0, 20.0, 30.0],
    **{key: [-0.9, -0.3, 0.0, 0.1, 0.5, 0.9] for key in COLOURS},
    "Posterize": [4.0, 5.0, 6.0, 7.0, 8.0],
    "Solarize": [0.0, 1 / 9, 0.5, 8 / 9, 1.0],
    **{key: [0.0] for key in ("AutoContrast", "Equalize", "Invert")},
}


def noise(count: int, height: int, width: int) -> torch.Tensor:
    """Return random images, of which the first is of one colour and the second nearly."""
    draw = torch.Generator().manual_seed(height)
    images = torch.randint(256, (count, 3, height, width), generator=draw, dtype=torch.uint8)
    images[0] = 77
    images[1] = images[1] // 64 + 100
    return images


@pytest.mark.parametrize(("height", "width", "count"), [(8, 8, 64), (32, 32, 128), (21, 33, 48), (2, 5, 16)])
@pytest.mark.parametrize("policy", AutoAugmentPolicy)
def test_a_batch_is_what_torchvision_makes_of_its_images(
    policy: AutoAugmentPolicy, height: int, width: int, count: int
) -> None:
    images = noise(count, height, width)
    before = images.clone()
    one_by_one, batched = v2.AutoAugment(policy, fill=list(FILL)), BatchedAutoAugment(policy, FILL)
    for seed in range(3):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            expected = torch.stack([one_by_one(image) for image in images])
            torch.manual_seed(seed)
            found = batched(images)
        assert torch.equal(found, expected)
        assert found.dtype == torch.uint8
        assert not torch.equal(found, images)
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", STRENGTHS)
@pytest.mark.parametrize("side", [32, 300])  # at 300 px, sums of pixels are no longer exact
def test_each_operation_in_each_strength(name: str, side: int) -> None:
    one_by_one = v2.AutoAugment(AutoAugmentPolicy.CIFAR10, fill=list(FILL))
    batched = BatchedAutoAugment(AutoAugmentPolicy.CIFAR10, FILL)
    strengths = STRENGTHS[name] * 2
    operations = sorted(Operation(name, strength) for strength in strengths)
    images = noise(max(2, len(operations)), side, side + 3)
    operations += operations[-1:] * (len(images) - len(operations))
    expected = [
        one_by_one._apply_image_or_video_transform(
            image, *operation, interpolation=one_by_one.interpolation, fill={torch.Tensor: list(FILL)}
        )
        for image, operation in zip(images, operations, strict=True)
    ]
    found = batched.apply("" if name in GEOMETRIC else name, images, operations)
    assert torch.equal(found, torch.stack(expected))


def test_every_operation_of_torchvision_is_tried_above() -> None:
    assert STRENGTHS.keys() == v2.AutoAugment._AUGMENTATION_SPACE.keys()


def test_policies_are_drawn_alike_and_operations_as_often_as_they_say() -> None:
    batched = BatchedAutoAugment(AutoAugmentPolicy.SVHN, FILL)
    policies = v2.AutoAugment(AutoAugmentPolicy.SVHN)._policies
    expected = sum(probability for policy in policies for _, probability, _ in policy) / len(policies)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        drawn = batched.draw(20_000, 32, 32)
    assert sum(map(len, drawn)) / len(drawn) == pytest.approx(expected, abs=0.02)
    signed = [o.strength for each in drawn for o in each if o.name in (*GEOMETRIC, *COLOURS) and o.strength]
    assert sum(strength > 0 for strength in signed) / len(signed) == pytest.approx(0.5, abs=0.02)


def test_no_image_is_a_batch_too() -> None:
    empty = torch.empty(0, 3, 8, 8, dtype=torch.uint8)
    assert BatchedAutoAugment(AutoAugmentPolicy.CIFAR10, FILL)(empty).shape == (0, 3, 8, 8)
