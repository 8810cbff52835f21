"""A folder of images in class folders, of which some lie in a wrong one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

KINDS = ("checked", "plain", "striped")


def picture(kind: str, generator: np.random.Generator, side: int = 32) -> Image.Image:
    """Return a picture in two random colours, with noise."""
    y, x = np.mgrid[0:side, 0:side] // 4 + generator.integers(0, 2, (2, 1, 1))
    pattern = {"checked": (x + y) % 2, "plain": np.zeros_like(x), "striped": x % 2}[kind]
    colours = generator.integers(0, 90, 3), generator.integers(150, 230, 3)
    pixels = np.where(pattern[..., None] == 1, *colours) + generator.normal(0, 8, (side, side, 3))
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def mislabelled_folder(
    root: Path, per_class: int = 40, share: float = 0.05, tests: int = 5, seed: int = 0
) -> dict[str, str]:
    """Write ``train/CLASS/NUMBER.png`` and ``test/CLASS/NUMBER.png``; the test images lie right.

    Returns
    -------
    dict of str to str
        The moved training files, as they lie below ``root``, with their true class.
    """
    generator = np.random.default_rng(seed)
    wrong = set(generator.choice(3 * per_class, round(share * 3 * per_class), replace=False).tolist())
    moved = {}
    for number in range(3 * (per_class + tests)):
        part = "train" if number < 3 * per_class else "test"
        kind = KINDS[number % 3]
        lies = KINDS[(number + 1) % 3] if number in wrong else kind
        name = f"{part}/{lies}/{number:03d}.png"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture(kind, generator).save(root / name)
        if lies != kind:
            moved[name] = kind
    return moved
