"""A trial that can be stopped between epochs, saved, and continued by another object.

The data, networks, inputs and phases are those of :mod:`lnlbench.trial`; what is added is that
the caller holds the thread between two epochs.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from lnlbench.api import Method, Task
from lnlbench.data.features import CachedFeatures
from lnlbench.data.inputs import FeatureInputs
from lnlbench.ledger import Ledger
from lnlbench.models.network import Network
from lnlbench.phase import EVALUATION_BATCH, Phase
from lnlbench.spec import NoiseSpec, TrialSpec
from lnlbench.trial import Model, Problem, Splits, accuracy, make_inputs, training_seed
from lnlbench.workspace import Workspace


@dataclass(frozen=True, slots=True)
class EpochResult:
    """What an epoch gave; two epochs are the same if all of it is."""

    kind: str
    epoch: int
    loss: float | None
    validation: float
    test: float


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A method's state after an epoch, as a file would hold it.

    Attributes
    ----------
    phase, epoch : int
        The epoch that is finished.
    state : bytes
        ``method.state_dict()`` as :func:`torch.save` writes it.
    """

    phase: int
    epoch: int
    state: bytes


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


class Rehearsal:
    """One trial of a method, an epoch at a time.

    Parameters
    ----------
    method_class : type of Method
    spec : TrialSpec
    workspace : Workspace
    problem : Problem
    noise : NoiseSpec, optional
        What the object behind ``task`` has as the noise; default the trial's. Random streams
        are those of the trial in any case.
    """

    def __init__(
        self,
        method_class: type[Method],
        spec: TrialSpec,
        workspace: Workspace,
        problem: Problem,
        noise: NoiseSpec | None = None,
    ) -> None:
        self.spec = spec
        self.workspace = workspace
        self.problem = problem
        self.ledger = Ledger()
        torch.set_num_threads(workspace.setting.threads)
        self.model = Model(replace(spec, noise=noise or spec.noise), workspace, problem, self.ledger)
        self.method = method_class.create(spec.method)
        self.method.setup(Task(problem.train_labels, problem.classes, workspace.device, self.model.network))
        self.splits: Splits  # of the phase that runs
        self.course = Course()
        self._position = (0, -1)

    @property
    def networks(self) -> list[Network]:
        """All networks that the method has asked for."""
        return self.model.networks

    def epochs(self, resume: Checkpoint | None = None) -> Iterator[EpochResult]:
        """Train, and yield after every epoch; ``course`` is complete at the end.

        Parameters
        ----------
        resume : Checkpoint, optional
            Continue after it, instead of from the start.
        """
        first = (resume.phase, resume.epoch + 1) if resume else (0, 0)
        cached: list[CachedFeatures] = []
        probed: FeatureInputs | None = None
        for number, phase_spec in enumerate(self.spec.phases):
            self.splits = make_inputs(phase_spec, type(self.method), self.model, cached, self.ledger)
            if isinstance(self.splits.train, FeatureInputs):
                probed = self.splits.train
            if number < first[0]:
                continue
            phase = self.model.start_phase(number, phase_spec, self.splits, probed, training_seed(self.spec))
            self.method.begin_phase(phase)
            if resume and number == resume.phase:
                # As other people's checkpoints are read: tensors, numbers and strings, but no code.
                self.method.load_state_dict(torch.load(io.BytesIO(resume.state), weights_only=True))
            start = first[1] if number == first[0] else 0
            for epoch in range(start, phase_spec.epochs):
                yield self._epoch(phase, epoch)
        self.course.logits = self.logits()

    def run(self, resume: Checkpoint | None = None) -> Course:
        """Train to the end and return the course."""
        for _ in self.epochs(resume):
            pass
        return self.course

    def save(self) -> Checkpoint:
        """Return the state after the last epoch."""
        file = io.BytesIO()
        torch.save(self.method.state_dict(), file)
        return Checkpoint(*self._position, file.getvalue())

    def _epoch(self, phase: Phase, epoch: int) -> EpochResult:
        before = self.ledger.to_dict()["training"]
        phase.start_epoch(epoch)
        for network in self.networks:
            network.train()
        self.method.epoch(phase)
        loss = phase.end_epoch()
        self._position = (phase.index, epoch)
        passes = self.course.passes.setdefault(phase.kind, dict.fromkeys(before, 0))
        for counter, count in self.ledger.to_dict()["training"].items():
            passes[counter] += count - before[counter]
        with self.ledger.bucket("evaluation"):
            for network in self.networks:
                network.eval()
            problem, splits = self.problem, self.splits
            result = EpochResult(
                phase.kind,
                epoch,
                loss,
                accuracy(self.method, splits.validation, problem.validation_labels),
                accuracy(self.method, splits.test, problem.test_labels),
            )
        self.course.epochs.append(result)
        return result

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
