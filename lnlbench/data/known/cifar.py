"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009): from a local npz, or as torchvision stores them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from lnlbench.data.arrays import (
    STANDIN_ARRAY,
    ArrayImages,
    check_classes,
    check_images,
    read_arrays,
    read_labels,
)
from lnlbench.data.class_prompts import SMALL_IMAGES
from lnlbench.data.source import Dataset, DatasetSource, HumanLabels, Split, assemble
from lnlbench.errors import DataError
from lnlbench.spec import DatasetSpec

CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

CIFAR100_SUPERCLASSES = {
    "aquatic_mammals": ("beaver", "dolphin", "otter", "seal", "whale"),
    "fish": ("aquarium_fish", "flatfish", "ray", "shark", "trout"),
    "flowers": ("orchid", "poppy", "rose", "sunflower", "tulip"),
    "food_containers": ("bottle", "bowl", "can", "cup", "plate"),
    "fruit_and_vegetables": ("apple", "mushroom", "orange", "pear", "sweet_pepper"),
    "household_electrical_devices": ("clock", "keyboard", "lamp", "telephone", "television"),
    "household_furniture": ("bed", "chair", "couch", "table", "wardrobe"),
    "insects": ("bee", "beetle", "butterfly", "caterpillar", "cockroach"),
    "large_carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
    "large_man-made_outdoor_things": ("bridge", "castle", "house", "road", "skyscraper"),
    "large_natural_outdoor_scenes": ("cloud", "forest", "mountain", "plain", "sea"),
    "large_omnivores_and_herbivores": ("camel", "cattle", "chimpanzee", "elephant", "kangaroo"),
    "medium_mammals": ("fox", "porcupine", "possum", "raccoon", "skunk"),
    "non-insect_invertebrates": ("crab", "lobster", "snail", "spider", "worm"),
    "people": ("baby", "boy", "girl", "man", "woman"),
    "reptiles": ("crocodile", "dinosaur", "lizard", "snake", "turtle"),
    "small_mammals": ("hamster", "mouse", "rabbit", "shrew", "squirrel"),
    "trees": ("maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"),
    "vehicles_1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
    "vehicles_2": ("lawn_mower", "rocket", "streetcar", "tank", "tractor"),
}

# The data set numbers its 100 classes in alphabetical order.
CIFAR100_CLASSES = tuple(sorted(name for group in CIFAR100_SUPERCLASSES.values() for name in group))


# Patrini et al. (2017), as DivideMix, ELR and UNICON use it.
CIFAR10_PAIRS = {
    "truck": "automobile",
    "bird": "airplane",
    "deer": "horse",
    "cat": "dog",
    "dog": "cat",
}


def cifar10_map() -> tuple[int, ...]:
    """Truck to automobile, bird to airplane, deer to horse, cat and dog to each other."""
    return tuple(CIFAR10_CLASSES.index(CIFAR10_PAIRS.get(name, name)) for name in CIFAR10_CLASSES)


def superclass_map() -> tuple[int, ...]:
    """CIFAR-100: the next class, by number, inside the same superclass, circular."""
    target = list(range(len(CIFAR100_CLASSES)))
    for group in CIFAR100_SUPERCLASSES.values():
        members = sorted(CIFAR100_CLASSES.index(name) for name in group)
        for position, member in enumerate(members):
            target[member] = members[(position + 1) % len(members)]
    return tuple(target)


_human = partial(
    HumanLabels,
    clean="clean_label",
    homepage="github.com/UCSC-REAL/cifar-10-100n, folder data",
    paper="Wei et al. (2022)",
    licence="CC BY-NC 4.0",
)


class _CIFAR(DatasetSource):
    name: ClassVar[str]
    title: ClassVar[str]
    folder: ClassVar[str]  # where torchvision extracts the official archive
    classes: ClassVar[tuple[str, ...]]
    official = MappingProxyType({"train": 50_000, "test": 10_000})
    recipe = "cifar"
    image_side = 32
    templates = SMALL_IMAGES

    def missing(self, path: str | None, root: Path | None) -> str | None:
        if root is not None and ((root / f"{self.name}.npz").is_file() or (root / self.folder).is_dir()):
            return None
        where = (
            "cannot be found, because no data folder is given (set LNLBENCH_DATA)"
            if root is None
            else f"is not in the data folder {root}"
        )
        return (
            f"{self.title} {where}. Run `lnlbench data fetch {self.name}`, or put a {self.name}.npz with "
            "x_train, y_train, x_test and y_test (images: uint8, N × 32 × 32 × 3) in the data folder."
        )

    def load(self, spec: DatasetSpec, root: Path | None) -> Dataset:
        problem = self.missing(None, root)
        if problem is not None:
            raise DataError(problem)
        assert root is not None  # else it would be missing
        file = root / f"{self.name}.npz"
        standin = False
        if file.is_file():
            train, test, standin = self._from_npz(file)
        else:
            train, test = self._from_torchvision(root)
        return assemble(spec, family=self.name, classes=self.classes, train=train, test=test, standin=standin)

    def fetch(self, root: Path) -> None:
        from urllib.error import URLError

        try:
            root.mkdir(parents=True, exist_ok=True)
            self._torchvision_class()(root, download=True)
        except URLError as problem:
            raise DataError(
                f"{self.title} could not be downloaded: {problem.reason}.",
                f"Check the network, or put a {self.name}.npz in {root}.",
            ) from problem
        except (OSError, RuntimeError) as problem:
            raise DataError(
                f"{self.title} could not be downloaded into {root}: {problem}.",
                "Remove what is left of the download and try again.",
            ) from problem

    def make_standin(self, root: Path, per_class: int, seed: int) -> Path:
        from lnlbench.data.known.standin import write_cifar
        from lnlbench.data.known.standin_labels import write_human_labels

        if (root / self.folder).exists():
            raise DataError(f"{root} holds {self.title} itself.", "Choose another folder with --data.")
        written = write_cifar(root / f"{self.name}.npz", len(self.classes), per_class, seed)
        if self.human is not None:
            write_human_labels(self.human, written, len(self.classes), seed)
        return written

    def _from_npz(self, path: Path) -> tuple[Split, Split, bool]:
        arrays = read_arrays(path)
        labels = read_labels(arrays, path)
        check_classes(labels, len(self.classes), path)
        splits = []
        for part in ("train", "test"):
            where = f"{path}: array x_{part}"
            pixels = check_images(arrays[f"x_{part}"], where)
            if pixels.shape[1:] != (32, 32, 3):
                raise DataError(f"{where} has shape {pixels.shape}.", "CIFAR images are N × 32 × 32 × 3.")
            splits.append(Split(images=ArrayImages(pixels), features=None, labels=labels[f"y_{part}"]))
        return splits[0], splits[1], STANDIN_ARRAY in arrays

    def _from_torchvision(self, root: Path) -> tuple[Split, Split]:
        """Read the extracted archive, of which torchvision checks every file's MD5."""
        try:
            parts = [self._torchvision_class()(root, train=train, download=False) for train in (True, False)]
        except (RuntimeError, OSError) as problem:
            raise DataError(
                f"{root / self.folder} is damaged or incomplete.",
                f"Remove it and run `lnlbench data fetch {self.name}`.",
            ) from problem
        train, test = (
            Split(
                images=ArrayImages(part.data),
                features=None,
                labels=np.asarray(part.targets, dtype=np.int64),
            )
            for part in parts
        )
        return train, test

    def _torchvision_class(self) -> Any:
        from torchvision import datasets

        return getattr(datasets, type(self).__name__)


class CIFAR10(_CIFAR):
    """CIFAR-10: 50,000 + 10,000 images of 10 classes."""

    title = "CIFAR-10"
    paper = "Krizhevsky (2009)"
    summary = "CIFAR-10: 50,000 + 10,000 images, 32 × 32, 10 classes"
    name = "cifar10"
    folder = "cifar-10-batches-py"
    classes = CIFAR10_CLASSES
    maps = MappingProxyType({"cifar10": cifar10_map()})
    human = _human(
        file="CIFAR-10_human.pt",
        keys=MappingProxyType(
            {
                "aggre": "aggre_label",
                "worse": "worse_label",
                "random1": "random_label1",
                "random2": "random_label2",
                "random3": "random_label3",
            }
        ),
    )


class CIFAR100(_CIFAR):
    """CIFAR-100 with its fine labels: 50,000 + 10,000 images of 100 classes."""

    title = "CIFAR-100"
    paper = "Krizhevsky (2009)"
    summary = "CIFAR-100: 50,000 + 10,000 images, 32 × 32, 100 fine classes"
    name = "cifar100"
    folder = "cifar-100-python"
    classes = CIFAR100_CLASSES
    maps = MappingProxyType({"superclass": superclass_map()})
    human = _human(file="CIFAR-100_human.pt", keys=MappingProxyType({"noisy": "noisy_label"}))
