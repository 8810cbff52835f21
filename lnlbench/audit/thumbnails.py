"""Small pictures that a page carries inside itself."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from lnlbench.data.dataset import Images

SIDE = 96  # pixels of the longer side
TINY = 48  # images up to this are kept as they are, without loss


def thumbnail(images: Images, sample: int) -> str:
    """Return an image of at most 96 pixels as a ``data:`` address."""
    pixels = images.take(np.array([sample]))[0].permute(1, 2, 0).numpy()
    image = Image.fromarray(pixels)
    buffer = io.BytesIO()
    if max(image.size) <= TINY:
        image.save(buffer, "PNG", optimize=True)
        kind = "png"
    else:
        image.thumbnail((SIDE, SIDE))
        image.save(buffer, "JPEG", quality=80)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
