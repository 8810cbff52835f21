"""Images with what photos have, and how far two preprocessings of them may differ."""

from __future__ import annotations

import numpy as np
import torch


def photo(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Smooth colours, sharp edges and a little noise, as uint8 [3, H, W]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    image = np.stack([128 + 100 * np.sin((9 + c) * x + c) * np.cos(7 * y) for c in range(3)])
    image[:, height // 3 : height // 2, width // 4 : width // 2] = 230
    image += rng.normal(0, 8, image.shape)
    return torch.from_numpy(image.round().clip(0, 255).astype(np.uint8))


def assert_within_rounding(ours: torch.Tensor, theirs: torch.Tensor, std: tuple[float, ...]) -> None:
    assert ours.shape == theirs.shape
    levels = (ours - theirs).abs() * torch.tensor(std).view(1, 3, 1, 1) * 255
    assert levels.max() <= 2.01
    assert levels.mean() < 0.3
