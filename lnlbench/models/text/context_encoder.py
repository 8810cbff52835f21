"""Texts that begin with learnt vectors instead of words."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import nn


class ContextEncoder(nn.Module, ABC):
    """Embeds n texts, each of which begins with the same context: m vectors in the place of its first words.

    It is frozen, and gradients pass through it to the context.

    Attributes
    ----------
    width : int
        Length of a vector, w.
    """

    width: int

    @abstractmethod
    def forward(self, contexts: torch.Tensor) -> torch.Tensor:
        """Return the texts behind S contexts ``[S, m, w]``: embeddings ``[S, n, p]`` of any length."""
