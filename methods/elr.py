"""Early-learning regularisation: pull predictions towards their own running average."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from lnlbench.api import Batch, Method, Preset, Task, UsageError, functional, one_of
from lnlbench.components.running_targets import PLACES, STORAGE, RunningTargets


class ELR(Method):
    """Early-learning regularisation (Liu et al., 2020).

    A running average of each sample's predictions is its target; the regulariser pulls predictions
    towards it, so that what was learned early is not given up for a wrong label.

    Costs 3 forward units per sample and epoch.

    Deviations from the published code: on CIFAR theirs sees random crops and flips; here it is the data
    set's recipe, and ``dataset_options.recipe = "crop-flip"`` has theirs.

    Source: Liu, Niles-Weed, Razavian & Fernandez-Granda, Early-Learning Regularization Prevents
    Memorization of Noisy Labels, NeurIPS 2020, section 4.
    """

    title = "ELR"
    paper = "Liu et al. (2020)"
    distributed = True

    @dataclass(frozen=True)
    class Params:
        """Parameters of ELR.

        Attributes
        ----------
        beta : float
            Momentum of the targets, in [0, 1). Default 0.7; 0.9 on CIFAR-100. Source: their
            settings, 0.7 on CIFAR-10, Clothing1M and WebVision.
        lam : float
            Weight λ of the regulariser. Default 3; 7 on CIFAR-100. Source: their settings, 3 on
            CIFAR-10, Clothing1M and WebVision.
        storage : {"float32", "float16", "bfloat16"}
            Type in which the N × C targets are kept: 9.6 GB in float32 for the whole of WebVision.
            Default "float32". Source: theirs; the smaller types are ours.
        place : {"device", "cpu"}
            Where they are kept. Default "device". Source: theirs; "cpu" is ours.
        """

        beta: float = 0.7
        lam: float = 3.0
        storage: str = "float32"
        place: str = "device"

        def __post_init__(self) -> None:
            one_of(self.storage, STORAGE, "storage of ELR's targets")
            one_of(self.place, PLACES, "place of ELR's targets")
            if not 0.0 <= self.beta < 1.0 or self.lam < 0.0:
                raise UsageError(
                    f"ELR has beta = {self.beta:g} and lam = {self.lam:g}.",
                    "beta must lie in [0, 1), lam must not be negative.",
                )

    dataset_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {"cifar100": {"beta": 0.9, "lam": 7.0}}
    presets: ClassVar[Mapping[str, Preset]] = {
        "cifar10-asymmetric": Preset(
            {"beta": 0.9, "lam": 1.0}, "Liu et al. (2020): CIFAR-10, asymmetric noise", noise_aware=True
        ),
    }

    def setup(self, task: Task) -> None:
        """Make the network and the targets t, all zero."""
        super().setup(task)
        self.targets = RunningTargets(
            task.samples, task.classes, self.params.storage, self.params.place, task.device
        )

    def loss(self, batch: Batch) -> torch.Tensor:
        """Move the batch's targets, then return CE + λ · mean log(1 − ⟨t, p̃⟩)."""
        logits = self.network(batch.inputs)
        p = logits.softmax(1).clamp(1e-4, 1.0 - 1e-4)
        target = self.targets.update(batch.index, p / p.sum(1, keepdim=True), self.params.beta)
        regulariser = torch.log1p(-(target * p).sum(1)).mean()
        cross_entropy = functional.cross_entropy(logits, batch.labels)
        return cross_entropy + float(self.params.lam) * regulariser

    @staticmethod
    def head_losses(heads: Method.Heads, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the same of several heads, ``[K]``; moves the targets of all of them."""
        p = logits.softmax(2).clamp(1e-4, 1.0 - 1e-4)
        with torch.no_grad():
            stored, beta = heads.stacked("targets.values"), heads.param("beta")[:, :, None]
            rows = batch.rows if stored.device == batch.rows.device else batch.index
            target = beta * stored[:, rows].to(p) + (1.0 - beta) * (p / p.sum(2, keepdim=True))
            # An epoch of all samples has each of them once: no row is written twice.
            stored[:, rows] = target.to(stored)
        regulariser = torch.log1p(-(target * p).sum(2)).mean(1)
        cross_entropy = -heads.log_probabilities(logits, batch.labels).mean(1)
        return cross_entropy + heads.param("lam").squeeze(1) * regulariser
