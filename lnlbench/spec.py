"""What a trial is: frozen values, and an identity made from them alone.

A trial is one point of data set × noise × backbone × tuning mode × method × seed, with its
budget (protocol, section 1). :attr:`TrialSpec.trial_id` hashes the canonical form, in which
paths are reduced to their last component and fields at their default are left out: neither
moving a file nor adding an option to lnlbench changes the identity of existing trials.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from typing import Any, TypeVar

from lnlbench.errors import UsageError, suggest

Scalar = str | int | float | bool | None
Options = tuple[tuple[str, Any], ...]

# Part of every identity; raised when the meaning of an existing field or default changes.
SPEC_VERSION = 1

NOISE_TYPES = ("symmetric", "asymmetric", "instance", "human", "real", "none", "file")
RATED_NOISE = ("symmetric", "asymmetric", "instance")
OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("constant", "cosine")
AUGMENTATIONS = ("none", "weak")
# Names of the recipes that make weak and strong views; see the module ``augment``.
RECIPES = ("cifar", "digits", "photo", "crop-flip")
BATCH_NORMS = ("update", "frozen", "adapt")
PRECISIONS = ("auto", "fp32", "tf32", "bf16", "fp16")
VALIDATION_LABELS = ("noisy", "clean")
WEIGHTS = ("pretrained", "none")
# Data sets whose reference is a path, however it is written.
PATH_SCHEMES = ("npz", "features", "imagefolder", "csv", "parquet", "medmnist")

# The backbone of a trial on a data set of features, which brings its own representation.
NO_BACKBONE = "none"

# What counts and sizes may be: beyond it, libraries overflow instead of running out of memory.
LARGEST = 2**31 - 1
LARGEST_IMAGE = 8192  # pixels a side


def one_of(value: str, allowed: tuple[str, ...], what: str) -> str:
    """Return ``value`` if it is allowed, else raise an error that lists what is."""
    if value not in allowed:
        raise UsageError(f"Unknown {what} '{value}'.", suggest(str(value), allowed))
    return value


def _check_count(value: int, name: str) -> None:
    if value < 1:
        raise UsageError(f"{name} is {value}; it must be at least 1.")
    if value > LARGEST:
        raise UsageError(f"{name} is {value}; it must be at most {LARGEST:,}.")


def split_reference(reference: str) -> tuple[str, str | None]:
    """Split ``"scheme:rest"`` into its parts; the rest is None for a plain name."""
    scheme, separator, rest = reference.partition(":")
    return scheme, rest if separator else None


def holds_path(reference: str) -> bool:
    """Whether the rest of ``"scheme:rest"`` is a path, by its scheme or by how it starts."""
    scheme, rest = split_reference(reference)
    if rest is None:
        return False
    return rest.startswith((".", "/", "~")) or scheme in PATH_SCHEMES


def portable_reference(reference: str) -> str:
    """Return ``reference`` with a path reduced to its last component.

    ``npz:/data/pets.npz`` becomes ``npz:pets.npz``, so that a trial's identity does not
    depend on where its files are. The content is compared separately, by fingerprint.
    """
    scheme, rest = split_reference(reference)
    return f"{scheme}:{PurePath(rest).name}" if rest is not None and holds_path(reference) else reference


@dataclass(frozen=True, slots=True)
class Skip:
    """Why a trial is not run: a method or a kind of phase declines it. Plans and tables show the reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class DatasetSpec:
    """A data set and the part of it that is used.

    Attributes
    ----------
    name : str
        Registered name, or ``scheme:path`` (``npz:``, ``imagefolder:``, ``features:``).
    train_per_class, test_per_class : int or None
        Keep the first k samples of each class in official order; None keeps all.
    validation_fraction : float
        Share of the training set held out, stratified, where the data set has no
        validation split of its own. Default 0.05 (2,500 of CIFAR's 50,000).
    validation_labels : {"noisy", "clean"}
        Clean validation labels are knowledge that no method has in practice: tables say so.
    resize : int or None
        Bring the shorter side of images in files down to this many pixels before anything else;
        None takes them as they are. It changes pixels, and makes decoding several times faster.
    recipe : {"cifar", "digits", "photo", "crop-flip"} or None
        How weak and strong views are made; None takes the data set's own recipe.
    """

    name: str
    train_per_class: int | None = None
    test_per_class: int | None = None
    validation_fraction: float = 0.05
    validation_labels: str = "noisy"
    resize: int | None = None
    recipe: str | None = None

    def __post_init__(self) -> None:
        one_of(self.validation_labels, VALIDATION_LABELS, "validation_labels")
        if not 0.0 < self.validation_fraction < 1.0:
            raise UsageError(
                f"validation_fraction is {self.validation_fraction}; it must lie between 0 and 1.",
                "The protocol's value is 0.05.",
            )
        for name in ("train_per_class", "test_per_class"):
            value = getattr(self, name)
            if value is not None:
                _check_count(value, name)
        if self.resize is not None:
            _check_count(self.resize, "resize")
            if self.resize < 8:
                raise UsageError(f"resize is {self.resize}; it must be at least 8 pixels.")
        if self.recipe is not None:
            one_of(self.recipe, RECIPES, "augmentation recipe")

    @property
    def label(self) -> str:
        """The name that tables print."""
        return portable_reference(self.name)


@dataclass(frozen=True, slots=True)
class NoiseSpec:
    """A noise type and rate, with the generator's options (protocol, section 4).

    Attributes
    ----------
    type : {"symmetric", "asymmetric", "instance", "human", "real", "none", "file"}
    rate : float
        Nominal rate in [0, 1]; 0 for ``human``, ``real``, ``none`` and ``file``.
    options : tuple of (name, value)
        For example ``(("variant", "exclusive"),)``, ``(("labels", "worse"),)`` or
        ``(("path", "noise.npz"),)``.
    """

    type: str
    rate: float = 0.0
    options: Options = ()

    def __post_init__(self) -> None:
        one_of(self.type, NOISE_TYPES, "noise")
        if not 0.0 <= self.rate <= 1.0:
            raise UsageError(
                f"The rate of {self.type} noise is {self.rate:g}; it must lie in [0, 1].",
                "Write a share, not a percentage: symmetric-0.6.",
            )

    @classmethod
    def parse(cls, text: str, options: Options = ()) -> NoiseSpec:
        """Read ``"symmetric-0.6"``, ``"human-worse"``, ``"none"``, ``"real"`` or ``"file:PATH"``."""
        scheme, path = split_reference(text)
        if scheme == "file":
            if not path:
                raise UsageError("Noise 'file' needs a path.", "Write file:PATH.")
            return cls("file", 0.0, (("path", path), *options))
        kind, separator, rate = text.partition("-")
        one_of(kind, NOISE_TYPES, "noise")
        if kind == "human":
            if not rate.isidentifier():
                raise UsageError(
                    f"Noise '{text}' does not say which labels.", "Write human-worse, for example."
                )
            return cls(kind, 0.0, (("labels", rate), *options))
        if kind not in RATED_NOISE:
            if separator:
                raise UsageError(f"Noise '{kind}' takes no rate, but '{text}' has one.", f"Write {kind}.")
            return cls(kind, 0.0, options)
        try:
            value = float(rate)
        except ValueError:
            raise UsageError(
                f"Noise '{text}' has no rate that can be read.", f"Write {kind}-0.4, for example."
            ) from None
        return cls(kind, value, options)

    @property
    def label(self) -> str:
        """Type and rate together, as in ``symmetric-0.6``."""
        if self.type == "file":
            return f"file:{PurePath(str(dict(self.options).get('path', ''))).name}"
        if self.type == "human":
            return f"human-{dict(self.options).get('labels', '')}"
        return f"{self.type}-{self.rate:g}" if self.type in RATED_NOISE else self.type


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    """A backbone and how it sees images.

    Attributes
    ----------
    name : str
        Registered name or ``scheme:reference`` (``timm:``, ``torchvision:``, ``hf:``);
        :data:`NO_BACKBONE` where the data are features.
    weights : {"pretrained", "none"}
        ``none`` trains from scratch.
    image_size : int or None
        Side of the square input in pixels; None takes the model's own.
    revision : str or None
        Commit or tag of hub weights; None takes the hub's current one.
    options : tuple of (name, value)
        Options of the backbone's source, for example ``(("pooling", "mean"),)``.
    """

    name: str
    weights: str = "pretrained"
    image_size: int | None = None
    revision: str | None = None
    options: Options = ()

    def __post_init__(self) -> None:
        one_of(self.weights, WEIGHTS, "weights")
        if self.image_size is not None and self.image_size < 8:
            raise UsageError(f"image_size is {self.image_size}; it must be at least 8 pixels.")
        if self.image_size is not None and self.image_size > LARGEST_IMAGE:
            raise UsageError(f"image_size is {self.image_size}; it must be at most {LARGEST_IMAGE} pixels.")

    @property
    def label(self) -> str:
        """The name that tables print."""
        return portable_reference(self.name)


@dataclass(frozen=True, slots=True)
class PhaseSpec:
    """One phase of a tuning mode: what is trained, for how long, with which settings.

    Attributes
    ----------
    kind : str
        What learns: a registered kind of phase, see :mod:`lnlbench.models.phase_kind`. Ours are
        ``lp`` (the head, on a frozen backbone) and ``fft`` (all parameters).
    epochs, batch_size : int
    optimizer : {"sgd", "adamw"}
    lr, weight_decay, momentum : float
        Momentum is that of SGD.
    schedule : {"constant", "cosine"}
        Cosine anneals to zero over the phase, once per epoch.
    augmentation : {"none", "weak"}
        What ``Batch.inputs`` is: the image as it is, or one weak view of it.
    batch_norm : {"update", "frozen", "adapt"}
        Where the kind takes it, for backbones with batch normalisation: normalise by the batch and
        update the running statistics, or keep the pre-trained statistics (scale and shift are trained
        in either case). Frozen statistics keep the features that a probed head was trained on, which
        matters where an epoch has a few steps only. ``adapt`` estimates the running statistics anew on
        the training images before the trial's first phase, without labels, and then is ``update``: so
        a head is probed on a network that train mode changes little.
    cache : bool
        Where the kind takes it: features extracted once (True), or live images through the frozen
        backbone in every step (False: unlimited views, far slower).
    views : int or None
        Of a cache: how many weak and strong views are stored per sample; None stores as many as
        one step of the method needs.
    options : tuple of (name, value)
        Every option that the kind itself declares, sorted by name.
    at_default : tuple of str
        Those of the options that have the kind's default. They are no part of the identity, so that a
        kind can gain an option, and its trials stay what they are.
    """

    kind: str
    epochs: int
    batch_size: int = 128
    optimizer: str = "sgd"
    lr: float = 1e-2
    weight_decay: float = 1e-4
    momentum: float = 0.9
    schedule: str = "constant"
    augmentation: str = "none"
    batch_norm: str = "update"
    cache: bool = True
    views: int | None = None
    options: Options = ()
    at_default: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        one_of(self.optimizer, OPTIMIZERS, "optimizer")
        one_of(self.schedule, SCHEDULES, "schedule")
        one_of(self.augmentation, AUGMENTATIONS, "augmentation")
        one_of(self.batch_norm, BATCH_NORMS, "batch_norm")
        _check_count(self.epochs, f"{self.kind}.epochs")
        _check_count(self.batch_size, f"{self.kind}.batch_size")
        if not 0.0 < self.lr < math.inf:
            raise UsageError(f"{self.kind}.lr is {self.lr:g}; it must be positive and finite.")
        if not 0.0 <= self.weight_decay < math.inf:
            raise UsageError(
                f"{self.kind}.weight_decay is {self.weight_decay:g}; it must be finite and not negative."
            )
        if not 0.0 <= self.momentum < 1.0:
            raise UsageError(f"{self.kind}.momentum is {self.momentum:g}; it must lie in [0, 1).")
        if self.views is not None:
            _check_count(self.views, f"{self.kind}.views")

    def settings(self) -> dict[str, Any]:
        """Return every setting by name, the kind's own options included."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        for name in ("kind", "options", "at_default"):
            del values[name]
        return values | dict(self.options)


@dataclass(frozen=True, slots=True)
class MethodSpec:
    """A method with all its parameters resolved.

    Attributes
    ----------
    name : str
    params : tuple of (name, value)
        Every parameter with its value, sorted by name.
    preset : str
        The preset that the values started from; ``default`` is noise-agnostic.
    noise_aware : bool
        Whether the preset uses knowledge of the noise that a method does not have.
    """

    name: str
    params: Options = ()
    preset: str = "default"
    noise_aware: bool = False


@dataclass(frozen=True, slots=True)
class EmbeddingSpec:
    """Maps of test features before and after training, by t-SNE: :mod:`lnlbench.trials.measuring.embedding`.

    Attributes
    ----------
    samples : int
        Test images, equally many of each class.
    classes : int or None
        How many classes are shown, drawn at random; None shows all.
    perplexity : float
        Of t-SNE; must be below the number of samples. Default 30.
    """

    samples: int
    classes: int | None = None
    perplexity: float = 30.0

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise UsageError(f"embedding.samples is {self.samples}; it must be at least 2.")
        if self.classes is not None and self.classes < 1:
            raise UsageError(f"embedding.classes is {self.classes}; it must be at least 1.")
        if not self.perplexity > 0.0:
            raise UsageError(f"embedding.perplexity is {self.perplexity:g}; it must be positive.")


@dataclass(frozen=True)  # without slots, for the cached identity
class TrialSpec:
    """One trial.

    Attributes
    ----------
    tuning : str
        The kinds of the phases, joined by ``-``: ``lp``, ``fft``, ``lp-fft``.
    phases : tuple of PhaseSpec
        The tuning mode with its budget; see :mod:`lnlbench.grids.tuning`.
    precision : {"auto", "fp32", "tf32", "bf16", "fp16"}
        ``auto`` lets a short calibration choose; the record says what it chose.
    embedding : EmbeddingSpec or None
        None maps no features.
    """

    dataset: DatasetSpec
    noise: NoiseSpec
    backbone: BackboneSpec
    tuning: str
    method: MethodSpec
    seed: int
    phases: tuple[PhaseSpec, ...]
    precision: str = "auto"
    embedding: EmbeddingSpec | None = None

    def __post_init__(self) -> None:
        one_of(self.precision, PRECISIONS, "precision")

    def canonical(self) -> dict[str, Any]:
        """The JSON value that is hashed: no paths, nothing at its default."""
        return {"spec_version": SPEC_VERSION, **_canonical(self)}

    @cached_property
    def trial_id(self) -> str:
        """Sixteen hexadecimal digits, the same on every machine."""
        text = json.dumps(self.canonical(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def epochs(self) -> int:
        """Epochs of all phases together."""
        return sum(phase.epochs for phase in self.phases)

    @property
    def adapts(self) -> bool:
        """Whether running statistics are estimated on the training images before the first phase."""
        return any(phase.batch_norm == "adapt" for phase in self.phases)

    def to_dict(self) -> dict[str, Any]:
        """All fields as a JSON value, readable by :meth:`from_dict`."""
        value: dict[str, Any] = _jsonable(self)
        return value

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> TrialSpec:
        """Rebuild a spec from :meth:`to_dict`."""
        return cls(
            dataset=_build(DatasetSpec, value["dataset"]),
            noise=_build(NoiseSpec, value["noise"]),
            backbone=_build(BackboneSpec, value["backbone"]),
            tuning=value["tuning"],
            method=_build(MethodSpec, value["method"]),
            seed=value["seed"],
            phases=tuple(_build(PhaseSpec, phase) for phase in value["phases"]),
            precision=value["precision"],
            embedding=EmbeddingSpec(**value["embedding"]) if value.get("embedding") else None,
        )

    def describe(self) -> str:
        """One line for logs and error messages."""
        return " ".join(
            (
                self.dataset.label,
                self.noise.label,
                self.backbone.label,
                self.tuning,
                self.method.name,
                f"seed {self.seed}",
            )
        )


S = TypeVar("S", DatasetSpec, NoiseSpec, BackboneSpec, PhaseSpec, MethodSpec)


def has_images(spec: TrialSpec) -> bool:
    """Whether a trial's data are images, which pass through a backbone, and not features."""
    return spec.backbone.name != NO_BACKBONE


def _build(cls: type[S], value: Mapping[str, Any]) -> S:
    fields = dict(value)
    for name in ("options", "params"):
        if name in fields:
            fields[name] = freeze_options(dict(fields[name]))
    if "at_default" in fields:
        fields["at_default"] = tuple(fields["at_default"])
    return cls(**fields)


def freeze_options(options: Mapping[str, Any]) -> Options:
    """Return options as sorted, hashable pairs (lists become tuples)."""

    def freeze(value: Any) -> Any:
        return tuple(freeze(item) for item in value) if isinstance(value, (list, tuple)) else value

    return tuple(sorted((name, freeze(value)) for name, value in options.items()))


def _fields(value: object) -> Mapping[str, dataclasses.Field[Any]]:
    """Fields of a dataclass by name, none of anything else; `dataclasses.fields` is far slower."""
    found: Mapping[str, dataclasses.Field[Any]] = getattr(value, "__dataclass_fields__", {})
    return found


_SCALARS = frozenset((str, int, float, bool, type(None)))


def _jsonable(value: Any) -> Any:
    if type(value) in _SCALARS:
        return value
    if parts := _fields(value):
        return {name: _jsonable(getattr(value, name)) for name in parts}
    if isinstance(value, dict):
        return {name: _jsonable(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    return value


def _canonical(value: Any) -> Any:
    if type(value) in _SCALARS and type(value) is not float:
        return value
    if parts := _fields(value):
        result: dict[str, Any] = {}
        for item in parts.values():
            content = getattr(value, item.name)
            # A preset is where values came from; the values themselves are the identity.
            if item.name in ("preset", "noise_aware", "at_default") or content == item.default:
                continue
            if item.name == "name" and not isinstance(value, MethodSpec):
                content = portable_reference(content)
            if item.name in ("options", "params"):
                content = {
                    name: PurePath(str(option)).name if name == "path" else _jsonable(option)
                    for name, option in content
                    if name not in getattr(value, "at_default", ())
                }
                if not content:
                    continue
            result[item.name] = _canonical(content)
        return result
    if isinstance(value, tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)  # 1 and 1.0 are the same setting
    return value


__all__ = [
    "AUGMENTATIONS",
    "BATCH_NORMS",
    "NOISE_TYPES",
    "NO_BACKBONE",
    "OPTIMIZERS",
    "PRECISIONS",
    "RATED_NOISE",
    "RECIPES",
    "SCHEDULES",
    "SPEC_VERSION",
    "VALIDATION_LABELS",
    "WEIGHTS",
    "BackboneSpec",
    "DatasetSpec",
    "EmbeddingSpec",
    "MethodSpec",
    "NoiseSpec",
    "Options",
    "PhaseSpec",
    "Scalar",
    "Skip",
    "TrialSpec",
    "freeze_options",
    "holds_path",
    "one_of",
    "portable_reference",
    "split_reference",
]
