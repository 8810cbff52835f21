"""What the trials of one process share: loaded data, loaded weights, cached features.

Nothing here changes a result; it only avoids doing the same work twice. A worker process keeps
one workspace for all the trials that it runs.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from lnlbench import registry
from lnlbench.allocator import keep_freed_memory
from lnlbench.api import Method
from lnlbench.data import augment
from lnlbench.data.features import CachedFeatures, FeatureCache, FeatureKey, View
from lnlbench.data.image_cache import ImageCache
from lnlbench.data.inputs import FileInputs, ImageInputs, Wanted, pieces_of, stream
from lnlbench.data.loader import Workers
from lnlbench.data.source import Dataset, Split
from lnlbench.models.backbone import Backbone
from lnlbench.models.calibration import Execution, calibrate
from lnlbench.phase import EVALUATION_BATCH
from lnlbench.seeding import derive_seed
from lnlbench.spec import BackboneSpec, DatasetSpec, split_reference


@dataclass(frozen=True, slots=True)
class Setting:
    """Where and with what trials run; no part of their identity.

    Attributes
    ----------
    data : Path or None
        Data folder (``--data`` or ``LNLBENCH_DATA``).
    cache : Path
        Folder for features and calibrations.
    plugins : tuple of str
        Methods given by path, ``FILE.py:Class``.
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
        Whether resized images are kept, see :mod:`lnlbench.data.image_cache`.
    """

    data: Path | None
    cache: Path
    plugins: tuple[str, ...] = ()
    device: str = "cpu"
    threads: int = 1
    executor: str = "inline"
    jobs: int = 1
    checkpoints: Path | None = None
    workers: int = 0
    cache_images: bool = False


class Workspace:
    """Shared resources of a process; see the module.

    Parameters
    ----------
    setting : Setting
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.device = torch.device(setting.device)
        if self.device.type == "cpu":
            keep_freed_memory()
        self.cache = FeatureCache(setting.cache)
        self.workers = Workers(setting.workers)
        self._datasets: dict[DatasetSpec, Dataset] = {}
        self._backbones: dict[tuple[BackboneSpec, int], Backbone] = {}
        self._methods: dict[str, tuple[type[Method], dict[str, str]]] = {}
        known = registry.methods().references()
        for reference in setting.plugins:
            if reference not in known:
                registry.methods().add_path(reference)

    def method(self, name: str) -> tuple[type[Method], dict[str, str]]:
        """Return a method's class, with the origin and fingerprint of its code."""
        if name not in self._methods:
            known = registry.methods()
            self._methods[name] = (known.load(name), registry.fingerprint(known.entry(name)))
        return self._methods[name]

    def dataset(self, spec: DatasetSpec) -> Dataset:
        """Return a data set, loading it on first use."""
        if spec not in self._datasets:
            source = registry.datasets().load(split_reference(spec.name)[0])()
            dataset = source.load(spec, self.setting.data)
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
            source = registry.backbones().load(split_reference(spec.name)[0])()
            self._backbones[key] = source.load(spec, key[1])
        return self._backbones[key]

    def fresh_backbone(self, spec: BackboneSpec, seed: int) -> nn.Module:
        """Return a copy of a backbone's module, for one network to own."""
        return copy.deepcopy(self.backbone(spec, seed).module)

    def execution(self, spec: BackboneSpec, seed: int, precision: str) -> Execution:
        """Return the calibrated precision and memory layout for a backbone on this device."""
        return calibrate(
            self.backbone(spec, seed),
            precision,
            device=self.device,
            threads=self.setting.threads,
            folder=self.setting.cache / "calibration",
        )

    def image_inputs(
        self, dataset: Dataset, split: Split, rows: torch.Tensor, backbone: Backbone, execution: Execution
    ) -> ImageInputs | FileInputs:
        """Return live images of some rows of a split, preprocessed for a backbone."""
        assert split.images is not None
        if split.images.from_files:
            return FileInputs(
                images=split.images,
                preprocessing=backbone.preprocessing,
                recipe=augment.recipe_for(dataset.family),
                rows=rows,
                device=self.device,
                workers=self.workers,
                channels_last=execution.channels_last,
            )
        return ImageInputs(
            images=split.images,
            preprocessing=backbone.preprocessing,
            recipe=augment.recipe_for(dataset.family),
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
        )
        inputs = self.image_inputs(dataset, split, torch.arange(len(split)), backbone, execution)
        return self.cache.obtain(
            key, (len(split), backbone.feature_dim), _extractor(backbone, inputs, view, key, execution)
        )


def _extractor(
    backbone: Backbone, inputs: ImageInputs | FileInputs, view: View, key: FeatureKey, execution: Execution
) -> Callable[[], Iterator[torch.Tensor]]:
    """Return a function that yields the features of a view, in order, on the CPU."""

    @torch.no_grad()
    def extract() -> Iterator[torch.Tensor]:
        module = execution.prepare(copy.deepcopy(backbone.module).to(inputs.device)).eval()
        # A view is a property of the data set: no trial's seed goes into it.
        generator = torch.Generator().manual_seed(
            derive_seed("view", key.dataset, key.split, view.kind, view.number)
        )
        pieces = pieces_of(len(inputs), EVALUATION_BATCH)
        wanted = Wanted(None, strong=1) if view.kind == "strong" else Wanted(view.kind)
        for made in stream(inputs, pieces, wanted, generator):
            images = made.strong[0] if made.inputs is None else made.inputs
            with execution.autocast(inputs.device):
                features = module(images)
            yield features.float().cpu()

    return extract
