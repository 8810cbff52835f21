"""From a grid and a space to searches: per backbone, the trials of every configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lnlbench.errors import NothingSelectedError, UsageError
from lnlbench.grids.plan import Plan
from lnlbench.grids.plan import plan as make_plan
from lnlbench.grids.resolve import PlannedTrial
from lnlbench.grids.settings import AXES, resolve_key
from lnlbench.grids.toml import Origin
from lnlbench.grids.tuning import phase_kind
from lnlbench.search.space import Configuration, Space
from lnlbench.spec import TrialSpec


@dataclass(frozen=True)
class Search:
    """The search for one backbone.

    Attributes
    ----------
    space : Space
    base : tuple of TrialSpec
        One per seed, with the settings of the grid; a configuration replaces some of them.
    configurations : tuple of Configuration
        Those that are tried.
    """

    space: Space
    base: tuple[TrialSpec, ...]
    configurations: tuple[Configuration, ...]

    @property
    def backbone(self) -> str:
        """The backbone's name in records, tables and hyperparameter files."""
        return self.base[0].backbone.label

    @property
    def epochs(self) -> int:
        """Epochs of a trial."""
        return self.base[0].epochs

    def specs(self, configuration: Configuration) -> tuple[TrialSpec, ...]:
        """Return the trials of a configuration, one per seed."""
        values = dict(configuration.values)
        return tuple(
            replace(
                spec,
                phases=tuple(
                    phase_kind(phase.kind).resolve(phase.kind, phase.settings() | values)
                    for phase in spec.phases
                ),
            )
            for spec in self.base
        )

    def trials(self) -> list[TrialSpec]:
        """Return all trials, configuration by configuration."""
        return [spec for configuration in self.configurations for spec in self.specs(configuration)]


def base_plan(
    grid: str,
    space: Space,
    *,
    method: str = "ce",
    where: Sequence[str] = (),
    sets: Sequence[str] = (),
    seeds: str | None = None,
) -> Plan:
    """Resolve a grid to the trials that a search varies.

    Parameters
    ----------
    grid : str
        Registered name or file; gives data set, noise, backbones, seeds and epochs.
    space : Space
    method : str
    where, sets, seeds
        As :func:`lnlbench.grids.plan.plan` takes them.

    Raises
    ------
    GridError, UsageError, PluginError, NothingSelectedError
        For a mistake in the grid or its changes, or one that makes the search ambiguous.
    """
    for text in sets:
        with Origin(f"--set {text}", in_file=False).locating():
            _check_change(text.partition("=")[0].strip(), space)
    return make_plan(grid, where, [*sets, f"method={method}", f"tuning={space.phase}"], seeds)


def _check_change(key: str, space: Space) -> None:
    if key in ("method", "tuning"):
        raise UsageError(f"A search has one {key}.", f"Give it as --{key}.")
    if key in AXES or key == "seed" or not key:
        return
    key = resolve_key(key)
    prefix, _, name = key.rpartition(".")
    if prefix == space.phase and name in space.values:
        raise UsageError(
            f"{key} is searched, so setting it has no effect.", f"Write --space {key}=… instead."
        )


def make_searches(
    plan: Plan, space: Space, *, samples: int | None = None, draw_seed: int = 0
) -> tuple[Search, ...]:
    """Return one search per backbone of a plan.

    Parameters
    ----------
    plan : Plan
        Of :func:`base_plan`.
    space : Space
    samples : int, optional
        Configurations to draw; default all of the space.
    draw_seed : int
        Of the draw.

    Raises
    ------
    NothingSelectedError
        If the grid excludes all of the trials.
    UsageError
        If there is more than one data set or noise setting.
    """
    base = [planned.spec for planned in plan.planned if planned.skip is None]
    if not base:
        reasons = "; ".join(dict.fromkeys(planned.skip for planned in plan.planned if planned.skip))
        raise NothingSelectedError(
            f"The grid '{plan.grid}' leaves nothing to search: {reasons}.",
            "Choose another --method or --grid.",
        )
    for axis, found in (
        ("dataset", dict.fromkeys(spec.dataset.label for spec in base)),
        ("noise", dict.fromkeys(spec.noise.label for spec in base)),
    ):
        if len(found) > 1:
            raise UsageError(
                f"A search is made on one {axis}, and the grid '{plan.grid}' has {', '.join(found)}.",
                f"Choose one with --where {axis}={next(iter(found))}.",
            )
    configurations = tuple(space.configurations() if samples is None else space.sample(samples, draw_seed))
    by_backbone: dict[str, list[TrialSpec]] = {}
    for spec in base:
        others = by_backbone.setdefault(spec.backbone.label, [])
        if any(other.seed == spec.seed for other in others):
            raise UsageError(
                f"The rows of the grid '{plan.grid}' give {spec.backbone.label} several trials per seed, "
                "so a configuration has no one score.",
                "Choose a grid that has one, or narrow this one with --where.",
            )
        others.append(spec)
    return tuple(Search(space, tuple(specs), configurations) for specs in by_backbone.values())


def search_plan(
    base: Plan, searches: Sequence[Search], command: str, left_out: Mapping[str, str] | None = None
) -> Plan:
    """Return the plan of all trials of some searches, as the store keeps it.

    Parameters
    ----------
    base : Plan
        Of :func:`base_plan`.
    searches : sequence of Search
    command : str
        The command line that continues the search.
    left_out : mapping of trial id to reason, optional
        Trials that will not be run.
    """
    left_out = left_out or {}
    trials = {spec.trial_id: spec for search in searches for spec in search.trials()}
    phase = searches[0].space.phase
    return Plan(
        grid=f"{base.grid}-{phase}-search",
        title=f"Search for the hyperparameters of {phase}. {base.title}",
        table=base.table,
        planned=tuple(PlannedTrial(spec, left_out.get(key)) for key, spec in trials.items()),
        source={**base.source, "command": command},
    )
