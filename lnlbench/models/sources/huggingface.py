"""Vision models of transformers: ``hf:OWNER/NAME`` or ``hf:FOLDER``.

Real transformers loading, with the risky ways closed: no remote code, no pickled weights,
and no tensor that a checkpoint lacks and transformers would initialise at random.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoImageProcessor, AutoModel

from lnlbench.errors import UsageError, WeightsError
from lnlbench.models.backbone import Backbone, finish, initialisation
from lnlbench.models.gradient_checkpointing import checkpoint_blocks
from lnlbench.models.preprocessing import Preprocessing
from lnlbench.models.sources import hub
from lnlbench.models.sources.clip_text import ReadsClipTexts
from lnlbench.models.sources.interpolation import InterpolatesOnCpu
from lnlbench.models.sources.transformers_loading import REJECTIONS, first_line, quiet
from lnlbench.spec import BackboneSpec, Scalar, one_of

POOLINGS = ("model", "cls", "mean")
# Tokens before the patches, by model type.
CLASS_TOKENS = {"vit": 1, "vit_mae": 1, "vit_msn": 1, "clip_vision_model": 1, "dinov2": 1, "deit": 2}
# The class token of the last hidden state is their feature. ViT's own pooler (dense and tanh) is
# not: it is no part of the published classifiers, and untrained in several checkpoints.
TOKEN_POOLED = ("vit", "vit_mae", "vit_msn", "deit")
# Blocks to checkpoint, of model types for which transformers has no checkpointing.
BLOCKS = {"convnext": ("ConvNextLayer",), "resnet": ("ResNetBasicLayer", "ResNetBottleNeckLayer")}
_INTERPOLATIONS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # PIL's numbers


class HuggingFace(ReadsClipTexts):
    """Vision models of transformers; of a model with two towers, the vision tower, and CLIP's texts.

    Options
    -------
    pooling : {"model", "cls", "mean"}
        ``model`` (default): the class token after the final layer norm for ViT, MAE and MSN;
        ``pooler_output`` for all others (CLIP: class token after the last layer norm;
        ConvNeXt, ResNet: global average). ``cls`` and ``mean`` take the class token or the
        mean of the patch tokens (or of the feature map) of ``last_hidden_state``.
    gradient_checkpointing : bool
        Recompute activations in the backward pass: less memory, more time, same gradients.
        Default False.

    MAE sees all patches, in order: without masking and without shuffling.
    """

    summary: ClassVar[str] = "vision models of transformers, as hf:OWNER/NAME or hf:FOLDER"
    takes_reference: ClassVar[bool] = True
    takes_revision: ClassVar[bool] = True
    option_defaults: ClassVar[Mapping[str, Scalar]] = {"pooling": "model", "gradient_checkpointing": False}
    library_module: ClassVar[str] = "model"

    def missing(self, reference: str | None, spec: BackboneSpec) -> str | None:
        """Look at the folder, into the user's folder of models, or into the hub's cache."""
        self.options(spec)
        problem = hub.find_problem(
            self.reference(spec), spec.revision, configuration=True, weights=spec.weights == "pretrained"
        )
        return " ".join(problem) if problem else None

    def load(self, spec: BackboneSpec, seed: int) -> Backbone:
        """Return the backbone; see :meth:`BackboneSource.load`."""
        options = self.options(spec)
        pooling = one_of(options["pooling"], POOLINGS, "pooling")
        folder = hub.model_folder(
            self.reference(spec), spec.revision, configuration=True, weights=spec.weights == "pretrained"
        )
        configuration = self.configuration(folder, spec)
        preprocessing = read_preprocessing(folder, spec).with_size(spec.image_size)
        with initialisation(seed), quiet():
            model = _build(folder, configuration, spec)
        tower = VisionTower(model, pooling, preprocessing.size)
        if options["gradient_checkpointing"]:
            _checkpoint_activations(model, spec)
        architecture = f"transformers:{configuration.model_type}:{tower.pooling}"
        return finish(spec, architecture, tower, preprocessing)

    def configuration(self, folder: Path, spec: BackboneSpec) -> Any:
        """Return the configuration of a folder's vision model."""
        return read_configuration(folder, spec)


class VisionTower(nn.Module):
    """A transformers vision model that returns pooled features.

    Parameters
    ----------
    model : PreTrainedModel
    pooling : {"model", "cls", "mean"}
        See :class:`HuggingFace`.
    size : int
        Side of the input in pixels; position embeddings are interpolated to it.
    """

    def __init__(self, model: Any, pooling: str, size: int) -> None:
        super().__init__()
        kind = model.config.model_type
        if pooling == "model":
            pooling = "cls" if kind in TOKEN_POOLED else "pooler"
        self.class_tokens = CLASS_TOKENS.get(kind, 0)
        if pooling == "cls" and not self.class_tokens:
            raise UsageError(f"A '{kind}' model has no class token.", "Use pooling = model or mean.")
        if pooling != "pooler" and kind in TOKEN_POOLED and hasattr(model, "pooler"):
            model.pooler = None  # parameters without a gradient, otherwise
        self.pooling = pooling
        self.model = model
        self._arguments: dict[str, Any] = {}
        patch = getattr(model.config, "patch_size", None)
        if isinstance(patch, int) and self.class_tokens and size % patch:
            raise UsageError(
                f"image_size {size} is not a multiple of the model's patches of {patch} px.",
                f"Set image_size to {max(1, round(size / patch)) * patch}.",
            )
        accepted = inspect.signature(model.forward).parameters
        self._resized = size != getattr(model.config, "image_size", size)
        if self._resized and "interpolate_pos_encoding" in accepted:
            self._arguments["interpolate_pos_encoding"] = True
        self._patches = 0
        if kind == "vit_mae":
            model.config.mask_ratio = 0.0
            self._patches = (size // model.config.patch_size) ** 2

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map normalised images [B, 3, S, S] to features [B, feature_dim]."""
        arguments = dict(self._arguments)
        if self._patches:
            # MAE shuffles its patches into the order of this noise, even if none is masked.
            order = torch.arange(self._patches, dtype=torch.float32, device=images.device)
            arguments["noise"] = order.expand(len(images), -1)
        in_order = self._resized and torch.are_deterministic_algorithms_enabled()
        with InterpolatesOnCpu() if in_order else nullcontext():
            output = self.model(pixel_values=images, **arguments)
        if self.pooling == "pooler":
            pooled: torch.Tensor = output.pooler_output
            return pooled.flatten(1)
        hidden: torch.Tensor = output.last_hidden_state
        if self.pooling == "cls":
            return hidden[:, 0]
        return hidden.mean(dim=(2, 3)) if hidden.ndim == 4 else hidden[:, self.class_tokens :].mean(dim=1)


def read_configuration(folder: Path, spec: BackboneSpec) -> Any:
    """Return the configuration of a folder's vision model."""
    try:
        configuration = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except REJECTIONS as error:
        raise WeightsError(
            f"The configuration of '{spec.name}' cannot be read by transformers ({first_line(error)}).",
            "Models that need their own code are not supported; choose one that transformers has.",
        ) from error
    return getattr(configuration, "vision_config", configuration)


def read_preprocessing(folder: Path, spec: BackboneSpec) -> Preprocessing:
    """Translate the settings of a folder's image processor.

    Covers processors that resize to a square (ViT, MAE, MSN), that resize the shorter side
    and crop (CLIP, DINOv2), and ConvNeXt's, which ResNet shares.
    """
    try:
        with quiet():
            processor = AutoImageProcessor.from_pretrained(  # type: ignore[no-untyped-call]
                folder, trust_remote_code=False
            )
    except REJECTIONS as error:
        raise WeightsError(
            f"The image processor of '{spec.name}' cannot be read ({first_line(error)}).",
            "The model's folder needs the preprocessor_config.json that it was published with.",
        ) from error
    settings = processor.to_dict()
    kind = type(processor).__name__
    try:
        size, resize, mode = _geometry(kind, settings)
        interpolation = _INTERPOLATIONS[int(settings["resample"])]
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise WeightsError(
            f"'{spec.name}' uses a {kind} with settings that are not supported ({error!r}).",
            "Supported: a resize to a square, or of the shorter side with a square centre crop.",
        ) from error
    normalise = settings.get("do_normalize", True)
    return Preprocessing(
        size=size,
        resize=resize,
        mode=mode,
        interpolation=interpolation,
        mean=tuple(settings["image_mean"]) if normalise else (0.0, 0.0, 0.0),
        std=tuple(settings["image_std"]) if normalise else (1.0, 1.0, 1.0),
        rescale=settings["rescale_factor"] if settings.get("do_rescale", True) else 1.0,
        crop_rounding="floor",
    )


def _geometry(kind: str, settings: Mapping[str, Any]) -> tuple[int, int, str]:
    """Return size, resize target and resize mode; KeyError or ValueError for what is not covered."""
    size = {name: value for name, value in settings["size"].items() if value is not None}
    if not settings.get("do_resize", True):
        raise ValueError("do_resize is off")
    if kind.startswith("ConvNext"):
        edge = size["shortest_edge"]
        # From 384 px on, ConvNeXt's processor squashes the whole image instead of cropping.
        return (edge, edge, "exact") if edge >= 384 else (edge, int(edge / settings["crop_pct"]), "shortest")
    if set(size) == {"shortest_edge"}:
        mode, resize = "shortest", size["shortest_edge"]
    else:
        mode, resize = "exact", _square(size)
    if settings.get("do_center_crop"):
        return _square(settings["crop_size"]), resize, mode
    if mode == "shortest":
        raise ValueError("the result is not square without do_center_crop")
    return resize, resize, mode


def _square(size: Mapping[str, Any]) -> int:
    if size["height"] != size["width"]:
        raise ValueError(f"{size['height']}×{size['width']} is not square")
    return int(size["height"])


def _build(folder: Path, configuration: Any, spec: BackboneSpec) -> Any:
    try:
        if spec.weights == "none":
            model = AutoModel.from_config(  # type: ignore[no-untyped-call]
                configuration, trust_remote_code=False
            )
            lost: list[str] = []
        else:
            model, report = AutoModel.from_pretrained(
                folder,
                config=configuration,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
            lost = sorted(key for key in report["missing_keys"] if not _is_unused(key, configuration))
    except (*REJECTIONS, SafetensorError) as error:
        raise WeightsError(
            f"The weights of '{spec.name}' cannot be loaded ({first_line(error)}).",
            "Fetch the model again; configuration and weights must belong together.",
        ) from error
    if lost:
        raise WeightsError(
            f"The weights of '{spec.name}' lack {len(lost)} tensors of the model, '{lost[0]}' among them.",
            "Fetch the model again; configuration and weights must belong together.",
        )
    if model.main_input_name != "pixel_values":
        raise UsageError(f"'{spec.name}' is not a vision model.", "Choose a model that takes images.")
    return model.float()


def _checkpoint_activations(model: Any, spec: BackboneSpec) -> None:
    blocks = BLOCKS.get(model.config.model_type)
    if blocks:
        checkpoint_blocks(model, lambda module: type(module).__name__ in blocks)
    elif not model.supports_gradient_checkpointing:
        raise UsageError(
            f"'{spec.name}' does not support gradient checkpointing.",
            "Leave out the option gradient_checkpointing.",
        )
    elif hasattr(model, "activation_checkpointing_enable"):  # its name since transformers 5
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def _is_unused(key: str, configuration: Any) -> bool:
    return configuration.model_type in TOKEN_POOLED and key.startswith("pooler.")
