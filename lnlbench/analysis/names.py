"""How tables write the names that records use."""

from __future__ import annotations

import unicodedata

METHODS = {
    "ce": "CE",
    "gce": "GCE",
    "elr": "ELR",
    "elr_plus": "ELR+",
    "dividemix": "DivideMix",
    "unicon": "UNICON",
    "turn": "TURN",
}
TUNINGS = {"fft": "FFT", "lp": "LP", "lp-fft": "LP-FFT"}
NOISES = {
    "symmetric": "Symm.",
    "asymmetric": "Asym.",
    "instance": "Inst.",
    "real": "Real noise",
    "none": "No noise",
}
AXES = {
    "tuning": "Tuning",
    "method": "Method",
    "noise_label": "Noise",
    "dataset": "Dataset",
    "backbone": "Backbone",
}
METRICS = {"best": "best", "last": "last", "oracle": "oracle"}
EXTRAS = {
    "train_s": "train [s]",
    "wall_s": "wall-clock [s]",
    "features_s": "features [s]",
    "eval_s": "evaluation [s]",
    "cost": "cost / CE FFT",
    "cost_units": "cost [units]",
    "purity": "purity [%]",
    "recall": "recall [%]",
}


def clean(text: object) -> str:
    """Return text on one line, without control, formatting or unassigned characters."""
    spaced = " ".join(str(text).split())
    return "".join(symbol for symbol in spaced if not unicodedata.category(symbol).startswith("C"))


def display(axis: str, value: object) -> str:
    """Return how a table writes a value of an axis; names that it does not know stay as they are."""
    text = clean(value)
    if axis == "method":
        return METHODS.get(text, text)
    if axis == "tuning":
        return TUNINGS.get(text, text)
    if axis == "noise_label":
        kind, _, rate = text.partition("-")
        return f"{NOISES.get(kind, kind)} {rate}".rstrip() if kind in NOISES else text
    return text


def axis_label(axis: str) -> str:
    """Return the heading of an axis."""
    return AXES.get(axis, clean(axis).removeprefix("params.").replace("_", " "))
