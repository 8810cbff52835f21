"""What networks are fed in a phase: cached features or live images, of every split."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lnlbench.api import Views
from lnlbench.data.source import Dataset
from lnlbench.errors import UsageError
from lnlbench.inputs.feature_cache import CachedFeatures, View
from lnlbench.inputs.network_inputs import FeatureInputs, FileInputs, Inputs
from lnlbench.models.phase_kind import PhaseKind
from lnlbench.spec import PhaseSpec
from lnlbench.trials.networks import Model
from lnlbench.trials.problem import Problem
from lnlbench.trials.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Splits:
    """Network inputs of a phase.

    Attributes
    ----------
    train, validation, test : Inputs
    extracted : tuple of CachedFeatures
        Features of training samples that are in use, one entry per view.
    """

    train: Inputs
    validation: Inputs
    test: Inputs
    extracted: tuple[CachedFeatures, ...] = ()


def make_splits(
    kind: PhaseKind, views: Views, model: Model, problem: Problem, workspace: Workspace
) -> Splits:
    """Return what the networks are fed in a phase.

    Raises
    ------
    UsageError
        If the data set holds features, and the phase trains the backbone.
    """
    phase = kind.phase
    rows = {"train": problem.train_rows, "validation": problem.validation_rows}
    rows["test"] = torch.arange(len(problem.test_labels))
    parts = {"train": "train", "validation": problem.validation_part, "test": "test"}
    if model.backbone is None:
        if not kind.keeps_features:
            raise UsageError(
                f"'{problem.dataset.name}' holds features, and '{phase.kind}' needs images.",
                "Choose tuning=lp.",
            )
        given = {name: getattr(problem.dataset, part).features for name, part in parts.items()}
        stored = {name: FeatureInputs(given[name], (), (), rows[name], workspace.device) for name in parts}
        return Splits(stored["train"], stored["validation"], stored["test"])
    if not kind.is_cached(phase):
        live = {
            name: workspace.image_inputs(
                problem.dataset, getattr(problem.dataset, part), rows[name], model.backbone, model.execution
            )
            for name, part in parts.items()
        }
        if any(isinstance(inputs, FileInputs) for inputs in live.values()):
            workspace.workers.start()
        return Splits(live["train"], live["validation"], live["test"])
    entries = {
        (part, view): workspace.features(problem.dataset, part, model.backbone, view, model.execution)
        for part, view in required_views(phase, views, problem.dataset, problem.validation_part)
    }
    weak, strong = (
        tuple(entry.array for (_, view), entry in entries.items() if view.kind == kind)
        for kind in ("weak", "strong")
    )
    plain = View("plain")
    return Splits(
        train=FeatureInputs(entries["train", plain].array, weak, strong, rows["train"], workspace.device),
        validation=FeatureInputs(
            entries[problem.validation_part, plain].array, (), (), rows["validation"], workspace.device
        ),
        test=FeatureInputs(entries["test", plain].array, (), (), rows["test"], workspace.device),
        extracted=tuple(entry for (part, _), entry in entries.items() if part == "train"),
    )


def required_views(
    phase: PhaseSpec, views: Views, dataset: Dataset, validation_part: str
) -> list[tuple[str, View]]:
    """Return which views of which splits a cached phase needs.

    A method that looks at two weak views gets two stored ones, or ``phase.views`` if that is
    more. Two methods of a grid share what both need.
    """
    weak, strong = views.weak, views.strong
    if phase.augmentation == "weak":
        weak = max(weak, 1)
    stored = {
        "weak": max(weak, phase.views or 0) if weak else 0,
        "strong": max(strong, phase.views or 0) if strong else 0,
    }
    needed = [("train", View("plain"))]
    if validation_part != "train":
        needed.append((validation_part, View("plain")))
    needed.append(("test", View("plain")))
    for kind, count in stored.items():
        needed += [("train", View(kind, number, dataset.recipe)) for number in range(count)]
    return needed
