"""What a trial would do on a GPU, seen without one: torch's meta device stands in for CUDA.

Tensors of the meta device have shapes and types and no values. A trial on it runs through all its operators,
and a dispatch mode sees each of them: one that takes tensors of both devices would raise on CUDA, and is
refused; one that moves values is a crossing, for which the host waits until the device has done all that was
asked of it. Values that are read from the device are random.

Not seen: what kernels compute, and how.
"""

from __future__ import annotations

import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median_low
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lnlbench.api import Method, Phase
from lnlbench.conformance.rehearsal import META, TraceWorkspace
from lnlbench.conformance.rules import NotApplicable, Verdict, describe
from lnlbench.spec import TrialSpec
from lnlbench.trials import trial as trial_module
from lnlbench.trials.problem import Problem
from lnlbench.trials.trial import Trial
from lnlbench.trials.workspace import Workspace

_LIBRARIES = ("torch", "torchvision", "timm", "transformers", "numpy")
_FOREIGN = ("<", *(str(Path(torch.__file__).parents[1] / name) for name in _LIBRARIES))
_CORE = str(Path(__file__).parents[1])
_TRIAL = trial_module.__file__
_aten = torch.ops.aten
# Their CPU indices are moved to the device of what they index.
_INDEXING = (
    _aten.index.Tensor,
    _aten.index_put_.default,
    _aten.index_put.default,
    _aten._index_put_impl_.default,
)


class MixedDevicesError(RuntimeError):
    """An operator takes tensors of the device and of the CPU, as CUDA does not allow."""


@dataclass
class Crossings:
    """What crosses between host and device while the host waits.

    Attributes
    ----------
    places : list of str
        Operator, file and line of each crossing, in order.
    steps : list of int
        Number of crossings at the end of every training step; -1 where an epoch begins.
    """

    places: list[str] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)

    def per_step(self) -> int:
        """Return the crossings of a training step: the lower median, so that selections count for no step."""
        return crossings_per_step(self.steps)

    def frequent(self, count: int = 5) -> list[tuple[str, int]]:
        """Return the most frequent places, with how often each was."""
        return Counter(self.places).most_common(count)


def crossings_per_step(steps: Sequence[int]) -> int:
    """Return the lower median of the differences between the ends of two steps of one epoch."""
    between = [after - before for before, after in pairwise(steps) if min(before, after) >= 0]
    return median_low(between) if between else 0


def mark_steps(trial: Trial, steps: list[int], count: Callable[[], int]) -> None:
    """Let a trial append ``count()`` to ``steps`` after each training step, and -1 before each epoch."""
    epoch = trial.method.epoch

    def watched(phase: Phase) -> None:
        record = phase.record

        def step(loss: torch.Tensor) -> None:
            record(loss)
            steps.append(count())

        phase.record = step  # type: ignore[method-assign]
        steps.append(-1)
        try:
            epoch(phase)
        finally:
            phase.record = record  # type: ignore[method-assign]

    trial.method.epoch = watched  # type: ignore[method-assign]


@contextmanager
def tracing() -> Iterator[Crossings]:
    """Refuse operators that mix devices, and count crossings, inside the ``with`` block.

    Raises
    ------
    MixedDevicesError
        From the operator that takes tensors of both.
    """
    crossings = Crossings()
    with warnings.catch_warnings(), _Operators(crossings), _Constructors(crossings):
        # A state that is loaded into weights without values changes nothing, and torch says so.
        warnings.filterwarnings("ignore", message=".*copying from a non-meta parameter")
        yield crossings


class _Constructors(TorchFunctionMode):
    """Looks at what is not dispatched: tensors made of Python's numbers, and arrays made of tensors."""

    def __init__(self, crossings: Crossings) -> None:
        super().__init__()
        self.crossings = crossings

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func in (torch.Tensor.numpy, torch.Tensor.__array__) and args[0].is_meta:
            raise MixedDevicesError(
                f"an array at {_caller()} is made of a tensor of the device: call .cpu() first"
            )
        if func in (torch.tensor, torch.as_tensor) and torch.device(given.get("device") or "cpu") == META:
            self.crossings.places.append(f"{func.__name__} at {_place(_frames()[0])}")
        return func(*args, **given)


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Looks at every operator."""

    def __init__(self, crossings: Crossings) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.crossings = crossings

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        leaves = tree_leaves((args, given))
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        on_device = [tensor for tensor in tensors if tensor.is_meta]
        if not on_device and not any(isinstance(leaf, torch.device) and leaf == META for leaf in leaves):
            return func(*args, **given)
        here = [tensor for tensor in tensors if not tensor.is_meta]
        if func is _aten._to_copy.default:
            return self._to_copy(func, args[0], given)
        if func is _aten.copy_.default:
            return self._copy(func, args, given)
        if func in (_aten._local_scalar_dense.default, _aten.equal.default):
            self._cross(func)
            return _scalar(on_device[0].dtype) if func is _aten._local_scalar_dense.default else True
        if func is _aten.nonzero.default:
            self._cross(func)
            return torch.empty(_some(args[0].numel()), args[0].ndim, dtype=torch.int64, device=META)
        if func is _aten.masked_select.default:
            self._cross(func)
            return args[0].new_empty(_some(args[0].numel()))
        if func in _INDEXING:
            return self._index(func, args, given)
        generator = given.get("generator")
        if generator is not None and generator.device.type == "cpu":
            raise MixedDevicesError(f"{_name(func)} at {_caller()} draws there from a generator of the CPU")
        # Kernels take a number of the CPU as it is.
        if [tensor for tensor in here if tensor.ndim] or (here and not any(t.ndim for t in on_device)):
            self._refuse(func, tensors)
        return func(*args, **given)

    def _to_copy(self, func: Any, source: torch.Tensor, given: Mapping[str, Any]) -> torch.Tensor:
        target = torch.device(given.get("device") or source.device)
        if source.is_meta and target != META:
            self._cross(func)
            return _random(source, given.get("dtype") or source.dtype)
        if not source.is_meta and not given.get("non_blocking"):
            self._cross(func)
        copied: torch.Tensor = func(source, **given)
        return copied

    def _copy(self, func: Any, args: Sequence[Any], given: Mapping[str, Any]) -> torch.Tensor:
        target, source = args[:2]
        non_blocking = args[2] if len(args) > 2 else given.get("non_blocking", False)
        if target.is_meta != source.is_meta and not (non_blocking and target.is_meta):
            self._cross(func)
        if source.is_meta and not target.is_meta:
            source = _random(source, target.dtype)
        copied: torch.Tensor = func(target, source, *args[2:], **given)
        return copied

    def _index(self, func: Any, args: Sequence[Any], given: Mapping[str, Any]) -> Any:
        indexed, indices, *rest = args
        if not indexed.is_meta:
            self._refuse(func, [indexed, *(index for index in indices if index is not None)])
        if any(isinstance(value, torch.Tensor) and value.ndim and not value.is_meta for value in rest):
            self._refuse(func, [indexed, *(value for value in rest if isinstance(value, torch.Tensor))])
        moved = []
        for index in indices:
            if index is not None and index.dtype in (torch.bool, torch.uint8):
                self._cross(func)
                chosen = torch.empty(_some(index.numel()), dtype=torch.int64, device=META)
                moved += [chosen] * index.ndim
                continue
            if index is not None and not index.is_meta:
                self._cross(func)
                index = torch.empty(index.shape, dtype=index.dtype, device=META)
            moved.append(index)
        return func(indexed, moved, *rest, **given)

    def _cross(self, func: Any) -> None:
        self.crossings.places.append(f"{_name(func)} at {_place(_frames()[0])}")

    def _refuse(self, func: Any, tensors: Sequence[torch.Tensor]) -> None:
        where = ", ".join(
            f"{'the device' if tensor.is_meta else 'the CPU'} {list(tensor.shape)}" for tensor in tensors
        )
        raise MixedDevicesError(f"{_name(func)} at {_caller()} takes tensors of {where}")


def _name(func: Any) -> str:
    return str(func.__name__).partition(".")[0]


def _some(count: int) -> int:
    """Return how many of some elements are taken to fulfil a condition: about half."""
    return -(-count // 2)


def _random(like: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    values = torch.rand(like.shape)
    return values > 0.5 if dtype == torch.bool else values.to(dtype)


def _scalar(dtype: torch.dtype) -> Any:
    # A condition on the device is, nearly always, whether all is well.
    return True if dtype == torch.bool else (float if dtype.is_floating_point else int)(torch.rand(()))


def _frames() -> list[tuple[str, int]]:
    """Return file and line of the code that called an operator, up to the trial, the innermost first."""
    found: list[tuple[str, int]] = []
    for frame, line in traceback.walk_stack(sys._getframe(1)):
        file = frame.f_code.co_filename
        if file == _TRIAL and found:
            break
        if not file.startswith(_FOREIGN) and file != __file__:
            found.append((file, line))
    return found or [("unknown", 0)]


def _caller() -> str:
    """Return the place in the plugin, and where in the core that led to, if it did."""
    frames = _frames()
    outside = [frame for frame in frames if not frame[0].startswith(_CORE)]
    chosen = (outside or frames)[0]
    inside = "" if chosen == frames[0] else f" (in {_place(frames[0])})"
    return f"{chosen[0]}:{chosen[1]}{inside}"


def _place(frame: tuple[str, int]) -> str:
    return f"{Path(frame[0]).name}:{frame[1]}"


def judge(method_class: type[Method], spec: TrialSpec, workspace: Workspace, problem: Problem) -> Verdict:
    """Say what of a trial would fail on a GPU for the places of its tensors; None if nothing would.

    Not applicable where the trial cannot be followed without values.
    """
    try:
        with tracing():
            trial = Trial(spec, TraceWorkspace(workspace), method_class=method_class, problem=problem)
            for _ in trial.epochs():
                pass
    except MixedDevicesError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  (a plugin may raise anything at all)
        return NotApplicable(f"it cannot be followed without values: {describe(error)}")
    return None
