"""Labels that people gave to images whose true labels are known: CIFAR-10N, CIFAR-100N and their like.

The labels are the authors' own, of the whole training set in its official order; the file's true labels are
compared with the data set's one by one. (The loader that is published with them compares sums, which any
order passes.) A subset takes its rows. Like synthetic labels they are split after they are noisy.

No deviations known.

Source: Wei et al., Learning with Noisy Labels Revisited: A Study Using Real-World Human Annotations, ICLR
2022.

Options
-------
labels : str
    Which of a data set's human labels. Default None: it must be given, as in ``human-worse``.
    Source: Wei et al.
"""

from __future__ import annotations

from lnlbench.data.source import HumanLabels, Labels
from lnlbench.errors import NoiseError, suggest
from lnlbench.noise.alignment import rows_of
from lnlbench.noise.label_pickle import read_label_pickle


def missing_labels(name: str, dataset: str, human: HumanLabels | None) -> str | None:
    """Say what is missing for noise ``human-NAME``, or why there is none; None if the file is there.

    Parameters
    ----------
    name : str
    dataset : str
        The data set's label.
    human : HumanLabels or None
        What the data set has, with its folder.
    """
    if human is None:
        return f"Nobody published human labels for '{dataset}'. cifar10 and cifar100 have some."
    if name not in human.keys:
        return f"'{dataset}' has no labels human-{name}. {suggest(f'human-{name}', human.names)}"
    if human.folder is None:
        return f"{human.file} cannot be found, because no data folder is given. {human.advice}"
    if not (human.folder / human.file).is_file():
        return f"{human.file} is not in the data folder {human.folder}. {human.advice}"
    return None


def human_labels(name: str, human: HumanLabels | None, clean: Labels, classes: int) -> Labels:
    """Return the labels that people gave to these training samples.

    Parameters
    ----------
    name : str
        What follows ``human-``.
    human : HumanLabels or None
        What the data set has, with its folder.
    clean : int64 array of shape [N]
        The data set's own labels.
    classes : int

    Returns
    -------
    int64 array of shape [N]

    Raises
    ------
    NoiseError
        If there are none, or the file is damaged or belongs to other data.
    """
    problem = missing_labels(name, "this data set", human)
    if problem is not None or human is None or human.folder is None:
        raise NoiseError(problem or "There are no human labels.")
    path, key = human.folder / human.file, human.keys[name]
    found = read_label_pickle(path, (human.clean, key))
    whole, noisy = found[human.clean], found[key]
    if len(whole) != len(noisy):
        raise NoiseError(
            f"{path} has {len(noisy)} {key} for {len(whole)} {human.clean}.", "Get the file again."
        )
    if noisy.max() >= classes:
        raise NoiseError(f"{path}: {key} has label {noisy.max()} for {classes} classes.", human.advice)
    return noisy[rows_of(clean, whole, str(path))]


def describe_human_labels(human: HumanLabels, clean: Labels, classes: int) -> list[str]:
    """Return a line for each human noise of a data set: how many of its labels are wrong, or why it has none.

    Without the file it is one line that says where to get it.
    """
    first = next(iter(human.keys))
    problem = missing_labels(first, "this data set", human)
    if problem is not None:
        return [f"no human labels ({', '.join(human.names)}): {problem}"]
    try:
        labels = {name: human_labels(name, human, clean, classes) for name in human.keys}
    except NoiseError as error:
        return [f"no human labels: {error.message}"]
    return [f"human-{name:<8} {(noisy != clean).mean():7.2%} wrong" for name, noisy in labels.items()]
