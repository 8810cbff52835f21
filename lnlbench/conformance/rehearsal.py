"""Trials as the conformance kit looks at them: what every epoch gave, passes and predictions."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from lnlbench.api import Method
from lnlbench.api.phase import EVALUATION_BATCH
from lnlbench.data.source import Dataset
from lnlbench.inputs.feature_cache import CachedFeatures, View
from lnlbench.models.backbone import Backbone
from lnlbench.models.execution import Execution
from lnlbench.spec import BackboneSpec, TrialSpec
from lnlbench.trials.checkpoint import decode, encode
from lnlbench.trials.problem import Problem
from lnlbench.trials.trial import Trial
from lnlbench.trials.workspace import Workspace

META = torch.device("meta")


@dataclass(frozen=True, slots=True)
class EpochResult:
    """What an epoch gave; two epochs are the same if all of it is."""

    kind: str
    epoch: int
    loss: float | None
    validation: float
    test: float


@dataclass
class Course:
    """What training gave.

    Attributes
    ----------
    epochs : list of EpochResult
    passes : dict
        Passes of training per kind of phase, counted by the ledger.
    logits : torch.Tensor
        Predictions on the test set after the last epoch.
    """

    epochs: list[EpochResult] = field(default_factory=list)
    passes: dict[str, dict[str, int]] = field(default_factory=dict)
    logits: torch.Tensor = field(default_factory=lambda: torch.empty(0))

    def difference(self, other: Course, *, since: int = 0) -> str | None:
        """Say where another course first differs from this one, or None.

        Parameters
        ----------
        since : int
            Epochs of this course that the other one did not repeat.
        """
        for mine, theirs in zip(self.epochs[since:], other.epochs, strict=True):
            for name in ("loss", "validation", "test"):
                if getattr(mine, name) != getattr(theirs, name):
                    where = f"epoch {mine.epoch + 1} of the {mine.kind} phase"
                    return f"{name} of {where} is {getattr(theirs, name)} and was {getattr(mine, name)}"
        if not torch.equal(self.logits, other.logits):
            largest = float((self.logits - other.logits).abs().max())
            return f"predictions after training differ by up to {largest:.3g}"
        return None


class Rehearsal(Trial):
    """A trial of a method that may not be registered, on a problem that may not be described.

    Parameters
    ----------
    method_class : type of Method
    spec : TrialSpec
    workspace : Workspace
    problem : Problem

    Attributes
    ----------
    course : Course
        Complete when :meth:`run` returns.
    """

    def __init__(
        self, method_class: type[Method], spec: TrialSpec, workspace: Workspace, problem: Problem
    ) -> None:
        super().__init__(spec, workspace, method_class=method_class, problem=problem)
        self.course = Course()

    def follow(self, saved: bytes | None = None) -> Iterator[EpochResult]:
        """Train, and yield after every epoch.

        Parameters
        ----------
        saved : bytes, optional
            What :meth:`save` returned: continue after it, instead of from the start.
        """
        state = decode(saved)["state"] if saved else None
        before = state["ledger"]["training"] if state else self._passes()
        for entry in self.epochs(state):
            after = self._passes()
            passes = self.course.passes.setdefault(entry["phase"], dict.fromkeys(after, 0))
            for counter, count in after.items():
                passes[counter] = passes.get(counter, 0) + count - before.get(counter, 0)
            before = after
            result = EpochResult(
                entry["phase"], entry["epoch"], entry["loss"], entry["validation"], entry["test"]
            )
            self.course.epochs.append(result)
            yield result
        self.course.logits = self.logits()

    def _passes(self) -> dict[str, Any]:
        """Return the passes of training so far, by counter."""
        return {**self.ledger.to_dict()["training"]}

    def run(self, saved: bytes | None = None) -> Course:
        """Train to the end and return the course."""
        for _ in self.follow(saved):
            pass
        return self.course

    def save(self) -> bytes:
        """Return the state after the last epoch, as a checkpoint holds it."""
        return encode({"state": self.state()})

    @torch.no_grad()
    def logits(self) -> torch.Tensor:
        """Return the method's predictions on the test set, ``[N, C]``, on the CPU."""
        inputs = self.splits.test
        with self.ledger.bucket("evaluation"):
            pieces = [
                self.method.predict(
                    inputs.plain(torch.arange(start, min(start + EVALUATION_BATCH, len(inputs))))
                )
                for start in range(0, len(inputs), EVALUATION_BATCH)
            ]
        return torch.cat(pieces).cpu()


class TraceWorkspace(Workspace):
    """A workspace on the meta device; data and weights are another workspace's, features are random.

    Parameters
    ----------
    workspace : Workspace
    """

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace.setting)
        self.device = META
        self._datasets, self._backbones = workspace._datasets, workspace._backbones
        self._text_sides = workspace._text_sides

    def backbone(self, spec: BackboneSpec, seed: int = 0) -> Backbone:
        """Return a backbone with one block in each stage, if it has stages: more of the same tell no more."""
        backbone = super().backbone(spec, seed)
        stages = getattr(backbone.module, "blocks", None)
        if not isinstance(stages, nn.Sequential) or not all(isinstance(s, nn.Sequential) for s in stages):
            return backbone
        module = deepcopy(backbone.module)
        # A stage's first block changes the shape, and those after it keep it.
        firsts = [next(stage.children()) for stage in module.get_submodule("blocks").children()]
        module.blocks = nn.Sequential(*map(nn.Sequential, firsts))
        return replace(backbone, module=module)

    def execution(self, spec: BackboneSpec, seed: int, precision: str) -> Execution:
        """Return the plain execution: there is nothing to measure."""
        return Execution()

    def features(
        self, dataset: Dataset, part: str, backbone: Backbone, view: View, execution: Execution
    ) -> CachedFeatures:
        """Return random features, which no cache keeps."""
        rows = len(getattr(dataset, part))
        return CachedFeatures(torch.rand(rows, backbone.feature_dim), 0.0, 1, fresh=True)


@contextmanager
def global_generators(seed: int) -> Iterator[None]:
    """Seed Python's, numpy's and torch's global generators, and restore them afterwards.

    A trial must not depend on them, so each rehearsal gets other ones.
    """
    before: tuple[Any, Any] = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])
