"""Data sets in one npz file: images (``npz:PATH``) or features of any modality (``features:PATH``)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from lnlbench.data.npz import read_npz
from lnlbench.data.source import (
    Dataset,
    DatasetSource,
    Images,
    Index,
    Labels,
    Split,
    assemble,
    local_path,
    spec_path,
)
from lnlbench.errors import DataError
from lnlbench.spec import DatasetSpec

if TYPE_CHECKING:
    import torch

Arrays = dict[str, npt.NDArray[Any]]

# An archive with an array of this name says of itself that it is no real data set.
STANDIN_ARRAY = "standin"


class ArrayImages(Images):
    """Images of one size in memory.

    Parameters
    ----------
    pixels : uint8 array of shape [N, H, W, 3], [N, H, W, 1] or [N, H, W]
        Grey images are repeated over three channels when they are taken.
    """

    def __init__(self, pixels: npt.NDArray[np.uint8]) -> None:
        self._pixels = pixels[..., None] if pixels.ndim == 3 else pixels

    @property
    def size(self) -> tuple[int, int]:
        return self._pixels.shape[1], self._pixels.shape[2]

    def __len__(self) -> int:
        return len(self._pixels)

    def take(self, index: Index) -> torch.Tensor:
        import torch

        batch = torch.from_numpy(self._pixels[index]).permute(0, 3, 1, 2)
        return batch if batch.shape[1] == 3 else batch.repeat(1, 3, 1, 1)

    def select(self, index: Index) -> ArrayImages:
        return ArrayImages(self._pixels[index])

    def content(self) -> Iterator[bytes]:
        yield repr(self._pixels.shape).encode()
        for image in self._pixels:
            yield image.tobytes()


def check_images(pixels: npt.NDArray[Any], where: str) -> npt.NDArray[np.uint8]:
    """Return ``pixels`` if it is a uint8 array of images, else raise a DataError."""
    shaped = pixels.ndim == 3 or (pixels.ndim == 4 and pixels.shape[3] in (1, 3))
    if pixels.dtype != np.uint8 or not shaped or 0 in pixels.shape:
        raise DataError(
            f"{where} has type {pixels.dtype} and shape {pixels.shape}.",
            "Images are uint8 of shape [N, H, W], [N, H, W, 1] or [N, H, W, 3], with at least one image.",
        )
    return pixels


def check_features(values: npt.NDArray[Any], where: str) -> npt.NDArray[np.float32]:
    """Return ``values`` as float32 if they are finite features, else raise a DataError."""
    if values.dtype.kind != "f" or values.ndim != 2 or 0 in values.shape:
        raise DataError(
            f"{where} has type {values.dtype} and shape {values.shape}.",
            "Features are floating-point numbers of shape [N, d], with at least one sample.",
        )
    with np.errstate(over="ignore"):  # reported just below
        single = np.ascontiguousarray(values, dtype=np.float32)
    finite = np.isfinite(single).all(axis=1)
    if not finite.all():
        raise DataError(
            f"{where}: {np.count_nonzero(~finite)} samples hold NaN, infinity or values beyond float32, "
            f"the first at index {np.argmin(finite)}.",
            "Remove or mend them.",
        )
    return single


def check_labels(labels: npt.NDArray[Any], samples: int, where: str) -> Labels:
    """Return ``labels`` as int64 if there is one, not negative, per sample, else raise a DataError."""
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise DataError(
            f"{where} has type {labels.dtype} and shape {labels.shape}.",
            "Labels are integers of shape [N].",
        )
    if len(labels) != samples:
        raise DataError(f"{where} has {len(labels)} labels for {samples} samples.", "Give one per sample.")
    if labels.min() < 0 or labels.max() > np.iinfo(np.int32).max:
        raise DataError(
            f"{where} has labels from {labels.min()} to {labels.max()}.", "Labels are 0, 1, …, C − 1."
        )
    return labels.astype(np.int64)


def check_classes(labels: dict[str, Labels], classes: int, path: Path) -> None:
    """Raise a DataError unless ``y_train`` covers 0 … C − 1 and no label lies beyond."""
    for name, values in labels.items():
        if values.max() >= classes:
            raise DataError(
                f"{path}: array {name} has label {values.max()}, but there are {classes} classes.",
                "Labels are 0, 1, …, C − 1; every class must be in y_train.",
            )
    empty = np.flatnonzero(np.bincount(labels["y_train"], minlength=classes) == 0)
    if classes < 2 or empty.size:
        raise DataError(
            f"{path}: array y_train has no sample of class {empty[0] if empty.size else 1}.",
            "Labels are 0, 1, …, C − 1 without gaps, for at least two classes.",
        )


def class_names(arrays: Arrays, labels: dict[str, Labels], path: Path) -> tuple[str, ...]:
    """Return the names in the array ``classes``, or the numbers of the classes in ``y_train``."""
    names = arrays.get("classes")
    if names is None:
        return tuple(str(number) for number in range(int(labels["y_train"].max()) + 1))
    if names.dtype.kind != "U" or names.ndim != 1 or len(set(names.tolist())) != len(names):
        raise DataError(
            f"{path}: array classes has type {names.dtype} and shape {names.shape}.",
            "Class names are different texts in an array of shape [C].",
        )
    return tuple(names.tolist())


def read_arrays(path: Path) -> Arrays:
    """Read the arrays that a data set in an npz file may have."""
    arrays = read_npz(
        path,
        ("x_train", "y_train", "x_test", "y_test"),
        optional=("x_val", "y_val", "classes", STANDIN_ARRAY),
    )
    if ("x_val" in arrays) != ("y_val" in arrays):
        raise DataError(f"{path} has only one of the arrays x_val and y_val.", "Give both or neither.")
    return arrays


def read_labels(arrays: Arrays, path: Path) -> dict[str, Labels]:
    """Check each split's labels against its samples, and return them by array name."""
    return {
        name: check_labels(arrays[name], len(arrays[f"x_{name[2:]}"]), f"{path}: array {name}")
        for name in ("y_train", "y_test", "y_val")
        if name in arrays
    }


class _File(DatasetSource):
    """A data set in one npz file."""

    takes_path: ClassVar[bool] = True
    scheme: ClassVar[str]

    def missing(self, path: str | None, root: Path | None) -> str | None:
        file = local_path(path, root, self.scheme)
        if file.is_file():
            return None
        return f"{file} does not exist. Create it with numpy.savez, with x_train, y_train, x_test and y_test."

    def load(self, spec: DatasetSpec, root: Path | None) -> Dataset:
        path = spec_path(spec, root)
        arrays = read_arrays(path)
        samples = {
            name: self._samples(arrays[name], f"{path}: array {name}")
            for name in ("x_train", "x_test", "x_val")
            if name in arrays
        }
        if len({item.shape[1:] for item in samples.values()}) > 1:
            shapes = ", ".join(f"{name} {item.shape}" for name, item in samples.items())
            raise DataError(f"{path}: the splits differ in shape: {shapes}.", "Give all splits one shape.")
        labels = read_labels(arrays, path)
        classes = class_names(arrays, labels, path)
        check_classes(labels, len(classes), path)
        splits = {name[2:]: self._split(item, labels[f"y_{name[2:]}"]) for name, item in samples.items()}
        return assemble(
            spec,
            family="custom",
            classes=classes,
            train=splits["train"],
            test=splits["test"],
            validation=splits.get("val"),
            standin=STANDIN_ARRAY in arrays,
        )

    @abstractmethod
    def _samples(self, values: npt.NDArray[Any], where: str) -> npt.NDArray[Any]: ...

    @abstractmethod
    def _split(self, samples: npt.NDArray[Any], labels: Labels) -> Split: ...


class NpzFile(_File):
    """Images in an npz file: ``npz:PATH``."""

    summary = "images and labels in an npz file (x_train, y_train, x_test, y_test)"
    scheme = "npz"

    def _samples(self, values: npt.NDArray[Any], where: str) -> npt.NDArray[Any]:
        return check_images(values, where)

    def _split(self, samples: npt.NDArray[Any], labels: Labels) -> Split:
        return Split(images=ArrayImages(samples), features=None, labels=labels)


class FeaturesFile(_File):
    """Features of any modality in an npz file: ``features:PATH``, for linear probing only."""

    summary = "features and labels of any modality in an npz file; LP only"
    scheme = "features"

    def _samples(self, values: npt.NDArray[Any], where: str) -> npt.NDArray[Any]:
        return check_features(values, where)

    def _split(self, samples: npt.NDArray[Any], labels: Labels) -> Split:
        import torch

        return Split(images=None, features=torch.from_numpy(samples), labels=labels)
