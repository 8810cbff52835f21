"""The processes of a trial, as one of them sees it: who it is, and what it can ask the others.

Every process of a trial runs all of it: the same data and seeds, the same batches, the same selections. They
share the passes through backbones alone, see :mod:`lnlbench.processes.spread`. So most of a trial knows of no
team, and where it asks one of a single process, that costs nothing.

Collectives go through :mod:`torch.distributed`: by gloo where tensors are on the CPU, by NCCL where they are
on a GPU. All processes call the same ones in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as collectives

from lnlbench.basics.allocator import is_out_of_memory
from lnlbench.errors import TrialError

T = TypeVar("T")


class LostProcessError(TrialError):
    """Another process of the trial does not answer: it has failed, was killed, or takes too long."""


class Team:
    """The processes of a trial. The process group of torch is there if they are several.

    Parameters
    ----------
    rank : int
        Which of them this process is, from 0. The first one writes what a trial leaves behind.
    size : int
        How many there are. Default 1.

    Attributes
    ----------
    idle : bool
        Whether the last batch that was shared had no row for this process.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size
        self.idle = False

    def __deepcopy__(self, memo: dict[int, Any]) -> Team:
        # A copied network (a weight average, say) is that of the same process.
        return self

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return self.size == 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, rows: int, rank: int | None = None) -> slice:
        """Return which of some rows are a process's own: equally many of each, in its order.

        Parameters
        ----------
        rows : int
        rank : int, optional
            Default: this process.
        """
        number = self.rank if rank is None else rank
        return slice(number * rows // self.size, (number + 1) * rows // self.size)

    def gather(self, own: torch.Tensor, rows: int) -> torch.Tensor:
        """Return the rows of all processes, in order, the same bits in each; no gradient passes.

        Parameters
        ----------
        own : torch.Tensor, ``[n, …]``
            Those of :meth:`share`.
        rows : int
            Of all of them together.
        """
        if self.alone:
            return own
        most = -(-rows // self.size)
        padded = own.new_zeros((most, *own.shape[1:]))
        padded[: len(own)] = own
        # As bytes: not every type of number is known to every engine.
        sent = _bytes_of(padded)
        pieces = [torch.empty_like(sent) for _ in range(self.size)]
        with _answering():
            collectives.all_gather(pieces, sent)
        counts = [_length(self.share(rows, rank)) for rank in range(self.size)]
        return torch.cat(
            [
                piece.view(own.dtype).view(padded.shape)[:count]
                for piece, count in zip(pieces, counts, strict=True)
            ]
        )

    def add_up(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum over all processes, the same bits in each; ``values`` may be overwritten."""
        if not self.alone:
            with _answering():
                collectives.all_reduce(values)
        return values

    def as_first(self, values: torch.Tensor) -> torch.Tensor:
        """Return what the first process has, with the shape and type that all of them know."""
        if self.alone or not values.numel():
            return values
        sent = _bytes_of(values)
        with _answering():
            collectives.broadcast(sent, src=0)
        return sent.view(values.dtype).view(values.shape)

    def told(self, value: T) -> T:
        """Return the value of the first process: anything that can be pickled."""
        if self.alone:
            return value
        held = [value]
        with _answering():
            collectives.broadcast_object_list(held, src=0)
        return held[0]

    def heard(self, value: T) -> list[T]:
        """Return the values of all processes, in order: anything that can be pickled."""
        if self.alone:
            return [value]
        held: list[Any] = [None] * self.size
        with _answering():
            collectives.all_gather_object(held, value)
        return held


ALONE = Team()


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise LostProcessError(
            f"Another process of the trial does not answer ({str(error).partition(chr(10))[0]}).",
            "It was killed, or waited for something else. Use --retry failed.",
        ) from error


def _bytes_of(values: torch.Tensor) -> torch.Tensor:
    """Return a copy of a tensor as bytes, one after the other."""
    return values.detach().clone(memory_format=torch.contiguous_format).flatten().view(torch.uint8)


def _length(part: slice) -> int:
    return int(part.stop - part.start)
