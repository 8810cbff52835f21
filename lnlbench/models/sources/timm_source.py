"""Any image model of timm: ``timm:NAME`` or ``timm:NAME.TAG``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import timm
from safetensors import SafetensorError
from timm.data.config import resolve_model_data_config
from timm.models import get_arch_name, get_pretrained_cfg
from torch import nn

from lnlbench.basics.paths import expand
from lnlbench.errors import UsageError, WeightsError
from lnlbench.models.backbone import Backbone, BackboneSource, finish, initialisation, unknown_model
from lnlbench.models.preprocessing import Preprocessing
from lnlbench.models.sources import hub
from lnlbench.spec import BackboneSpec, Scalar


class Timm(BackboneSource):
    """Models of timm (Wightman, 2019) with the weights of their tag, or local ones.

    Options
    -------
    path : str
        A ``.safetensors`` file, or a folder with ``model.safetensors`` and optionally timm's
        ``config.json``, to load in place of the published weights. The file holds all
        tensors of the model; if its classifier does not have the published number of
        classes, ``config.json`` says how many (``num_classes``, 0 for none).
    """

    summary: ClassVar[str] = "any timm model, as timm:NAME"
    takes_reference: ClassVar[bool] = True
    takes_revision: ClassVar[bool] = True
    option_defaults: ClassVar[Mapping[str, Scalar]] = {"path": None}

    def missing(self, reference: str | None, spec: BackboneSpec) -> str | None:
        """Look for the weights at ``path``, in the user's folder of models or in the hub's cache."""
        path = self.options(spec)["path"]
        published = published_configuration(self.reference(spec))
        if spec.weights == "none":
            return None
        if path is not None:
            problem = _local_problem(expand(path))
            return " ".join(problem) if problem else None
        repository = _repository(spec, published)
        problem = hub.find_problem(repository, spec.revision, configuration=False, weights=True)
        return " ".join(problem) if problem else None

    def load(self, spec: BackboneSpec, seed: int) -> Backbone:
        """Return the backbone; see :meth:`BackboneSource.load`."""
        name = self.reference(spec)
        path = self.options(spec)["path"]
        published = published_configuration(name)
        # Models with learned position embeddings are built for one size; timm resamples these.
        sizes: dict[str, Any] = {}
        if published.get("fixed_input_size") and spec.image_size:
            sizes["img_size"] = spec.image_size
        try:
            with initialisation(seed):
                if spec.weights == "none":
                    module: nn.Module = timm.create_model(name, pretrained=False, num_classes=0, **sizes)
                else:
                    module = _pretrained(spec, name, path, published, sizes)
        except (AssertionError, ValueError, ZeroDivisionError) as error:
            raise WeightsError(
                f"timm cannot build '{name}' for images of {spec.image_size} px ({error}).",
                "Set another image_size, or leave it out for the model's own.",
            ) from error
        preprocessing = read_preprocessing(resolve_model_data_config(module))  # type: ignore[no-untyped-call]
        return finish(spec, f"timm:{get_arch_name(name)}", module, preprocessing.with_size(spec.image_size))


def published_configuration(name: str) -> dict[str, Any]:
    """Return timm's configuration of a model's published weights.

    Raises
    ------
    UsageError
        If timm has no such model, or the model no such tag.
    """
    if not timm.is_model(name):
        raise unknown_model("timm", name, timm.list_models())
    try:
        configuration = get_pretrained_cfg(name)
    except RuntimeError as error:
        architecture = get_arch_name(name)
        raise unknown_model("timm", name, timm.list_models(f"{architecture}.*", pretrained=True)) from error
    if configuration is None:
        return {}
    return dict(configuration.to_dict())  # type: ignore[no-untyped-call]


def read_preprocessing(configuration: Mapping[str, Any]) -> Preprocessing:
    """Translate timm's data configuration: the evaluation transform of ``create_transform``."""
    channels, height, width = configuration["input_size"]
    crop_mode = configuration.get("crop_mode") or "center"
    if channels != 3 or height != width or crop_mode not in ("center", "squash"):
        raise WeightsError(
            f"timm's model takes {channels}×{height}×{width} inputs with crop mode '{crop_mode}'; "
            "only square RGB inputs, cropped at the centre, are supported.",
            "Choose another model.",
        )
    return Preprocessing(
        size=height,
        resize=int(height / configuration["crop_pct"]),  # timm rounds down
        mode="exact" if crop_mode == "squash" else "shortest",
        interpolation=configuration["interpolation"],
        mean=tuple(configuration["mean"]),
        std=tuple(configuration["std"]),
    )


def _repository(spec: BackboneSpec, published: Mapping[str, Any]) -> str:
    repository = published.get("hf_hub_id")
    if not repository or published.get("hf_hub_filename"):
        raise UsageError(
            f"timm publishes no safetensors weights for '{spec.name}'.",
            "Choose a tag that has them, give a file with the option 'path', or set weights = \"none\".",
        )
    return str(repository)


def _local_problem(path: Path) -> tuple[str, str] | None:
    if path.is_dir():
        return hub.local_problem(path, configuration=False, weights=True)
    if not path.exists():
        return f"There is no file of weights '{path}'.", "Check the option 'path'."
    if path.suffix != ".safetensors":
        return (
            f"'{path}' is not a .safetensors file; other formats can run code when read.",
            hub.safetensors_hint(),
        )
    return None


def _pretrained(
    spec: BackboneSpec, name: str, path: str | None, published: Mapping[str, Any], sizes: Mapping[str, Any]
) -> nn.Module:
    overlay: dict[str, Any] = {}
    if path is None:
        folder = hub.model_folder(
            _repository(spec, published), spec.revision, configuration=False, weights=True
        )
        file = folder / hub.WEIGHTS_FILE
    else:
        file = expand(path)
        if problem := _local_problem(file):
            raise WeightsError(*problem)
        if file.is_dir():
            overlay = _local_configuration(file)
            file = file / hub.WEIGHTS_FILE
    # `custom_load` is for formats other than safetensors.
    overlay |= {"file": str(file), "custom_load": False}
    # With the classifier that the file has, timm loads strictly: no tensor stays untrained unnoticed.
    classes = overlay.get("num_classes", published.get("num_classes", 1000))
    try:
        module: nn.Module = timm.create_model(
            name, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=classes, **sizes
        )
    except (SafetensorError, RuntimeError, OSError) as error:
        problem_line = str(error).strip().splitlines()[0]
        raise WeightsError(
            f"'{file}' does not hold weights of timm's '{name}' ({problem_line})",
            "Check that file and model belong together; a file with another classifier needs a folder "
            "with a config.json that states num_classes.",
        ) from error
    module.reset_classifier(0)  # type: ignore[operator]
    return module


def _local_configuration(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        overlay = dict(content.get("pretrained_cfg", {}))
        if "num_classes" in content:
            overlay["num_classes"] = int(content["num_classes"])
    except (ValueError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"'{file}' is not a configuration of timm ({error}).", "Remove or repair it."
        ) from error
    # Where the weights are is settled; everything else of the folder's configuration holds.
    for key in ("url", "hf_hub_id", "hf_hub_filename", "source", "custom_load"):
        overlay.pop(key, None)
    return overlay
