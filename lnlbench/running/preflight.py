"""Before trials run: what is missing, what would fail every one of them, what all of them will ask for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from lnlbench import noise
from lnlbench.basics.allocator import return_device_memory, return_freed_memory
from lnlbench.basics.paths import expand, located
from lnlbench.errors import DataError, NoiseError
from lnlbench.grids.plan import Plan
from lnlbench.inputs.feature_cache import View
from lnlbench.models.execution import check_precision
from lnlbench.noise.human import missing_labels
from lnlbench.plugins import registry
from lnlbench.running.listener import Listener
from lnlbench.spec import BackboneSpec, DatasetSpec, TrialSpec, has_images, split_reference
from lnlbench.trials.adaptation import adapted
from lnlbench.trials.phase_inputs import required_views
from lnlbench.trials.workspace import RunSettings, Workspace


def find_missing(plan: Plan, setting: RunSettings) -> list[str]:
    """Return what data and weights the plan needs that are not on this machine, as sentences."""
    specs = [planned.spec for planned in plan.planned if planned.skip is None]
    missing: dict[str, None] = {}
    missing.update(dict.fromkeys(_missing_data(specs, setting)))
    missing.update(dict.fromkeys(_missing_noise(specs, setting)))
    for backbone in dict.fromkeys(spec.backbone for spec in specs if has_images(spec)):
        scheme, reference = split_reference(backbone.name)
        source = registry.backbones().load(scheme)()
        source.options(backbone)  # a slip in an option is no missing file
        reason = source.missing(reference, backbone)
        if reason:
            missing[reason] = None
    for backbone in dict.fromkeys(spec.backbone for spec in _reading(specs)):
        reason = registry.backbones().load(split_reference(backbone.name)[0])().missing_text(backbone)
        if reason:
            missing[reason] = None
    return list(missing)


def _reading(specs: Iterable[TrialSpec]) -> list[TrialSpec]:
    """Return the trials that ask for texts of their classes."""
    load = registry.methods().load
    return [spec for spec in specs if load(spec.method.name).reads_texts(spec)]


def _missing_data(specs: Iterable[TrialSpec], setting: RunSettings) -> Iterator[str]:
    for dataset in dict.fromkeys(spec.dataset for spec in specs):
        scheme, path = split_reference(dataset.name)
        reason = registry.datasets().load(scheme)().missing(path, setting.data)
        if reason:
            yield reason


def _missing_noise(specs: Iterable[TrialSpec], setting: RunSettings) -> Iterator[str]:
    specs = tuple(specs)
    for dataset, noise_spec in dict.fromkeys((s.dataset, s.noise) for s in specs if s.noise.type == "human"):
        known = registry.datasets().load(split_reference(dataset.name)[0]).human
        human = known and replace(known, folder=setting.data)
        reason = missing_labels(str(dict(noise_spec.options)["labels"]), dataset.label, human)
        if reason:
            yield reason
    for options in dict.fromkeys(spec.noise.options for spec in specs if spec.noise.type == "file"):
        path = str(dict(options)["path"])
        if not expand(path).is_file():
            yield f"There is no noise file '{path}'. Check the path, which is relative to the working folder."


def preflight(specs: Iterable[TrialSpec], workspace: Workspace, listener: Listener) -> None:
    """Raise now what would otherwise fail every trial later.

    Parameters
    ----------
    specs : iterable of TrialSpec
    workspace : Workspace
    listener : Listener
        Hears what takes its time.

    Raises
    ------
    UsageError
        For a precision that the device does not compute in.
    DataError, WeightsError, NoiseError
        For data or weights that are missing or unreadable, and for noise that is impossible.
    """
    specs = tuple(specs)
    for precision in dict.fromkeys(spec.precision for spec in specs if has_images(spec)):
        check_precision(precision, workspace.device)
    for reason in _missing_data(specs, workspace.setting):
        raise DataError(reason)
    for reason in _missing_noise(specs, workspace.setting):
        raise NoiseError(reason)
    for backbone in dict.fromkeys(spec.backbone for spec in specs if has_images(spec)):
        listener.doing(f"loading the weights of {backbone.label}")
        workspace.backbone(backbone)  # hub weights are downloaded here, once, if they can be
    for dataset in dict.fromkeys(spec.dataset for spec in specs):
        listener.doing(f"reading {dataset.label}")
        workspace.dataset(dataset)
    for spec in _reading(specs):
        workspace.dataset(spec.dataset).prompts()  # classes without names have none
        listener.doing(f"loading the text side of {spec.backbone.label}")
        workspace.text_side(spec.backbone)
    check_noise(specs, workspace)


def data_are_here(spec: TrialSpec, setting: RunSettings) -> bool:
    """Whether the data of a trial, and its file of labels if it has one, are on this machine."""
    return not [*_missing_data((spec,), setting), *_missing_noise((spec,), setting)]


def check_noise(specs: Iterable[TrialSpec], workspace: Workspace) -> None:
    """Raise if the noise of a trial is impossible for its data, which are loaded.

    Raises
    ------
    NoiseError
        For a file of labels that was made for other data, say.
    """
    for dataset_spec, noise_spec in dict.fromkeys((spec.dataset, spec.noise) for spec in specs):
        dataset = workspace.dataset(dataset_spec)
        own_validation = dataset.validation is not None and dataset_spec.validation_labels == "noisy"
        noise.check(
            located(noise_spec, workspace.setting.folder),
            dataset.train.base,
            len(dataset.classes),
            maps=dataset.maps,
            human=dataset.human,
            parts=("train", "validation") if own_validation else ("train",),
        )


class Extraction(NamedTuple):
    """An array of features that trials will ask for: a view of a part of a data set, by a backbone."""

    dataset: DatasetSpec
    backbone: BackboneSpec
    seed: int
    precision: str
    adapts: bool
    part: str
    view: View


def wanted_features(specs: Iterable[TrialSpec], workspace: Workspace) -> list[Extraction]:
    """Return all that cached linear probing will ask for; no device is used."""
    wanted: dict[Extraction, None] = {}
    for spec in specs:
        if not has_images(spec):
            continue
        dataset = workspace.dataset(spec.dataset)
        method_class, _ = workspace.method(spec.method.name)
        views = method_class.create(spec.method).views
        held_out = "train" if dataset.validation is None else "validation"
        of_trial = spec.dataset, spec.backbone, initial_seed(spec), spec.precision, spec.adapts
        for phase in spec.phases:
            if workspace.phase_kind(phase.kind)[0].is_cached(phase):
                for part, view in required_views(phase, views, dataset, held_out):
                    wanted[Extraction(*of_trial, part, view)] = None
    return list(wanted)


def initial_seed(spec: TrialSpec) -> int:
    """Return the seed of a backbone's initial weights: the trial's where they are drawn."""
    return spec.seed if spec.backbone.weights == "none" else 0


def extract(wanted: Extraction, workspace: Workspace) -> None:
    """Bring features into the cache, if they are not there."""
    backbone = workspace.backbone(wanted.backbone, wanted.seed)
    execution = workspace.execution(wanted.backbone, wanted.seed, wanted.precision)
    dataset = workspace.dataset(wanted.dataset)
    if wanted.adapts:
        backbone, _ = adapted(backbone, dataset, workspace, execution)
    workspace.features(dataset, wanted.part, backbone, wanted.view, execution)


def extract_features(specs: Iterable[TrialSpec], workspace: Workspace, listener: Listener) -> None:
    """Fill the feature cache in this process with all that cached linear probing will ask for.

    Done once, with all threads, before the trials: those would otherwise wait for each other.

    Parameters
    ----------
    specs : iterable of TrialSpec
    workspace : Workspace
    listener : Listener
    """
    wanted = wanted_features(specs, workspace)
    for number, item in enumerate(wanted):
        listener.doing(f"calibrating {item.backbone.label}")  # measured once per machine, then at hand
        workspace.execution(item.backbone, item.seed, item.precision)
        listener.extraction(number, len(wanted))
        extract(item, workspace)
    if wanted:
        listener.extraction(len(wanted), len(wanted))
        return_freed_memory()
        return_device_memory()
