"""MedMNIST (Yang et al., 2023): medical images of 28 to 224 pixels, in one npz file each."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from lnlbench.basics.files import write_atomically
from lnlbench.basics.seeding import numpy_stream
from lnlbench.data.arrays import STANDIN_ARRAY, ArrayImages, check_classes, check_images, check_labels
from lnlbench.data.known.standin import NOTICE, Painter, test_images
from lnlbench.data.npz import read_npz
from lnlbench.data.source import Dataset, DatasetSource, Split, assemble, local_path, spec_path
from lnlbench.errors import DataError
from lnlbench.spec import DatasetSpec

PARTS = ("train", "val", "test")
_STANDIN, _CLASSES, _SIDE = "bloodmnist.npz", 8, 28


class MedMNIST(DatasetSource):
    """A set of MedMNIST: ``medmnist:PATH``, as in ``medmnist:bloodmnist.npz``.

    Any of the two-dimensional sets with one label per image, of any size. Labels are taken as true, and
    classes are called by their numbers; training, validation and test images are those of the file.
    """

    title = "MedMNIST"
    paper = "Yang et al. (2023)"
    licence = "CC BY 4.0; DermaMNIST CC BY-NC 4.0"
    homepage = "medmnist.com"
    summary = "a set of MedMNIST in its npz file: medmnist:bloodmnist.npz"
    takes_path: ClassVar[bool] = True
    recipe = "crop-flip"

    def missing(self, path: str | None, root: Path | None) -> str | None:
        file = local_path(path, root, "medmnist")
        if file.is_file():
            return None
        return (
            f"{file} does not exist. Get it from medmnist.com, or with the package medmnist, and put it "
            "into the data folder. `lnlbench data make-standin medmnist` makes a stand-in for bloodmnist.npz."
        )

    def load(self, spec: DatasetSpec, root: Path | None) -> Dataset:
        path = spec_path(spec, root)
        names = [f"{part}_{kind}" for part in PARTS for kind in ("images", "labels")]
        arrays = read_npz(path, names, (STANDIN_ARRAY,))
        images = {
            part: check_images(arrays[f"{part}_images"], f"{path}: array {part}_images") for part in PARTS
        }
        if len({pixels.shape[1:] for pixels in images.values()}) > 1:
            raise DataError(f"{path}: the splits differ in shape.", "Copy the file again.")
        labels = {
            f"y_{part}": check_labels(
                _column(arrays[f"{part}_labels"], f"{path}: array {part}_labels"),
                len(images[part]),
                f"{path}: array {part}_labels",
            )
            for part in PARTS
        }
        classes = int(labels["y_train"].max()) + 1
        check_classes(labels, classes, path)
        splits = {part: Split(ArrayImages(images[part]), None, labels[f"y_{part}"]) for part in PARTS}
        return assemble(
            spec,
            family="medmnist",
            classes=tuple(map(str, range(classes))),
            train=splits["train"],
            validation=splits["val"],
            test=splits["test"],
            standin=STANDIN_ARRAY in arrays,
        )

    def make_standin(self, root: Path, per_class: int, seed: int) -> Path:
        path = root / _STANDIN
        if path.exists():
            raise DataError(
                f"{path} is there already.", "Remove it first, or choose another folder with --data."
            )
        arrays: dict[str, Any] = {STANDIN_ARRAY: np.array(NOTICE)}
        for part in PARTS:
            painter = Painter(_CLASSES, training=part == "train")
            rng = numpy_stream("stand-in", path.stem, part, seed)
            count = per_class if part == "train" else test_images(per_class)
            labels = rng.permutation(np.repeat(np.arange(_CLASSES), count))
            images = [np.asarray(painter.paint(label, _SIDE, _SIDE, rng)) for label in labels]
            arrays[f"{part}_images"], arrays[f"{part}_labels"] = (
                np.stack(images),
                labels[:, None].astype(np.uint8),
            )
        content = io.BytesIO()
        np.savez_compressed(content, **arrays)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.getvalue())
        return path


def _column(values: npt.NDArray[Any], where: str) -> npt.NDArray[Any]:
    """Return labels of shape [N, 1] as [N]."""
    if values.ndim != 2 or values.shape[1] != 1:
        raise DataError(
            f"{where} has shape {values.shape}.",
            "Sets with several labels for an image, as ChestMNIST, cannot be used; others have [N, 1].",
        )
    return values[:, 0]
