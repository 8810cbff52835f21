"""What trials are expected to cost before they are run: passes through the backbone, and GPU hours.

Costs are in units of one backbone forward pass of one image; a backward pass counts two (protocol,
section 6). They are exact where nothing depends on what a method finds in the data: the number of
samples and epochs decides. Methods that select samples cost more the more they select, and the
share is assumed to be that of the right labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from lnlbench.spec import RATED_NOISE, BackboneSpec, DatasetSpec, NoiseSpec, PhaseSpec, TrialSpec

if TYPE_CHECKING:
    from lnlbench.api import Method, Passes

# Share of the labels that is taken to be right where the noise setting does not say it.
UNKNOWN_SHARE = 0.5

# Multiply-accumulate operations of one forward pass, in thousands of millions, with the image side
# that they belong to: matrix products and convolutions, as torch.utils.flop_counter counts them.
FORWARD_GMACS: Mapping[str, tuple[float, int]] = {
    "clip_vit_b": (17.6, 224),
    "clip_vit_l14": (81.0, 224),
    "convnext_t": (4.45, 224),
    "efficientnet_lite0": (0.384, 224),
    "mae_vit_b": (17.6, 224),
    "msn_vit_b": (17.6, 224),
    "preact_resnet18": (0.555, 32),
    "resnet34_cifar": (1.16, 32),
    "resnet50": (4.09, 224),
    "vit_b16": (17.6, 224),
    "vit_l16": (61.6, 224),
}

# Operations that a GPU sustains in training, per second: the order of an RTX 3090 or a V100 with
# mixed precision. A multiply-accumulate is two operations.
SUSTAINED = 25e12


@dataclass(frozen=True, slots=True)
class Sizes:
    """Samples of a data set.

    Attributes
    ----------
    stored : int
        Of the training split, before any are held out.
    train, validation, test : int
        That trials train on, and evaluate on after each epoch.
    own_validation : bool
        Whether validation samples are a split of their own.
    """

    stored: int
    train: int
    validation: int
    test: int
    own_validation: bool


def sizes_of(spec: DatasetSpec, counts: Mapping[str, int]) -> Sizes:
    """Return the sizes of a data set's parts in a trial.

    Parameters
    ----------
    spec : DatasetSpec
    counts : mapping of split to int
        ``train``, ``test`` and perhaps ``validation``; subsets are already taken.
    """
    stored = counts["train"]
    if "validation" in counts:
        return Sizes(stored, stored, counts["validation"], counts["test"], own_validation=True)
    held_out = max(1, round(Fraction(str(spec.validation_fraction)) * stored))
    return Sizes(stored, stored - held_out, held_out, counts["test"], own_validation=False)


@dataclass(frozen=True, slots=True)
class Units:
    """Expected passes through the backbone, in units.

    Attributes
    ----------
    training : float
        What the method does in its epochs; what the ledger counts as training.
    evaluation : float
        Validation and test samples after each epoch.
    """

    training: float = 0.0
    evaluation: float = 0.0

    def __add__(self, other: Units) -> Units:
        """Return the units of both."""
        return Units(self.training + other.training, self.evaluation + other.evaluation)


def assumed_share(noise: NoiseSpec) -> float:
    """Return the share of the labels that is taken to be right, and so selected.

    One minus the rate (symmetric noise leaves a few more right); :data:`UNKNOWN_SHARE` for real
    labels and noise files.
    """
    if noise.type in RATED_NOISE:
        return 1.0 - noise.rate
    return 1.0 if noise.type == "none" else UNKNOWN_SHARE


def depends_on_share(spec: TrialSpec, method: type[Method]) -> bool:
    """Whether a method costs the more the more samples it selects."""
    return any(
        _phase_units(phase, none) != _phase_units(phase, every)
        for phase, none, every in zip(
            spec.phases, method.expected_passes(spec, 0.0), method.expected_passes(spec, 1.0), strict=True
        )
    )


def expected_units(spec: TrialSpec, method: type[Method], sizes: Sizes) -> Units:
    """Return what a trial costs, the extraction of cached features apart.

    Parameters
    ----------
    spec : TrialSpec
    method : type of Method
    sizes : Sizes
        Of the trial's data set.
    """
    total = Units()
    passes = method.expected_passes(spec, assumed_share(spec.noise))
    for phase, expected in zip(spec.phases, passes, strict=True):
        if not _is_cached(phase):
            evaluated = phase.epochs * method.predicting_networks * (sizes.validation + sizes.test)
            total += Units(_phase_units(phase, expected) * sizes.train, evaluated)
    return total


def expected_extraction(
    specs: Iterable[TrialSpec], methods: Mapping[str, type[Method]], sizes: Mapping[DatasetSpec, Sizes]
) -> dict[BackboneSpec, float]:
    """Return the units of extracting features, by backbone; trials share what they have in common.

    Trials on data sets that ``sizes`` lacks are left out.
    """
    arrays: dict[tuple[object, ...], int] = {}
    for spec in specs:
        size, views = sizes.get(spec.dataset), methods[spec.method.name].views
        for phase in spec.phases:
            if size is None or not _is_cached(phase):
                continue
            augmented = max(views.weak, 1) if phase.augmentation == "weak" else views.weak
            wanted = {"plain": size.stored, "test": size.test}
            if size.own_validation:
                wanted["validation"] = size.validation
            for kind, count in (("weak", augmented), ("strong", views.strong)):
                stored = max(count, phase.views or 0) if count else 0
                wanted |= {f"{kind} {number}": size.stored for number in range(stored)}
            seed = spec.seed if spec.backbone.weights == "none" else 0
            for name, samples in wanted.items():
                arrays[spec.backbone, spec.dataset, seed, spec.precision, name] = samples
    totals: dict[BackboneSpec, float] = {}
    for (backbone, *_), samples in arrays.items():
        assert isinstance(backbone, BackboneSpec)
        totals[backbone] = totals.get(backbone, 0.0) + samples
    return totals


def gpu_hours(units: float, backbone: BackboneSpec) -> float | None:
    """Return how long a GPU takes that sustains :data:`SUSTAINED`; None for unknown architectures.

    The cost of an image is taken to grow with its area.
    """
    if backbone.name not in FORWARD_GMACS:
        return None
    gmacs, side = FORWARD_GMACS[backbone.name]
    area = ((backbone.image_size or side) / side) ** 2
    return units * 2e9 * gmacs * area / SUSTAINED / 3600.0


def _is_cached(phase: PhaseSpec) -> bool:
    return phase.kind == "lp" and phase.cache


def _phase_units(phase: PhaseSpec, passes: Passes) -> float:
    """Return the units of a phase per training sample: nothing goes backward through a frozen backbone."""
    if _is_cached(phase):
        return 0.0
    return passes.units if phase.kind == "fft" else passes.forward + passes.trained
