"""One trial, from spec to record: read it top to bottom.

::

    spec ─▶ Problem ─▶ networks ─▶ phase ─▶ … ─▶ phase ─▶ Record
            data, noisy            │
            labels                 ├ its kind prepares the networks: what of them learns
                                   ├ inputs: live images, or features extracted once
                                   └ Method.begin_phase, then its epochs:

    an epoch   seed all randomness from (trial, phase, epoch)       no generator needs to be saved
      train ┌  Method.epoch(phase)                                  the only part timed as training
      clock │    batch ─▶ loss ─▶ phase.step                        the ledger's hooks count every pass
            └    phase.publish(selection)                           which samples it takes as clean
                 predictions of training samples, as they come by   which epoch Label Wave chooses
      eval  ┌  predict on validation and test                       counted apart from training
      clock └  selection against the true labels                    the method never sees these
    then       history grows by an entry, the checkpoint is saved, whoever listens is told

Where several processes share a trial, each runs all of this, and they share the passes through backbones: see
:mod:`lnlbench.processes.spread`. The first one saves, tells and writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from lnlbench._version import __version__
from lnlbench.api import Method, Predictions, Skip, Task
from lnlbench.api.phase import Phase
from lnlbench.api.selection import Selection, measure_selection
from lnlbench.api.training_predictions import TrainingPredictions
from lnlbench.basics.clocks import Clocks, now
from lnlbench.basics.environment import describe_environment
from lnlbench.basics.facts import (
    CodeFacts,
    EpochFacts,
    ShiftFacts,
)
from lnlbench.basics.seeding import derive_seed
from lnlbench.deploy.keeping import ModelKeeper
from lnlbench.errors import UsageError
from lnlbench.inputs.feature_cache import CachedFeatures
from lnlbench.inputs.network_inputs import Inputs
from lnlbench.models.kinds.backward_cost import count_backward_units
from lnlbench.models.ledger import Ledger
from lnlbench.models.phase_kind import PhaseKind
from lnlbench.processes.spread import add_up_gradients, check_alike, level, weight_sums
from lnlbench.spec import TrialSpec
from lnlbench.trials.adaptation import IMAGES
from lnlbench.trials.measuring.accuracy import measure, predictions_of
from lnlbench.trials.measuring.embedding import choose_sample
from lnlbench.trials.measuring.mode_shift import measure_shift
from lnlbench.trials.networks import InitialWeights, Model
from lnlbench.trials.phase_inputs import Splits, make_splits
from lnlbench.trials.problem import Problem, prepare_problem
from lnlbench.trials.workspace import Workspace

Entry = EpochFacts  # what an epoch gave


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
    splits : Splits, optional
        Of a trial that has the same, so that they need not be made again.

    Attributes
    ----------
    kinds : list of PhaseKind
        Of the phases, in order.
    method : Method
    model : Model
        Its networks.
    ledger : Ledger
    clocks : Clocks
    history : list of dict
        An entry per finished epoch, see :class:`lnlbench.records.record.Record`.
    phase : Phase
        The one that runs.
    splits : Splits
        What the networks are fed in it.
    discarded : str or None
        Why there was a checkpoint that could not be continued.
    team : Team
        The processes that share the trial, of one as a rule.
    batched : int
        How many trials it was trained together with, itself included; 0 for one on its own.
    code, kind_code
        Fingerprints of the method, and of kinds of phases by name.
    extractions, continued : list of dict
        What the feature cache held for it, and where it was trained before it was continued here.
    published : Selection or None
        The last one that the method made.
    kept_models : ModelKeeper
        Its networks after the best epoch and the last one, where they are to be saved.
    embedding_sample : Sample or None
        Which test images are to be mapped.
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
        splits: Splits | None = None,
    ) -> None:
        self.spec = spec
        self.workspace = workspace
        self.team = workspace.team
        self._lent = splits
        self.started = now()
        self.clocks, self.ledger = Clocks(workspace.device), Ledger()
        self.history: list[Entry] = []
        self.events: dict[str, int] = {}
        self.published: Selection | None = None
        self.kept_models = ModelKeeper(spec, workspace.setting.models)
        self.extractions: list[dict[str, Any]] = []
        self.continued: list[dict[str, Any]] = []
        self._shift: ShiftFacts | None = None  # of the phase that begins
        self.discarded: str | None = None
        self.batched = 0
        self._before = 0.0, 0.0  # seconds of training and evaluation when the epoch began
        torch.set_num_threads(workspace.setting.threads)
        if workspace.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(workspace.device)
        with self.clocks("setup"):
            self.problem = problem or prepare_problem(spec, workspace)
            self._metrics = workspace.metrics()
            self.code: CodeFacts = {}
            if method_class is None:
                method_class, self.code = workspace.method(spec.method.name)
            self.kinds = [workspace.phase_kind(phase.kind)[0](phase) for phase in spec.phases]
            self.kind_code = {phase.kind: workspace.phase_kind(phase.kind)[1] for phase in spec.phases}
            asked = [(kind.phase.kind, kind.supports(spec, kind.phase)) for kind in self.kinds]
            for who, declined in (*asked, (spec.method.name, method_class.supports(spec))):
                if isinstance(declined, Skip):
                    raise UsageError(f"{who} declines this trial: {declined.reason}.")
            # Now and not when it is needed: what cannot be mapped shall not be trained first.
            self.embedding_sample = (
                choose_sample(spec.embedding, self.problem.dataset) if spec.embedding else None
            )
            features = self.problem.dataset.train.features
            self._predictions = TrainingPredictions(
                len(self.problem.train_labels), self.problem.classes, workspace.device
            )
            self.model = Model(
                spec.backbone,
                classes=self.problem.classes,
                seed=spec.seed,
                precision=spec.precision,
                workspace=workspace,
                ledger=self.ledger,
                predictions=self._predictions,
                given_features=None if features is None else features.shape[1],
                adapt_to=self.problem.dataset if spec.adapts and features is None else None,
            )
            self._initial = InitialWeights(self.model.initial)
            self.model.execution.apply(workspace.device)
            if self.model.statistics is not None:
                self._extracted(self.model.statistics, min(len(self.problem.dataset.train), IMAGES))
            # For layers that a method makes itself; the networks' weights do not come from here.
            torch.manual_seed(derive_seed("setup", spec.seed))
            self.method = method_class.create(spec.method)
            self.method.setup(
                Task(
                    self.problem.train_labels,
                    self.problem.dataset.classes,
                    workspace.device,
                    self.model.network,
                    partial(workspace.class_texts, spec.backbone, self.problem.dataset),
                )
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
            "method": self.code.get("fingerprint", ""),
            "kinds": self.kind_code,
            "backbone": self.model.fingerprint,
            "data": self.problem.dataset.fingerprint,
            "execution": [self.model.execution.precision, self.model.execution.channels_last],
            "device": self.workspace.device.type,
            # Only where it is asked for: checkpoints are older than this.
            **({"deterministic": True} if self.model.execution.deterministic else {}),
        }

    def epochs(self, saved: Mapping[str, Any] | None = None) -> Iterator[Entry]:
        """Train, and yield what each epoch gave.

        Parameters
        ----------
        saved : mapping, optional
            What :meth:`state` returned: continue after that epoch, instead of from the start.
        """
        for _ in self.starts(saved):
            with self.clocks("train"):
                self.method.epoch(self.phase)
            yield self.finish_epoch()

    def starts(self, saved: Mapping[str, Any] | None = None) -> Iterator[int]:
        """Begin phases and epochs, and yield each epoch of a phase when it is to be trained.

        Whoever asks for the next one has trained it, and called :meth:`finish_epoch`.

        Parameters
        ----------
        saved : mapping, optional
            As :meth:`epochs` takes it.
        """
        first_phase, first_epoch = (saved["phase"], saved["epoch"] + 1) if saved else (0, 0)
        probed: Inputs | None = None  # what linear probing saw, for a phase that follows
        for number, kind in enumerate(self.kinds):
            with self.clocks("features"):
                self.splits = self._make_splits(kind)
                if self.splits.train.extracted:
                    probed = self.splits.train
            with self.clocks("setup"):
                # A phase that is over as well: it may have put modules into the networks.
                self._prepare_networks(number, kind)
            if number < first_phase:
                continue
            self._shift = None
            if number > first_phase:
                self._shift = self._measure_shift(self.kinds[number - 1], kind)
            with self.clocks("setup"):
                level(self.team, self.model.networks)
                self.phase = self._start_phase(number, kind, probed)
                torch.manual_seed(derive_seed("begin_phase", self.spec.seed, number))
                self.method.begin_phase(self.phase)
                if saved and number == first_phase:
                    self._restore(saved)
            for epoch in range(first_epoch if number == first_phase else 0, kind.phase.epochs):
                self._start_epoch(epoch)
                yield epoch
            for event, times in self.phase.events.items():
                self.events[event] = self.events.get(event, 0) + times

    def _make_splits(self, kind: PhaseKind) -> Splits:
        splits = self._lent
        if splits is None:
            splits = make_splits(kind, self.method.views, self.model, self.problem, self.workspace)
        for entry in splits.extracted:
            # Extraction for measuring belongs to evaluation, as live evaluation does.
            paid = entry.fresh and self._lent is None
            self._extracted(replace(entry, fresh=paid), len(self.problem.train_labels))
        return splits

    def _extracted(self, entry: CachedFeatures, images: int) -> None:
        """Count what the cache holds for this trial, whoever made it."""
        self.ledger.add("features", "backbone_forward", images)
        self.extractions.append({"seconds": entry.seconds, "threads": entry.threads, "fresh": entry.fresh})

    def _measure_shift(self, before: PhaseKind, kind: PhaseKind) -> ShiftFacts | None:
        """Compare modes and views where a phase trains the backbone, and the one before it kept it."""
        if not before.keeps_features or kind.keeps_features or not self.model.networks:
            return None
        seed = derive_seed("shift", self.spec.seed)
        with self.clocks("evaluation"):
            return measure_shift(
                self.model.networks[0], self.splits.train, kind.phase.batch_size, seed, self.ledger
            )

    def _prepare_networks(self, number: int, kind: PhaseKind) -> None:
        """Let learn in the networks what a kind of phase says."""
        torch.manual_seed(derive_seed("prepare", self.spec.seed, number))  # for modules that it makes
        for network in self.model.networks:
            kind.prepare(network)
        self.ledger.backward_units = self._backward_units(kind)

    def _backward_units(self, kind: PhaseKind) -> float:
        """Return what a backward pass through a backbone costs in a phase, in forward passes."""
        backbone = self.model.backbone
        if not kind.counts_backward or backbone is None or not self.model.networks:
            return kind.backward_units()
        return count_backward_units(self.model.networks[0], backbone.preprocessing.size, self.ledger)

    def _start_phase(self, number: int, kind: PhaseKind, probed: Inputs | None) -> Phase:
        device = self.workspace.device
        return Phase(
            kind.phase,
            number,
            inputs=self.splits.train,
            cached_plain=probed,
            labels=self.problem.train_labels,
            classes=self.problem.classes,
            device=device,
            # Heads compute in float32: without gradients of a backbone there are none in fp16.
            scaler=None if kind.keeps_features else self.model.execution.scaler(device),
            # All methods see the same batches and views.
            seed=derive_seed("training", self.spec.seed, self.spec.dataset.label, self.spec.noise.label),
            predictions=self._predictions,
            team=self.team,
            add_up=None if self.team.alone else self._add_up,
        )

    def _add_up(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        """Add up the gradients of the processes that share the trial."""
        built = (network.backbone for network in self.model.networks)
        add_up_gradients(self.team, optimizers, [backbone for backbone in built if backbone is not None])

    def _check_alike(self, entry: Entry) -> None:
        """Raise if the processes of the trial have not the same after an epoch."""
        facts: dict[str, object] = {
            "their passes": self.ledger.to_dict(),
            "their selections": entry.get("selection"),
            "what happened": self.phase.events,
        }
        if not self.kinds[self.phase.index].keeps_features:
            facts["their weights"] = weight_sums(self.model.networks)
        check_alike(self.team, facts)

    def _start_epoch(self, epoch: int) -> None:
        self._before = self.clocks.read("train"), self.clocks.read("evaluation")
        self.phase.start_epoch(epoch)
        with self.clocks("train"):
            for network in self.model.networks:
                network.train()

    def finish_epoch(self, look: Callable[[], tuple[Predictions, Predictions]] | None = None) -> Entry:
        """Measure what the epoch that was trained has given, and return it.

        Parameters
        ----------
        look : callable, optional
            Returns what the method says of the validation and test splits. Default: passes them.

        Raises
        ------
        TrialError
            If a loss or a prediction is not finite.
        """
        phase, problem, clocks, before = self.phase, self.problem, self.clocks, self._before
        epoch = phase.epoch
        with clocks("train"):
            loss = phase.end_epoch()
            changes = self._predictions.end_epoch()
        with clocks("evaluation"), self.ledger.bucket("evaluation"):
            for network in self.model.networks:
                network.eval()
            held_out, tested = (look or self._look)()
            entry: Entry = {
                "phase": phase.kind,
                "epoch": epoch,
                "loss": loss,
                "prediction_changes": changes,
                "validation": held_out.accuracy,
                "test": tested.accuracy,
                "metrics": {
                    "validation": measure(self._metrics, held_out),
                    "test": measure(self._metrics, tested),
                },
            }
        entry["train_s"] = round(clocks.read("train") - before[0], 4)
        entry["eval_s"] = round(clocks.read("evaluation") - before[1], 4)
        if epoch == 0 and self._shift is not None:
            entry["shift"] = self._shift
        if phase.selection is not None:
            self.published = phase.selection
            entry["selection"] = measure_selection(
                phase.selection, problem.train_labels.numpy(), problem.true_labels, problem.classes
            )
        if not self.team.alone:
            self._check_alike(entry)
        self.history.append(entry)
        if self.kept_models.folder is not None:
            with clocks("models"):
                self.kept_models.look(
                    self.method, self.splits.validation, self.history, phase.index, self.ledger
                )
        return entry

    def _look(self) -> tuple[Predictions, Predictions]:
        """Return what the method says of the validation and test splits, from one pass of each."""
        problem, classes = self.problem, self.problem.classes
        return (
            predictions_of(self.method, self.splits.validation, problem.validation_labels, classes),
            predictions_of(self.method, self.splits.test, problem.test_labels, classes),
        )

    def keep_predictions(self, now: torch.Tensor) -> None:
        """Let others write the training predictions of the epochs to come, int16 ``[N]``."""
        self._predictions.keep_in(now)

    def state(self) -> dict[str, Any]:
        """Return all that a new object needs to continue after the last finished epoch.

        Random generators are not in it: every epoch seeds its own, see
        :meth:`lnlbench.api.phase.Phase.start_epoch`. Nor are weights that are still those of the
        backbone's source: they are named.
        """
        return {
            "phase": self.phase.index,
            "epoch": self.phase.epoch,
            "method": self._initial.named(self.method.state_dict()),
            "history": self.history,
            "predictions": self._predictions.state(),
            "events": self.events,
            "phase_events": self.phase.events,
            "scaler": None if self.phase.scaler is None else self.phase.scaler.state_dict(),
            "ledger": self.ledger.to_dict(),
            "seconds": self.clocks.seconds,
            "extractions": self.extractions,
            "started": self.started,
            "published": self._kept_selection(),
            "best_model": self._initial.named(self.kept_models.state()),
            "continued": [*self.continued, self._here()],
        }

    def _kept_selection(self) -> list[torch.Tensor | None] | None:
        if self.published is None or not self.workspace.setting.verdicts:
            return None
        return [self.published.selected, self.published.score]

    def _here(self) -> dict[str, Any]:
        """Return what of this process a trial that is continued in another may differ in."""
        gpu = describe_environment().get("gpu") if self.workspace.device.type == "cuda" else None
        here = {"threads": self.workspace.setting.threads} | ({"gpu": gpu} if gpu else {})
        return here | ({"batched": self.batched} if self.batched else {})

    def _restore(self, saved: Mapping[str, Any]) -> None:
        device = self.workspace.device
        self.method.load_state_dict(self._initial.filled(saved["method"], device))
        if self.phase.scaler is not None:
            self.phase.scaler.load_state_dict(saved["scaler"])
        self.history = list(saved["history"])
        self._predictions.load(saved.get("predictions"))
        self.events = dict(saved["events"])
        self.phase.events = dict(saved["phase_events"])
        self.ledger.load(saved["ledger"])
        # Loading everything a second time took time as well.
        for clock, seconds in saved["seconds"].items():
            self.clocks.seconds[clock] = self.clocks.read(clock) + seconds
        self.extractions = list(saved["extractions"])
        self.started = saved["started"]
        self.kept_models.load(self._initial.filled(saved.get("best_model"), device))
        if saved.get("published") is not None:
            self.published = Selection(*saved["published"])
        self.continued = list(saved["continued"])
