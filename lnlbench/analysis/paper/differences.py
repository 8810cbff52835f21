"""Whether runs follow the paper's protocol: two trials' settings, one by one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lnlbench.spec import Options, TrialSpec

# Settings that change how a trial is executed or which code its weights come from, or what is
# measured besides, and that the paper does not state.
NOT_PROTOCOL = frozenset(
    ("precision", "embedding", "backbone_options.revision", "backbone_options.gradient_checkpointing")
)

# The paper rounds the sizes of its data sets, by up to 5 %.
_SIZE_SLACK = 0.1


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting, ``lp.epochs`` as grids write it, in which runs are not what the paper's grid asks for.

    Values, each once, are of the runs that differ, and of the trials that they are compared with;
    ``trials`` counts the former.
    """

    key: str
    measured: tuple[str, ...]
    paper: tuple[str, ...]
    trials: int

    def __str__(self) -> str:
        return f"{self.key}: {_listed(self.measured)}, in the paper {_listed(self.paper)}"


@dataclass(frozen=True, slots=True)
class Pair:
    """A run, and the trial of the paper's grid that it is compared with.

    ``sizes`` are ``classes``, ``train``, ``validation`` and ``test`` as far as they were recorded.
    """

    measured: TrialSpec
    paper: TrialSpec
    sizes: Mapping[str, Any]


def settings_of(spec: TrialSpec) -> dict[str, Any]:
    """Return all settings of a trial but its seed, under the names that grids have for them."""
    values: dict[str, Any] = {
        "dataset": spec.dataset.label,
        **_fields(spec.dataset, "dataset_options"),
        "noise": spec.noise.label,
        **_options(spec.noise.options, f"noise_options.{spec.noise.type}"),
        "backbone": spec.backbone.label,
        **_fields(spec.backbone, "backbone_options"),
        **_options(spec.backbone.options, "backbone_options"),
        "tuning": spec.tuning,
        "method": spec.method.name,
        **_options(spec.method.params, f"methods.{spec.method.name}"),
    }
    for phase in spec.phases:
        values |= _fields(phase, phase.kind)
    # A field that is added to the spec is a setting until somebody says that it is not.
    known = ("dataset", "noise", "backbone", "tuning", "method", "phases", "seed")
    values |= {
        item.name: getattr(spec, item.name) for item in dataclasses.fields(spec) if item.name not in known
    }
    return {key: value for key, value in values.items() if key not in NOT_PROTOCOL}


def differences(pairs: Iterable[Pair], official: Mapping[str, Mapping[str, int]]) -> tuple[Difference, ...]:
    """Return every setting in which runs differ from the trials that they are compared with.

    Parameters
    ----------
    pairs : iterable of Pair
        One run may be in several.
    official : mapping of str to sizes
        Sizes of data sets in the paper; a run on another number of images than a data set of this
        name has is a run on other data. See
        :func:`lnlbench.analysis.paper.published.read_sizes`.
    """
    # Values, each once in the order in which they were met, and the runs that differ.
    found: dict[str, tuple[dict[str, None], dict[str, None], set[str]]] = {}
    for pair in pairs:
        own, paper = settings_of(pair.measured), settings_of(pair.paper)
        unequal = [
            (key, own.get(key), paper.get(key))
            for key in dict.fromkeys((*paper, *own))
            if own.get(key) != paper.get(key)
        ]
        # Of another data set, the size says nothing that its name does not.
        if pair.measured.dataset.label == pair.paper.dataset.label:
            unequal += _other_sizes(pair.sizes, official.get(pair.paper.dataset.label, {}))
        for key, measured, expected in unequal:
            ours, theirs, trials = found.setdefault(key, ({}, {}, set()))
            ours[_shown(measured)] = theirs[_shown(expected)] = None
            trials.add(pair.measured.trial_id)
    return tuple(
        Difference(key, tuple(ours), tuple(theirs), len(trials))
        for key, (ours, theirs, trials) in found.items()
    )


def _other_sizes(sizes: Mapping[str, Any], official: Mapping[str, int]) -> list[tuple[str, Any, Any]]:
    return [
        (f"data.{name}", sizes[name], size)
        for name, size in official.items()
        if sizes.get(name) is not None and abs(sizes[name] - size) > _SIZE_SLACK * size
    ]


def _fields(spec: Any, prefix: str) -> dict[str, Any]:
    skipped = ("name", "kind", "options")
    return {
        f"{prefix}.{item.name}": getattr(spec, item.name)
        for item in dataclasses.fields(spec)
        if item.name not in skipped
    }


def _options(options: Options, prefix: str) -> dict[str, Any]:
    # The path of a noise file is in the label of the noise, without its folder.
    return {f"{prefix}.{name}": value for name, value in options if name != "path"}


def _shown(value: Any) -> str:
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _listed(values: tuple[str, ...], most: int = 6) -> str:
    shown = list(values[:most])
    if len(values) > most:
        shown.append(f"{len(values) - most} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
