"""What the parts train on: data and models that are made on the spot, offline."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as tvf

from lnlbench.api import Skip
from lnlbench.grids.tuning import kinds_of
from lnlbench.plugins import registry
from lnlbench.spec import NO_BACKBONE, BackboneSpec, DatasetSpec, NoiseSpec, PhaseSpec, TrialSpec

METHODS = ("ce", "gce", "elr", "elr_plus", "turn", "dividemix", "unicon")
QUICK_METHODS = ("ce", "unicon")
MODES = ("lp", "fft", "lp-fft")
# Warm-up is cross-entropy: left out, so that every epoch is one of the method's own.
PARAMS: dict[str, dict[str, Any]] = {"dividemix": {"warmup": 0}, "unicon": {"warmup": 0}}
HALF_BATCH = ("dividemix", "unicon")  # two loaders, as in the paper

VIT = BackboneSpec("timm:vit_base_patch16_224", weights="none")
LITE = BackboneSpec("efficientnet_lite0", image_size=64)
TINY = BackboneSpec("timm:test_efficientnet", weights="none", image_size=32)
PHOTO = (600, 800)  # height and width of the JPEGs


def pixels(path: Path, train: int, *, classes: int, side: int = 32, test: int = 256) -> DatasetSpec:
    """Write random images, uint8 ``[N, side, side, 3]``, and return the data set."""
    draw = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", train), ("test", test)):
        arrays[f"x_{part}"] = draw.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
        arrays[f"y_{part}"] = np.arange(count) % classes
    np.savez(path, **arrays)
    return DatasetSpec(f"npz:{path}")


def digits(path: Path, side: int, *, train_per_class: int, test_per_class: int) -> DatasetSpec:
    """Write the first digits of each class, resized here to ``side`` pixels, and return the data set."""
    spec = DatasetSpec("digits", train_per_class=train_per_class, test_per_class=test_per_class)
    loaded = registry.datasets().load("digits")().load(spec, None)
    arrays: dict[str, Any] = {}
    for part, split in (("train", loaded.train), ("test", loaded.test)):
        assert split.images is not None
        images = tvf.resize(torch.as_tensor(split.images.take(np.arange(len(split.images)))), [side, side])
        arrays[f"x_{part}"], arrays[f"y_{part}"] = images.permute(0, 2, 3, 1).numpy(), split.labels
    np.savez(path, **arrays)
    return DatasetSpec(f"npz:{path}")


def feature_vectors(path: Path, train: int, dim: int, *, classes: int) -> DatasetSpec:
    """Write random features ``[N, dim]`` with a mean per class, and return the data set."""
    draw = np.random.default_rng(0)
    means = draw.normal(size=(classes, dim)).astype(np.float32)
    arrays = {}
    for part, count in (("train", train), ("test", 4 * classes)):
        labels = np.arange(count) % classes
        arrays[f"x_{part}"] = means[labels] + draw.normal(size=(count, dim)).astype(np.float32)
        arrays[f"y_{part}"] = labels
    np.savez(path, **arrays)
    return DatasetSpec(f"features:{path}")


def photos(folder: Path, count: int, *, different: int = 64, size: tuple[int, int] = PHOTO) -> DatasetSpec:
    """Write JPEGs, of which some are ``different`` and the others copies, and return the data set."""
    draw = torch.Generator().manual_seed(0)
    height, width = size
    for number in range(count):
        file = folder / "train" / f"class{number % 2}" / f"{number:05}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        if number < different:
            coarse = torch.randint(256, (3, 12, 16), generator=draw, dtype=torch.uint8)
            grain = torch.randint(-20, 21, (3, height, width), generator=draw)
            image = (tvf.resize(coarse, [height, width]) + grain).clamp(0, 255).to(torch.uint8)
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, quality=90)
        else:
            like = number % different
            shutil.copyfile(folder / "train" / f"class{like % 2}" / f"{like:05}.jpg", file)
    for label in range(2):
        (folder / "test" / f"class{label}").mkdir(parents=True)
        shutil.copyfile(
            folder / "train" / f"class{label}" / f"{label:05}.jpg",
            folder / "test" / f"class{label}" / "0.jpg",
        )
    return DatasetSpec(f"imagefolder:{folder}")


def hub_model(folder: Path, *, tiny: bool) -> BackboneSpec:
    """Write the configuration of a ViT as the hub has it, without weights, and return the backbone."""
    configuration: dict[str, Any] = {"model_type": "vit", "architectures": ["ViTModel"]}
    size = 32 if tiny else 224
    if tiny:
        configuration |= {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        configuration |= {"intermediate_size": 16, "image_size": size, "patch_size": 8}
    processor = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": size, "width": size},
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(configuration))
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return BackboneSpec(f"hf:{folder}", weights="none")


def trial(
    method: str,
    tuning: str,
    dataset: DatasetSpec,
    backbone: BackboneSpec | None,
    *,
    epochs: int = 1,
    batch_size: int = 128,
    precision: str = "fp32",
    seed: int = 0,
    **phase: Any,
) -> TrialSpec | None:
    """Return a trial under symmetric noise of 0.4; None for one that the method declines.

    Parameters
    ----------
    method, tuning : str
    dataset : DatasetSpec
    backbone : BackboneSpec or None
        None for a data set of features.
    epochs : int
        Of each phase.
    batch_size : int
        Half of it for methods with two loaders.
    precision : str
    seed : int
    **phase
        Further settings of all phases.
    """
    method_class = registry.methods().load(method)
    size = batch_size // 2 if method in HALF_BATCH else batch_size
    settings = {"lr": 1e-3, **phase}
    spec = TrialSpec(
        dataset=dataset,
        noise=NoiseSpec("symmetric", 0.4),
        backbone=backbone or BackboneSpec(NO_BACKBONE),
        tuning=tuning,
        method=method_class.resolve(method, "", PARAMS.get(method, {})),
        seed=seed,
        phases=tuple(PhaseSpec(kind, epochs, batch_size=size, **settings) for kind in kinds_of(tuning)),
        precision=precision,
    )
    return None if isinstance(method_class.supports(spec), Skip) else spec
