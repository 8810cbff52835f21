"""Small models of the hub's architectures, saved as the hub has them: weights, configuration, processor."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers
from transformers.convert_slow_tokenizer import bytes_to_unicode

SIZE, PATCH, WIDTH = 32, 8, 16
_VIT = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "image_size": SIZE,
    "patch_size": PATCH,
}
_NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
_TEXT = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "vocab_size": 514,
    "bos_token_id": 0,
    "eos_token_id": 2,  # as published, which makes the largest number the end
}
_CONV = {"num_channels": 3, "hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 1, 1]}
_IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def square(**fields: Any) -> Any:
    return transformers.ViTImageProcessor(size={"height": SIZE, "width": SIZE}, **fields)


def convnext_processor() -> Any:
    return transformers.ConvNextImageProcessor(size={"shortest_edge": SIZE}, crop_pct=0.875)


def tiny(kind: str, patch: int = PATCH) -> tuple[Any, Any]:
    """Return a small model, with the head it is published with, and its processor.

    Parameters
    ----------
    kind : {"vit", "vit-headless", "mae", "msn", "clip", "convnext", "resnet", "bottleneck"}
        ``vit-headless`` is published without a classifier, but with a pooler.
    patch : int
        Side of CLIP's patches; images have four of them in a row.
    """
    halves = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    if kind == "vit":
        configuration = transformers.ViTConfig(**_VIT, **_NO_DROPOUT)
        return transformers.ViTForImageClassification(configuration), square(**halves)
    if kind == "vit-headless":
        return transformers.ViTModel(transformers.ViTConfig(**_VIT, **_NO_DROPOUT)), square(**halves)
    if kind == "mae":
        configuration = transformers.ViTMAEConfig(
            **_VIT,
            **_NO_DROPOUT,
            decoder_hidden_size=8,
            decoder_num_hidden_layers=1,
            decoder_num_attention_heads=2,
        )
        return transformers.ViTMAEForPreTraining(configuration), square(**_IMAGENET)
    if kind == "msn":
        return transformers.ViTMSNModel(transformers.ViTMSNConfig(**_VIT, **_NO_DROPOUT)), square(**_IMAGENET)
    if kind == "clip":
        size = 4 * patch
        vision = {**_VIT, "patch_size": patch, "image_size": size}
        model = transformers.CLIPModel(
            transformers.CLIPConfig(text_config=_TEXT, vision_config=vision, projection_dim=8)
        )
        crop = {"height": size, "width": size}
        return model, transformers.CLIPImageProcessor(size={"shortest_edge": size}, crop_size=crop)
    if kind == "convnext":
        configuration = transformers.ConvNextConfig(**_CONV)
        return transformers.ConvNextForImageClassification(configuration), convnext_processor()
    layer = "bottleneck" if kind == "bottleneck" else "basic"
    configuration = transformers.ResNetConfig(**_CONV, embedding_size=8, layer_type=layer)
    return transformers.ResNetForImageClassification(configuration), convnext_processor()


def save(kind: str, folder: Path, seed: int = 0, **fields: Any) -> None:
    """Save a model in the hub's format, its biases and scales away from 0 and 1."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model, processor = tiny(kind, **fields)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    if kind == "clip":
        save_tokeniser(folder)


def save_tokeniser(folder: Path) -> None:
    """Save CLIP's tokeniser with letters instead of 49,408 pieces of words."""
    letters = list(bytes_to_unicode().values())
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    with TemporaryDirectory() as parts:
        vocabulary = {piece: number for number, piece in enumerate(pieces)}
        (Path(parts) / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
        (Path(parts) / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
        transformers.CLIPTokenizerFast.from_pretrained(parts).save_pretrained(folder)


def expected_features(kind: str, model: Any, images: torch.Tensor) -> torch.Tensor:
    """Return features by transformers' own forward pass."""
    if kind == "vit":
        return model.vit(images).last_hidden_state[:, 0]
    if kind == "mae":
        model.config.mask_ratio = 0.0
        patches = (images.shape[-1] // model.config.patch_size) ** 2
        noise = torch.linspace(0, 1, patches).repeat(len(images), 1)
        return model.vit(images, noise=noise).last_hidden_state[:, 0]
    if kind in ("msn", "vit-headless"):
        return model(images).last_hidden_state[:, 0]
    if kind == "clip":
        return model.vision_model(images).pooler_output
    base = model.convnext if kind == "convnext" else model.resnet
    return base(images).pooler_output.flatten(1)
