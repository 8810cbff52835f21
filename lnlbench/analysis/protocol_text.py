"""What a caption says about how the trials were run: data, input, budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import TypeVar

from lnlbench.analysis.axes import TrialRow, value_of
from lnlbench.analysis.names import NOISES, display

T = TypeVar("T", bound=Hashable)

# Where a deviation may come from, in the order in which it is looked for.
_CAUSES = ("method", "backbone", "dataset", "noise_label", "tuning")
# More values than this are a sweep, and shown as a range.
_LISTED = 4
_OPTIMIZERS = {"sgd": "SGD", "adamw": "AdamW"}
# What a caption leaves out of an optimiser: the defaults of a phase.
_USUAL = {"schedule": "constant", "weight_decay": 1e-4, "momentum": 0.9}


def describe_protocol(trials: Sequence[TrialRow]) -> list[str]:
    """Return sentences on the part of the data, the input, the noise and the budget of trials.

    Of what differs between trials, the most frequent value comes first, then the others with
    what they belong to: ``FFT 5 epochs (25 for MSN-ViT-B)``.
    """
    sentences = [
        *_subset(trials, "train_per_class", "training"),
        *_subset(trials, "test_per_class", "test"),
        *_input(trials),
        *_noise_options(trials),
    ]
    budgets = []
    for tuning in dict.fromkeys(trial["tuning"] for trial in trials):
        mine = [trial for trial in trials if trial["tuning"] == tuning]
        epochs = _vary(mine, lambda trial: tuple(phase["epochs"] for phase in trial["phases"]), _sum)
        budgets.append(f"{display('tuning', tuning)} {epochs}")
    return [*sentences, f"Epochs: {'; '.join(budgets)}. Batch size: {_batches(trials)}.", _rates(trials)]


def _sum(epochs: tuple[int, ...]) -> str:
    return " + ".join(map(str, epochs))


def _batches(trials: Sequence[TrialRow]) -> str:
    """Describe the batch size, by kind of phase if that makes a difference."""
    by_kind = {}
    for kind in _kinds(trials):
        mine = [trial for trial in trials if value_of(trial, kind)]
        if mine:
            by_kind[kind] = _vary(mine, partial(value_of, axis=f"{kind}.batch_size"), str)
    if len(set(by_kind.values())) == 1:
        return next(iter(by_kind.values()))
    return "; ".join(f"{display('tuning', kind)} {text}" for kind, text in by_kind.items())


def _rates(trials: Sequence[TrialRow]) -> str:
    """Return the learning rate of each kind of phase, with its optimiser and what is unusual of that."""
    texts = []
    for kind in _kinds(trials):
        mine = [trial for trial in trials if value_of(trial, kind)]
        found = list(dict.fromkeys(_optimisation(trial, kind) for trial in mine))
        if len(found) > _LISTED:
            rates = sorted(rate for _, rate, _ in found)
            names = " or ".join(dict.fromkeys(name for name, _, _ in found))
            text = f"{names} {write_rate(rates[0])} to {write_rate(rates[-1])}"
        else:
            text = _vary(mine, partial(_optimisation, kind=kind), _write_optimisation, _write_deviation)
        texts.append(f"{display('tuning', kind)} {text}")
    return f"Learning rate: {'; '.join(texts)}."


def _kinds(trials: Sequence[TrialRow]) -> list[str]:
    return list(dict.fromkeys(phase["kind"] for trial in trials for phase in trial["phases"]))


def _optimisation(trial: TrialRow, kind: str) -> tuple[str, float, tuple[str, ...]]:
    """Return optimiser, learning rate, and what else is not a phase's default."""
    phase = next(phase for phase in trial["phases"] if phase["kind"] == kind)
    # AdamW has no momentum of its own to set.
    names = [name for name in _USUAL if name != "momentum" or phase["optimizer"] == "sgd"]
    unusual = {name: phase[name] for name in names if phase.get(name, _USUAL[name]) != _USUAL[name]}
    rest = tuple(
        str(value) if name == "schedule" else f"{name.replace('_', ' ')} {write_rate(value)}"
        for name, value in unusual.items()
    )
    return _OPTIMIZERS.get(phase["optimizer"], phase["optimizer"]), float(phase["lr"]), rest


def _write_optimisation(value: tuple[str, float, tuple[str, ...]]) -> str:
    name, rate, rest = value
    return ", ".join((f"{name} {write_rate(rate)}", *rest))


def _write_deviation(
    value: tuple[str, float, tuple[str, ...]], main: tuple[str, float, tuple[str, ...]]
) -> str:
    """Write the rate alone where it is all that differs."""
    return write_rate(value[1]) if (value[0], value[2]) == (main[0], main[2]) else _write_optimisation(value)


def write_rate(value: float) -> str:
    """Return a small number as papers write it: ``1e-3``."""
    if value == 0 or abs(value) >= 0.1:
        return f"{value:g}"
    mantissa, _, exponent = f"{value:.5e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def phase_details(trials: Sequence[TrialRow]) -> tuple[tuple[str, str], ...]:
    """Return every setting of every phase, with the trials that have it: too long for a caption."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    several = len({trial["backbone"] for trial in trials}) > 1
    for trial in trials:
        mode = display("tuning", trial["tuning"])
        who = display("method", trial["method"])
        if several and trial["backbone"]:
            who += f" on {display('backbone', trial['backbone'])}"
        for phase in trial["phases"]:
            given = {name: value for name, value in phase.items() if name != "kind" and value is not None}
            settings = ", ".join(f"{name} = {value}" for name, value in given.items())
            kind = display("tuning", phase["kind"])
            place = kind if kind == mode else f"{kind} in {mode}"
            found.setdefault((place, settings), {})[who] = None
    return tuple((place, f"{settings} ({'; '.join(who)})") for (place, settings), who in found.items())


def _subset(trials: Sequence[TrialRow], name: str, which: str) -> list[str]:
    if all(trial["dataset_options"][name] is None for trial in trials):
        return []
    count = _vary(trials, lambda trial: trial["dataset_options"][name], lambda value: str(value or "all"))
    return [f"The first {which} images of each class only: {count}."]


def _input(trials: Sequence[TrialRow]) -> list[str]:
    sentences = []
    trials = [trial for trial in trials if trial["backbone_options"]]  # features have no backbone
    if any(trial["backbone_options"]["image_size"] is not None for trial in trials):
        size = _vary(
            trials,
            lambda trial: trial["backbone_options"]["image_size"],
            lambda value: "the model's own" if value is None else f"{value} px",
        )
        sentences.append(f"Image size: {size}.")
    if any(trial["dataset_options"]["recipe"] is not None for trial in trials):
        recipe = _vary(
            trials,
            lambda trial: trial["dataset_options"]["recipe"],
            lambda value: "the data set's own" if value is None else str(value),
        )
        sentences.append(f"Augmentation recipe: {recipe}.")
    if any(trial["backbone_options"]["weights"] == "none" for trial in trials):
        weights = _vary(trials, lambda trial: trial["backbone_options"]["weights"], _weights)
        sentences.append(f"Backbones start {weights}.")
    return sentences


def _weights(value: str) -> str:
    return "from scratch" if value == "none" else "from pre-trained weights"


def _noise_options(trials: Sequence[TrialRow]) -> list[str]:
    found: dict[str, None] = {}
    for trial in trials:
        for name, value in trial["noise_options"].items():
            if name not in ("path", "labels"):  # which are in the name of the noise
                found[f"{NOISES.get(trial['noise'], trial['noise'])} noise: {name} = {value}"] = None
    return [f"{text}." for text in found]


def _vary(
    trials: Sequence[TrialRow],
    read: Callable[[TrialRow], T],
    write: Callable[[T], str],
    beside: Callable[[T, T], str] | None = None,
) -> str:
    """Describe a setting that may differ between trials.

    ``beside`` writes a value that stands beside the most frequent one, where that can be shorter.
    """
    counts = Counter(map(read, trials))
    (main, _), *others = counts.most_common()
    if len(counts) > _LISTED:
        values = [write(value) for value in dict.fromkeys(map(read, trials))]
        return f"{values[0]} to {values[-1]}"
    texts = [
        f"{beside(value, main) if beside else write(value)}{cause(trials, read, value)}"
        for value, _ in others
    ]
    return f"{write(main)} ({'; '.join(texts)})" if texts else write(main)


def cause(trials: Sequence[TrialRow], read: Callable[[TrialRow], T], value: T) -> str:
    """Say what the trials with a value have in common and the others have not."""
    for axis in _CAUSES:
        inside = dict.fromkeys(trial[axis] for trial in trials if read(trial) == value)
        if not any(trial[axis] in inside for trial in trials if read(trial) != value):
            return f" for {', '.join(display(axis, item) for item in inside)}"
    return " for some"
