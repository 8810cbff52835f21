"""Where the blocks of a backbone are: what its library calls blocks, layers or stages."""

from __future__ import annotations

from torch import nn

from lnlbench.errors import TrialError

# What timm, transformers and torchvision call the container of a network's blocks, or its stages.
CONTAINERS = ("blocks", "layers", "layer", "stages", "features")
# ResNets have no container: their stages are attributes.
STAGES = ("layer1", "layer2", "layer3", "layer4")


def container_of_blocks(backbone: nn.Module) -> nn.Sequential | nn.ModuleList | None:
    """Return the container that holds the blocks of a backbone; None if it has none.

    The outermost one counts: stages of blocks are blocks to us.
    """
    for name, module in backbone.named_modules():  # parents before what they hold
        if not isinstance(module, (nn.Sequential, nn.ModuleList)) or len(module) < 2:
            continue
        if name.rpartition(".")[2] in CONTAINERS:
            return module
    return None


def blocks_of(backbone: nn.Module) -> list[nn.Module]:
    """Return the blocks of a backbone, in the order of the forward pass.

    Raises
    ------
    TrialError
        If it has none that we know of.
    """
    container = container_of_blocks(backbone)
    if container is not None:
        return list(container)
    for module in backbone.modules():
        if all(isinstance(getattr(module, stage, None), nn.Module) for stage in STAGES):
            return [getattr(module, stage) for stage in STAGES]
    raise TrialError(
        f"{type(backbone).__name__} has no blocks, layers or stages that we know of.",
        "Choose another backbone, or another tuning mode.",
    )
