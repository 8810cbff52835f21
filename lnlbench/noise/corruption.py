"""From a noise specification and clean labels to noisy labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lnlbench.data.source import Labels
from lnlbench.errors import NoiseError
from lnlbench.noise.file import read_noise_file
from lnlbench.noise.inputs import Floats, Inputs
from lnlbench.noise.instance import instance
from lnlbench.noise.maps import resolve_map
from lnlbench.noise.report import NoiseReport
from lnlbench.noise.settings import resolve
from lnlbench.noise.uniform import asymmetric, symmetric
from lnlbench.seeding import numpy_stream
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


def check(spec: NoiseSpec, family: str, classes: int) -> None:
    """Raise a NoiseError for what can be known to be wrong before any work.

    Unknown options and values, an asymmetric map that the data set does not have, and a noise
    file that is missing, damaged or made for another number of classes.
    """
    settings = resolve(spec, family, classes)
    if spec.type == "file":
        path = Path(settings["path"])
        found = read_noise_file(path)
        if found.classes != classes:
            raise NoiseError(
                f"{path} holds labels of {found.classes} classes, but the data set has {classes}.",
                f"Use the data set that it was made for: {found.dataset}.",
            )


def corrupt(
    spec: NoiseSpec,
    clean: Labels,
    classes: int,
    *,
    dataset: str,
    family: str,
    seed: int,
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
    family : str
        The data set's family; chooses the default asymmetric map.
    seed : int
        The trial's seed.
    inputs : callable, optional
        From indices to flattened raw inputs, for instance noise; see
        :func:`lnlbench.noise.inputs.raw_inputs`.
    part : str, default "train"
        Which labels these are. A validation split of the data set's own is corrupted alike
        (with the same W), by draws of its own.

    Returns
    -------
    NoisyLabels

    Raises
    ------
    NoiseError
        If the noise is impossible here, or a noise file does not fit.
    """
    settings = resolve(spec, family, classes)
    if spec.type in ("real", "none"):
        known = clean if spec.type == "none" else None
        return NoisyLabels(clean.copy(), NoiseReport.of(known, clean, classes))
    identity = (dataset, spec.type, spec.rate, settings, seed)
    stream = numpy_stream("corruption", *identity, part)
    if spec.type == "file":
        noisy = _from_file(Path(settings["path"]), clean, classes, part)
    elif spec.type == "symmetric":
        noisy = symmetric(clean, classes, spec.rate, settings["variant"], stream)
    elif spec.type == "asymmetric":
        noisy = asymmetric(clean, resolve_map(settings["map"], family, classes), spec.rate, stream)
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
    return NoisyLabels(noisy, NoiseReport.of(clean, noisy, classes))


def _from_file(path: Path, clean: Labels, classes: int, part: str) -> Labels:
    if part != "train":
        raise NoiseError(
            f"{path} holds labels of the training set only, and this data set has a {part} split of its own.",
            "Set validation_labels to clean.",
        )
    found = read_noise_file(path)
    found.verify(clean, classes, str(path))
    return found.labels
