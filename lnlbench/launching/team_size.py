"""How many processes share a trial, and which trials cannot be shared."""

from __future__ import annotations

from collections.abc import Iterable

from lnlbench.errors import UsageError
from lnlbench.plugins import registry
from lnlbench.spec import TrialSpec, has_images


def processes_of(spec: TrialSpec, asked: int) -> int:
    """Return how many processes share a trial: one, if no image passes through a backbone in it.

    Linear probing on cached features is a matter of seconds, and what it takes is its head's steps.

    Parameters
    ----------
    spec : TrialSpec
    asked : int
        ``--processes-per-trial``.
    """
    if asked == 1 or not has_images(spec):
        return 1
    cached = (registry.phase_kinds().load(phase.kind).is_cached(phase) for phase in spec.phases)
    return 1 if all(cached) else asked


def check_shared(specs: Iterable[TrialSpec], asked: int) -> None:
    """Raise if several processes are to share a trial of a method that does not say that they can.

    Raises
    ------
    UsageError
        With the methods.
    """
    shared = dict.fromkeys(spec.method.name for spec in specs if processes_of(spec, asked) > 1)
    load = registry.methods().load
    # Of the class itself: what holds for a method need not hold for one that is derived from it.
    unable = [name for name in shared if not vars(load(name)).get("distributed", False)]
    if unable:
        able = ", ".join(name for name in shared if name not in unable)
        verb = "does" if len(unable) == 1 else "do"
        raise UsageError(
            f"{', '.join(unable)} {verb} not say that {asked} processes can share a trial "
            "(distributed = True in the class).",
            (f"Add --where method={able.replace(' ', '')}, or drop" if able else "Drop")
            + " --processes-per-trial.",
        )
