"""Embedded prompts of classes, computed once and kept beside the features, under a key of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from lnlbench.inputs.feature_cache import FeatureCache, digest_of
from lnlbench.models.text.class_texts import ClassTexts
from lnlbench.models.text.text_side import TextSide

# Raised when embedding changes in a way that the key does not show.
TEXT_VERSION = 1


@dataclass(frozen=True, slots=True)
class TextKey:
    """Everything that the embeddings of some texts depend on."""

    model: str
    texts: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """All of it as a JSON value."""
        return {"text_model": self.model, "texts": list(self.texts), "version": TEXT_VERSION}

    @property
    def digest(self) -> str:
        """Name of the entry: 32 hexadecimal digits."""
        return digest_of(self.to_dict())


def class_texts(
    side: TextSide, prompts: Sequence[Sequence[str]], cache: FeatureCache, names: Sequence[str] = ()
) -> ClassTexts:
    """Return the embedded prompts of all classes, from the cache if they are there.

    Parameters
    ----------
    side : TextSide
    prompts : sequence of C sequences of K str
    cache : FeatureCache
    names : sequence of C str
        What stands behind learnt contexts. Default: there are none to be had.
    """
    texts = tuple(text for group in prompts for text in group)

    def extract() -> Iterator[torch.Tensor]:
        yield functional.normalize(side.embed(texts), dim=1)

    width = len(side.projection)
    found = cache.obtain(TextKey(side.fingerprint, texts), (len(texts), width), extract)
    embeddings = found.array.clone().view(len(prompts), -1, width)
    with_context = partial(side.with_context, names) if side.with_context and names else None
    return ClassTexts(embeddings, side.projection, side.temperature, with_context)
