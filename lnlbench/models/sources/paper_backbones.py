"""The paper's backbones by name: official weights of the Hugging Face hub.

Each is a short name for one repository. How it is loaded, what its features are and how
images are prepared is :class:`~lnlbench.models.sources.huggingface.HuggingFace`'s business, and is
the same as for ``hf:`` and the repository's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from lnlbench.errors import UsageError, WeightsError
from lnlbench.models.sources.huggingface import HuggingFace
from lnlbench.spec import BackboneSpec, Scalar

PATCHES = (16, 32)  # pixels; what OpenAI has published of CLIP-ViT-B


class Published(HuggingFace):
    """One published checkpoint; options as for ``hf:``.

    Attributes
    ----------
    repository : str
        ``OWNER/NAME`` on the hub.
    model_type : str
        Architecture, as transformers names it; a folder that holds another one is refused.
    """

    takes_reference: ClassVar[bool] = False
    repository: ClassVar[str]
    model_type: ClassVar[str]

    def reference(self, spec: BackboneSpec) -> str:
        """Return the name of the repository."""
        return self.repository

    def without_text(self, spec: BackboneSpec) -> str | None:
        """Say that only CLIP reads texts, without looking at files."""
        if self.model_type != "clip_vision_model":
            return f"backbone {spec.name} reads no texts"
        return super().without_text(spec)

    def configuration(self, folder: Path, spec: BackboneSpec) -> Any:
        """Return the configuration of the vision model, which has to be of this architecture."""
        found = super().configuration(folder, spec)
        if found.model_type != self.model_type:
            raise WeightsError(
                f"'{folder}' holds a model of type '{found.model_type}'; "
                f"{spec.name} is a '{self.model_type}' ({self.reference(spec)}).",
                "Put the right model there, or name the other one with hf:FOLDER.",
            )
        return found


class ViTB16(Published):
    """ViT-B/16, supervised on ImageNet-21k, then ImageNet-1k: class token, 768 features.

    Source: Dosovitskiy et al. (2021).
    """

    title = "ViT-B/16"
    paper = "Dosovitskiy et al. (2021)"
    licence = "Apache-2.0"
    forward_gmacs = (17.6, 224)
    repository = "google/vit-base-patch16-224"
    model_type = "vit"


class ConvNeXtT(Published):
    """ConvNeXt-T, supervised on ImageNet-1k: normalised global average, 768 features.

    Source: Liu et al. (2022).
    """

    title = "ConvNeXt-T"
    paper = "Liu et al. (2022)"
    licence = "Apache-2.0"
    forward_gmacs = (4.45, 224)
    repository = "facebook/convnext-tiny-224"
    model_type = "convnext"


class MAEViTB(Published):
    """ViT-B/16, masked autoencoder on ImageNet-1k: class token over all patches, 768 features.

    Encoder only, without masking. Its position embeddings are fixed in pre-training; fine-tuning
    trains them like all other parameters. Source: He et al. (2022).
    """

    title = "MAE-ViT-B"
    paper = "He et al. (2022)"
    forward_gmacs = (17.6, 224)
    repository = "facebook/vit-mae-base"
    model_type = "vit_mae"


class MSNViTB(Published):
    """ViT-B/16, masked siamese network on ImageNet-1k: class token, 768 features.

    Source: Assran et al. (2022).
    """

    title = "MSN-ViT-B"
    paper = "Assran et al. (2022)"
    forward_gmacs = (17.6, 224)
    repository = "facebook/vit-msn-base"
    model_type = "vit_msn"


class CLIPViTB(Published):
    """CLIP's vision tower ViT-B/16 (or /32): normalised class token before projection, 768 features.

    Source: Radford et al. (2021). Table 2 of the paper does not say which patch size it used.

    Options
    -------
    patch : {16, 32}
        Side of the patches in pixels. Default 16.
    """

    title = "CLIP-ViT-B"
    paper = "Radford et al. (2021)"
    forward_gmacs = (17.6, 224)
    repository = "openai/clip-vit-base-patch16"
    model_type = "clip_vision_model"
    option_defaults: ClassVar[Mapping[str, Scalar]] = {**Published.option_defaults, "patch": 16}

    def reference(self, spec: BackboneSpec) -> str:
        """Return the name of the repository with the patch size that is asked for."""
        patch = self.options(spec)["patch"]
        if patch not in PATCHES:
            raise UsageError(
                f"Backbone '{spec.name}' has no weights with patch = {patch}.",
                f"Choose one of: {', '.join(map(str, PATCHES))}.",
            )
        return self.repository.replace("patch16", f"patch{patch}")


class ResNet50(Published):
    """ResNet-50, supervised on ImageNet-1k: global average, 2,048 features.

    Source: He et al. (2016), with the stride in the 3 × 3 convolution (v1.5).
    """

    title = "ResNet-50"
    paper = "He et al. (2016)"
    licence = "Apache-2.0"
    forward_gmacs = (4.09, 224)
    normalises_batches = True
    repository = "microsoft/resnet-50"
    model_type = "resnet"


class ViTL16(Published):
    """ViT-L/16, supervised on ImageNet-21k: class token, 1,024 features.

    Source: Dosovitskiy et al. (2021).
    """

    title = "ViT-L/16"
    paper = "Dosovitskiy et al. (2021)"
    licence = "Apache-2.0"
    forward_gmacs = (61.6, 224)
    repository = "google/vit-large-patch16-224-in21k"
    model_type = "vit"


class CLIPViTL14(Published):
    """CLIP's vision tower ViT-L/14: normalised class token before projection, 1,024 features.

    Source: Radford et al. (2021).
    """

    title = "CLIP-ViT-L/14"
    paper = "Radford et al. (2021)"
    forward_gmacs = (81.0, 224)
    repository = "openai/clip-vit-large-patch14"
    model_type = "clip_vision_model"
