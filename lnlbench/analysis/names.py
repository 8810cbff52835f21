"""How tables write the names that records use."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any

from lnlbench.plugins.registry import Registry, backbones, datasets, methods, phase_kinds

NOISES = {
    "symmetric": "Symm.",
    "asymmetric": "Asym.",
    "instance": "Inst.",
    "human": "Human",
    "real": "Real noise",
    "none": "No noise",
}
# What has titles: values of axes, and the parts of a tuning mode.
TITLED: dict[str, Callable[[], Registry[Any]]] = {
    "method": methods,
    "dataset": datasets,
    "backbone": backbones,
    "kind": phase_kinds,
}
AXES = {
    "tuning": "Tuning",
    "method": "Method",
    "noise_label": "Noise",
    "dataset": "Dataset",
    "backbone": "Backbone",
    "rate": "noise rate",
}
# Words within the name of a setting.
SETTINGS = {"lr": "learning rate", "tau": "τ", "lam": "λ", "beta": "β", "alpha": "α"}
YES, NO = "✓", "–"


def clean(text: object) -> str:
    """Return text on one line, without control, formatting or unassigned characters."""
    spaced = " ".join(str(text).split())
    if spaced.isprintable():  # nearly always, and quickly known
        return spaced
    return "".join(symbol for symbol in spaced if not unicodedata.category(symbol).startswith("C"))


def display(axis: str, value: object) -> str:
    """Return how a table writes a value of an axis; names that it does not know stay as they are.

    Whether something is so is a tick or a dash.
    """
    if isinstance(value, bool):
        return YES if value else NO
    text = f"{value:g}" if isinstance(value, float) else clean(value)
    if axis == "noise_label":
        kind, _, rate = text.partition("-")
        return f"{NOISES.get(kind, kind)} {rate}".rstrip() if kind in NOISES else text
    if axis == "tuning":
        return "-".join(map(kind_title, text.split("-")))
    return _title(axis, text) if axis in TITLED else text


def _title(axis: str, name: str) -> str:
    """What a plugin says that it is called; a stranger keeps its name."""
    return clean(TITLED[axis]().describe(name).title) or name


def kind_title(name: str) -> str:
    """Return what tables call a kind of phase: its own title, or its name if it is not installed here."""
    return _title("kind", name)


def axis_label(axis: str) -> str:
    """Return the heading of an axis."""
    if axis in AXES:
        return AXES[axis]
    head, dot, name = clean(axis).partition(".")
    title = kind_title(head)
    if not dot:
        return title.replace("_", " ")
    name = SETTINGS.get(name, name.replace("_", " "))
    return name if head == "params" or head.endswith("_options") else f"{title} {name}"


def describe(axis: str, value: object) -> str:
    """Return a value with its axis where the value alone says nothing, as in ``τ = 0.6``."""
    text = display(axis, value)
    alone = axis in TITLED or axis in ("tuning", "noise_label", "noise")
    return text if alone else f"{axis_label(axis)} = {text}"
