"""What a backbone needs besides its features to compare images with texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from lnlbench.models.text.context_encoder import ContextEncoder


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
    with_context : callable, optional
        From n texts, and the number of vectors that are put in front of each, to what embeds them together.
        Default None: nothing can be put in front of texts.
    """

    embed: Callable[[Sequence[str]], torch.Tensor]
    projection: torch.Tensor
    temperature: float
    fingerprint: str
    with_context: Callable[[Sequence[str], int], ContextEncoder] | None = None
