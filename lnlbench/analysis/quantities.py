"""The numbers of a trial that tables and figures show: names, units, precision, meaning."""

from __future__ import annotations

from dataclasses import dataclass

from lnlbench.analysis.frame import SCHEMA
from lnlbench.errors import UsageError, suggest


@dataclass(frozen=True, slots=True)
class Quantity:
    """How a number is written.

    Attributes
    ----------
    label : str
        For headings, with its unit in brackets.
    axis : str
        For the axis of a figure; "" takes the label.
    meaning : str
        What a caption must say about it; "" for what the label says already.
    decimals : int or None
        None gives two to numbers below ten and one to others.
    accuracy : bool
        Whether it is a test accuracy in percent, of which tables mark the highest.
    wide : bool
        Whether it spans orders of magnitude between methods, as costs do.
    """

    label: str
    axis: str = ""
    meaning: str = ""
    decimals: int | None = None
    accuracy: bool = False
    wide: bool = False

    def write(self, value: float) -> str:
        """Return a value as text, with commas between thousands."""
        decimals = (2 if abs(value) < 10 else 1) if self.decimals is None else self.decimals
        return f"{value:,.{decimals}f}"


_ACCURACIES = {
    "best": "at the epoch of highest validation accuracy",
    "last": "after the last epoch",
    "oracle": "highest test accuracy over the epochs, which is selected on the test set and so "
    "is no estimate of what a method reaches",
}
_TRAIN = "train: wall-clock of training without feature extraction and evaluation"
_PASSES = "passes through the backbone (a forward as 1, a backward as 2, feature extraction included)"

QUANTITIES: dict[str, Quantity] = {
    **{
        name: Quantity(name, f"test accuracy, {name} [%]", f"{name}: {meaning}", decimals=2, accuracy=True)
        for name, meaning in _ACCURACIES.items()
    },
    "train_s": Quantity("train [s]", "training time [s]", _TRAIN, wide=True),
    "train_min": Quantity("train [min]", "training time [min]", _TRAIN, wide=True),
    "wall_s": Quantity("wall-clock [s]", "wall-clock time [s]", wide=True),
    "features_s": Quantity("features [s]", "feature extraction [s]", wide=True),
    "eval_s": Quantity("evaluation [s]", "evaluation [s]", wide=True),
    "cost": Quantity(
        "cost / CE FFT",
        "compute, relative to CE with FFT",
        f"cost: {_PASSES} relative to CE with FFT on the same data, noise and backbone",
        wide=True,
    ),
    "cost_units": Quantity(
        "cost [units]", "compute [units]", f"units: {_PASSES} of one sample", decimals=0, wide=True
    ),
    "selected": Quantity(
        "selected", "selected samples", "selected: samples taken as clean in the last epoch", decimals=0
    ),
    "purity": Quantity(
        "purity [%]",
        "purity [%]",
        "purity: share of the selected samples whose given label is right",
        decimals=2,
    ),
    "recall": Quantity(
        "recall [%]",
        "recall [%]",
        "recall: share of the rightly labelled samples that are selected",
        decimals=2,
    ),
    "auc": Quantity("ROC-AUC", "ROC-AUC of the clean score", decimals=3),
    "realised_rate": Quantity("realised rate", "share of wrong labels", decimals=4),
}

# Derived from the columns of the frame by `lnlbench.analysis.trials`.
DERIVED = ("cost", "train_min")


def known_quantities() -> tuple[str, ...]:
    """Return the names of all numbers: numeric columns of the frame, and the derived ones."""
    return (*(name for name, kind in SCHEMA.items() if kind in ("float64", "Int64")), *DERIVED)


def check_quantity(name: str, what: str) -> str:
    """Return the name of a number, or say which one may have been meant.

    Parameters
    ----------
    name : str
    what : str
        What it is wanted for, for the message.
    """
    if name not in known_quantities():
        raise UsageError(f"Unknown {what} '{name}'.", suggest(name, known_quantities()))
    return name


def quantity(name: str) -> Quantity:
    """Return how a number is written; a column that is not listed is called by its name."""
    return QUANTITIES.get(name) or Quantity(name.replace("_", " "))


def label_of(measure: tuple[str, ...]) -> str:
    """Return the heading of numbers that stand together, as in ``best / last``."""
    return " / ".join(quantity(name).label for name in measure)
