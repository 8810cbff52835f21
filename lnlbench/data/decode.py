"""One image file to pixels: in full, or at a reduced size, with one kind of error."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from lnlbench.errors import DataError

Pixels = npt.NDArray[np.uint8]

# Raised when the same file and side would give other pixels; part of fingerprints and caches.
RESIZE_VERSION = 1

# Pillow clips these to 8 bits instead of scaling them.
_DEEP_MODES = ("I", "F")


def decode(path: Path, side: int | None = None, content: bytes | None = None) -> Pixels:
    """Decode an image file as RGB.

    Parameters
    ----------
    path : Path
    side : int, optional
        Bring the shorter side down to this many pixels (see :func:`reduced_size`), bilinear with
        antialiasing. A JPEG is then decoded at the smallest of 1/8, 1/4, 1/2 and full size that is
        no smaller than the result, which is several times faster and changes pixels slightly.
    content : bytes, optional
        The file's content, where it is in another file; ``path`` then only names it.

    Returns
    -------
    uint8 array of shape [H, W, 3]

    Raises
    ------
    DataError
        If the file cannot be decoded, has more than 8 bits per channel, or declares more pixels
        than Pillow takes for safe.
    """
    with image_errors(path), Image.open(path if content is None else io.BytesIO(content)) as image:
        check_depth(image, path)
        if side is None:
            return np.array(image.convert("RGB"))
        height, width = reduced_size(image.height, image.width, side)
        image.draft(None, (width, height))  # only JPEG has reduced sizes; others are left alone
        pixels = image.convert("RGB")
        if pixels.size != (width, height):
            pixels = pixels.resize((width, height), Image.Resampling.BILINEAR)
        return np.array(pixels)


def reduced_size(height: int, width: int, side: int) -> tuple[int, int]:
    """Return height and width with the shorter one brought down to ``side``, the ratio kept.

    An image is never enlarged.
    """
    shorter = min(height, width)
    if shorter <= side:
        return height, width
    return max(side, round(height * side / shorter)), max(side, round(width * side / shorter))


def check_depth(image: Image.Image, path: Path) -> None:
    """Raise a DataError if an image has more than 8 bits per channel."""
    if image.mode.partition(";")[0] in _DEEP_MODES:
        raise DataError(f"{path} has more than 8 bits per channel.", "Convert it to 8 bits.")


@contextmanager
def image_errors(path: Path) -> Iterator[None]:
    """Turn what Pillow raises for a bad file into one error that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as problem:
        raise DataError(f"{path} is too large an image: {problem}", "Scale it down.") from problem
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as problem:
        # Pillow's PNG reader reports broken chunks as SyntaxError.
        reason = "no known image format" if isinstance(problem, UnidentifiedImageError) else problem
        raise DataError(f"{path} cannot be decoded: {reason}.", "Replace or remove the file.") from problem
