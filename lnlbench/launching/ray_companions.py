"""Companions under Ray: an actor for each, in the placement group of the trial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import ray
from ray.util.placement_group import get_current_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from lnlbench.basics.allocator import settle_imports
from lnlbench.launching.companions import Companions, Ending, take_part
from lnlbench.launching.meeting import Meeting
from lnlbench.spec import TrialSpec
from lnlbench.trials.workspace import RunSettings, Workspace


class _Member:
    """One process of a trial, on the node of its bundle."""

    def __init__(self, settings: RunSettings, rank: int) -> None:
        settle_imports()
        self._workspace = Workspace(settings, clean_workers=True)
        self._rank = rank

    def take_part(self, spec: dict[str, Any], meeting: Meeting) -> Ending:
        return take_part(TrialSpec.from_dict(spec), meeting, self._rank, self._workspace)


class RayCompanions(Companions):
    """Actors for one trial; to be made in the worker process of the trial.

    Its placement group has a bundle for each process, alike, of which the first is the worker's own. They end
    with it, however it ends.

    Parameters
    ----------
    settings : RunSettings
        Of this process.
    """

    def __init__(self, settings: RunSettings) -> None:
        self.size = settings.processes
        self.host: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        self._settings = settings
        self._actors: list[Any] = []
        self._asked: list[Any] = []

    def begin(self, spec: TrialSpec, meeting: Meeting) -> None:
        """Let all of them run a trial."""
        group = get_current_placement_group()
        assert group is not None
        bundles = group.bundle_specs
        for rank in range(1, self.size):
            gpus = bundles[rank].get("GPU", 0)
            actor: Any = ray.remote(_Member).options(
                num_cpus=bundles[rank].get("CPU", 0),
                num_gpus=gpus,
                scheduling_strategy=PlacementGroupSchedulingStrategy(group, rank),
            )
            self._actors.append(actor.remote(replace(self._settings, gpus=gpus or None), rank))
        self._asked = [actor.take_part.remote(spec.to_dict(), meeting) for actor in self._actors]

    def outcomes(self, seconds: float) -> Sequence[Ending | None]:
        """Return how the trial ended in each of them; None where it has not after some seconds."""
        done, _ = ray.wait(self._asked, num_returns=len(self._asked), timeout=seconds)
        return [_outcome(asked) if asked in done else None for asked in self._asked]

    def end(self) -> None:
        """End them at once."""
        for actor in self._actors:
            ray.kill(actor)
        self._actors, self._asked = [], []


def _outcome(asked: Any) -> Ending:
    try:
        found: Ending = ray.get(asked)
    except ray.exceptions.RayError as error:
        return Ending(death=str(error).strip().partition("\n")[0], trace=str(error))
    return found
