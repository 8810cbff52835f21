"""The numbers of a trial that tables and figures show: names, units, precision, meaning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lnlbench.analysis.names import clean
from lnlbench.errors import UsageError, suggest
from lnlbench.plugins.registry import metrics
from lnlbench.records.metric_columns import metric_names, schema, split_column


@dataclass(frozen=True, slots=True)
class Family:
    """Numbers that differ in the epoch that they are of, and can share a cell or an axis.

    Attributes
    ----------
    label : str
        With its unit in brackets.
    sentence : str
        How a caption begins to say what they are.
    """

    label: str
    sentence: str


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
    better : {"higher", "lower", ""}
        Which mean tables mark; "" marks none.
    wide : bool
        Whether it spans orders of magnitude between methods, as costs do.
    family : Family, optional
        Of an accuracy or another metric.
    short : str
        Beside others of its family: which epoch it is of.
    """

    label: str
    axis: str = ""
    meaning: str = ""
    decimals: int | None = None
    better: str = ""
    wide: bool = False
    family: Family | None = None
    short: str = ""

    def write(self, value: float) -> str:
        """Return a value as text, with commas between thousands."""
        decimals = (2 if abs(value) < 10 else 1) if self.decimals is None else self.decimals
        return f"{value:,.{decimals}f}"


ACCURACY = Family("accuracy [%]", "Test accuracy in percent")
_EPOCHS = {
    "best": "at the epoch of highest validation accuracy",
    "last": "after the last epoch",
    "oracle": "highest test accuracy over the epochs, which is selected on the test set and so "
    "is no estimate of what a method reaches",
    "label_wave": "where changes of training predictions first stop falling, without validation labels",
}
_TRAIN = "train: wall-clock of training without feature extraction and evaluation"
_PASSES = "passes through the backbone (a forward as 1, a backward as 2, feature extraction included)"

QUANTITIES: dict[str, Quantity] = {
    **{
        name: Quantity(
            name.replace("_", " "),
            f"test accuracy, {name.replace('_', ' ')} [%]",
            f"{name.replace('_', ' ')}: {meaning}",
            decimals=2,
            better="higher",
            family=ACCURACY,
            short=name.replace("_", " "),
        )
        for name, meaning in _EPOCHS.items()
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
    "memorised": Quantity(
        "memorised [%]",
        "memorised wrong labels [%]",
        "memorised: share of the wrong training labels that the method predicts after the last epoch",
        decimals=1,
    ),
    "auc": Quantity("ROC-AUC", "ROC-AUC of the clean score", decimals=3),
    "ap": Quantity(
        "AP", "AP of wrong labels", "AP: average precision of finding wrong labels by a low score", decimals=3
    ),
    "fnr": Quantity(
        "FNR [%]",
        "missed wrong labels [%]",
        "FNR: share of the wrong labels that is missed when as many samples are flagged as there are",
        decimals=2,
    ),
    "realised_rate": Quantity("realised rate", "share of wrong labels", decimals=4),
}

# Derived from a column of the frame by `lnlbench.analysis.trial_rows`.
DERIVED = ("train_min",)


def known_quantities() -> tuple[str, ...]:
    """Return the names of all numbers: numeric columns of the frame, and the derived ones."""
    return (*(name for name, kind in schema().items() if kind in ("float64", "Int64")), *DERIVED)


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
    if found := QUANTITIES.get(name):
        return found
    of_metric = split_column(name)
    return _of_metric(*of_metric) if of_metric else Quantity(name.replace("_", " "))


def _of_metric(name: str, rule: str) -> Quantity:
    said = metrics().describe(name)
    title = clean(said.title) or name.replace("_", " ")
    unit = f" [{clean(said.unit)}]" if said.unit else ""
    percent = " in percent" if said.unit == "%" else ""
    meaning = f": {clean(said.meaning)}" if said.meaning else ""
    epoch = rule.replace("_", " ")
    return Quantity(
        f"{title}, {epoch}{unit}",
        meaning=f"{epoch}: {_EPOCHS[rule]}",
        decimals=said.decimals,
        better=said.better,
        family=Family(f"{title}{unit}", f"Test {title}{percent}{meaning}"),
        short=epoch,
    )


def is_time(name: str) -> bool:
    """Whether a number is a time, by its unit: seconds or minutes."""
    return name.endswith(("_s", "_min"))


def expand(name: str) -> tuple[str, ...]:
    """Return the numbers that a name stands for: a metric's alone those of its best and its last epoch."""
    return tuple(f"{name}_{rule}" for rule in ("best", "last")) if name in metric_names() else (name,)


def family_of(names: Sequence[str]) -> Family | None:
    """Return the family that all of some numbers belong to, None if there is none."""
    families = {quantity(name).family for name in names}
    return families.pop() if len(families) == 1 else None


def label_of(measure: tuple[str, ...], *, whole: bool = False) -> str:
    """Return the heading of numbers that stand together, as in ``best / last``.

    Parameters
    ----------
    whole : bool
        Say of accuracies as well that they are some.
    """
    family = family_of(measure)
    if family is None:
        return " / ".join(quantity(name).label for name in measure)
    epochs = " / ".join(quantity(name).short for name in measure)
    return epochs if family == ACCURACY and not whole else f"{family.label}, {epochs}"
