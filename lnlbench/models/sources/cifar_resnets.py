"""Residual networks for images of 32 pixels, trained from scratch (the paper's Table 1).

Their stem is a 3 × 3 convolution with stride 1 and without pooling, so that images of CIFAR
keep their resolution in the first stage.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional
from torchvision.models import resnet34
from torchvision.models.resnet import BasicBlock

from lnlbench.models.backbone import Backbone, BackboneSource, finish, initialisation
from lnlbench.models.gradient_checkpointing import checkpoint_blocks
from lnlbench.models.preprocessing import Preprocessing
from lnlbench.spec import BackboneSpec, Scalar

# Mean and standard deviation of each channel over all pixels of CIFAR-10's training images.
# CIFAR-100's differ from them by less than 0.03, which batch normalisation makes up for. The code
# that is common for noisy labels has (0.2023, 0.1994, 0.2010), the mean of the images' own deviations.
PREPROCESSING = Preprocessing(
    size=32,
    resize=32,
    mode="shortest",
    interpolation="bilinear",
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
)
WIDTHS = (64, 128, 256, 512)  # channels of the four stages


class FromScratch(BackboneSource):
    """A network without published weights: ``weights = "none"`` has to be set.

    Options
    -------
    gradient_checkpointing : bool
        Recompute activations in the backward pass: less memory, more time, same gradients.
        Default False.

    Attributes
    ----------
    architecture : str
        Name in the fingerprint.
    block : type
        Class of its residual blocks.
    """

    pretrained: ClassVar[bool] = False
    option_defaults: ClassVar[Mapping[str, Scalar]] = {"gradient_checkpointing": False}
    architecture: ClassVar[str]
    block: ClassVar[type[nn.Module]]

    @abstractmethod
    def build(self) -> nn.Module:
        """Return the network without its head, initialised from the global random state."""

    def missing(self, reference: str | None, spec: BackboneSpec) -> str | None:
        """Return None: there is nothing that could be missing."""
        self.options(spec)
        return None

    def load(self, spec: BackboneSpec, seed: int) -> Backbone:
        """Return the backbone; see :meth:`BackboneSource.load`."""
        options = self.options(spec)
        with initialisation(seed):
            module = self.build()
        if options["gradient_checkpointing"]:
            checkpoint_blocks(module, lambda part: isinstance(part, self.block))
        return finish(spec, self.architecture, module, PREPROCESSING.with_size(spec.image_size))


class PreActBlock(nn.Module):
    """Residual block with batch normalisation and ReLU before each of two 3 × 3 convolutions.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    stride : int
        Of the first convolution.
    first : bool
        Whether the block follows the stem.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, *, first: bool = False) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        changes = stride != 1 or inputs != outputs
        self.projection = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False) if changes else None
        # Right after the stem and at a projection, both paths start from the activation.
        self.shared = first or changes

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H/stride, W/stride]."""
        active = functional.relu(self.norm1(inputs))
        shortcut = active if self.shared else inputs
        if self.projection is not None:
            shortcut = self.projection(shortcut)
        residual: torch.Tensor = self.conv2(functional.relu(self.norm2(self.conv1(active))))
        return shortcut + residual


class PreActNet(nn.Sequential):
    """Stem, four stages of pre-activation blocks, batch normalisation and ReLU, global average.

    Parameters
    ----------
    depths : sequence of int
        Blocks per stage. Every stage but the first halves the resolution.
    """

    def __init__(self, depths: tuple[int, ...] = (2, 2, 2, 2)) -> None:
        layers: list[nn.Module] = [nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)]
        channels = WIDTHS[0]
        for stage, (width, depth) in enumerate(zip(WIDTHS, depths, strict=True)):
            for number in range(depth):
                stride = 2 if stage and not number else 1
                layers.append(PreActBlock(channels, width, stride, first=not stage and not number))
                channels = width
        layers += [nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        super().__init__(*layers)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")


class PreActResNet18(FromScratch):
    """Pre-activation ResNet-18 for 32 pixels, from scratch: global average, 512 features.

    He et al. (2016), "Identity mappings in deep residual networks". The code that is common for
    noisy labels differs in two places: it has no batch normalisation after the last block, and
    the shortcut of the first block starts before the activation. It also divides CIFAR-10 by other
    standard deviations; see :data:`PREPROCESSING`.
    """

    title = "PreAct-ResNet-18"
    paper = "He et al. (2016)"
    forward_gmacs = (0.555, 32)
    architecture = "lnlbench:preact_resnet18"
    block = PreActBlock

    def build(self) -> nn.Module:
        """Return the network, with He's initialisation of convolutions."""
        return PreActNet()


class ResNet34Cifar(FromScratch):
    """ResNet-34 for 32 pixels, from scratch: global average, 512 features.

    He et al. (2016), "Deep residual learning for image recognition": torchvision's network
    with the stem for small images.
    """

    title = "ResNet-34"
    paper = "He et al. (2016)"
    forward_gmacs = (1.16, 32)
    architecture = "lnlbench:resnet34_cifar"
    block = BasicBlock

    def build(self) -> nn.Module:
        """Return the network, with torchvision's initialisation (He's) of convolutions."""
        module: nn.Module = resnet34(weights=None)
        stem = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
        module.conv1, module.maxpool = stem, nn.Identity()
        module.fc = nn.Identity()
        return module
