"""Trials out of the results frame: dictionaries, each once."""

from __future__ import annotations

import json
from collections import Counter

import pandas as pd

from lnlbench.analysis.axes import TrialRow


def trials_of(frame: pd.DataFrame) -> list[TrialRow]:
    """Return the rows of a frame as dictionaries, in order.

    A trial that several grids contain comes once. Missing values are None; ``params``,
    ``phases`` and the options are values and not JSON. One number is added: ``train_min``, which
    is ``train_s`` in minutes. A noise file has the name that it gives itself.

    Parameters
    ----------
    frame : pandas.DataFrame
        See :func:`lnlbench.records.frame.build_frame`.
    """
    unique = frame.drop_duplicates("trial_id")
    columns = {
        str(name): [
            None if missing else value
            for value, missing in zip(unique[name].tolist(), unique[name].isna(), strict=True)
        ]
        for name in unique.columns
    }
    for name in ("params", "phases", "dataset_options", "noise_options", "backbone_options"):
        # Trials that have the same share it.
        known = {text: json.loads(str(text)) for text in set(columns[name])}
        columns[name] = [known[text] for text in columns[name]]
    columns["train_min"] = [None if seconds is None else seconds / 60 for seconds in columns["train_s"]]
    trials = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    titles = _titles(trials)
    for trial in trials:
        trial["noise_label"] = titles.get(trial["noise_label"], trial["noise_label"])
    return trials


def _titles(trials: list[TrialRow]) -> dict[str, str]:
    """What noise files call their noises, by their names, unless two names would then be one."""
    pairs = {(trial["noise_label"], trial["noise_title"]) for trial in trials if trial.get("noise_title")}
    others = {trial["noise_label"] for trial in trials}
    counts = Counter(name for pair in pairs for name in pair)
    return {
        name: title for name, title in pairs if counts[name] == counts[title] == 1 and title not in others
    }
