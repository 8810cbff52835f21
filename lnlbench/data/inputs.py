"""What a network is fed in a phase: live images, or cached features, behind one interface.

Whether a batch holds images or features is the phase's business; a method asks for inputs and
views by sample index and never sees the difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from lnlbench.data import augment
from lnlbench.data.source import Images
from lnlbench.errors import PluginError
from lnlbench.models.preprocessing import Preprocessing

Views = tuple[torch.Tensor, ...]


class Inputs(Protocol):
    """Network inputs of one split, by sample index."""

    def __len__(self) -> int:
        """Number of samples."""

    def plain(self, index: torch.Tensor) -> torch.Tensor:
        """Un-augmented inputs of the samples ``index`` (int64, ``[B]``)."""

    def weak(self, index: torch.Tensor, count: int, generator: torch.Generator) -> Views:
        """``count`` weak views of each sample, as ``count`` batches."""

    def strong(self, index: torch.Tensor, count: int, generator: torch.Generator) -> Views:
        """``count`` strong views of each sample, as ``count`` batches."""


@dataclass(frozen=True)
class ImageInputs:
    """Images, augmented and preprocessed when they are asked for.

    Parameters
    ----------
    images : Images
    preprocessing : Preprocessing
        The backbone's own.
    recipe : str
        Augmentation recipe, see :func:`lnlbench.data.augment.recipe_for`.
    rows : torch.Tensor
        Which images make up this split, int64 ``[N]``.
    """

    images: Images
    preprocessing: Preprocessing
    recipe: str
    rows: torch.Tensor
    device: torch.device
    channels_last: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def _raw(self, index: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        return self.images.take(self.rows[index].numpy())

    def _ready(self, images: torch.Tensor | list[torch.Tensor]) -> torch.Tensor:
        return self.preprocessing(images, device=self.device, channels_last=self.channels_last)

    def plain(self, index: torch.Tensor) -> torch.Tensor:
        """See :class:`Inputs`; float32 ``[B, 3, S, S]``."""
        return self._ready(self._raw(index))

    def weak(self, index: torch.Tensor, count: int, generator: torch.Generator) -> Views:
        """See :class:`Inputs`; every call draws new views."""
        if not count:
            return ()
        raw = self._raw(index)
        return tuple(self._ready(augment.weak(raw, self.recipe, generator)) for _ in range(count))

    def strong(self, index: torch.Tensor, count: int, generator: torch.Generator) -> Views:
        """See :class:`Inputs`; every call draws new views."""
        if not count:
            return ()
        raw = self._raw(index)
        return tuple(self._ready(augment.strong(raw, self.recipe, generator)) for _ in range(count))


@dataclass(frozen=True)
class FeatureInputs:
    """Features of a frozen backbone, extracted once: plain, and K weak and strong views.

    Parameters
    ----------
    plain_features : torch.Tensor
        float32 ``[M, d]`` over the whole stored split.
    weak_views, strong_views : tuple of torch.Tensor
        K arrays of the same shape.
    rows : torch.Tensor
        Which rows of the arrays make up this split, int64 ``[N]``.
    """

    plain_features: torch.Tensor
    weak_views: Views
    strong_views: Views
    rows: torch.Tensor
    device: torch.device

    def __len__(self) -> int:
        return len(self.rows)

    def plain(self, index: torch.Tensor) -> torch.Tensor:
        """See :class:`Inputs`; float32 ``[B, d]``."""
        return self.plain_features[self.rows[index]].to(self.device, non_blocking=True)

    def weak(self, index: torch.Tensor, count: int, generator: torch.Generator) -> Views:
        """See :class:`Inputs`; ``count`` different ones of the K stored views."""
        return self._choose(self.weak_views, index, count, generator)

    def strong(self, index: torch.Tensor, count: int, generator: torch.Generator) -> Views:
        """See :class:`Inputs`; ``count`` different ones of the K stored views."""
        return self._choose(self.strong_views, index, count, generator)

    def _choose(self, stored: Views, index: torch.Tensor, count: int, generator: torch.Generator) -> Views:
        if not count:
            return ()
        if len(stored) < count:
            raise PluginError(
                f"A batch of {count} augmented views was asked for, and {len(stored)} are stored.",
                "Declare how many a step needs: views = Views(weak=…, strong=…) in the method's class.",
            )
        rows = self.rows[index]
        if len(stored) == count:
            return tuple(view[rows].to(self.device) for view in stored)
        # A random ordering of the K views per sample; its first `count` entries are distinct.
        order = torch.rand(len(rows), len(stored), generator=generator).argsort(1)[:, :count]
        every = torch.stack([view[rows] for view in stored])
        sample = torch.arange(len(rows))
        return tuple(every[order[:, j], sample].to(self.device) for j in range(count))
