"""Trials that are trained together, from their specifications to their records.

::

    specs ─▶ Trials, of one Problem ─▶ those in the same epoch ─▶ HeadRows
               │ raises: its record                                  │
               ▼                                                     ▼
    an epoch   each trial begins it ─▶ one training of all ─▶ each is measured ─▶ last epoch: its record
                                          │ raises: all that are left run one by one
                                          └ seconds: to each an equal share

A trial that fails by itself, by a loss that is not finite for instance, is recorded as failed and leaves; the
others do not notice, because a head's row depends on no other row.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch

from lnlbench.api import Predictions, TrialError
from lnlbench.api.phase import EVALUATION_BATCH
from lnlbench.basics.clocks import Clocks, now
from lnlbench.basics.environment import describe_environment
from lnlbench.basics.process_settings import process_as_found
from lnlbench.errors import StoreError
from lnlbench.models.device_trouble import is_lost
from lnlbench.records.record import Record
from lnlbench.spec import TrialSpec
from lnlbench.trials.attempt import failed, give_memory_back
from lnlbench.trials.batched.head_rows import HeadRows, fits_together, order_of
from lnlbench.trials.checkpoint import Checkpoints
from lnlbench.trials.phase_inputs import Splits
from lnlbench.trials.problem import Problem, prepare_problem
from lnlbench.trials.recording import record_of
from lnlbench.trials.trial import Trial
from lnlbench.trials.workspace import Workspace

# Bytes that the heads of a group may take, with all that is kept for each of them.
MOST_MEMORY = 2**30
# Seconds between two times that the trials of a group are saved: a checkpoint for each takes as long as
# training an epoch of it.
SAVE_EVERY = 60.0


# What a head says of the validation and test splits; raises a TrialError where it says nothing.
_Look = Callable[[], tuple[Predictions, Predictions]]


@dataclass
class _Member:
    """A trial of a group.

    Attributes
    ----------
    trial : Trial
    starts : iterator of int
        See :meth:`lnlbench.trials.trial.Trial.starts`.
    epoch : int
        That it has begun.
    """

    trial: Trial
    starts: Iterator[int]
    epoch: int

    @property
    def spec(self) -> TrialSpec:
        """Of the trial."""
        return self.trial.spec


@dataclass
class Together:
    """Runs trials that :func:`lnlbench.trials.batched.grouping.units_of` has put together.

    Parameters
    ----------
    specs : sequence of TrialSpec
    workspace : Workspace
    on_epoch : callable
        Called with a trial and what an epoch of it gave, as ``on_epoch`` of
        :func:`lnlbench.trials.attempt.run_trial`.
    stop : callable
        Whether to stop, asked after every epoch of all: the trials are then saved, and left unfinished.

    Attributes
    ----------
    apart : list of TrialSpec
        Trials that have to be run by themselves, when :meth:`records` is over.
    reason : str
        Why, if something was raised that concerned all of a group.
    """

    specs: Sequence[TrialSpec]
    workspace: Workspace
    on_epoch: Callable[[TrialSpec, Mapping[str, Any]], None]
    stop: Callable[[], bool]
    apart: list[TrialSpec] = field(default_factory=list)
    reason: str = ""

    def __post_init__(self) -> None:
        self._checkpoints = Checkpoints(self.workspace.setting.checkpoints)
        self._problem: Problem | None = None

    def records(self) -> Iterator[Record]:
        """Train, and yield the record of each trial when it is over, done or failed.

        Raises
        ------
        StoreError
            If a checkpoint or a model cannot be saved.
        """
        describe_environment()  # now: a GPU that is lost could not be asked
        waiting = list(self.specs)
        try:
            with process_as_found():
                while waiting and not self.stop():
                    members: list[_Member] = []
                    fitting = len(waiting)
                    while waiting and len(members) < fitting:
                        begun = self._begin(waiting.pop(0), members[0].trial.splits if members else None)
                        if isinstance(begun, Record):
                            yield begun
                        elif begun is not None:
                            members.append(begun)
                            fitting = min(fitting, max(1, MOST_MEMORY // memory_of(begun.trial)))
                    yield from self._in_step(members)
        finally:
            give_memory_back(self.workspace)

    def _begin(self, spec: TrialSpec, splits: Splits | None) -> _Member | Record | None:
        """Make a trial and begin its first epoch, or the one after its checkpoint; features may be there."""
        started = now()
        try:
            with process_as_found():  # what a plugin sets is not for the others
                if self._problem is None:
                    self._problem = prepare_problem(spec, self.workspace)
                # Labels of its own, for a method that writes into them.
                problem = replace(self._problem, train_labels=self._problem.train_labels.clone())
                trial = Trial(spec, self.workspace, problem=problem, splits=splits)
                saved, trial.discarded = self._checkpoints.load(
                    spec.trial_id, trial.identity, self.workspace.device
                )
                for entry in saved["history"] if saved is not None else ():
                    self.on_epoch(spec, entry)
                starts = trial.starts(saved)
                epoch = next(starts)
        except StoreError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001  (as of a trial by itself)
            return failed(error, spec, self.workspace, started)
        if not fits_together(trial):
            self.apart.append(spec)
            return None
        return _Member(trial, starts, epoch)

    def _in_step(self, members: list[_Member]) -> Iterator[Record]:
        """Run members; those that continue from different epochs one after the other."""
        by_epoch: dict[int, list[_Member]] = {}
        for member in members:
            by_epoch.setdefault(member.epoch, []).append(member)
        for alike in by_epoch.values():
            if self.stop():
                return
            if len(alike) < 2 or self.workspace.lost:
                self.apart += [member.spec for member in alike]
            else:
                yield from self._train(sorted(alike, key=lambda member: order_of(member.trial)))

    def _train(self, members: list[_Member]) -> Iterator[Record]:
        """Train members that are in the same epoch, until all are over, or have to part."""
        saved = time.monotonic()
        members[0].trial.model.execution.apply(self.workspace.device)
        rows: HeadRows | None = None
        for member in members:
            member.trial.batched = len(members)
        while members:
            try:
                if rows is None or len(rows) > len(members):
                    rows = HeadRows([member.trial for member in members])
                looks = self._train_epoch(rows)
            except (Exception, SystemExit) as error:  # noqa: BLE001  (whose fault it is shows when they are apart)
                self.workspace.lost = is_lost(self.workspace.device)
                self.reason = f"{type(error).__name__}: {error}"
                self.apart += [member.spec for member in members]
                return
            left = []
            for member, look in zip(members, looks, strict=True):
                record = self._finish_epoch(member, look)
                if record is None:
                    left.append(member)
                else:
                    yield record
            members = left
            stopping = self.stop()
            if stopping or time.monotonic() - saved > SAVE_EVERY:
                for member in members:
                    trial = member.trial
                    self._checkpoints.save(member.spec.trial_id, trial.identity, trial.state())
                saved = time.monotonic()
            if stopping:
                return
            for member in members:
                member.epoch = next(member.starts)

    def _train_epoch(self, rows: HeadRows) -> list[_Look]:
        """Train an epoch, look at what it has given, and bill each trial an equal share of the seconds."""
        clocks = Clocks(self.workspace.device)
        with clocks("train"):
            rows.train()
        with clocks("evaluation"):
            first = rows.trials[0]
            found = [
                rows.predictions(inputs, labels)
                for inputs, labels in (
                    (first.splits.validation, first.problem.validation_labels),
                    (first.splits.test, first.problem.test_labels),
                )
            ]
        for trial in rows.trials:
            for name, seconds in clocks.seconds.items():
                trial.clocks.add(name, seconds / len(rows))
        return [partial(_both, *of_trial) for of_trial in zip(*found, strict=True)]

    def _finish_epoch(self, member: _Member, look: _Look) -> Record | None:
        """Let a trial measure its epoch; return its record if that was its last one, or if it fails."""
        trial, spec = member.trial, member.spec
        try:
            self.on_epoch(spec, trial.finish_epoch(look))
            if trial.finished < spec.epochs:
                return None
            for _ in member.starts:  # its phase is over
                pass
            return record_of(trial)
        except StoreError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001  (as of a trial by itself)
            return failed(error, spec, self.workspace, trial.started)


def _both(
    held_out: Predictions | TrialError, tested: Predictions | TrialError
) -> tuple[Predictions, Predictions]:
    """Return what a head says of both splits, or raise why it says nothing."""
    if isinstance(held_out, TrialError):
        raise held_out
    if isinstance(tested, TrialError):
        raise tested
    return held_out, tested


def memory_of(trial: Trial) -> int:
    """Return the bytes that one more trial in a group takes, when it has begun."""
    head = trial.model.networks[0].head if trial.model.networks else None
    weights = sum(_bytes(parameter) for parameter in head.parameters()) if head is not None else 0
    # Weights, gradient, two moments and what a step computes with; logits, their gradient, and some of their
    # size in a loss; predictions of this epoch, of the one before, and a copy.
    batch = max(trial.phase.spec.batch_size, EVALUATION_BATCH)
    outputs = batch * trial.problem.classes * 4
    return 5 * weights + 8 * outputs + 3 * 2 * trial.phase.samples + _bytes(trial.method.state_dict())


def _bytes(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, Mapping):
        return sum(map(_bytes, value.values()))
    return sum(map(_bytes, value)) if isinstance(value, (list, tuple)) else 0
