"""What trials are expected to cost before they are run: passes through the backbone, and GPU hours.

Costs are in units of one backbone forward pass of one image; a backward pass counts two (protocol,
section 6). They are exact where nothing depends on what a method finds in the data: the number of
samples and epochs decides. Methods that select samples cost more the more they select, and the
share is assumed to be that of the right labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from lnlbench.plugins.registry import backbones, phase_kinds
from lnlbench.spec import (
    RATED_NOISE,
    BackboneSpec,
    DatasetSpec,
    NoiseSpec,
    PhaseSpec,
    TrialSpec,
    split_reference,
)

if TYPE_CHECKING:
    from lnlbench.api import Method, Passes

# Share of the labels that is taken to be right where the noise setting does not say it.
UNKNOWN_SHARE = 0.5

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

    One minus the rate (symmetric noise leaves a few more right); :data:`UNKNOWN_SHARE` for labels of
    people, real labels and noise files.
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
        if not phase_kinds().load(phase.kind).is_cached(phase):
            evaluated = phase.epochs * method.predicting_networks * (sizes.validation + sizes.test)
            total += Units(_phase_units(phase, expected) * sizes.train, evaluated)
    return total


def phase_units(
    spec: TrialSpec, method: type[Method], sizes: Sizes
) -> Iterator[tuple[PhaseSpec, bool, float]]:
    """Yield each phase of a trial, whether it works on cached features, and its units, evaluation included.

    On cached features they are those of the head, which :func:`expected_units` leaves out.
    """
    passes = method.expected_passes(spec, assumed_share(spec.noise))
    for phase, expected in zip(spec.phases, passes, strict=True):
        cached = phase_kinds().load(phase.kind).is_cached(phase)
        training = expected.units if cached else _phase_units(phase, expected)
        evaluated = phase.epochs * method.predicting_networks * (sizes.validation + sizes.test)
        yield phase, cached, training * sizes.train + evaluated


def expected_extraction(
    specs: Iterable[TrialSpec], methods: Mapping[str, type[Method]], sizes: Mapping[DatasetSpec, Sizes]
) -> dict[BackboneSpec, float]:
    """Return the units of extracting features, by backbone; trials share what they have in common.

    Trials on data sets that ``sizes`` lacks are left out.
    """
    from lnlbench.trials.adaptation import IMAGES  # imports torch, which most of a plan does without

    arrays: dict[tuple[object, ...], int] = {}
    for spec in specs:
        size, views = sizes.get(spec.dataset), methods[spec.method.name].create(spec.method).views
        for phase in spec.phases:
            if size is None or not phase_kinds().load(phase.kind).is_cached(phase):
                continue
            augmented = max(views.weak, 1) if phase.augmentation == "weak" else views.weak
            wanted = {"plain": size.stored, "test": size.test}
            if size.own_validation:
                wanted["validation"] = size.validation
            for kind, count in (("weak", augmented), ("strong", views.strong)):
                stored = max(count, phase.views or 0) if count else 0
                wanted |= {f"{kind} {number}": size.stored for number in range(stored)}
            if spec.adapts:
                wanted["statistics"] = min(size.stored, IMAGES)
            seed = spec.seed if spec.backbone.weights == "none" else 0
            for name, samples in wanted.items():
                arrays[spec.backbone, spec.dataset, seed, spec.precision, spec.adapts, name] = samples
    totals: dict[BackboneSpec, float] = {}
    for (backbone, *_), samples in arrays.items():
        assert isinstance(backbone, BackboneSpec)
        totals[backbone] = totals.get(backbone, 0.0) + samples
    return totals


def gpu_hours(units: float, backbone: BackboneSpec) -> float | None:
    """Return how long a GPU takes that sustains :data:`SUSTAINED`.

    None for backbones that do not say what a pass takes. The cost of an image is taken to grow with its area.
    """
    known = backbones().describe(split_reference(backbone.name)[0]).forward_gmacs
    if known is None:
        return None
    gmacs, side = known
    area = ((backbone.image_size or side) / side) ** 2
    return units * 2e9 * gmacs * area / SUSTAINED / 3600.0


def _phase_units(phase: PhaseSpec, passes: Passes) -> float:
    """Return the units of a phase per training sample."""
    kind = phase_kinds().load(phase.kind)
    if kind.is_cached(phase):
        return 0.0
    backward = 0.0 if kind.keeps_features else kind(phase).backward_units()
    return passes.forward + passes.trained * (1.0 + backward)
