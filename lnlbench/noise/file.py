"""Noise files: noisy labels to share, with all that is needed to check them.

A noise file is an npz archive without pickles: ``labels`` (int64 [N]) and ``metadata`` (JSON
text). Random generators may change between versions of numpy; a noise file does not.

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
from lnlbench.data.source import Labels
from lnlbench.errors import NoiseError
from lnlbench.noise.report import labels_hash
from lnlbench.noise.settings import resolve
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
        Noise type.
    rate : float
        Nominal rate.
    settings : dict
        All settings of the generator.
    seed : int
    dataset : str
        Label of the data set.
    classes : int
    clean_sha256 : str
        Hash of the clean labels that were corrupted; see :func:`lnlbench.noise.report.labels_hash`.
    """

    labels: Labels
    generator: str
    rate: float
    settings: dict[str, Any]
    seed: int
    dataset: str
    classes: int
    clean_sha256: str

    def verify(self, clean: Labels, classes: int, where: str) -> None:
        """Raise a NoiseError unless the file was made from these clean labels."""
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


def save_noise_file(
    path: Path,
    labels: Labels,
    clean: Labels,
    *,
    spec: NoiseSpec,
    dataset: str,
    family: str,
    classes: int,
    seed: int,
) -> None:
    """Write a noise file; a file of that name is replaced in one step.

    Parameters
    ----------
    path : Path
    labels, clean : int64 arrays of shape [N]
        Noisy and clean labels.
    spec : NoiseSpec
        The noise that was applied. The file states all its settings, defaults included.
    dataset, family : str
        The data set's label and family.
    classes, seed : int

    Raises
    ------
    NoiseError
        If the file cannot be written.
    """
    metadata = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "generator": spec.type,
        "rate": spec.rate,
        "settings": resolve(spec, family, classes),
        "seed": seed,
        "dataset": dataset,
        "classes": classes,
        "clean_sha256": labels_hash(clean),
        "labels_sha256": labels_hash(labels),
    }
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as stream:
            np.savez_compressed(
                stream, labels=labels, metadata=np.array(json.dumps(metadata, sort_keys=True))
            )
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
    arrays = read_npz(path, ("labels", "metadata"), error=NoiseError)
    labels = arrays["labels"]
    metadata = _read_metadata(arrays["metadata"], path)
    if labels.dtype.kind not in "iu" or labels.ndim != 1 or not len(labels):
        raise NoiseError(
            f"{path}: array labels has type {labels.dtype} and shape {labels.shape}.",
            "A noise file holds integers of shape [N].",
        )
    labels = labels.astype(np.int64)
    if labels_hash(labels) != metadata["labels_sha256"]:
        raise NoiseError(f"{path} has been changed since it was written.", "Get an unchanged copy.")
    if labels.min() < 0 or labels.max() >= metadata["classes"]:
        raise NoiseError(
            f"{path} has labels from {labels.min()} to {labels.max()} for {metadata['classes']} classes.",
            "Create the file again.",
        )
    return NoiseFile(
        labels=labels,
        generator=metadata["generator"],
        rate=float(metadata["rate"]),
        settings=metadata["settings"],
        seed=metadata["seed"],
        dataset=metadata["dataset"],
        classes=metadata["classes"],
        clean_sha256=metadata["clean_sha256"],
    )


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
    if wrong:
        raise NoiseError(f"{path} lacks metadata: {', '.join(wrong)}.", "Create the file again.")
    return metadata
