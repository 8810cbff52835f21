"""Data sets in one npz file: images (``npz:PATH``) or features of any modality (``features:PATH``)."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from lnlbench.data.dataset import UNKNOWN
from lnlbench.data.mapped import map_array, pieces
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
REQUIRED = ("x_train", "y_train", "x_test", "y_test")
OPTIONAL = ("x_val", "y_val", "clean_train", "classes", STANDIN_ARRAY)


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


def check_feature_type(shape: tuple[int, ...], dtype: np.dtype[Any], where: str) -> None:
    """Raise a DataError unless an array of this shape and type can be features."""
    if dtype.kind != "f" or len(shape) != 2 or 0 in shape:
        raise DataError(
            f"{where} has type {dtype} and shape {shape}.",
            "Features are floating-point numbers of shape [N, d], with at least one sample.",
        )


def check_finite(finite: npt.NDArray[np.bool_], where: str) -> None:
    """Raise a DataError unless all samples are finite."""
    if not finite.all():
        raise DataError(
            f"{where}: {np.count_nonzero(~finite)} samples hold NaN, infinity or values beyond float32, "
            f"the first at index {np.argmin(finite)}.",
            "Remove or mend them.",
        )


def check_features(values: npt.NDArray[Any], where: str) -> npt.NDArray[np.float32]:
    """Return ``values`` as float32 if they are finite features, else raise a DataError."""
    check_feature_type(values.shape, values.dtype, where)
    with np.errstate(over="ignore"):  # reported just below
        single = np.ascontiguousarray(values, dtype=np.float32)
    check_finite(np.concatenate([np.isfinite(piece).all(axis=1) for piece in pieces(single)]), where)
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


def check_clean(values: npt.NDArray[Any], samples: int, classes: int, path: Path) -> Labels:
    """Return true labels as int64: one per sample, a class or −1 where nobody knows it."""
    where = f"{path}: array clean_train"
    if values.dtype.kind not in "iu" or values.shape != (samples,):
        raise DataError(
            f"{where} has type {values.dtype} and shape {values.shape}.",
            f"True labels are integers of shape [{samples}].",
        )
    if values.min() < UNKNOWN or values.max() >= classes:
        raise DataError(
            f"{where} has labels from {values.min()} to {values.max()} for {classes} classes.",
            "True labels are 0 … C − 1, or −1 where nobody knows them.",
        )
    return values.astype(np.int64)


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
    arrays = read_npz(path, REQUIRED, OPTIONAL)
    check_validation(arrays, path)
    return arrays


def check_validation(names: Container[str], path: Path) -> None:
    """Raise a DataError if an archive has samples or labels for validation alone."""
    if ("x_val" in names) != ("y_val" in names):
        raise DataError(f"{path} has only one of the arrays x_val and y_val.", "Give both or neither.")


def map_arrays(folder: Path) -> Arrays:
    """Return the arrays that a data set in a folder of ``.npy`` files has; large ones stay in their files."""
    names = [*REQUIRED, *(name for name in OPTIONAL if (folder / f"{name}.npy").exists())]
    absent = [f"{name}.npy" for name in REQUIRED if not (folder / f"{name}.npy").is_file()]
    if absent:
        raise DataError(f"{folder} has no {', '.join(absent)}.", "Save the arrays with numpy.save.")
    arrays = {name: map_array(folder / f"{name}.npy") for name in names}
    if ("x_val" in arrays) != ("y_val" in arrays):
        raise DataError(f"{folder} has only one of x_val.npy and y_val.npy.", "Give both or neither.")
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
        arrays = self._arrays(path)
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
        if "clean_train" in arrays:
            clean = check_clean(arrays["clean_train"], len(splits["train"]), len(classes), path)
            splits["train"] = dataclasses.replace(splits["train"], clean=clean)
        return assemble(
            spec,
            family="custom",
            classes=classes,
            train=splits["train"],
            test=splits["test"],
            validation=splits.get("val"),
            standin=STANDIN_ARRAY in arrays,
        )

    def _arrays(self, path: Path) -> Arrays:
        return read_arrays(path)

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
    """Features of any modality in an npz file or a folder of npy files: ``features:PATH``, for LP only.

    Of a folder, arrays of float32 stay in their files, which are read through the page cache.
    """

    summary = "features and labels of any modality in an npz file or a folder of npy files; LP only"
    scheme = "features"
    has_images = False
    # Whoever has a cache gives one that converts them once: see lnlbench.inputs.feature_archive.
    read_archive: Callable[[Path], Arrays] = staticmethod(read_arrays)

    def missing(self, path: str | None, root: Path | None) -> str | None:
        folder = local_path(path, root, self.scheme)
        absent = [f"{name}.npy" for name in REQUIRED if not (folder / f"{name}.npy").is_file()]
        if not folder.is_dir():
            return super().missing(path, root)
        return f"{folder} has no {', '.join(absent)}. Save them with numpy.save." if absent else None

    def _arrays(self, path: Path) -> Arrays:
        return map_arrays(path) if path.is_dir() else self.read_archive(path)

    def _samples(self, values: npt.NDArray[Any], where: str) -> npt.NDArray[Any]:
        return check_features(values, where)

    def _split(self, samples: npt.NDArray[Any], labels: Labels) -> Split:
        import torch

        return Split(images=None, features=torch.from_numpy(samples), labels=labels)
