"""From texts to numbers of tokens, by a model's ``tokenizer.json``: JSON alone, and no code of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer

from lnlbench.errors import WeightsError


class Tokens:
    """A model's tokeniser.

    Parameters
    ----------
    path : Path
        A ``tokenizer.json``, which also says what stands before and after a text.
    length : int
        How many tokens the model takes; longer texts are cut, before the end token.
    vocabulary : int
        How many tokens the model knows.

    Raises
    ------
    WeightsError
        If the file cannot be read, or is not of the model.
    """

    def __init__(self, path: Path, length: int, vocabulary: int) -> None:
        self.path = path
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing more special than this
            raise WeightsError(
                f"The tokeniser '{path}' cannot be read ({error}).", "Fetch the model again."
            ) from error
        size = self._tokenizer.get_vocab_size()
        if size > vocabulary:
            raise WeightsError(
                f"The tokeniser '{path}' has {size:,} tokens, and the model knows {vocabulary:,}.",
                "Fetch the model again; weights and tokeniser must belong together.",
            )
        self._tokenizer.enable_truncation(max_length=length)

    def __call__(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return tokens, int64 ``[n, L]``, zeros after the end, and which are tokens, 0 or 1."""
        rows = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        longest = max(map(len, rows))
        ids = torch.zeros(len(rows), longest, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row)
            mask[number, : len(row)] = 1
        return ids, mask
