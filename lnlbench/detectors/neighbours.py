"""Exact nearest neighbours of all samples among each other, in blocks: memory does not grow with N²."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

# 256 MiB of similarities at a time. Many queries and few candidates, because every block of queries
# reads all features once: from a file, where they are memory-mapped.
QUERIES = CANDIDATES = 8192
# Results that a process keeps: trials of one data set and seed ask for the same ones, whatever their noise.
KEPT, KEPT_BYTES = 8, 2**28

_kept: OrderedDict[str, Neighbours] = OrderedDict()


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The k nearest others of N samples, nearest first.

    Attributes
    ----------
    index : ndarray, int32 ``[N, k]``
    similarity : ndarray, float32 ``[N, k]``
        Cosines, in [−1, 1].
    """

    index: npt.NDArray[np.int32]
    similarity: npt.NDArray[np.float32]


@torch.no_grad()
def nearest_neighbours(
    features: torch.Tensor, k: int, *, queries: int = QUERIES, candidates: int = CANDIDATES
) -> Neighbours:
    """Find the k nearest others of each sample by cosine similarity.

    On normalised features that is the order of Euclidean distances. The last results are kept, and found
    again by a checksum of the features.

    Parameters
    ----------
    features : torch.Tensor, float ``[N, d]``
        On the device that computes; normalised here, block by block.
    k : int
        Fewer samples than k + 1 have fewer neighbours.
    queries, candidates : int
        Sizes of a block of similarities. Default 8,192.
    """
    samples = len(features)
    k = min(k, samples - 1)
    key = f"{_checksum(features)} {k} {queries} {candidates} {torch.get_num_threads()}"
    if key in _kept:
        _kept.move_to_end(key)
        return _kept[key]
    index = np.empty((samples, k), dtype=np.int32)
    similarity = np.empty((samples, k), dtype=np.float32)
    for start in range(0, samples, queries):
        asking = _normalised(features[start : start + queries])
        blocks = (
            (first, _normalised(features[first : first + candidates]))
            for first in range(0, samples, candidates)
        )
        best, who = _nearest(asking, blocks, k, start)
        index[start : start + queries] = who.cpu().numpy()
        similarity[start : start + queries] = best.clamp(-1.0, 1.0).cpu().numpy()
    found = Neighbours(index, similarity)
    for values in (index, similarity):
        values.flags.writeable = False  # who asks again gets the same arrays
    _kept[key] = found
    while (
        len(_kept) > KEPT
        or sum(one.index.nbytes + one.similarity.nbytes for one in _kept.values()) > KEPT_BYTES
    ):
        _kept.popitem(last=False)
    return found


def _checksum(features: torch.Tensor) -> str:
    digest = hashlib.blake2b(f"{list(features.shape)} {features.dtype} {features.device}".encode())
    for block in features.split(CANDIDATES):  # type: ignore[no-untyped-call]
        digest.update(block.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


@torch.no_grad()
def nearest_of(
    queries: torch.Tensor, features: torch.Tensor, k: int, *, candidates: int = CANDIDATES
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the k nearest of N samples for other ones, by cosine similarity.

    Parameters
    ----------
    queries, features : torch.Tensor, float ``[B, d]`` and ``[N, d]``
        Of length one already, on one device.
    k : int
        Fewer samples than k are all there is.
    candidates : int
        Samples that are compared at a time. Default 8,192.

    Returns
    -------
    similarity, index : torch.Tensor, ``[B, k]``
        Nearest first, on the device.
    """
    blocks = ((first, features[first : first + candidates]) for first in range(0, len(features), candidates))
    return _nearest(queries, blocks, k)


def _nearest(
    asking: torch.Tensor, blocks: Iterable[tuple[int, torch.Tensor]], k: int, start: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the k largest similarities of rows, and whose they are.

    ``blocks`` are of samples, with the place of the first one. If the rows are samples themselves, from
    ``start`` on, none is a neighbour of itself.
    """
    rows = torch.arange(len(asking), device=asking.device)
    best = asking.new_empty((len(asking), 0))
    who = rows.new_empty((len(asking), 0))
    for first, block in blocks:
        cosines = asking @ block.T
        if start is not None:
            own = (rows + start >= first) & (rows + start < first + len(block))
            cosines[own, rows[own] + start - first] = -torch.inf
        values, columns = cosines.topk(min(k, cosines.shape[1]), dim=1)
        best, who = torch.cat([best, values], 1), torch.cat([who, columns + first], 1)
        best, order = best.topk(min(k, best.shape[1]), dim=1)
        who = who.gather(1, order)
    return best, who


def _normalised(rows: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(rows.float(), dim=1)
