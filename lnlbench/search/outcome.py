"""What a search learns from its trials: validation accuracy, and nothing else.

Choosing by test accuracy would make the test set a training set. So the functions that choose
are given :class:`Curve` objects, and no record.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from lnlbench.errors import UsageError, suggest
from lnlbench.records.record import Record, Status
from lnlbench.search.design import Search
from lnlbench.search.space import Configuration, Space

# Accuracy of an epoch is a ratio of counts, so means that differ by less are equal.
_DIGITS = 9

_TEST_METRICS = ("best", "last", "oracle", "label_wave", "test")


@dataclass(frozen=True, slots=True)
class Curve:
    """Validation accuracy of one trial.

    Attributes
    ----------
    accuracies : tuple of float
        In percent, one per epoch; empty if no epoch was finished.
    samples : int
        Size of the validation set, 0 if unknown.
    """

    accuracies: tuple[float, ...]
    samples: int = 0


# Value of a curve; `best` is that of the epoch that a table's `best` is taken from.
METRICS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "best_validation": max,
    "last_validation": lambda accuracies: accuracies[-1],
}


def check_metric(name: str) -> str:
    """Return the name of a metric that a search may use.

    Raises
    ------
    UsageError
        For any other; for test accuracies with the reason.
    """
    if name in _TEST_METRICS or name.startswith("test"):
        raise UsageError(
            f"'{name}' is a test accuracy: hyperparameters chosen by it would have been trained on the test "
            "set, and no result that uses them could be believed.",
            f"Use {' or '.join(METRICS)}.",
        )
    if name not in METRICS:
        raise UsageError(f"Unknown metric '{name}'.", suggest(name, METRICS))
    return name


class State(StrEnum):
    """What became of a configuration."""

    DONE = "done"
    DIVERGED = "diverged"  # its loss or its predictions were not finite: a result of the search
    FAILED = "failed"
    STOPPED = "stopped"  # by the scheduler, for lack of promise
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class Result:
    """A configuration with what is known of it.

    Attributes
    ----------
    configuration : Configuration
    state : State
    curves : tuple of Curve
        One per seed, complete if the state is done.
    """

    configuration: Configuration
    state: State
    curves: tuple[Curve, ...] = ()

    def score(self, metric: str) -> float:
        """Return the mean of a metric over seeds, in percent."""
        values = [METRICS[metric](curve.accuracies) for curve in self.curves]
        return round(math.fsum(values) / len(values), _DIGITS)

    def standard_error(self, metric: str) -> float:
        """Return the binomial standard error of the score, in percentage points.

        √(p(1 − p)/n) for accuracy p on n validation samples, of a mean over seeds. What the
        choice of the best of many adds is not in it, nor is what training adds.
        """
        variances = []
        for curve in self.curves:
            p = METRICS[metric](curve.accuracies) / 100
            variances.append(p * (1 - p) / curve.samples)
        return 100 * math.sqrt(math.fsum(variances)) / len(variances)

    def best_epoch(self) -> int:
        """Return the first epoch of highest validation accuracy, from 1; of the first seed."""
        accuracies = self.curves[0].accuracies
        return accuracies.index(max(accuracies)) + 1


def curve_of(record: Record) -> Curve:
    """Return what a search may see of a record."""
    return Curve(
        tuple(float(entry["validation"]) for entry in record.history), int(record.data.get("validation", 0))
    )


def collect(
    search: Search, records: Iterable[Record], stopped: Mapping[str, Curve] | None = None
) -> list[Result]:
    """Return a result for every configuration of a search, in the order of the search.

    Parameters
    ----------
    search : Search
    records : iterable of Record
    stopped : mapping of trial id to Curve, optional
        Trials that a scheduler ended early.
    """
    stopped = stopped or {}
    states: dict[str, State] = {}
    curves: dict[str, Curve] = dict(stopped)
    for record in records:
        states[record.trial_id] = _state(record)
        curves[record.trial_id] = curve_of(record)
    results = []
    for configuration in search.configurations:
        ids = [spec.trial_id for spec in search.specs(configuration)]
        found = {states.get(key, State.STOPPED if key in stopped else State.PENDING) for key in ids}
        # The first that any seed has, in the order of how much it says about the configuration.
        order = (State.DIVERGED, State.FAILED, State.STOPPED, State.PENDING, State.DONE)
        state = next(state for state in order if state in found)
        known = tuple(curves[key] for key in ids if key in curves)
        results.append(Result(configuration, state, known))
    return results


def _state(record: Record) -> State:
    if record.status is Status.DONE:
        return State.DONE
    # The trial's own check that loss and predictions are finite raises this one.
    diverged = record.error is not None and record.error.get("type") == "TrialError"
    return State.DIVERGED if diverged else State.FAILED


def rank(results: Iterable[Result], metric: str) -> list[Result]:
    """Return the configurations that are done, best first.

    Ties are broken by the other metric, then by the order of the space.
    """
    (other,) = (name for name in METRICS if name != metric)
    return sorted(
        (result for result in results if result.state is State.DONE),
        key=lambda result: (-result.score(metric), -result.score(other), result.configuration.number),
    )


def within_noise(ranked: Sequence[Result], metric: str) -> int:
    """Count the configurations, the best left out, that are within its standard error of it."""
    best = ranked[0]
    least = best.score(metric) - best.standard_error(metric)
    return sum(result.score(metric) >= least for result in ranked[1:])


@dataclass(frozen=True, slots=True)
class Effect:
    """How much one setting mattered.

    Attributes
    ----------
    name : str
    best : dict
        Highest score with each value, in percent; values that no finished configuration has
        are left out.
    share : float
        Share of the scores' variance that lies between the means of the values (η²), in [0, 1].
    """

    name: str
    best: Mapping[object, float]
    share: float

    @property
    def spread(self) -> float:
        """Points that the worst choice of this setting loses, all others chosen freely."""
        return max(self.best.values()) - min(self.best.values())


def effects(ranked: Sequence[Result], space: Space, metric: str) -> list[Effect]:
    """Return the effect of every searched setting, the largest share first."""
    scores = {result.configuration: result.score(metric) for result in ranked}
    mean = math.fsum(scores.values()) / len(scores)
    total = math.fsum((score - mean) ** 2 for score in scores.values())
    found = []
    for name in space.searched:
        groups: dict[object, list[float]] = {}
        for configuration, score in scores.items():
            groups.setdefault(dict(configuration.values)[name], []).append(score)
        between = math.fsum(
            len(group) * (math.fsum(group) / len(group) - mean) ** 2 for group in groups.values()
        )
        best = {value: max(groups[value]) for value in space.values[name] if value in groups}
        found.append(Effect(name, best, between / total if total else 0.0))
    return sorted(found, key=lambda effect: -effect.share)
