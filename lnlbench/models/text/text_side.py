"""What a backbone needs besides its features to compare images with texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)
class TextSide:
    """The text side of a model of images and texts, on the CPU, in float32.

    Attributes
    ----------
    embed : callable
        From n texts to their embeddings ``[n, p]``, of any length, in the space that images share.
    projection : torch.Tensor, ``[p, d]``
        From the backbone's features to that space.
    temperature : float
        That the model was trained with: logits are cosine similarities divided by it.
    fingerprint : str
        SHA-256, in hexadecimal, of all that embeddings depend on.
    """

    embed: Callable[[Sequence[str]], torch.Tensor]
    projection: torch.Tensor
    temperature: float
    fingerprint: str
