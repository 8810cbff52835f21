"""Predictions of a saved model for image files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from lnlbench.data.decode import decode
from lnlbench.data.imagefolder import EXTENSIONS
from lnlbench.deploy.saved_model import SavedModel
from lnlbench.errors import DataError, UsageError

BATCH = 64


class Prediction(NamedTuple):
    """What a model says of a file: a class, its probability, and the probabilities of all classes."""

    file: Path
    predicted: str
    confidence: float
    probabilities: tuple[float, ...]


def image_files(paths: Iterable[Path]) -> list[Path]:
    """Return image files: those that are given, and all below folders, sorted by path.

    Names that start with a dot are left out of folders.

    Raises
    ------
    DataError
        If a path does not exist, or a folder has no image.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = (file for file in path.rglob("*") if file.suffix.lower() in EXTENSIONS)
            images = sorted(file for file in inside if file.is_file() and not _hidden(file, path))
            if not images:
                kinds = ", ".join(sorted(EXTENSIONS))
                raise DataError(f"There is no image in '{path}'.", f"Images end in {kinds}.")
            found += images
        elif path.is_file():
            found.append(path)
        else:
            raise DataError(f"There is no file '{path}'.", "Name image files, or folders of them.")
    return found


@torch.no_grad()
def predict_files(
    model: SavedModel, files: Sequence[Path], device: torch.device | str = "cpu"
) -> Iterator[Prediction]:
    """Predict image files, one after the other.

    Raises
    ------
    UsageError
        If the model takes features.
    DataError
        If a file cannot be decoded, which is named.
    """
    if model.preprocessing is None:
        raise UsageError("This model takes features, and no images.", "Use lnlbench.load_model from Python.")
    preprocess = model.preprocessing
    model = model.to(device).eval()
    for start in range(0, len(files), BATCH):
        batch = files[start : start + BATCH]
        images = [torch.from_numpy(decode(file, model.side)).permute(2, 0, 1) for file in batch]
        chances = model(preprocess(images, device)).double().softmax(1).cpu()
        for file, row in zip(batch, chances, strict=True):
            at = int(row.argmax())
            yield Prediction(file, model.classes[at], float(row[at]), tuple(row.tolist()))


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)
