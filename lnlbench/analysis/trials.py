"""Trials out of the results frame, each once, with the numbers that are derived from others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import pandas as pd

from lnlbench.analysis.axes import Key, Trial
from lnlbench.record import Status


def trials_of(frame: pd.DataFrame) -> list[Trial]:
    """Return the rows of a frame as dictionaries, in order.

    A trial that several grids contain comes once. Missing values are None; ``params``,
    ``phases`` and the options are values and not JSON. Two numbers are added:

    ``cost``
        ``cost_units`` relative to the mean of CE with FFT on the same data set, noise and
        backbone, over the trials of the frame; None if there is none.
    ``train_min``
        ``train_s`` in minutes.

    Parameters
    ----------
    frame : pandas.DataFrame
        See :func:`lnlbench.analysis.frame.build_frame`.
    """
    unique = frame.drop_duplicates("trial_id").astype(object)
    trials: list[Trial] = unique.where(unique.notna(), None).to_dict("records")  # type: ignore[assignment]
    for trial in trials:
        for name in ("params", "phases", "dataset_options", "noise_options", "backbone_options"):
            trial[name] = json.loads(trial[name])
    references = _cost_references(trials)
    for trial in trials:
        units, reference = trial["cost_units"], references.get(_problem(trial))
        trial["cost"] = None if units is None or not reference else units / reference
        trial["train_min"] = None if trial["train_s"] is None else trial["train_s"] / 60
    return trials


def newest(trials: Sequence[Trial]) -> list[Trial]:
    """Return those trials that the same code made from the same data as the newest of them."""

    def code(trial: Trial) -> tuple[str | None, ...]:
        marks = ("method_fingerprint", "version", "data_fingerprint", "backbone_fingerprint")
        return tuple(trial[mark] for mark in marks)

    if not trials:
        return []
    latest = code(max(trials, key=lambda trial: trial["finished"] or ""))
    return [trial for trial in trials if code(trial) == latest]


def _problem(trial: Trial) -> Key:
    return trial["dataset"], trial["noise_label"], trial["backbone"]


def _cost_references(trials: Iterable[Trial]) -> dict[Key, float]:
    """Mean cost of CE with FFT by problem, in units; none where it was run in several ways."""
    references: dict[Key, list[Trial]] = {}
    for trial in trials:
        is_reference = trial["method"] == "ce" and trial["tuning"] == "fft"
        if is_reference and trial["status"] == Status.DONE and trial["cost_units"]:
            references.setdefault(_problem(trial), []).append(trial)
    means = {}
    for problem, found in references.items():
        if len({trial["setting"] for trial in found}) == 1:
            units = [trial["cost_units"] for trial in newest(found)]
            means[problem] = sum(units) / len(units)
    return means
