"""The texts of all classes, embedded, and what images are like by them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch.nn import functional


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
    """

    embeddings: torch.Tensor
    projection: torch.Tensor
    temperature: float

    def to(self, device: torch.device) -> ClassTexts:
        """Return the same on a device."""
        return ClassTexts(self.embeddings.to(device), self.projection.to(device), self.temperature)

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
