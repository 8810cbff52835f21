"""Gradient checkpointing: keep the inputs of blocks, and compute their insides again for the gradient.

For networks whose library has none. A block with batch normalisation runs twice for one step,
and its running statistics still see every batch once: the gradients and the buffers are those
of training without checkpointing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def checkpoint_blocks(module: nn.Module, is_block: Callable[[nn.Module], bool]) -> None:
    """Let blocks of a module compute their activations again in the backward pass.

    Names of parameters stay what they are, and a deep copy of the module is checkpointed too.

    Parameters
    ----------
    module : nn.Module
        Changed in place.
    is_block : callable
        Says which of its modules are blocks; they must not contain each other.

    Raises
    ------
    ValueError
        If the module has no such block.
    """
    blocks = [block for block in module.modules() if is_block(block)]
    if not blocks:
        raise ValueError("a module without blocks cannot be checkpointed")
    for block in blocks:
        # A bound method, which a deep copy binds to the copied block.
        block.forward = MethodType(_forward, block)


def _forward(block: nn.Module, *inputs: Any) -> Any:
    forward = partial(type(block).forward, block)
    if not (block.training and torch.is_grad_enabled()):
        return forward(*inputs)
    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=partial(_contexts, block))


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _keeping_statistics(block)


@contextmanager
def _keeping_statistics(block: nn.Module) -> Iterator[None]:
    """Leave the running statistics of batch normalisation alone: this batch is in them already."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches
