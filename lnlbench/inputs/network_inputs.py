"""What a network is fed in a phase: live images, or cached features, behind one interface.

Whether a batch holds images or features is the phase's business; a method asks for inputs and
views by sample index and never sees the difference. The way of a batch::

    Phase.batches        index, Wanted: which samples, which versions of them
      Inputs.stream        │
        FeatureInputs      ├─ rows of stored features
        ImageInputs        ├─ pixels in memory → augment → preprocess
        FileInputs         └─ ImageTask → worker: decode, augment, crop → normalised here
    Batch              ◁── a tuple of tensors, in the order of Wanted
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import ClassVar, NamedTuple

import torch

from lnlbench.basics.seeding import derive_seed
from lnlbench.data.mapped import take_rows
from lnlbench.data.source import Images
from lnlbench.errors import PluginError
from lnlbench.inputs import augment
from lnlbench.inputs.loader import ImageTask, Workers, make_batch
from lnlbench.models.preprocessing import Preprocessing
from lnlbench.models.transport import settle, to_device

Views = tuple[torch.Tensor, ...]
Pixels = torch.Tensor | Sequence[torch.Tensor]


class Wanted(NamedTuple):
    """What a batch is to hold, and in which order: inputs, weak views, strong views.

    ``inputs`` is ``"plain"`` (un-augmented), ``"weak"`` (one weak view) or None; ``weak`` and ``strong``
    are numbers of views, besides that one.
    """

    inputs: str | None = "plain"
    weak: int = 0
    strong: int = 0

    @property
    def is_random(self) -> bool:
        """Whether anything of it is augmented."""
        return self.inputs == "weak" or self.weak + self.strong > 0


PLAIN = Wanted()


class Inputs(ABC):
    """Network inputs of one split, by sample index.

    Attributes
    ----------
    extracted : bool
        They are features of a frozen backbone, made once, and not images.
    """

    extracted: ClassVar[bool] = False

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of samples."""

    @abstractmethod
    def make(self, index: torch.Tensor, wanted: Wanted, generator: torch.Generator | None) -> Views:
        """Return a batch: what is wanted, in its order.

        Parameters
        ----------
        index : torch.Tensor, int64 ``[B]``
        wanted : Wanted
        generator : torch.Generator or None
            Of the views, advanced by them; None where nothing is augmented.

        Returns
        -------
        tuple of torch.Tensor
            Of images, float32 ``[B, 3, S, S]``, or of features, ``[B, d]``.
        """

    def stream(
        self, batches: Sequence[torch.Tensor], wanted: Wanted, generator: torch.Generator | None
    ) -> Iterator[Views]:
        """Make batches one after the other; see :meth:`make`."""
        for index in batches:
            yield self.make(index, wanted, generator)

    def plain(self, index: torch.Tensor) -> torch.Tensor:
        """Return un-augmented inputs of the samples ``index``."""
        (inputs,) = self.make(index, PLAIN, None)
        return inputs

    def in_order(self, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Go through all samples in order, un-augmented, ``size`` at a time.

        Yields
        ------
        index, inputs : torch.Tensor
            int64 ``[b]``, and what :meth:`plain` returns for it.
        """
        pieces = pieces_of(len(self), size)
        for index, (inputs,) in zip(pieces, self.stream(pieces, PLAIN, None), strict=True):
            yield index, inputs


@dataclass(frozen=True)
class ImageInputs(Inputs):
    """Images in memory, augmented and preprocessed when they are asked for.

    Parameters
    ----------
    images : Images
    preprocessing : Preprocessing
        The backbone's own.
    recipe : str
        Name of the augmentation recipe, see :data:`lnlbench.inputs.augment.RECIPES`.
    rows : torch.Tensor
        Which images make up this split, int64 ``[N]``.
    device : torch.device
    channels_last : bool
        Memory layout of what is made.
    """

    images: Images
    preprocessing: Preprocessing
    recipe: str
    rows: torch.Tensor
    device: torch.device
    channels_last: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def make(self, index: torch.Tensor, wanted: Wanted, generator: torch.Generator | None) -> Views:
        """See :class:`Inputs`; every call draws new views."""
        held = self._held if wanted.inputs == "plain" else None
        raw: Pixels = ()
        if wanted.is_random or held is None:
            raw = self.images.take(self.rows[index].numpy())
        versions: list[Pixels] = []
        if wanted.inputs == "plain":
            versions.append(raw if held is None else held[to_device(index, self.device)])
        if wanted.is_random:
            assert generator is not None
            weak = wanted.weak + (wanted.inputs == "weak")
            for count, augmented in ((weak, augment.weak), (wanted.strong, augment.strong)):
                versions += [augmented(raw, self.recipe, generator) for _ in range(count)]
        return tuple(self._preprocessed(version) for version in versions)

    def _preprocessed(self, images: Pixels) -> torch.Tensor:
        if isinstance(images, torch.Tensor):
            images = to_device(images, self.device)
        return self.preprocessing(images, device=self.device, channels_last=self.channels_last)

    @cached_property
    def _held(self) -> torch.Tensor | None:
        """Un-augmented pixels of the split on the device, uint8 ``[N, 3, H, W]``, if they stay there."""
        if self.images.size is None or not len(self):
            return None

        def take(positions: torch.Tensor) -> torch.Tensor:
            return torch.as_tensor(self.images.take(self.rows[positions].numpy()))

        return settle(len(self), take, self.device)


@dataclass(frozen=True)
class FileInputs(ImageInputs):
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

    workers: Workers = field(kw_only=True)

    def make(self, index: torch.Tensor, wanted: Wanted, generator: torch.Generator | None) -> Views:
        """See :class:`Inputs`; every call draws new views."""
        return self._ready(make_batch(self._task(index, wanted, _draw(generator, wanted))))

    def stream(
        self, batches: Sequence[torch.Tensor], wanted: Wanted, generator: torch.Generator | None
    ) -> Iterator[Views]:
        """See :class:`Inputs`; the generator is drawn from once, before the first batch is made.

        What a method draws between two batches could otherwise not come after the views of batches
        that workers have made ahead.
        """
        base = _draw(generator, wanted)
        tasks = (
            self._task(index, wanted, derive_seed("batch", base, number))
            for number, index in enumerate(batches)
        )
        for tensors in self.workers.map(make_batch, tasks):
            yield self._ready(tensors)

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

    def _ready(self, tensors: list[torch.Tensor]) -> Views:
        return tuple(
            self.preprocessing.normalise(to_device(tensor, self.device), channels_last=self.channels_last)
            for tensor in tensors
        )


def _draw(generator: torch.Generator | None, wanted: Wanted) -> int:
    """Draw the seed of views; what is not augmented takes none, and advances nothing."""
    if generator is None or not wanted.is_random:
        return 0
    return int(torch.randint(2**62, (), generator=generator))


@dataclass(frozen=True)
class FeatureInputs(Inputs):
    """Features of a frozen backbone, extracted once: plain, and K weak and strong views.

    Parameters
    ----------
    plain_features : torch.Tensor
        float32 ``[M, d]`` over the whole stored split.
    weak_views, strong_views : tuple of torch.Tensor
        K arrays of the same shape.
    rows : torch.Tensor
        Which rows of the arrays make up this split, int64 ``[N]``.
    device : torch.device
    """

    plain_features: torch.Tensor
    weak_views: Views
    strong_views: Views
    rows: torch.Tensor
    device: torch.device

    extracted: ClassVar[bool] = True

    def __len__(self) -> int:
        return len(self.rows)

    def make(self, index: torch.Tensor, wanted: Wanted, generator: torch.Generator | None) -> Views:
        """See :class:`Inputs`; views are different ones of the K stored ones."""
        first: Views = ()
        if wanted.inputs == "plain":
            first = self._rows_of((self.plain_features,), self._held_plain, index)
        elif wanted.inputs == "weak":
            first = self._choose(self.weak_views, self._held_weak, index, 1, generator)
        weak = self._choose(self.weak_views, self._held_weak, index, wanted.weak, generator)
        strong = self._choose(self.strong_views, self._held_strong, index, wanted.strong, generator)
        return first + weak + strong

    def _choose(
        self,
        stored: Views,
        held: Views | None,
        index: torch.Tensor,
        count: int,
        generator: torch.Generator | None,
    ) -> Views:
        if not count:
            return ()
        if len(stored) < count:
            raise PluginError(
                f"A batch of {count} augmented views was asked for, and {len(stored)} are stored.",
                "Declare how many a step needs: views = Views(weak=…, strong=…) in the method's class.",
            )
        if len(stored) == count:
            return self._rows_of(stored, held, index)
        # A random ordering of the K views per sample; its first `count` entries are distinct.
        order = torch.rand(len(index), len(stored), generator=generator).argsort(1)[:, :count]
        if held is None:
            every = torch.stack([take_rows(view, self.rows[index]) for view in stored])
        else:
            every = torch.stack(self._rows_of(stored, held, index))
            order = to_device(order, self.device)
        sample = torch.arange(len(index), device=every.device)
        return tuple(to_device(every[order[:, j], sample], self.device) for j in range(count))

    def _rows_of(self, stored: Views, held: Views | None, index: torch.Tensor) -> Views:
        """Return some rows of arrays, on the device: of what is held there, if it is."""
        if held is not None:
            positions = to_device(index, self.device)
            return tuple(array[positions] for array in held)
        rows = self.rows[index]
        return tuple(to_device(take_rows(array, rows), self.device) for array in stored)

    @cached_property
    def _held_plain(self) -> Views | None:
        return self._settled((self.plain_features,))

    @cached_property
    def _held_weak(self) -> Views | None:
        return self._settled(self.weak_views)

    @cached_property
    def _held_strong(self) -> Views | None:
        return self._settled(self.strong_views)

    def _settled(self, stored: Views) -> Views | None:
        """Return rows of this split of all arrays on the device, if they all stay there."""
        found = []
        for array in stored if len(self) else ():
            settled = settle(len(self), partial(_take, array, self.rows), self.device)
            if settled is None:
                return None
            found.append(settled)
        return tuple(found) or None


def _take(array: torch.Tensor, rows: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    return take_rows(array, rows[positions])


def pieces_of(length: int, size: int) -> list[torch.Tensor]:
    """Return 0 … length − 1 in consecutive pieces, of which the last one may be smaller than ``size``."""
    return [torch.arange(start, min(start + size, length)) for start in range(0, length, size)]
