"""What is sent of an epoch and of a trial: flat, finite numbers and short texts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lnlbench.spec import TrialSpec


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers of an epoch's entry or of metrics; those of a selection by path.

    ``epoch`` is left out, which is a place and no value.
    """
    found: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= {f"{name}/{inner}": number for inner, number in numbers(value).items()}
        elif isinstance(value, (int, float)) and name != "epoch" and math.isfinite(value):
            found[name] = float(value)
    return found


def epoch_number(spec: TrialSpec, entry: Mapping[str, Any]) -> int:
    """Return the number of an epoch over all phases, from 0."""
    number = int(entry["epoch"])
    for phase in spec.phases:
        if phase.kind == entry["phase"]:
            break
        number += phase.epochs
    return number


def settings_of(spec: TrialSpec) -> dict[str, Any]:
    """Return what a trial was run with, by column of a table of trials."""
    return {
        "dataset": spec.dataset.label,
        "noise": spec.noise.label,
        "backbone": spec.backbone.label,
        "tuning": spec.tuning,
        "method": spec.method.name,
        "seed": spec.seed,
        **{f"{phase.kind}.lr": phase.lr for phase in spec.phases},
        **{f"{phase.kind}.epochs": phase.epochs for phase in spec.phases},
        **{name: value for name, value in spec.method.params if isinstance(value, (int, float, str))},
    }
