"""Noise files: noisy labels to share, with all that is needed to check them.

A noise file is an npz archive without pickles: ``labels`` and ``clean`` (int64 [N]), the noisy and the true
ones, and ``metadata`` (JSON text). With the true labels a file of a whole training set serves its subsets,
and says what it did without the data; files of earlier versions have none. Random generators may change
between versions of numpy; a noise file does not.

No deviations known.

Source: ours.

Options
-------
path : str
    The file. Default None: it must be given, as in ``file:PATH``. Source: ours.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lnlbench.data.npz import read_npz
from lnlbench.data.source import Labels, Maps
from lnlbench.errors import NoiseError
from lnlbench.noise.alignment import rows_of
from lnlbench.noise.maps import NO_MAPS
from lnlbench.noise.noise_options import resolve
from lnlbench.noise.realised import labels_hash
from lnlbench.spec import NoiseSpec

FORMAT = "lnlbench-noise"
FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class NoiseFile:
    """The content of a noise file.

    Attributes
    ----------
    labels : int64 array of shape [N]
        Noisy labels.
    generator : str
        Noise type, or ``import`` for labels that came from elsewhere.
    rate : float
        Nominal rate; of labels from elsewhere that which they have.
    settings : dict
        All settings of the generator.
    seed : int
    dataset : str
        Label of the data set.
    classes : int
    clean_sha256 : str
        Hash of the clean labels that were corrupted; see :func:`lnlbench.noise.realised.labels_hash`.
    clean : int64 array of shape [N] or None
        Those labels; None in files of earlier versions.
    label : str
        What tables call this noise; "" for the name of the file.
    """

    labels: Labels
    generator: str
    rate: float
    settings: dict[str, Any]
    seed: int
    dataset: str
    classes: int
    clean_sha256: str
    clean: Labels | None = None
    label: str = ""

    def labels_for(self, clean: Labels, classes: int, where: str) -> Labels:
        """Return the noisy labels of a data set: the one that the file was made for, or a subset of it.

        Parameters
        ----------
        clean : int64 array of shape [n]
            True labels of the data set.
        classes : int
        where : str
            The file, for messages.

        Raises
        ------
        NoiseError
            If the file was made from other clean labels.
        """
        if self.clean is not None and self.classes == classes:
            return self.labels[rows_of(clean, self.clean, where)]
        if self.classes != classes or len(self.labels) != len(clean):
            raise NoiseError(
                f"{where} holds {len(self.labels)} labels of {self.classes} classes, but the data set has "
                f"{len(clean)} samples of {classes} classes.",
                f"Use the data set that it was made for: {self.dataset}.",
            )
        if labels_hash(clean) != self.clean_sha256:
            raise NoiseError(
                f"{where} was made from other clean labels than those of this data set.",
                f"Use the samples of {self.dataset} that it was made for, in the same order.",
            )
        return self.labels


def save_noise_file(
    path: Path,
    labels: Labels,
    clean: Labels,
    *,
    spec: NoiseSpec,
    dataset: str,
    classes: int,
    seed: int,
    maps: Maps = NO_MAPS,
    label: str = "",
) -> None:
    """Write noise that was generated here; a file of that name is replaced in one step.

    Parameters
    ----------
    path : Path
    labels, clean : int64 arrays of shape [N]
        Noisy and clean labels.
    spec : NoiseSpec
        The noise that was applied. The file states all its settings, defaults included.
    dataset : str
        The data set's label.
    classes, seed : int
    maps : mapping of str to sequence of int, optional
        The data set's own asymmetric maps.
    label : str, optional
        What tables call this noise. Default: the name of the file.

    Raises
    ------
    NoiseError
        If the file cannot be written.
    """
    settings = resolve(spec, maps, classes)
    made = NoiseFile(
        labels, spec.type, spec.rate, settings, seed, dataset, classes, labels_hash(clean), clean, label
    )
    write_noise_file(path, made)


def write_noise_file(path: Path, content: NoiseFile) -> None:
    """Write a noise file; a file of that name is replaced in one step.

    Raises
    ------
    NoiseError
        If the file cannot be written.
    """
    facts = {name: getattr(content, name) for name in _METADATA_TYPES if name != "labels_sha256"}
    metadata = facts | {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "labels_sha256": labels_hash(content.labels),
    }
    if content.label:
        metadata["label"] = content.label
    arrays: dict[str, Any] = {"labels": content.labels}
    if content.clean is not None:
        arrays["clean"] = content.clean
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as stream:
            np.savez_compressed(stream, **arrays, metadata=np.array(json.dumps(metadata, sort_keys=True)))
        partial.replace(path)
    except OSError as problem:
        partial.unlink(missing_ok=True)
        raise NoiseError(f"{path} cannot be written: {problem}.", "Choose another place.") from problem


def read_noise_file(path: Path) -> NoiseFile:
    """Read a noise file and check that it is whole.

    Raises
    ------
    NoiseError
        If it is missing, damaged, changed since it was written, or of another format.
    """
    arrays = read_npz(path, ("labels", "metadata"), ("clean",), error=NoiseError)
    metadata = _read_metadata(arrays["metadata"], path)
    found = {
        name: _checked(arrays[name], f"{path}: array {name}", metadata["classes"])
        for name in ("labels", "clean")
        if name in arrays
    }
    for name, labels in found.items():
        if labels_hash(labels) != metadata[f"{name}_sha256"]:
            raise NoiseError(f"{path} has been changed since it was written.", "Get an unchanged copy.")
    return NoiseFile(
        labels=found["labels"],
        generator=metadata["generator"],
        rate=float(metadata["rate"]),
        settings=metadata["settings"],
        seed=metadata["seed"],
        dataset=metadata["dataset"],
        classes=metadata["classes"],
        clean_sha256=metadata["clean_sha256"],
        clean=found.get("clean"),
        label=metadata.get("label", ""),
    )


def _checked(values: np.ndarray[Any, np.dtype[Any]], where: str, classes: int) -> Labels:
    if values.dtype.kind not in "iu" or values.ndim != 1 or not len(values):
        raise NoiseError(
            f"{where} has type {values.dtype} and shape {values.shape}.",
            "A noise file holds integers of shape [N].",
        )
    labels = values.astype(np.int64)
    if labels.min() < 0 or labels.max() >= classes:
        raise NoiseError(
            f"{where} has labels from {labels.min()} to {labels.max()} for {classes} classes.",
            "Create the file again.",
        )
    return labels


_METADATA_TYPES: dict[str, type | tuple[type, ...]] = {
    "generator": str,
    "rate": (int, float),
    "settings": dict,
    "seed": int,
    "dataset": str,
    "classes": int,
    "clean_sha256": str,
    "labels_sha256": str,
}


def _read_metadata(array: np.ndarray[Any, np.dtype[Any]], path: Path) -> dict[str, Any]:
    try:
        metadata = json.loads(str(array[()]))
    except json.JSONDecodeError:
        metadata = None
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise NoiseError(f"{path} is not a noise file of lnlbench.", "Check the path.")
    if metadata.get("version") != FORMAT_VERSION:
        raise NoiseError(
            f"{path} has version {metadata.get('version')} of the noise file format; this lnlbench reads "
            f"version {FORMAT_VERSION}.",
            "Use the lnlbench that wrote it, or create it again.",
        )
    wrong = [name for name, kind in _METADATA_TYPES.items() if not isinstance(metadata.get(name), kind)]
    if not isinstance(metadata.get("label", ""), str):
        wrong.append("label")
    if wrong:
        raise NoiseError(f"{path} lacks metadata: {', '.join(wrong)}.", "Create the file again.")
    return metadata
