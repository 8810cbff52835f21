"""What the trials of one process share: loaded data, loaded weights, cached features.

Nothing here changes a result; it only avoids doing the same work twice. A worker process keeps
one workspace for all the trials that it runs.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from lnlbench.api import Method, Metric
from lnlbench.api.phase import EVALUATION_BATCH
from lnlbench.basics.allocator import keep_freed_memory
from lnlbench.basics.facts import CodeFacts
from lnlbench.basics.paths import located
from lnlbench.basics.process_settings import prepare_cublas
from lnlbench.data.arrays import FeaturesFile
from lnlbench.data.source import Dataset, Split
from lnlbench.errors import LnlbenchError
from lnlbench.inputs import augment
from lnlbench.inputs.extracting import feature_extractor
from lnlbench.inputs.feature_archive import FeatureArchives
from lnlbench.inputs.feature_cache import CachedFeatures, FeatureCache, FeatureKey, View
from lnlbench.inputs.image_cache import ImageCache
from lnlbench.inputs.loader import Workers
from lnlbench.inputs.network_inputs import FileInputs, ImageInputs
from lnlbench.inputs.text_cache import class_texts
from lnlbench.models.backbone import Backbone, BackboneSource
from lnlbench.models.calibration import calibrate
from lnlbench.models.execution import Execution
from lnlbench.models.phase_kind import PhaseKind
from lnlbench.models.text.class_texts import ClassTexts
from lnlbench.models.text.text_side import TextSide
from lnlbench.plugins import registry
from lnlbench.processes.team import ALONE, Team
from lnlbench.spec import BackboneSpec, DatasetSpec, split_reference

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Where and with what trials run; no part of their identity.

    Attributes
    ----------
    data : Path or None
        Data folder (``--data`` or ``LNLBENCH_DATA``).
    cache : Path
        Folder for features and calibrations.
    folder : Path or None
        Working folder of the command, which relative paths in specs are relative to: that of a
        worker is another one. None leaves them relative to the working folder of the process.
    plugins : tuple of str
        Plugins given by path, ``FILE.py:Class``.
    device : str
        ``cpu`` or ``cuda``.
    threads : int
        CPU threads of a trial.
    executor : str
        ``ray`` or ``inline``.
    jobs : int
        Trials running at the same time.
    checkpoints : Path or None
        Where unfinished trials are saved after every epoch; None saves none.
    workers : int
        Processes of a trial that decode images from files ahead of time; 0 decodes between steps.
    cache_images : bool
        Whether resized images are kept, see :mod:`lnlbench.inputs.image_cache`.
    verdicts : bool
        Whether trials say what they think of every training sample.
    models : Path or None
        Folder for trained networks; None saves none.
    deterministic : bool
        Whether trials use only algorithms that give the same bits every time.
    processes : int
        That share a trial, where it passes images through a backbone; see :mod:`lnlbench.launching`.
    batched : bool
        Whether trials that see the same batches are trained together, see :mod:`lnlbench.trials.batched`.
    gpus : float or None
        GPUs that Ray has given to this process, a fraction of one for instance; None without any.
    """

    data: Path | None
    cache: Path
    folder: Path | None = None
    plugins: tuple[str, ...] = ()
    device: str = "cpu"
    threads: int = 1
    executor: str = "inline"
    jobs: int = 1
    checkpoints: Path | None = None
    workers: int = 0
    cache_images: bool = False
    verdicts: bool = False
    models: Path | None = None
    deterministic: bool = False
    processes: int = 1
    batched: bool = False
    gpus: float | None = None


class Workspace:
    """Shared resources of a process; see the module.

    Parameters
    ----------
    setting : RunSettings
    clean_workers : bool
        See :class:`lnlbench.inputs.loader.Workers`; for processes of Ray.

    Attributes
    ----------
    team : Team
        The processes of the trial that runs; of one, unless somebody sets it.
    lost : bool
        Whether a trial has left the device in an error, so that nothing more can run in this process.
    """

    def __init__(self, setting: RunSettings, *, clean_workers: bool = False) -> None:
        self.setting = setting
        self.device = torch.device(setting.device)
        self.team: Team = ALONE
        self.lost = False
        if self.device.type == "cpu":
            keep_freed_memory()
        if setting.deterministic:
            prepare_cublas()  # here, since the first trial has used the device before it says how it computes
        self.cache = FeatureCache(setting.cache)
        self.archives = FeatureArchives(setting.cache)
        prepare = partial(_import_plugins, setting.plugins) if setting.plugins else None
        self.workers = Workers(setting.workers, clean=clean_workers, prepare=prepare)
        self._datasets: dict[DatasetSpec, Dataset] = {}
        self._backbones: dict[tuple[BackboneSpec, int], Backbone] = {}
        self._text_sides: dict[BackboneSpec, TextSide] = {}
        self._methods: dict[str, tuple[type[Method], CodeFacts]] = {}
        self._kinds: dict[str, tuple[type[PhaseKind], str]] = {}
        self._metrics: dict[str, Metric] | None = None
        _know_plugins(setting.plugins)

    def method(self, name: str) -> tuple[type[Method], CodeFacts]:
        """Return a method's class, with the origin and fingerprint of its code."""
        if name not in self._methods:
            known = registry.methods()
            self._methods[name] = (known.load(name), known.fingerprint(name))
        return self._methods[name]

    def phase_kind(self, name: str) -> tuple[type[PhaseKind], str]:
        """Return a kind of phase, with the fingerprint of its code."""
        if name not in self._kinds:
            known = registry.phase_kinds()
            self._kinds[name] = (known.load(name), known.fingerprint(name)["fingerprint"])
        return self._kinds[name]

    def metrics(self) -> dict[str, Metric]:
        """Return all metrics, by name: every trial measures those that are installed or given."""
        if self._metrics is None:
            known = registry.metrics()
            self._metrics = {entry.name: known.load(entry.name)() for entry in known.entries()}
        return self._metrics

    def dataset(self, spec: DatasetSpec) -> Dataset:
        """Return a data set, loading it on first use."""
        if spec not in self._datasets:
            source = registry.datasets().load(split_reference(spec.name)[0])()
            if isinstance(source, FeaturesFile):
                source.read_archive = self.archives.arrays
            dataset = source.load(located(spec, self.setting.folder), self.setting.data)
            dataset = dataclasses.replace(
                dataset,
                recipe=augment.choose_recipe(spec, source, dataset),
                maps=source.maps,
                human=source.human and dataclasses.replace(source.human, folder=self.setting.data),
                templates=source.templates,
                text_names=source.text_names,
            )
            if self.setting.cache_images:
                dataset = ImageCache(self.setting.cache).of_dataset(dataset, self.workers)
            self._datasets[spec] = dataset
        return self._datasets[spec]

    def backbone(self, spec: BackboneSpec, seed: int = 0) -> Backbone:
        """Return a backbone in its initial state; train copies of it only.

        ``seed`` matters for ``weights = "none"`` alone.
        """
        key = (spec, seed if spec.weights == "none" else 0)
        if key not in self._backbones:
            # Every seed has other initial weights, and there is no end of seeds: one is kept.
            self._backbones = {k: backbone for k, backbone in self._backbones.items() if k[0] != spec}
            self._backbones[key] = self._ask_source(spec, lambda source, found: source.load(found, key[1]))
        return self._backbones[key]

    def text_side(self, spec: BackboneSpec) -> TextSide:
        """Return the text side of a backbone, loading it on first use."""
        if spec not in self._text_sides:
            self._text_sides[spec] = self._ask_source(spec, lambda source, found: source.text(found))
        return self._text_sides[spec]

    def reads_texts(self, spec: BackboneSpec) -> bool:
        """Whether a backbone reads texts, with all that it needs on this machine."""

        def reads(source: BackboneSource, found: BackboneSpec) -> bool:
            return source.without_text(found) is None and source.missing_text(found) is None

        return self._ask_source(spec, reads)

    def lend_text_side(self, spec: BackboneSpec, side: TextSide) -> None:
        """Give a backbone a text side that is not its own."""
        self._text_sides[spec] = side

    def _ask_source(self, spec: BackboneSpec, ask: Callable[[BackboneSource, BackboneSpec], T]) -> T:
        source = registry.backbones().load(split_reference(spec.name)[0])()
        found = located(spec, self.setting.folder)
        try:
            return ask(source, found)
        except LnlbenchError as error:
            # Say it of what was written, not of where that leads to.
            message = error.message.replace(found.name, spec.name)
            raise type(error)(message, error.hint) from error

    def class_texts(self, spec: BackboneSpec, dataset: Dataset, templates: tuple[str, ...]) -> ClassTexts:
        """Return the embedded texts of a data set's classes, on the device."""
        prompts = dataset.prompts(templates)
        names = [name for (name,) in dataset.prompts(("{}.",))]
        found = class_texts(self.text_side(spec), prompts, self.cache, names)
        return found.to(self.device)

    def fresh_backbone(self, spec: BackboneSpec, seed: int) -> nn.Module:
        """Return a copy of a backbone's module, for one network to own."""
        return copy.deepcopy(self.backbone(spec, seed).module)

    def execution(self, spec: BackboneSpec, seed: int, precision: str) -> Execution:
        """Return the calibrated precision and memory layout for a backbone on this device.

        Raises
        ------
        UsageError
            If the device does not compute in the precision.
        """
        chosen = calibrate(
            self.backbone(spec, seed),
            precision,
            device=self.device,
            threads=self.setting.threads,
            folder=self.setting.cache / "calibration",
        )
        return dataclasses.replace(chosen, deterministic=self.setting.deterministic)

    def image_inputs(
        self, dataset: Dataset, split: Split, rows: torch.Tensor, backbone: Backbone, execution: Execution
    ) -> ImageInputs:
        """Return live images of some rows of a split, preprocessed for a backbone."""
        assert split.images is not None
        make: Callable[..., ImageInputs] = ImageInputs
        if split.images.from_files:
            make = partial(FileInputs, workers=self.workers)
        return make(
            images=split.images,
            preprocessing=backbone.preprocessing,
            recipe=dataset.recipe,
            rows=rows,
            device=self.device,
            channels_last=execution.channels_last,
        )

    def features(
        self, dataset: Dataset, part: str, backbone: Backbone, view: View, execution: Execution
    ) -> CachedFeatures:
        """Return the features of one view of one split, from the cache if they are there.

        Parameters
        ----------
        part : {"train", "validation", "test"}
        """
        split: Split = getattr(dataset, part)
        key = FeatureKey(
            dataset=dataset.fingerprint,
            split=part,
            backbone=backbone.fingerprint,
            preprocessing=json.dumps(backbone.preprocessing.to_dict(), sort_keys=True),
            view=view,
            precision=execution.precision,
            device=self.device.type,
        )
        inputs = self.image_inputs(dataset, split, torch.arange(len(split)), backbone, execution)
        return self.cache.obtain(
            key,
            (len(split), backbone.feature_dim),
            feature_extractor(backbone, inputs, key, execution, EVALUATION_BATCH),
        )


def _import_plugins(references: Iterable[str]) -> None:
    """Have the modules of plugins that are given by path, which images may be of a class of."""
    _know_plugins(references)
    for known in registry.registries():
        for entry in known.entries():
            if entry.path is not None:
                known.load(entry.name)


def _know_plugins(references: Iterable[str]) -> None:
    """Make plugins known to this process that are given by path, those that it does not know yet."""
    known = registry.references()
    for reference in references:
        if reference not in known:
            registry.add_plugin(reference)
