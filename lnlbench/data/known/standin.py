"""Stand-ins: small data sets with the layout of large ones, for trying a whole grid out.

Class number 37 of a stand-in shows a hand-written 3 and a 7 (scikit-learn's digits) in a random colour
on a piece of a photograph, so that there is something to learn. Test images are made of digits that no
training image shows. A stand-in says what it is: in a file or an array of its own, in
``lnlbench data check``, in every record and under every table; its fingerprint can never be that of
real data.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from lnlbench.basics.files import write_atomically
from lnlbench.basics.seeding import numpy_stream
from lnlbench.data.arrays import STANDIN_ARRAY
from lnlbench.errors import DataError

NOTICE = (
    "This is a stand-in made by `lnlbench data make-standin`. It has the layout of the data set that it is "
    "named after and none of its images: no number measured on it says anything about the real one.\n"
)

_PHOTOGRAPHS = ("china.jpg", "flower.jpg")
_LEVELS = 16  # the digits' values are 0 … 16
_TRAINING_SHARE = 0.8  # of the digits; the others are for test images
_CIFAR_SIZE = 32


@dataclass(frozen=True)
class Painter:
    """Draws the images of one split.

    Parameters
    ----------
    classes : int
        Decides how many digits a class number has.
    training : bool
        Which digits are used.
    """

    classes: int
    training: bool

    @cached_property
    def _glyphs(self) -> list[npt.NDArray[np.float64]]:
        """The digits 0 … 9, each of shape [n, 8, 8] in [0, 1]."""
        from sklearn.datasets import load_digits

        bunch = load_digits()
        glyphs = [bunch.images[bunch.target == digit] / _LEVELS for digit in range(10)]
        cuts = [int(len(group) * _TRAINING_SHARE) for group in glyphs]
        return [g[:cut] if self.training else g[cut:] for g, cut in zip(glyphs, cuts, strict=True)]

    @cached_property
    def _photographs(self) -> list[Image.Image]:
        from sklearn.datasets import load_sample_image

        return [Image.fromarray(load_sample_image(name)) for name in _PHOTOGRAPHS]

    def paint(self, number: int, height: int, width: int, rng: np.random.Generator) -> Image.Image:
        """Return an image of a class, of ``height`` × ``width`` pixels."""
        digits = f"{number:0{len(str(self.classes - 1))}d}"
        glyph = np.hstack([rng.choice(self._glyphs[int(digit)]) for digit in digits])
        mask = Image.fromarray(np.rint(glyph * 255).astype(np.uint8))
        share = rng.uniform(0.75, 0.95)
        scale = share * min(height / mask.height, width / mask.width)
        mask = mask.resize(
            (max(1, round(mask.width * scale)), max(1, round(mask.height * scale))), Image.Resampling.BICUBIC
        )
        photograph = self._photographs[rng.integers(len(self._photographs))]
        left = int(rng.integers(photograph.width - min(width, photograph.width) + 1))
        top = int(rng.integers(photograph.height - min(height, photograph.height) + 1))
        image = photograph.crop((left, top, left + width, top + height))
        image = image.point(lambda value: value * 0.4)  # dark, so that the digits stand out
        colour = tuple(int(value) for value in rng.integers(150, 256, 3))
        corner = (
            int(rng.integers(width - mask.width + 1)),
            int(rng.integers(height - mask.height + 1)),
        )
        image.paste(Image.new("RGB", mask.size, colour), corner, mask)
        return image


def test_images(per_class: int) -> int:
    """Return how many test images a class has, for so many training images."""
    return max(1, per_class // 2)


def write_cifar(path: Path, classes: int, per_class: int, seed: int) -> Path:
    """Write a stand-in for CIFAR as an npz archive with an array that says so.

    Raises
    ------
    DataError
        If the file is there already, or cannot be written.
    """
    if path.exists():
        raise DataError(f"{path} is there already.", "Remove it first, or choose another folder with --data.")
    arrays: dict[str, Any] = {STANDIN_ARRAY: np.array(NOTICE)}
    for part, count in (("train", per_class), ("test", test_images(per_class))):
        painter = Painter(classes, training=part == "train")
        rng = numpy_stream("stand-in", path.stem, part, seed)
        labels = rng.permutation(np.repeat(np.arange(classes), count))
        images = [np.asarray(painter.paint(label, _CIFAR_SIZE, _CIFAR_SIZE, rng)) for label in labels]
        arrays[f"x_{part}"], arrays[f"y_{part}"] = np.stack(images), labels
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.getvalue())
    except OSError as problem:
        raise DataError(
            f"{path} cannot be written: {problem.strerror}.", "Choose another --data."
        ) from problem
    return path
