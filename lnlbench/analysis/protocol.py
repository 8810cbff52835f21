"""What a caption says about how the trials were run: data, input, budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import TypeVar

from lnlbench.analysis.axes import PHASES, Trial, value_of
from lnlbench.analysis.names import NOISES, display

T = TypeVar("T", bound=Hashable)

# Where a deviation may come from, in the order in which it is looked for.
_CAUSES = ("method", "backbone", "dataset", "noise_label")
# More values than this are a sweep, and shown as a range.
_LISTED = 4


def describe_protocol(trials: Sequence[Trial]) -> list[str]:
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
    return [*sentences, f"Epochs: {'; '.join(budgets)}. Batch size: {_batches(trials)}."]


def _sum(epochs: tuple[int, ...]) -> str:
    return " + ".join(map(str, epochs))


def _batches(trials: Sequence[Trial]) -> str:
    """Describe the batch size, by kind of phase if that makes a difference."""
    by_kind = {}
    for kind in PHASES:
        mine = [trial for trial in trials if value_of(trial, kind)]
        if mine:
            by_kind[kind] = _vary(mine, partial(value_of, axis=f"{kind}.batch_size"), str)
    if len(set(by_kind.values())) == 1:
        return next(iter(by_kind.values()))
    return "; ".join(f"{display('tuning', kind)} {text}" for kind, text in by_kind.items())


def _subset(trials: Sequence[Trial], name: str, which: str) -> list[str]:
    if all(trial["dataset_options"][name] is None for trial in trials):
        return []
    count = _vary(trials, lambda trial: trial["dataset_options"][name], lambda value: str(value or "all"))
    return [f"The first {which} images of each class only: {count}."]


def _input(trials: Sequence[Trial]) -> list[str]:
    sentences = []
    if any(trial["backbone_options"]["image_size"] is not None for trial in trials):
        size = _vary(
            trials,
            lambda trial: trial["backbone_options"]["image_size"],
            lambda value: "the model's own" if value is None else f"{value} px",
        )
        sentences.append(f"Image size: {size}.")
    if any(trial["backbone_options"]["weights"] == "none" for trial in trials):
        weights = _vary(trials, lambda trial: trial["backbone_options"]["weights"], _weights)
        sentences.append(f"Backbones start {weights}.")
    return sentences


def _weights(value: str) -> str:
    return "from scratch" if value == "none" else "from pre-trained weights"


def _noise_options(trials: Sequence[Trial]) -> list[str]:
    found: dict[str, None] = {}
    for trial in trials:
        for name, value in trial["noise_options"].items():
            if name != "path":  # of a noise file, whose name is that of the noise
                found[f"{NOISES.get(trial['noise'], trial['noise'])} noise: {name} = {value}"] = None
    return [f"{text}." for text in found]


def _vary(trials: Sequence[Trial], read: Callable[[Trial], T], write: Callable[[T], str]) -> str:
    """Describe a setting that may differ between trials."""
    counts = Counter(map(read, trials))
    (main, _), *others = counts.most_common()
    if len(counts) > _LISTED:
        values = [write(value) for value in dict.fromkeys(map(read, trials))]
        return f"{values[0]} to {values[-1]}"
    texts = [f"{write(value)}{_cause(trials, read, value)}" for value, _ in others]
    return f"{write(main)} ({'; '.join(texts)})" if texts else write(main)


def _cause(trials: Sequence[Trial], read: Callable[[Trial], T], value: T) -> str:
    """Say what the trials with a value have in common and the others have not."""
    for axis in _CAUSES:
        inside = dict.fromkeys(trial[axis] for trial in trials if read(trial) == value)
        if not any(trial[axis] in inside for trial in trials if read(trial) != value):
            return f" for {', '.join(display(axis, item) for item in inside)}"
    return " for some"
