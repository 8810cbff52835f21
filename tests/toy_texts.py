"""Texts of classes that take learnt vectors, without a text tower."""

from __future__ import annotations

import torch

from lnlbench.models.text.context_encoder import ContextEncoder


class ToyContexts(ContextEncoder):
    """Texts that a context stretches along each axis, and moves.

    Parameters
    ----------
    embeddings : torch.Tensor, ``[n, p]``
        Of the texts behind a context of zeros.
    """

    def __init__(self, embeddings: torch.Tensor) -> None:
        super().__init__()
        self.width = 4
        self.register_buffer("embeddings", embeddings)
        generator = torch.Generator().manual_seed(5)
        maps = 0.3 * torch.randn(2, self.width, embeddings.shape[1], generator=generator)
        self.register_buffer("maps", maps.to(embeddings))

    def forward(self, contexts: torch.Tensor) -> torch.Tensor:
        stretch, move = contexts.mean(1) @ self.maps
        return self.embeddings * (1.0 + stretch[:, None]) + move[:, None]


def toy_contexts(embeddings: torch.Tensor):
    """Return what ``ClassTexts.with_context`` may be for classes with these embeddings."""
    return lambda tokens: ToyContexts(embeddings)
