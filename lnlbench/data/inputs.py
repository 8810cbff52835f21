"""What a network is fed in a phase: live images, or cached features, behind one interface.

Whether a batch holds images or features is the phase's business; a method asks for inputs and
views by sample index and never sees the difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch

from lnlbench.data import augment
from lnlbench.data.loader import ImageTask, Workers, make_batch
from lnlbench.data.source import Images
from lnlbench.errors import PluginError
from lnlbench.models.preprocessing import Preprocessing
from lnlbench.seeding import derive_seed

Views = tuple[torch.Tensor, ...]


class Wanted(NamedTuple):
    """What a batch is to hold.

    ``inputs`` is ``"plain"`` (un-augmented), ``"weak"`` (one weak view) or None; ``weak`` and ``strong``
    are numbers of views, besides that one.
    """

    inputs: str | None = "plain"
    weak: int = 0
    strong: int = 0


class Made(NamedTuple):
    """What a batch holds: inputs (None if they were not wanted) and views."""

    inputs: torch.Tensor | None
    weak: Views
    strong: Views


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
class FileInputs:
    """Images in files: decoded, augmented, resized and cropped by worker processes, batches ahead.

    All of that happens on the CPU, also without workers, so that the result does not depend on them;
    only normalisation is left to the device. A batch of views is seeded by one draw of the generator,
    not by its state.

    Parameters
    ----------
    images, preprocessing, recipe, rows, device, channels_last
        As for :class:`ImageInputs`.
    workers : Workers
    """

    images: Images
    preprocessing: Preprocessing
    recipe: str
    rows: torch.Tensor
    device: torch.device
    workers: Workers
    channels_last: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def plain(self, index: torch.Tensor) -> torch.Tensor:
        """See :class:`Inputs`; float32 ``[B, 3, S, S]``."""
        made = self._ready(Wanted(), make_batch(self._task(index, Wanted(), 0)))
        assert made.inputs is not None
        return made.inputs

    def weak(self, index: torch.Tensor, count: int, generator: torch.Generator) -> Views:
        """See :class:`Inputs`; every call draws new views."""
        return self._views(index, Wanted(None, weak=count), generator).weak

    def strong(self, index: torch.Tensor, count: int, generator: torch.Generator) -> Views:
        """See :class:`Inputs`; every call draws new views."""
        return self._views(index, Wanted(None, strong=count), generator).strong

    def stream(
        self, batches: Sequence[torch.Tensor], wanted: Wanted, generator: torch.Generator | None
    ) -> Iterator[Made]:
        """See :func:`stream`; the generator is drawn from once, before the first batch is made."""
        random = wanted.inputs == "weak" or wanted.weak or wanted.strong
        base = _draw(generator) if generator is not None and random else 0
        tasks = (
            self._task(index, wanted, derive_seed("batch", base, number))
            for number, index in enumerate(batches)
        )
        for tensors in self.workers.map(make_batch, tasks):
            yield self._ready(wanted, tensors)

    def _views(self, index: torch.Tensor, wanted: Wanted, generator: torch.Generator) -> Made:
        if not wanted.weak and not wanted.strong:
            return Made(None, (), ())
        return self._ready(wanted, make_batch(self._task(index, wanted, _draw(generator))))

    def _task(self, index: torch.Tensor, wanted: Wanted, seed: int) -> ImageTask:
        size = self.images.size
        return ImageTask(
            images=self.images.select(self.rows[index].numpy()),
            preprocessing=self.preprocessing,
            recipe=self.recipe,
            # Not left to the images of a batch, which may have one size by chance.
            view_size=augment.PHOTO_SIZE if size is None else min(size),
            plain=wanted.inputs == "plain",
            weak=wanted.weak + (wanted.inputs == "weak"),
            strong=wanted.strong,
            seed=seed,
        )

    def _ready(self, wanted: Wanted, tensors: list[torch.Tensor]) -> Made:
        ready = [
            self.preprocessing.normalise(
                tensor.to(self.device, non_blocking=True), channels_last=self.channels_last
            )
            for tensor in tensors
        ]
        inputs = ready.pop(0) if wanted.inputs else None
        return Made(inputs, tuple(ready[: wanted.weak]), tuple(ready[wanted.weak :]))


def _draw(generator: torch.Generator) -> int:
    return int(torch.randint(2**62, (), generator=generator))


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


def stream(
    inputs: Inputs, batches: Sequence[torch.Tensor], wanted: Wanted, generator: torch.Generator
) -> Iterator[Made]:
    """Make batches one after the other; images from files are decoded ahead of time.

    Parameters
    ----------
    inputs : Inputs
    batches : sequence of torch.Tensor
        Sample indices, int64 ``[B]`` each.
    wanted : Wanted
    generator : torch.Generator
        Of the views; it is advanced.

    Yields
    ------
    Made
        One per batch.
    """
    if isinstance(inputs, FileInputs):
        yield from inputs.stream(batches, wanted, generator)
        return
    for index in batches:
        first: torch.Tensor | None = None
        if wanted.inputs == "plain":
            first = inputs.plain(index)
        elif wanted.inputs == "weak":
            (first,) = inputs.weak(index, 1, generator)
        weak = inputs.weak(index, wanted.weak, generator)
        yield Made(first, weak, inputs.strong(index, wanted.strong, generator))


def in_order(inputs: Inputs, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Go through all samples in order, un-augmented.

    Parameters
    ----------
    inputs : Inputs
    size : int
        Samples at a time.

    Yields
    ------
    index, inputs : torch.Tensor
        int64 ``[b]``, and what :meth:`Inputs.plain` returns for it.
    """
    pieces = pieces_of(len(inputs), size)
    if isinstance(inputs, FileInputs):
        for index, made in zip(pieces, inputs.stream(pieces, Wanted(), None), strict=True):
            assert made.inputs is not None
            yield index, made.inputs
        return
    for index in pieces:
        yield index, inputs.plain(index)


def pieces_of(length: int, size: int) -> list[torch.Tensor]:
    """Return 0 … length − 1 in consecutive pieces, of which the last one may be smaller than ``size``."""
    return [torch.arange(start, min(start + size, length)) for start in range(0, length, size)]
