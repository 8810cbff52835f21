"""How tables write the names that records use."""

from __future__ import annotations

import unicodedata

METHODS = {
    "ce": "CE",
    "gce": "GCE",
    "elr": "ELR",
    "elr_plus": "ELR+",
    "dividemix": "DivideMix",
    "unicon": "UNICON",
    "turn": "TURN",
}
TUNINGS = {"fft": "FFT", "lp": "LP", "lp-fft": "LP-FFT"}
NOISES = {
    "symmetric": "Symm.",
    "asymmetric": "Asym.",
    "instance": "Inst.",
    "real": "Real noise",
    "none": "No noise",
}
DATASETS = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "clothing1m": "Clothing1M",
    "webvision": "WebVision",
    "webvision_mini": "WebVision (mini)",
}
BACKBONES = {
    "vit_b16": "ViT-B/16",
    "convnext_t": "ConvNeXt-T",
    "mae_vit_b": "MAE-ViT-B",
    "msn_vit_b": "MSN-ViT-B",
    "clip_vit_b": "CLIP-ViT-B",
    "resnet50": "ResNet-50",
    "vit_l16": "ViT-L/16",
    "clip_vit_l14": "CLIP-ViT-L/14",
    "preact_resnet18": "PreAct-ResNet-18",
    "resnet34_cifar": "ResNet-34",
    "efficientnet_lite0": "EfficientNet-Lite0",
}
# Values that have another name in print, by axis.
VALUES = {"method": METHODS, "tuning": TUNINGS, "dataset": DATASETS, "backbone": BACKBONES}
AXES = {
    "tuning": "Tuning",
    "method": "Method",
    "noise_label": "Noise",
    "dataset": "Dataset",
    "backbone": "Backbone",
    "lp": "LP",
    "fft": "FFT",
    "rate": "noise rate",
}
# Words within the name of a setting.
SETTINGS = {"lr": "learning rate", "tau": "τ", "lam": "λ", "beta": "β", "alpha": "α"}
YES, NO = "✓", "–"


def clean(text: object) -> str:
    """Return text on one line, without control, formatting or unassigned characters."""
    spaced = " ".join(str(text).split())
    return "".join(symbol for symbol in spaced if not unicodedata.category(symbol).startswith("C"))


def display(axis: str, value: object) -> str:
    """Return how a table writes a value of an axis; names that it does not know stay as they are.

    Whether something is so is a tick or a dash.
    """
    if isinstance(value, bool):
        return YES if value else NO
    text = f"{value:g}" if isinstance(value, float) else clean(value)
    if axis == "noise_label":
        kind, _, rate = text.partition("-")
        return f"{NOISES.get(kind, kind)} {rate}".rstrip() if kind in NOISES else text
    return VALUES.get(axis, {}).get(text, text)


def axis_label(axis: str) -> str:
    """Return the heading of an axis."""
    if axis in AXES:
        return AXES[axis]
    head, dot, name = clean(axis).partition(".")
    if not dot:
        return head.replace("_", " ")
    name = SETTINGS.get(name, name.replace("_", " "))
    return f"{AXES[head]} {name}" if head in AXES else name


def describe(axis: str, value: object) -> str:
    """Return a value with its axis where the value alone says nothing, as in ``τ = 0.6``."""
    text = display(axis, value)
    return text if axis in VALUES or axis in ("noise_label", "noise") else f"{axis_label(axis)} = {text}"
