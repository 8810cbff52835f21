"""What is searched: values per setting of a phase, and their combinations."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lnlbench.basics.seeding import numpy_stream
from lnlbench.errors import UsageError, suggest
from lnlbench.grids.settings import check_value, parse_value, phase_settings, short_for
from lnlbench.grids.toml import Origin
from lnlbench.grids.tuning import kinds_of, registered_kinds
from lnlbench.records.filters import MAX_TRIALS

# The paper's Table 7. There the optimiser is searched for linear probing; Table 8 gives
# fine-tuning one of its own as well, so both phases search it here.
PAPER_SPACE: Mapping[str, tuple[Any, ...]] = {
    "lr": (1e-1, 1e-2, 1e-3, 1e-4, 1e-5),
    "optimizer": ("sgd", "adamw"),
    "weight_decay": (1e-2, 1e-3, 1e-4, 1e-5, 1e-6),
    "batch_size": (32, 64, 128),
}

_NOT_SEARCHED = {
    "epochs": "is a budget: more of it is nearly always better, and the comparison would not be fair",
    "cache": "says how a trial is run, not how it learns",
    "views": "says how a trial is run, not how it learns",
}


@dataclass(frozen=True, slots=True)
class Configuration:
    """One point of a space.

    Attributes
    ----------
    number : int
        Its place in the space, from 0; the last setting varies fastest.
    values : tuple of (name, value)
        In the order of the space.
    """

    number: int
    values: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Space:
    """A finite search space.

    Attributes
    ----------
    phase : str
        A kind of phase.
    values : mapping of name to tuple
        Values per setting of the phase, in the order in which they were given.
    """

    phase: str
    values: Mapping[str, tuple[Any, ...]]

    @property
    def size(self) -> int:
        """Number of configurations."""
        return math.prod(len(values) for values in self.values.values())

    @cached_property
    def searched(self) -> tuple[str, ...]:
        """Names of the settings that have a choice."""
        return tuple(name for name, values in self.values.items() if len(values) > 1)

    def configurations(self) -> Iterator[Configuration]:
        """Yield all configurations, in order."""
        for number, values in enumerate(itertools.product(*self.values.values())):
            yield Configuration(number, tuple(zip(self.values, values, strict=True)))

    def sample(self, count: int, seed: int) -> list[Configuration]:
        """Draw configurations without replacement.

        The draw depends on the space and the seed alone: every backbone tries the same
        configurations, and a larger draw contains the smaller one.

        Parameters
        ----------
        count : int
        seed : int

        Raises
        ------
        UsageError
            If the space has fewer.
        """
        if count > self.size:
            raise UsageError(
                f"--samples is {count}, but the space has only {self.size} configurations.",
                "Ask for fewer, or try all with --search grid.",
            )
        order = numpy_stream("search", seed, self.to_dict()).permutation(self.size)[:count]
        everything = list(self.configurations())
        return [everything[number] for number in order]

    def to_dict(self) -> dict[str, list[Any]]:
        """Values by full key, as a JSON value."""
        return {f"{self.phase}.{name}": list(values) for name, values in self.values.items()}

    def at_edge(self, name: str, value: Any) -> str | None:
        """Say at which end of its range a value lies: ``smallest``, ``largest``, or None.

        None as well for what has no order, and for a choice of one or two values, whose ends
        say nothing.
        """
        values = self.values[name]
        if len(values) < 3 or not all(type(item) in (int, float) for item in values):
            return None
        return {min(values): "smallest", max(values): "largest"}.get(value)


def check_phase(tuning: str) -> str:
    """Return a tuning mode if its hyperparameters can be searched.

    Raises
    ------
    UsageError
        If it has several phases, or does not exist.
    """
    kinds = kinds_of(tuning)
    if len(kinds) > 1:  # its trials have the hyperparameters of each kind, so those are what is searched
        searches = ", then ".join(f"--tuning {kind}" for kind in dict.fromkeys(kinds))
        raise UsageError(
            f"Tuning '{tuning}' is not searched as a whole: each phase has hyperparameters of its own.",
            f"Search {searches}, into one --write file; {tuning} uses all of them.",
        )
    return tuning


def parse_space(phase: str, texts: Sequence[str] = ()) -> Space:
    """Return the paper's space with the changes of ``--space KEY=VALUE[,VALUE]``.

    Parameters
    ----------
    phase : str
        A kind of phase.
    texts : sequence of str
        A key is a setting of the phase, as in ``lp.lr``, or short ``lr``. Its values replace
        those of the paper; one value fixes it; a key that the paper does not search is added.

    Raises
    ------
    UsageError
        For a key that cannot be searched, or a value that it cannot have.
    """
    values = dict(PAPER_SPACE)
    given: set[str] = set()
    for text in texts:
        with Origin(f"--space {text}", in_file=False).locating():
            key, separator, listing = text.partition("=")
            parts = [part.strip() for part in listing.split(",")]
            if not separator or not key.strip() or not all(parts):
                raise UsageError(
                    "This is not KEY=VALUE[,VALUE].", f"Write, for example, --space {phase}.lr=0.1,0.01."
                )
            name = _searchable(phase, key.strip())
            if name in given:
                raise UsageError(f"{name} is given twice.", "Give all of its values in one --space.")
            given.add(name)
            full = f"{phase}.{name}"
            values[name] = tuple(dict.fromkeys(check_value(full, parse_value(full, part)) for part in parts))
    space = Space(phase, values)
    if space.size > MAX_TRIALS:
        raise UsageError(
            f"The space has {space.size:,} configurations; {MAX_TRIALS:,} are the limit.",
            "Shorten it with --space KEY=VALUE[,VALUE].",
        )
    return space


def _searchable(phase: str, key: str) -> str:
    """Return the setting of the phase that a key of ``--space`` means."""
    names = phase_settings(phase)
    prefix, separator, name = key.rpartition(".")
    if separator and prefix != phase:
        other = f"Only settings of the phase that is tuned are searched, and '{key}' is none."
        if prefix in registered_kinds():
            raise UsageError(other, f"Search it in a second command with --tuning {prefix}.")
        raise UsageError(
            other,
            "A hyperparameter file holds settings of phases; change others with --set."
            if prefix.partition(".")[0] in ("methods", "dataset_options", "backbone_options", "noise_options")
            else suggest(key, [f"{phase}.{item}" for item in names if item not in _NOT_SEARCHED]),
        )
    if name in _NOT_SEARCHED and name in names:
        raise UsageError(
            f"'{name}' is not searched: it {_NOT_SEARCHED[name]}.", f"Set it: --set {phase}.{name}=…."
        )
    if name not in names:
        elsewhere = short_for(name)
        raise UsageError(
            f"Unknown key '{key}' for a search of '{phase}'"
            + (f" (there is {' and '.join(elsewhere)})." if elsewhere else "."),
            suggest(name, [item for item in names if item not in _NOT_SEARCHED]),
        )
    return name
