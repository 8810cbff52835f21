"""Any classification model of torchvision: ``torchvision:NAME``."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar
from urllib.parse import urlparse

import torch
import torchvision
from torch import nn
from torchvision.models.vision_transformer import interpolate_embeddings

from lnlbench.errors import UsageError, WeightsError
from lnlbench.models.backbone import Backbone, BackboneSource, finish, initialisation, unknown_model
from lnlbench.models.preprocessing import Preprocessing
from lnlbench.spec import BackboneSpec

# They return auxiliary outputs while training.
_AUXILIARY = ("googlenet", "inception_v3")


class TorchVision(BackboneSource):
    """Models of torchvision with its default weights.

    The last linear layer is taken off; whatever comes before it, dropout included, stays.
    torchvision publishes its weights as ``.pth`` files, which are read by torch's restricted
    unpickler (tensors only, no code) and checked against the hash in their name.
    """

    summary: ClassVar[str] = "any torchvision classification model, as torchvision:NAME"
    takes_reference: ClassVar[bool] = True

    def missing(self, reference: str | None, spec: BackboneSpec) -> str | None:
        """Look for the weights in torch's hub folder."""
        weights = default_weights(self.reference(spec))
        file = cached_file(weights)
        if spec.weights == "none" or file.is_file():
            return None
        return f"The weights of '{spec.name}' are not on this machine. {_fetch_hint(weights)}"

    def load(self, spec: BackboneSpec, seed: int) -> Backbone:
        """Return the backbone; see :meth:`BackboneSource.load`."""
        self.options(spec)
        name = self.reference(spec)
        weights = default_weights(name)
        preprocessing = read_preprocessing(weights.transforms()).with_size(spec.image_size)
        # Vision transformers alone are built for one size.
        is_vit = name.startswith("vit_")
        sizes = {"image_size": preprocessing.size} if is_vit else {}
        try:
            with initialisation(seed):
                module: nn.Module = torchvision.models.get_model(name, weights=None, **sizes)
        except (RuntimeError, ValueError, AssertionError) as error:
            raise WeightsError(
                f"torchvision cannot build '{name}' for images of {preprocessing.size} px ({error}).",
                "Set another image_size, or leave it out for the model's own.",
            ) from error
        if spec.weights == "pretrained":
            _load_weights(module, weights, preprocessing.size if is_vit else None)
        remove_head(module, name)
        return finish(spec, f"torchvision:{name}", module, preprocessing)


def default_weights(name: str) -> Any:
    """Return torchvision's default weights of a classification model (a member of a ``WeightsEnum``)."""
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise unknown_model("torchvision", name, known)
    if name in _AUXILIARY:
        raise UsageError(
            f"torchvision's '{name}' has auxiliary classifiers, which are not supported.",
            f"Use timm:{name} instead.",
        )
    return torchvision.models.get_model_weights(name).DEFAULT


def read_preprocessing(preset: Any) -> Preprocessing:
    """Translate a torchvision ``ImageClassification`` preset."""
    return Preprocessing(
        size=preset.crop_size[0],
        resize=preset.resize_size[0],
        mode="shortest",
        interpolation=preset.interpolation.value,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )


def cached_file(weights: Any) -> Path:
    """Return where torch keeps, or would keep, the file of these weights."""
    return Path(torch.hub.get_dir()) / "checkpoints" / PurePosixPath(urlparse(weights.url).path).name


def remove_head(module: nn.Module, name: str) -> None:
    """Replace the last linear layer, the classifier, by the identity."""
    linear = [path for path, layer in module.named_modules() if isinstance(layer, nn.Linear)]
    if not linear:
        raise UsageError(
            f"torchvision's '{name}' has no linear classifier that could be replaced.",
            "Choose another model.",
        )
    parent, _, attribute = linear[-1].rpartition(".")
    setattr(module.get_submodule(parent), attribute, nn.Identity())


def _fetch_hint(weights: Any) -> str:
    return f"Download {weights.url} to '{cached_file(weights)}'."


def _load_weights(module: nn.Module, weights: Any, vit_size: int | None) -> None:
    try:
        state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True, map_location="cpu")
        if vit_size is not None:
            state = interpolate_embeddings(vit_size, module.patch_size, state)
        module.load_state_dict(state)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        reason = str(error).strip().splitlines()[0]
        raise WeightsError(
            f"The weights '{cached_file(weights).name}' cannot be loaded ({reason}).", _fetch_hint(weights)
        ) from error
