"""An audit from the verdicts of a finished grid: what trained methods say, instead of detectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np

from lnlbench.audit.audit_findings import Findings
from lnlbench.audit.subject import load_subject
from lnlbench.detectors.evidence import Detection
from lnlbench.errors import StoreError, UsageError
from lnlbench.records.record import Record, Status
from lnlbench.records.store import Store
from lnlbench.spec import TrialSpec
from lnlbench.trials.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd


def records_with_verdicts(store: Store, trial_ids: Sequence[str]) -> list[Record]:
    """Return the records that an audit can be made of: of one data set with one noise.

    Raises
    ------
    StoreError
        If no trial has verdicts.
    UsageError
        If they are of several data sets or noises.
    """
    wanted = set(trial_ids)
    records = [
        record
        for record in store.records()
        if record.verdicts is not None and record.status is Status.DONE and record.trial_id in wanted
    ]
    if not records:
        raise StoreError(
            f"No trial in '{store.root}' has verdicts.", "Run the grid with --verdicts, and --retry all."
        )
    problems = {(record.spec.dataset, record.spec.noise) for record in records}
    if len(problems) > 1:
        listed = "; ".join(sorted(f"{dataset.label} with {noise.label}" for dataset, noise in problems))
        raise UsageError(f"'{store.root}' holds several problems: {listed}.", "Choose one with --where.")
    return records


def findings_of_run(store: Store, records: Sequence[Record], workspace: Workspace) -> Findings:
    """Return what the methods of a grid say of its training samples.

    Each method in each tuning mode is a voice, over its seeds: it flags a sample that it predicts as
    another class in most trials, and its score is the mean of (1 + margin)/2, where the margin is the
    probability of the given label minus the largest other one. The agreement is the mean of the
    scores; it flags what most voices flag.

    Raises
    ------
    StoreError
        If verdicts are missing or damaged, or are not of the data as they are now.
    UsageError
        If the trials were given different labels.
    """
    subject = load_subject(records[0].spec, workspace)
    frames: dict[str, list[pd.DataFrame]] = {}
    for record in records:
        frame = store.verdicts(record)
        if list(frame["given"].cat.categories) != list(subject.classes) or len(frame) != len(subject):
            raise StoreError(f"The verdicts of {record.trial_id} are of other data.", "Run the grid again.")
        if not np.array_equal(frame["given"].cat.codes, subject.labels):
            raise UsageError(
                "The trials were given different labels: noise is drawn anew for each seed.",
                "Choose one with --where seed=0.",
            )
        frames.setdefault(f"{record.spec.tuning} {record.spec.method.name}", []).append(frame)
    voices = {name: _voice(subject.labels, len(subject.classes), trials) for name, trials in frames.items()}
    ballots = [np.where(voice.flags, voice.suggested, -1) for voice in voices.values()]
    flags, suggested = _majority(subject.labels, len(subject.classes), ballots)
    score = np.mean([voice.score for voice in voices.values()], axis=0)
    return Findings(subject, voices, Detection(score, flags, suggested))


def _voice(labels: np.ndarray, classes: int, trials: Sequence[pd.DataFrame]) -> Detection:
    predicted = [frame["predicted"].cat.codes.to_numpy().astype(np.int64) for frame in trials]
    ballots = [np.where(other == labels, -1, other) for other in predicted]
    flags, suggested = _majority(labels, classes, ballots)
    margin = np.mean([frame["margin"].to_numpy(dtype=np.float64) for frame in trials], axis=0)
    return Detection(((1.0 + margin) / 2.0).clip(0.0, 1.0), flags, suggested)


def _majority(
    labels: np.ndarray, classes: int, ballots: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return who is flagged by more than half of the ballots (−1: not), and the most frequent other class."""
    counts = np.zeros((len(labels), classes), dtype=np.int32)
    for ballot in ballots:
        rows = np.flatnonzero(ballot >= 0)
        counts[rows, ballot[rows]] += 1
    flags = 2 * counts.sum(axis=1) > len(ballots)
    return flags, np.where(flags, counts.argmax(axis=1), labels)


def sets_of(spec: TrialSpec) -> list[str]:
    """Return the ``--set`` texts by which an audit means the same data and labels as a trial."""
    data = spec.dataset
    sets = [
        f"dataset_options.{item.name}={getattr(data, item.name)}"
        for item in fields(data)
        if item.name not in ("name", "validation_fraction", "validation_labels")
        and getattr(data, item.name) != item.default
    ]
    path = dict(spec.noise.options).get("path")
    sets += [f"noise=file:{path}" if path else f"noise={spec.noise.label}", f"seeds={spec.seed}"]
    stated = {"labels", "path"}  # in the label
    return sets + [
        f"noise_options.{spec.noise.type}.{name}={value}"
        for name, value in spec.noise.options
        if name not in stated
    ]
