"""One trial, from spec to record: read it top to bottom.

data → noise → networks → phases (inputs → epochs → evaluation) → record
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from lnlbench._version import __version__
from lnlbench.accuracy import accuracy, summarise
from lnlbench.api import Method, Skip, Task
from lnlbench.checkpoint import Checkpoints
from lnlbench.data.inputs import FeatureInputs
from lnlbench.embedding import choose_sample, embed
from lnlbench.environment import describe_environment
from lnlbench.errors import UsageError
from lnlbench.ledger import Ledger
from lnlbench.model import Model
from lnlbench.phase import Phase
from lnlbench.problem import Problem, prepare_problem
from lnlbench.record import Record, Status
from lnlbench.seeding import derive_seed
from lnlbench.selection import measure_selection
from lnlbench.spec import PhaseSpec, TrialSpec
from lnlbench.splits import Splits, make_splits
from lnlbench.timing import Clocks, now
from lnlbench.workspace import Workspace

Entry = dict[str, Any]  # what an epoch gave


class StopTrial(BaseException):
    """Raised by ``on_epoch`` to end a trial without a record; not an error of the trial."""


def run_trial(
    spec: TrialSpec, workspace: Workspace, on_epoch: Callable[[Mapping[str, Any]], None] | None = None
) -> Record:
    """Run one trial, from its last checkpoint if there is one.

    Parameters
    ----------
    spec : TrialSpec
    workspace : Workspace
        Data, weights and caches of this process.
    on_epoch : callable, optional
        Called after each epoch, when its checkpoint is saved, with what the epoch gave: an
        entry of ``Record.history``; of a trial that is continued, with the earlier ones first.
        May raise :class:`StopTrial`.

    Returns
    -------
    Record
        With status done.

    Raises
    ------
    LnlbenchError
        If the trial cannot be run as specified.
    """
    checkpoints = Checkpoints(workspace.setting.checkpoints)
    trial = Trial(spec, workspace)
    saved, trial.discarded = checkpoints.load(spec.trial_id, trial.identity)
    if saved is not None and on_epoch is not None:
        for entry in saved["history"]:
            on_epoch(entry)
    for entry in trial.epochs(saved):
        if trial.finished < spec.epochs:
            checkpoints.save(spec.trial_id, trial.identity, trial.state())
        if on_epoch is not None:
            on_epoch(entry)
    return trial.record()


class Trial:
    """One trial, an epoch at a time; it can be saved after any epoch, and continued.

    Parameters
    ----------
    spec : TrialSpec
    workspace : Workspace
    method_class : type of Method, optional
        Instead of the registered method of the spec's name.
    problem : Problem, optional
        Instead of the one that the spec describes.

    Attributes
    ----------
    method : Method
    model : Model
        Its networks.
    ledger : Ledger
    clocks : Clocks
    history : list of dict
        An entry per finished epoch, see :class:`lnlbench.record.Record`.
    phase : Phase
        The one that runs.
    splits : Splits
        What the networks are fed in it.
    discarded : str or None
        Why there was a checkpoint that could not be continued.
    """

    phase: Phase
    splits: Splits

    def __init__(
        self,
        spec: TrialSpec,
        workspace: Workspace,
        *,
        method_class: type[Method] | None = None,
        problem: Problem | None = None,
    ) -> None:
        self.spec = spec
        self.workspace = workspace
        self.started = now()
        self.clocks, self.ledger = Clocks(workspace.device), Ledger()
        self.history: list[Entry] = []
        self.events: dict[str, int] = {}
        self._extractions: list[dict[str, Any]] = []
        self._continued: list[dict[str, Any]] = []
        self.discarded: str | None = None
        torch.set_num_threads(workspace.setting.threads)
        with self.clocks("setup"):
            self.problem = problem or prepare_problem(spec, workspace)
            self._code: dict[str, str] = {}
            if method_class is None:
                method_class, self._code = workspace.method(spec.method.name)
            declined = method_class.supports(spec)
            if isinstance(declined, Skip):
                raise UsageError(f"{spec.method.name} declines this trial: {declined.reason}.")
            # Now and not when it is needed: what cannot be mapped shall not be trained first.
            self._sample = choose_sample(spec.embedding, self.problem.dataset) if spec.embedding else None
            features = self.problem.dataset.train.features
            self.model = Model(
                spec.backbone,
                classes=self.problem.classes,
                seed=spec.seed,
                precision=spec.precision,
                workspace=workspace,
                ledger=self.ledger,
                given_features=None if features is None else features.shape[1],
            )
            # For layers that a method makes itself; the networks' weights do not come from here.
            torch.manual_seed(derive_seed("setup", spec.seed))
            self.method = method_class.create(spec.method)
            self.method.setup(
                Task(self.problem.train_labels, self.problem.classes, workspace.device, self.model.network)
            )

    @property
    def finished(self) -> int:
        """Number of finished epochs, over all phases."""
        return len(self.history)

    @property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint must agree with to be continued: code, data and weights."""
        return {
            "version": __version__,
            "method": self._code.get("fingerprint", ""),
            "backbone": self.model.fingerprint,
            "data": self.problem.dataset.fingerprint,
            "execution": [self.model.execution.precision, self.model.execution.channels_last],
            "device": self.workspace.device.type,
        }

    def epochs(self, saved: Mapping[str, Any] | None = None) -> Iterator[Entry]:
        """Train, and yield what each epoch gave.

        Parameters
        ----------
        saved : mapping, optional
            What :meth:`state` returned: continue after that epoch, instead of from the start.
        """
        first_phase, first_epoch = (saved["phase"], saved["epoch"] + 1) if saved else (0, 0)
        probed: FeatureInputs | None = None  # what linear probing saw, for a phase that follows
        for number, phase_spec in enumerate(self.spec.phases):
            with self.clocks("features"):
                self.splits = self._make_splits(phase_spec)
                if isinstance(self.splits.train, FeatureInputs):
                    probed = self.splits.train
            if number < first_phase:
                continue
            with self.clocks("setup"):
                self.phase = self._start_phase(number, phase_spec, probed)
                torch.manual_seed(derive_seed("begin_phase", self.spec.seed, number))
                self.method.begin_phase(self.phase)
                if saved and number == first_phase:
                    self._restore(saved)
            for epoch in range(first_epoch if number == first_phase else 0, phase_spec.epochs):
                yield self._epoch(epoch)
            for event, times in self.phase.events.items():
                self.events[event] = self.events.get(event, 0) + times

    def _make_splits(self, phase_spec: PhaseSpec) -> Splits:
        splits = make_splits(phase_spec, type(self.method), self.model, self.problem, self.workspace)
        for entry in splits.extracted:
            # Whoever extracted them. Extraction for measuring belongs to evaluation, as live
            # evaluation does.
            self.ledger.add("features", "backbone_forward", len(self.problem.train_labels))
            self._extractions.append(
                {"seconds": entry.seconds, "threads": entry.threads, "fresh": entry.fresh}
            )
        return splits

    def _start_phase(self, number: int, phase_spec: PhaseSpec, probed: FeatureInputs | None) -> Phase:
        """Freeze the networks as a phase says, and return the phase."""
        for network in self.model.networks:
            network.freeze(phase_spec.kind == "lp", statistics=phase_spec.batch_norm == "frozen")
        return Phase(
            phase_spec,
            number,
            inputs=self.splits.train,
            cached_plain=probed,
            labels=self.problem.train_labels,
            classes=self.problem.classes,
            device=self.workspace.device,
            # All methods see the same batches and views.
            seed=derive_seed("training", self.spec.seed, self.spec.dataset.label, self.spec.noise.label),
        )

    def _epoch(self, epoch: int) -> Entry:
        phase, problem, clocks = self.phase, self.problem, self.clocks
        before = clocks.read("train"), clocks.read("evaluation")
        phase.start_epoch(epoch)
        with clocks("train"):
            for network in self.model.networks:
                network.train()
            self.method.epoch(phase)
            loss = phase.end_epoch()
        with clocks("evaluation"), self.ledger.bucket("evaluation"):
            for network in self.model.networks:
                network.eval()
            entry = {
                "phase": phase.kind,
                "epoch": epoch,
                "loss": loss,
                "validation": accuracy(self.method, self.splits.validation, problem.validation_labels),
                "test": accuracy(self.method, self.splits.test, problem.test_labels),
            }
        entry["train_s"] = clocks.read("train") - before[0]
        entry["eval_s"] = clocks.read("evaluation") - before[1]
        if phase.selection is not None and problem.true_labels is not None:
            entry["selection"] = measure_selection(
                phase.selection, problem.train_labels.numpy(), problem.true_labels, problem.classes
            )
        self.history.append(entry)
        return entry

    def state(self) -> dict[str, Any]:
        """Return all that a new object needs to continue after the last finished epoch.

        Random generators are not in it: every epoch seeds its own, see
        :meth:`lnlbench.phase.Phase.start_epoch`.
        """
        return {
            "phase": self.phase.index,
            "epoch": self.phase.epoch,
            "method": self.method.state_dict(),
            "history": self.history,
            "events": self.events,
            "phase_events": self.phase.events,
            "ledger": self.ledger.to_dict(),
            "seconds": self.clocks.seconds,
            "extractions": self._extractions,
            "started": self.started,
            "continued": [*self._continued, {"threads": self.workspace.setting.threads}],
        }

    def _restore(self, saved: Mapping[str, Any]) -> None:
        self.method.load_state_dict(saved["method"])
        self.history = list(saved["history"])
        self.events = dict(saved["events"])
        self.phase.events = dict(saved["phase_events"])
        self.ledger.load(saved["ledger"])
        # Loading everything a second time took time as well.
        for clock, seconds in saved["seconds"].items():
            self.clocks.seconds[clock] = self.clocks.read(clock) + seconds
        self._extractions = list(saved["extractions"])
        self.started = saved["started"]
        self._continued = list(saved["continued"])

    def _embed(self) -> dict[str, Any] | None:
        """Return the maps of test features, where the spec asks for them."""
        backbone, sample = self.model.backbone, self._sample
        if self.spec.embedding is None or sample is None or backbone is None:
            return None
        dataset, execution = self.problem.dataset, self.model.execution
        with self.clocks("embedding"):
            return embed(
                self.spec.embedding,
                sample,
                self.workspace.image_inputs(dataset, dataset.test, sample.rows, backbone, execution),
                backbone=backbone,
                network=self.model.networks[0],
                execution=execution,
                device=self.workspace.device,
                ledger=self.ledger,
            )

    def record(self) -> Record:
        """Return the record of a trial whose epochs have all been run."""
        embedding = self._embed()
        problem, execution, setting = self.problem, self.model.execution, self.workspace.setting
        selections = [entry["selection"] for entry in self.history if "selection" in entry]
        return Record(
            self.spec,
            Status.DONE,
            metrics=summarise(self.history),
            history=self.history,
            times={
                "setup_s": self.clocks.read("setup"),
                "features_s": sum(entry["seconds"] for entry in self._extractions),
                "features_shared": not all(entry["fresh"] for entry in self._extractions),
                "train_s": self.clocks.read("train"),
                "eval_s": self.clocks.read("evaluation"),
                "wall_s": sum(self.clocks.seconds.values()),
            },
            ledger=self.ledger.to_dict(),
            selection=selections[-1] if selections else None,
            noise=problem.noise.to_dict(),
            events=self.events,
            data={
                "fingerprint": problem.dataset.fingerprint,
                "classes": problem.classes,
                "train": len(problem.train_labels),
                "validation": len(problem.validation_labels),
                "test": len(problem.test_labels),
                "standin": problem.dataset.standin,
            },
            execution={
                "device": str(self.workspace.device),
                "precision": execution.precision,
                "layout": "channels_last" if execution.channels_last else "contiguous",
                "threads": setting.threads,
                "workers": setting.workers,
                "feature_threads": sorted({entry["threads"] for entry in self._extractions}),
                "executor": setting.executor,
                "jobs": setting.jobs,
                "shared_device": setting.jobs > 1,
                "continued": self._continued,
                "discarded_checkpoint": self.discarded,
            },
            environment=describe_environment(),
            plugin={**self._code, "backbone": self.model.fingerprint},
            embedding=embedding,
            started=self.started,
            finished=now(),
        )
