"""Which trials are trained together: those that see the same features in the same batches."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Hashable, Iterable

from lnlbench.api import Method, Views
from lnlbench.plugins import registry
from lnlbench.spec import PhaseSpec, TrialSpec, has_images

# Heads of one product at most: more gain nothing, and their optimisers' state leaves the processor's caches.
LARGEST_GROUP = 64

# What may differ between the trials of a group, of a phase and of a trial. All else decides about batches,
# features or the start, or about how numbers are computed.
_OWN_OF_PHASE = ("epochs", "optimizer", "lr", "weight_decay", "momentum", "schedule")
_OWN_OF_TRIAL = ("phases", "method", "embedding")

# What a method's head_losses() stands for.
_STANDS_FOR = ("setup", "begin_phase", "epoch", "loss", "predict", "views")

Unit = tuple[TrialSpec, ...]


def has_head_losses(method: type[Method]) -> bool:
    """Whether a method's trials can be trained together: no subclass has changed what its hook stands for."""

    def depth(name: str) -> int:
        return next(at for at, owner in enumerate(method.__mro__) if name in vars(owner))

    own = depth("head_losses")
    if method.__mro__[own] is Method:
        return False
    return all(own <= depth(name) for name in _STANDS_FOR)


def group_key(spec: TrialSpec) -> Hashable | None:
    """Return what trials have in common that are trained together; None for one that is trained by itself.

    Parameters
    ----------
    spec : TrialSpec
        Loads its method's class.
    """
    if len(spec.phases) != 1:
        return None
    (phase,) = spec.phases
    kind = registry.phase_kinds().load(phase.kind)
    if not kind.keeps_features or (has_images(spec) and not kind.is_cached(phase)):
        return None
    method = registry.methods().load(spec.method.name)
    if not has_head_losses(method) or method.create(spec.method).views != Views():
        return None
    return _without(spec, _OWN_OF_TRIAL), _without(phase, _OWN_OF_PHASE)


def _without(value: TrialSpec | PhaseSpec, names: tuple[str, ...]) -> Hashable:
    return tuple(getattr(value, field.name) for field in dataclasses.fields(value) if field.name not in names)


def units_of(
    specs: Iterable[TrialSpec],
    jobs: int = 1,
    key: Callable[[TrialSpec], Hashable | None] = group_key,
) -> list[Unit]:
    """Return trials in units that are run one after the other: groups, and trials by themselves.

    Parameters
    ----------
    specs : iterable of TrialSpec
        In the order in which they are wanted; a group comes where its first trial would.
    jobs : int
        How many units run at the same time: no group is so large that others would have nothing to do.
    key : callable
        Returns equal values for trials that go together, None for one that goes with none.
    """
    alike: dict[Hashable, list[TrialSpec]] = {}
    for number, spec in enumerate(specs):
        found = key(spec)
        alike.setdefault(("alone", number) if found is None else found, []).append(spec)
    units: list[Unit] = []
    for together in alike.values():
        parts = max(math.ceil(len(together) / LARGEST_GROUP), min(jobs, len(together)))
        size = math.ceil(len(together) / parts)
        units += [tuple(together[start : start + size]) for start in range(0, len(together), size)]
    return units
