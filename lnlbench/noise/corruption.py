"""From a noise specification and clean labels to noisy labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lnlbench.basics.seeding import numpy_stream
from lnlbench.data.source import HumanLabels, Labels, Maps
from lnlbench.errors import NoiseError
from lnlbench.noise.human import human_labels
from lnlbench.noise.instance import instance
from lnlbench.noise.instance_inputs import Floats, Inputs
from lnlbench.noise.maps import NO_MAPS, resolve_map
from lnlbench.noise.noise_file import read_noise_file
from lnlbench.noise.noise_options import resolve
from lnlbench.noise.realised import NoiseReport
from lnlbench.noise.uniform import asymmetric, symmetric
from lnlbench.spec import NoiseSpec


@dataclass(frozen=True, eq=False)
class NoisyLabels:
    """The labels that a method sees, and what was done to them.

    Attributes
    ----------
    labels : int64 array of shape [N]
    report : NoiseReport
    """

    labels: Labels
    report: NoiseReport


def check(
    spec: NoiseSpec,
    clean: Labels,
    classes: int,
    *,
    maps: Maps = NO_MAPS,
    human: HumanLabels | None = None,
    parts: Sequence[str] = ("train",),
) -> None:
    """Raise a NoiseError for what can be known to be wrong before any work.

    Unknown options and values, an asymmetric map that the data set does not have, and a file of labels
    (a noise file, or those of people) that is missing, damaged or made for other labels than these.

    Parameters
    ----------
    spec : NoiseSpec
    clean : int64 array of shape [N]
        Labels of the training split.
    classes : int
    maps : mapping of str to sequence of int, optional
        The data set's own asymmetric maps.
    human : HumanLabels, optional
        The data set's labels that people gave.
    parts : sequence of str
        The splits whose labels are to be noisy.
    """
    settings = resolve(spec, maps, classes)
    if spec.type in ("file", "human"):
        for part in parts:
            _stored(spec.type, settings, human, clean, classes, part)


def corrupt(
    spec: NoiseSpec,
    clean: Labels,
    classes: int,
    *,
    dataset: str,
    seed: int,
    maps: Maps = NO_MAPS,
    human: HumanLabels | None = None,
    inputs: Inputs | None = None,
    part: str = "train",
) -> NoisyLabels:
    """Corrupt labels.

    Parameters
    ----------
    spec : NoiseSpec
    clean : int64 array of shape [N]
        Clean labels, or for ``real`` noise the labels as they come.
    classes : int
        Number of classes, C.
    dataset : str
        The data set's label. The result depends on (dataset, noise, seed) only: not on the
        method, the backbone or the tuning mode.
    seed : int
        The trial's seed.
    maps : mapping of str to sequence of int, optional
        The data set's own asymmetric maps; the first is the default.
    human : HumanLabels, optional
        The data set's labels that people gave, for noise ``human``.
    inputs : callable, optional
        From indices to flattened raw inputs, for instance noise; see
        :func:`lnlbench.noise.instance_inputs.raw_inputs`.
    part : str, default "train"
        Which labels these are. A validation split of the data set's own is corrupted alike
        (with the same W), by draws of its own.

    Returns
    -------
    NoisyLabels

    Raises
    ------
    NoiseError
        If the noise is impossible here, or a file of labels does not fit.
    """
    settings = resolve(spec, maps, classes)
    if spec.type == "none":
        return NoisyLabels(clean.copy(), NoiseReport.of(clean, clean, classes))
    if spec.type == "real":
        return real_labels(clean, None, classes)
    # The settings seed the draws. An option that came later is left out at its default, so that noise
    # that was drawn before there was the option is drawn again.
    seeding = {name: value for name, value in settings.items() if (name, value) != ("count", "exact")}
    identity = (dataset, spec.type, spec.rate, seeding, seed)
    stream = numpy_stream("corruption", *identity, part)
    label = ""
    if spec.type in ("file", "human"):
        noisy, label = _stored(spec.type, settings, human, clean, classes, part)
    elif spec.type == "symmetric":
        noisy = symmetric(clean, classes, spec.rate, settings["variant"], stream)
    elif spec.type == "asymmetric":
        target = resolve_map(settings["map"], maps, classes)
        noisy = asymmetric(clean, target, spec.rate, stream, settings["count"])
    else:
        if inputs is None:
            raise NoiseError(
                "Instance noise needs the inputs, and none are given.", "Pass raw_inputs(split)."
            )

        def projection(owner: int | None, length: int) -> Floats:
            return numpy_stream("projection", *identity, owner).standard_normal((length, classes))

        noisy = instance(
            clean,
            classes,
            spec.rate,
            shared=settings["W"] == "shared",
            standardise=settings["input"] == "standardised",
            std=settings["std"],
            inputs=inputs,
            projection=projection,
            stream=stream,
        )
    return NoisyLabels(noisy, NoiseReport.of(clean, noisy, classes, label))


def real_labels(given: Labels, clean: Labels | None, classes: int) -> NoisyLabels:
    """Take labels as they come, and compare them with the true ones where somebody knows these.

    Parameters
    ----------
    given : int64 array of shape [N]
    clean : int64 array of shape [N] or None
        See :class:`lnlbench.data.dataset.Split`.
    classes : int
    """
    return NoisyLabels(given.copy(), NoiseReport.of(clean, given, classes))


def _stored(
    kind: str, settings: Mapping[str, Any], human: HumanLabels | None, clean: Labels, classes: int, part: str
) -> tuple[Labels, str]:
    """Labels that are read and not drawn, and what a noise file calls them."""
    if part != "train":
        what = settings["path"] if kind == "file" else "A file of labels that people gave"
        raise NoiseError(
            f"{what} holds labels of the training set only, and this data set has a {part} split of its own.",
            "Set validation_labels to clean.",
        )
    if kind == "human":
        return human_labels(settings["labels"], human, clean, classes), ""
    path = Path(settings["path"])
    found = read_noise_file(path)
    return found.labels_for(clean, classes, str(path)), found.label
