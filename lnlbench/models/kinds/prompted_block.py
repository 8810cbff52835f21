"""A transformer's block with prompts of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lnlbench.errors import TrialError
from lnlbench.models.kinds.blocks import container_of_blocks


class PromptedBlock(nn.Module):
    """A block that sees learnt tokens beside those of the image.

    Parameters
    ----------
    block : nn.Module
        Maps tokens [B, T, d] to tokens [B, T, d]; further arguments are passed on.
    prompts : nn.Parameter
        Of shape [tokens, d].
    """

    def __init__(self, block: nn.Module, prompts: nn.Parameter) -> None:
        super().__init__()
        self.block = block
        self.prompts = prompts

    def forward(self, tokens: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Return what becomes of the image's tokens [B, T, d], as the block returns it."""
        prompts = self.prompts.to(tokens.dtype).expand(len(tokens), -1, -1)
        # Behind the others: attention does not ask for an order, and class tokens keep their place.
        output = self.block(torch.cat([tokens, prompts], dim=1), *args, **kwargs)
        if isinstance(output, tuple):
            return (output[0][:, : tokens.shape[1]], *output[1:])
        return output[:, : tokens.shape[1]]


def add_prompts(backbone: nn.Module, number: int) -> list[nn.Parameter]:
    """Give every block of a vision transformer prompts, and return these.

    They are uniform in ± sqrt(6 / (fan-in of a patch + d)), as Jia et al. initialise them; torch's global
    generator draws them.

    Raises
    ------
    TrialError
        If the backbone is no vision transformer whose tokens keep one width.
    """
    container = container_of_blocks(backbone)
    patches = next((module for module in backbone.modules() if isinstance(module, nn.Conv2d)), None)
    attends = container is not None and all("attention" in _insides(block) for block in container)
    if container is None or patches is None or not attends or patches.kernel_size != patches.stride:
        raise TrialError(
            f"{type(backbone).__name__} is no vision transformer that takes prompts.",
            "Choose a ViT, or another tuning mode.",
        )
    width = patches.out_channels
    bound = (6.0 / (patches.weight[0].numel() + width)) ** 0.5
    added = []
    for position, block in enumerate(container):
        prompts = nn.Parameter(torch.empty(number, width).uniform_(-bound, bound).to(patches.weight.device))
        container[position] = PromptedBlock(block, prompts)
        added.append(prompts)
    return added


def _insides(block: nn.Module) -> str:
    return " ".join(type(module).__name__.lower() for module in block.modules())
