"""Position embeddings that are interpolated in every pass, with a gradient that repeats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch.nn import functional
from torch.overrides import TorchFunctionMode


class InterpolatesOnCpu(TorchFunctionMode):
    """Interpolates on the CPU, where the gradient has a fixed order of summation; on a GPU it has none.

    Position embeddings are small, and are interpolated once a pass. Interpolated once for all, they would
    be other parameters, which learn otherwise.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is not functional.interpolate or not args:
            return func(*args, **kwargs)
        values, *rest = args
        return func(values.cpu(), *rest, **kwargs).to(values.device)
