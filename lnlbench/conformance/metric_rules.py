"""Checks of a metric: what it says of itself, and what it makes of predictions that are unlike each other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch

from lnlbench.api.metric import Metric, Predictions
from lnlbench.conformance.rules import NotApplicable, Rule, Verdict, rule
from lnlbench.plugins.describe import Description
from lnlbench.records.frame_columns import SCHEMA
from lnlbench.records.metric_columns import RULES, SPLITS

# Sums in another order differ in their last digits.
TOLERANCE = 1e-9
_READ = ("title", "unit", "better", "decimals", "meaning")


@dataclass(frozen=True)
class MetricSubject:
    """A metric under its name.

    Attributes
    ----------
    name : str
    metric : Metric
    described : Description
        What tables read of it, from its source.
    """

    name: str
    metric: Metric
    described: Description

    def value(self, predictions: Predictions) -> float | None:
        """Return what it measures, on a copy that it cannot spoil.

        Raises
        ------
        TypeError, ValueError
            If that is neither None nor a number.
        """
        with np.errstate(all="ignore"):
            found = self.metric.measure(_copy(predictions))
        return None if found is None else float(found)


def make_predictions(
    samples: int, classes: int, *, labels: Any = None, right: float = 0.7, scale: float = 2.0, seed: int = 0
) -> Predictions:
    """Return the predictions of random logits, of which a share has its largest at the label.

    Parameters
    ----------
    samples, classes : int
    labels : array of int, optional
        Default: random ones.
    right : float, default 0.7
    scale : float, default 2
        Of the logits: the larger, the more confident.
    seed : int, default 0
    """
    generator = np.random.default_rng(seed)
    given = generator.integers(classes, size=samples) if labels is None else np.asarray(labels)
    logits = scale * generator.normal(size=(samples, classes))
    rows, ahead = np.arange(samples), generator.random(samples) < right
    chosen = np.where(ahead, given, (given + 1) % classes)
    logits[rows, chosen] = logits.max(1) + scale
    odds = np.exp(logits - logits.max(1, keepdims=True))
    chances = odds / odds.sum(1, keepdims=True)
    return Predictions(
        given.astype(np.int64),
        chosen.astype(np.int64),
        chances[rows, chosen],
        chances[rows, given],
        (logits > logits[rows, given][:, None]).sum(1).astype(np.int64),
        classes,
    )


def splits() -> Iterator[tuple[str, Predictions]]:
    """Yield splits as trials can have them, each with words for it."""
    yield "257 samples of 10 classes", make_predictions(257, 10)
    yield "a split that is all right", make_predictions(60, 5, right=1.0)
    yield "a split that is all wrong", make_predictions(60, 5, right=0.0)
    yield "confidences that are 0 or 1", make_predictions(64, 4, scale=1e4)
    yield "two classes", make_predictions(33, 2, right=0.5)
    yield "50 samples of 200 classes", make_predictions(50, 200)
    yield "a split of one class", make_predictions(20, 3, labels=np.ones(20, dtype=np.int64))
    yield "one sample that is right", make_predictions(1, 10, right=1.0)
    yield "one sample that is wrong", make_predictions(1, 10, right=0.0)


METRIC_SOURCE_RULES: list[Rule[MetricSubject]] = []
METRIC_RULES: list[Rule[MetricSubject]] = []


@rule("documented", METRIC_SOURCE_RULES)
def metric_has_summary(subject: MetricSubject) -> Verdict:
    """The class has a docstring, whose first line lists show, or a meaning for captions."""
    said = type(subject.metric).__doc__ if "__doc__" in vars(type(subject.metric)) else None
    return (
        None
        if (said or subject.metric.meaning).strip()
        else f"class {type(subject.metric).__name__} has none"
    )


@rule("name", METRIC_SOURCE_RULES)
def metric_name_is_free(subject: MetricSubject) -> Verdict:
    """Its name is no column of the results frame, and neither are the columns that it brings."""
    brought = (f"{subject.name}_{one}" for one in RULES), (f"{split}_{subject.name}" for split in SPLITS)
    taken = [name for name in (subject.name, *(one for group in brought for one in group)) if name in SCHEMA]
    return f"'{taken[0]}' is a column already: choose another name" if taken else None


@rule("attributes", METRIC_SOURCE_RULES)
def metric_attributes_are_literals(subject: MetricSubject) -> Verdict:
    """Title, unit, better, decimals and meaning are literals that tables can read, with values they know."""
    metric = subject.metric
    for name in _READ:
        default = next(item.default for item in fields(Description) if item.name == name)
        value, read = getattr(metric, name), getattr(subject.described, name)
        if type(value) is not type(default):
            return f"{name} is {value!r}, not of type {type(default).__name__}"
        if value != read:
            return f"{name} is {value!r}, and tables read {read!r} from its source: write it as a literal"
    if metric.better not in ("higher", "lower", ""):
        return f"better is '{metric.better}': it is 'higher', 'lower' or ''"
    if not 0 <= metric.decimals <= 10:
        return f"decimals is {metric.decimals}: it lies in 0 … 10"
    low, high = metric.bounds
    if low is not None and high is not None and low >= high:
        return f"bounds are {metric.bounds}: the first is below the second"
    return None


@rule("measures", METRIC_RULES)
def metric_is_a_number(subject: MetricSubject) -> Verdict:
    """Of 257 samples of 10 classes it makes a finite number."""
    what, predictions = next(splits())
    value = subject.value(predictions)
    return f"it is {value} for {what}" if value is None or not math.isfinite(value) else None


@rule("splits", METRIC_RULES)
def metric_takes_any_split(subject: MetricSubject) -> Verdict:
    """Of a split of any size, with absent classes or nothing right, it makes a finite number or None."""
    for what, predictions in splits():
        try:
            value = subject.value(predictions)
        except Exception as error:  # noqa: BLE001  (a plugin may raise anything at all)
            return f"it raises {type(error).__name__} for {what} ({error})"
        if value is not None and not math.isfinite(value):
            return f"it is {value} for {what}: return None where it is not defined"
    return None


@rule("bounds", METRIC_RULES)
def metric_keeps_its_bounds(subject: MetricSubject) -> Verdict:
    """Its values lie in the bounds that it declares."""
    low, high = subject.metric.bounds
    if low is None and high is None:
        return NotApplicable("it declares none, as bounds = (0.0, 100.0), with None for an open end")
    for what, predictions in splits():
        value = subject.value(predictions)
        if value is not None and not (
            (low is None or value >= low - TOLERANCE) and (high is None or value <= high + TOLERANCE)
        ):
            return f"it is {value:g} for {what}, and its bounds are {subject.metric.bounds}"
    return None


@rule("order", METRIC_RULES)
def metric_does_not_know_the_order(subject: MetricSubject) -> Verdict:
    """Its value does not depend on the order of the samples."""
    for what, predictions in splits():
        order = np.random.default_rng(1).permutation(len(predictions))
        for name, moved in (("reversed", order[::-1].copy()), ("shuffled", order)):
            first, second = subject.value(predictions), subject.value(_taken(predictions, moved))
            if not _equal(first, second):
                return f"it is {first} for {what}, and {second} when they are {name}"
    return None


@rule("repeats", METRIC_RULES)
def metric_remembers_nothing(subject: MetricSubject) -> Verdict:
    """The same split has the same value after others; no array and no global random state is changed."""
    known = list(splits())
    before, states = (
        [subject.value(predictions) for _, predictions in known],
        (_random_state(), torch.get_rng_state()),
    )
    for (what, predictions), value in reversed(list(zip(known, before, strict=True))):
        mine = _copy(predictions)
        with np.errstate(all="ignore"):
            again = subject.metric.measure(mine)
        if not _equal(value, None if again is None else float(again)):
            return f"it is {value} for {what}, and {again} the second time"
        changed = [
            name for name in _ARRAYS if not np.array_equal(getattr(mine, name), getattr(predictions, name))
        ]
        if changed:
            return f"it changes predictions.{changed[0]}"
    if _random_state() != states[0] or not torch.equal(torch.get_rng_state(), states[1]):
        return "it draws from a global random generator"
    return None


@rule("nan", METRIC_RULES)
def metric_hides_no_nan(subject: MetricSubject) -> Verdict:
    """A confidence or probability that is no number is not hidden: the value is none either, or an error."""
    predictions = make_predictions(257, 10)
    for name in ("confidence", "probability"):
        values: dict[float, float | None] = {}
        for what in (0.05, 0.95, math.nan):
            array = getattr(predictions, name).copy()
            array[100] = what
            values[what] = None
            with suppress(Exception):
                values[what] = subject.value(replace(predictions, **{name: array}))
        broken = values[math.nan]
        if values[0.05] != values[0.95] and broken is not None and math.isfinite(broken):
            return f"it depends on predictions.{name}, and is {broken:g} where one of them is NaN"
    return None


@rule("better", METRIC_RULES)
def metric_prefers_what_is_right(subject: MetricSubject) -> Verdict:
    """By the direction that it declares, predictions that are all right are no worse than ones all wrong."""
    if not subject.metric.better:
        return NotApplicable("it declares no direction")
    right, wrong = (subject.value(make_predictions(60, 5, right=share)) for share in (1.0, 0.0))
    if right is None or wrong is None:
        return NotApplicable("it is not defined where all are right, or all are wrong")
    worse = right < wrong if subject.metric.better == "higher" else right > wrong
    return (
        f"better is '{subject.metric.better}', and all right is {right:g}, all wrong {wrong:g}"
        if worse
        else None
    )


_ARRAYS = ("labels", "predicted", "confidence", "probability", "rank")


def _taken(predictions: Predictions, rows: Any) -> Predictions:
    return replace(predictions, **{name: getattr(predictions, name)[rows] for name in _ARRAYS})


def _copy(predictions: Predictions) -> Predictions:
    return _taken(predictions, np.arange(len(predictions)))


def _equal(first: float | None, second: float | None) -> bool:
    if first is None or second is None:
        return first is second
    return first == second or abs(first - second) <= TOLERANCE * max(1.0, abs(first))


def _random_state() -> tuple[bytes, int]:
    state: Any = np.random.get_state(legacy=True)
    return state[1].tobytes(), int(state[2])
