"""The texts of all classes, embedded, and what images are like by them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch.nn import functional

from lnlbench.errors import UsageError
from lnlbench.models.text.context_encoder import ContextEncoder


@dataclass(frozen=True, eq=False)
class ClassTexts:
    """Embedded prompts of C classes, K each, and the way from features to them.

    Attributes
    ----------
    embeddings : torch.Tensor, ``[C, K, p]``
        Of length one each.
    projection : torch.Tensor, ``[p, d]``
        From a backbone's features to the space of the embeddings.
    temperature : float
        That the model was trained with.
    with_context : callable, optional
        From a number of vectors to what embeds the names of the classes behind them, on the CPU.
        Default None, where nothing can be put in front of texts.
    """

    embeddings: torch.Tensor
    projection: torch.Tensor
    temperature: float
    with_context: Callable[[int], ContextEncoder] | None = None

    def to(self, device: torch.device) -> ClassTexts:
        """Return the same on a device."""
        return ClassTexts(
            self.embeddings.to(device), self.projection.to(device), self.temperature, self.with_context
        )

    def context_encoder(self, tokens: int) -> ContextEncoder:
        """Return what embeds the names of the classes behind ``tokens`` learnt vectors, on the device.

        From contexts ``[S, tokens, w]`` to embeddings ``[S, C, p]``, with gradient; it is frozen itself.

        Raises
        ------
        UsageError
            If the model's texts take none, or not as many.
        """
        if self.with_context is None:
            raise UsageError(
                "Nothing can be put in front of the texts of this backbone.", "Choose CLIP: clip_vit_b, say."
            )
        encoder, device = self.with_context(tokens), self.embeddings.device
        # A copy, because the one on the CPU is that of all trials of this process.
        return encoder if device.type == "cpu" else copy.deepcopy(encoder).to(device)

    def projected(self, features: torch.Tensor) -> torch.Tensor:
        """Return features ``[B, d]`` in the space of texts, scaled to length one, ``[B, p]``."""
        return functional.normalize(features @ self.projection.T, dim=1)

    def similarities(self, features: torch.Tensor) -> torch.Tensor:
        """Return the cosine similarity of each image to each prompt, ``[B, C, K]``."""
        return torch.einsum("bp,ckp->bck", self.projected(features), self.embeddings)

    @cached_property
    def means(self) -> torch.Tensor:
        """One embedding a class, ``[C, p]``: the mean over its prompts, scaled to length one again."""
        return functional.normalize(self.embeddings.mean(1), dim=1)

    def logits(self, features: torch.Tensor, temperature: float) -> torch.Tensor:
        """Return the cosine similarity of each image to each class's :attr:`means`, over ``temperature``."""
        return self.projected(features) @ self.means.T / temperature
