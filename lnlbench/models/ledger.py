"""The compute ledger: exact counts of samples passed through backbones and heads.

Hooks on the modules do the counting, so a plugin gets it for free and cannot forget it. The
counts do not depend on the machine, and are the basis of the cost comparison (protocol,
sections 1 and 6).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import nn

from lnlbench.basics.facts import LedgerFacts

PARTS = ("backbone", "head")
COUNTERS = tuple(f"{part}_{kind}" for part in PARTS for kind in ("forward", "forward_grad", "backward"))
BUCKETS = ("training", "evaluation", "features")


class Ledger:
    """Counts per bucket; one bucket is open at a time.

    ``training`` is what the method does in its epochs, selection passes included;
    ``evaluation`` is the runner's measuring; ``features`` are the passes that cached
    features stand for.

    Attributes
    ----------
    backward_units : float
        What a backward pass of an image through the backbone costs now. Where that is less than two
        forward passes, the difference is added up as ``backbone_backward_saved``.
    """

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, Any]] = {bucket: dict.fromkeys(COUNTERS, 0) for bucket in BUCKETS}
        self._open = self._counts["training"]
        self.backward_units = 2.0
        self._whole: int | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Ledger:
        # A copied network (a weight average, say) goes on counting into the trial's ledger.
        return self

    @contextmanager
    def bucket(self, name: str) -> Iterator[None]:
        """Count into ``name`` inside the ``with`` block."""
        before, self._open = self._open, self._counts[name]
        try:
            yield
        finally:
            self._open = before

    @contextmanager
    def standing_for(self, samples: int) -> Iterator[None]:
        """Count a pass in the ``with`` block as one of ``samples``, of which this process passes a share."""
        self._whole = samples
        try:
            yield
        finally:
            self._whole = None

    def watch(self, module: nn.Module, part: str) -> None:
        """Count every pass through ``module`` as one of ``part`` ("backbone" or "head")."""
        module.register_forward_hook(partial(self._count, part))

    def add(self, bucket: str, counter: str, samples: int) -> None:
        """Add passes that were made elsewhere (features from the cache)."""
        self._counts[bucket][counter] += samples

    def _count(self, part: str, module: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        samples = output.shape[0] if self._whole is None else self._whole
        if output.requires_grad:
            self._open[f"{part}_forward_grad"] += samples
            output.register_hook(  # type: ignore[no-untyped-call]
                partial(self._count_backward, f"{part}_backward", samples)
            )
        else:
            self._open[f"{part}_forward"] += samples

    def _count_backward(self, counter: str, samples: int, gradient: torch.Tensor) -> None:
        self._open[counter] += samples
        if counter == "backbone_backward" and self.backward_units != 2.0:
            saved = self._open.get("backbone_backward_saved", 0.0)
            self._open["backbone_backward_saved"] = saved + samples * (2.0 - self.backward_units)

    def to_dict(self) -> LedgerFacts:
        """All counts, by bucket."""
        # Counters are added up by name, so they are a plain dict in here.
        return cast("LedgerFacts", {bucket: dict(counts) for bucket, counts in self._counts.items()})

    def load(self, counts: Mapping[str, Mapping[str, Any]]) -> None:
        """Continue from saved counts."""
        for bucket, values in counts.items():
            self._counts[bucket].update(values)
