"""One trial, from spec to record: read it top to bottom.

data → noise → networks → phases (inputs → epochs → evaluation) → record
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from torch import nn

from lnlbench.allocator import return_freed_memory
from lnlbench.api import Method, Skip, Task
from lnlbench.data.augment import recipe_for
from lnlbench.data.features import CachedFeatures, View
from lnlbench.data.inputs import FeatureInputs, Inputs
from lnlbench.data.source import Dataset
from lnlbench.data.split import split_validation
from lnlbench.embedding import choose_sample, embed
from lnlbench.environment import describe_environment
from lnlbench.errors import LnlbenchError, TrialError, UsageError
from lnlbench.ledger import Ledger
from lnlbench.models.calibration import Execution
from lnlbench.models.network import Network
from lnlbench.noise import NoiseReport, corrupt, raw_inputs
from lnlbench.phase import EVALUATION_BATCH, Phase
from lnlbench.record import Record, Status
from lnlbench.seeding import derive_seed
from lnlbench.selection import measure_selection
from lnlbench.spec import PhaseSpec, TrialSpec
from lnlbench.timing import Clocks
from lnlbench.workspace import Workspace


def attempt_trial(spec: TrialSpec, workspace: Workspace) -> Record:
    """Run a trial and return its record; a failure is a record too.

    Whatever a plugin raises is caught here, and nowhere else: one broken trial must not take
    the others along, and its reason must not get lost.
    """
    started = _now()
    try:
        return run_trial(spec, workspace)
    except Exception as error:  # noqa: BLE001
        return failure(
            spec,
            type(error).__name__,
            error.message if isinstance(error, LnlbenchError) else str(error),
            hint=error.hint if isinstance(error, LnlbenchError) else None,
            trace=traceback.format_exc(),
            started=started,
        )
    finally:
        return_freed_memory()


def failure(
    spec: TrialSpec, kind: str, message: str, *, hint: str | None = None, trace: str = "", started: str = ""
) -> Record:
    """Return the record of a trial that failed."""
    error = {"type": kind, "message": message, "hint": hint, "traceback": trace}
    return Record(
        spec,
        Status.FAILED,
        error=error,
        environment=describe_environment(),
        started=started or _now(),
        finished=_now(),
    )


def run_trial(spec: TrialSpec, workspace: Workspace) -> Record:
    """Run one trial.

    Parameters
    ----------
    spec : TrialSpec
    workspace : Workspace
        Data, weights and caches of this process.

    Returns
    -------
    Record
        With status done.

    Raises
    ------
    LnlbenchError
        If the trial cannot be run as specified.
    """
    started = _now()
    clocks, ledger = Clocks(workspace.device), Ledger()
    torch.set_num_threads(workspace.setting.threads)
    with clocks("wall"):
        with clocks("setup"):
            problem = prepare_problem(spec, workspace)
            method_class, code = workspace.method(spec.method.name)
            declined = method_class.supports(spec)
            if isinstance(declined, Skip):
                raise UsageError(f"{spec.method.name} declines this trial: {declined.reason}.")
            # Now and not when it is needed: what cannot be mapped shall not be trained first.
            sample = choose_sample(spec.embedding, problem.dataset) if spec.embedding else None
            method = method_class.create(spec.method)
            model = Model(spec, workspace, problem, ledger)
            method.setup(Task(problem.train_labels, problem.classes, workspace.device, model.network))
        history: list[dict[str, Any]] = []
        events: dict[str, int] = {}
        cached: list[CachedFeatures] = []
        probed: FeatureInputs | None = None  # what linear probing saw, for a phase that follows
        for number, phase_spec in enumerate(spec.phases):
            with clocks("features"):
                splits = make_inputs(phase_spec, type(method), model, cached, ledger)
                if isinstance(splits.train, FeatureInputs):
                    probed = splits.train
            with clocks("setup"):
                phase = model.start_phase(number, phase_spec, splits, probed, training_seed(spec))
                method.begin_phase(phase)
            for epoch in range(phase_spec.epochs):
                before = clocks.read("train"), clocks.read("evaluation")
                phase.start_epoch(epoch)
                with clocks("train"):
                    for network in model.networks:
                        network.train()
                    method.epoch(phase)
                    loss = phase.end_epoch()
                with clocks("evaluation"), ledger.bucket("evaluation"):
                    for network in model.networks:
                        network.eval()
                    entry = {
                        "phase": phase_spec.kind,
                        "epoch": epoch,
                        "loss": loss,
                        "validation": accuracy(method, splits.validation, problem.validation_labels),
                        "test": accuracy(method, splits.test, problem.test_labels),
                    }
                entry["train_s"] = clocks.read("train") - before[0]
                entry["eval_s"] = clocks.read("evaluation") - before[1]
                if phase.selection is not None and problem.true_labels is not None:
                    entry["selection"] = measure_selection(
                        phase.selection, problem.train_labels.numpy(), problem.true_labels, problem.classes
                    )
                history.append(entry)
            for event, times in phase.events.items():
                events[event] = events.get(event, 0) + times
        maps = None
        if spec.embedding is not None and sample is not None and model.backbone is not None:
            with clocks("embedding"):
                dataset, execution = problem.dataset, model.execution
                maps = embed(
                    spec.embedding,
                    sample,
                    workspace.image_inputs(dataset, dataset.test, sample.rows, model.backbone, execution),
                    backbone=model.backbone,
                    network=model.networks[0],
                    execution=execution,
                    device=workspace.device,
                    ledger=ledger,
                )
    selections = [entry["selection"] for entry in history if "selection" in entry]
    return Record(
        spec,
        Status.DONE,
        metrics=summarise(history),
        history=history,
        times={
            "setup_s": clocks.read("setup"),
            "features_s": sum(entry.seconds for entry in cached),
            "features_shared": not all(entry.fresh for entry in cached),
            "train_s": clocks.read("train"),
            "eval_s": clocks.read("evaluation"),
            "wall_s": sum(clocks.seconds.values()),
        },
        ledger=ledger.to_dict(),
        selection=selections[-1] if selections else None,
        noise=problem.noise.to_dict(),
        events=events,
        data={
            "fingerprint": problem.dataset.fingerprint,
            "classes": problem.classes,
            "train": len(problem.train_labels),
            "validation": len(problem.validation_labels),
            "test": len(problem.test_labels),
        },
        execution={
            "device": str(workspace.device),
            "precision": model.execution.precision,
            "layout": "channels_last" if model.execution.channels_last else "contiguous",
            "threads": workspace.setting.threads,
            "feature_threads": sorted({entry.threads for entry in cached}),
            "executor": workspace.setting.executor,
            "jobs": workspace.setting.jobs,
            "shared_device": workspace.setting.jobs > 1,
        },
        environment=describe_environment(),
        plugin={**code, "backbone": model.fingerprint},
        embedding=maps,
        started=started,
        finished=_now(),
    )


@dataclass(frozen=True)
class Problem:
    """Data and labels of a trial; only the runner sees all of it.

    Attributes
    ----------
    train_rows, validation_rows : torch.Tensor, int64
        Rows of the data set's training split; validation rows count in its own validation
        split where it has one.
    validation_part : {"train", "validation"}
        The split that ``validation_rows`` point into.
    train_labels, validation_labels, test_labels : torch.Tensor, int64
        As given: the first two are noisy (the second unless asked otherwise).
    true_labels : ndarray or None
        Clean labels of the training rows; None where nobody knows them.
    """

    dataset: Dataset
    train_rows: torch.Tensor
    validation_rows: torch.Tensor
    validation_part: str
    train_labels: torch.Tensor
    validation_labels: torch.Tensor
    test_labels: torch.Tensor
    true_labels: np.ndarray | None
    noise: NoiseReport

    @property
    def classes(self) -> int:
        """Number of classes, C."""
        return len(self.dataset.classes)


def prepare_problem(spec: TrialSpec, workspace: Workspace) -> Problem:
    """Load the data, corrupt the labels and hold out validation samples (protocol, section 1)."""
    dataset = workspace.dataset(spec.dataset)
    clean = dataset.train.labels
    classes = len(dataset.classes)

    def noisy(part: str) -> Any:
        split = getattr(dataset, part)
        return corrupt(
            spec.noise,
            split.labels,
            classes,
            dataset=dataset.name,
            family=dataset.family,
            seed=spec.seed,
            inputs=raw_inputs(split) if spec.noise.type == "instance" else None,
            part=part,
        )

    # The whole training set is corrupted before it is split, so that the corruption depends on
    # (data set, noise, seed) alone, and validation labels are as noisy as training labels.
    corrupted = noisy("train")
    if dataset.validation is None:
        train, held_out = split_validation(
            clean, spec.dataset.validation_fraction, dataset=dataset.name, seed=spec.seed
        )
        part, source = "train", (clean if spec.dataset.validation_labels == "clean" else corrupted.labels)
    else:
        train, held_out = np.arange(len(clean)), np.arange(len(dataset.validation))
        part = "validation"
        keep = spec.dataset.validation_labels == "clean" or spec.noise.type in ("real", "none")
        source = dataset.validation.labels if keep else noisy("validation").labels
    return Problem(
        dataset=dataset,
        train_rows=torch.from_numpy(train),
        validation_rows=torch.from_numpy(held_out),
        validation_part=part,
        train_labels=torch.from_numpy(corrupted.labels[train]),
        validation_labels=torch.from_numpy(source[held_out]),
        test_labels=torch.from_numpy(dataset.test.labels),
        true_labels=None if spec.noise.type == "real" else clean[train],
        noise=corrupted.report,
    )


def training_seed(spec: TrialSpec) -> int:
    """Return the seed of a trial's batches and views; all methods see the same ones."""
    return derive_seed("training", spec.seed, spec.dataset.label, spec.noise.label)


class Model:
    """Makes the networks of a trial, and knows what they are fed.

    Attributes
    ----------
    networks : list of Network
        All that the method has asked for.
    execution : Execution
        Precision and layout; the default for a data set of features, which has no backbone.
    """

    def __init__(self, spec: TrialSpec, workspace: Workspace, problem: Problem, ledger: Ledger) -> None:
        self.spec = spec
        self.workspace = workspace
        self.problem = problem
        self.ledger = ledger
        self.networks: list[Network] = []
        features = problem.dataset.train.features
        if features is not None:
            self.backbone = None
            self.execution = Execution()
            self.feature_dim, self.fingerprint = features.shape[1], ""
        else:
            self.backbone = workspace.backbone(spec.backbone, spec.seed)
            self.execution = workspace.execution(spec.backbone, spec.seed, spec.precision)
            self.feature_dim, self.fingerprint = self.backbone.feature_dim, self.backbone.fingerprint

    def network(self, number: int) -> Network:
        """Return a new network whose initial weights depend on (seed, backbone, classes, number)."""
        spec, classes = self.spec, self.problem.classes
        seed = derive_seed("head", spec.seed, spec.backbone.label, classes, number)
        with torch.random.fork_rng(devices=[]):  # the layer's own initialisation is drawn over
            head = nn.Linear(self.feature_dim, classes)
        generator = torch.Generator().manual_seed(seed)
        bound = self.feature_dim**-0.5  # PyTorch's default for a linear layer
        with torch.no_grad():
            for parameter in (head.weight, head.bias):
                parameter.uniform_(-bound, bound, generator=generator)
        # Networks trained from scratch differ in their backbones as well.
        start = spec.seed if number == 0 else derive_seed("backbone", spec.seed, number)
        network = Network(
            head,
            lambda: self.workspace.fresh_backbone(spec.backbone, start),
            ledger=self.ledger,
            device=self.workspace.device,
            execution=self.execution,
        )
        self.networks.append(network)
        return network

    def start_phase(
        self, number: int, phase_spec: PhaseSpec, splits: Splits, probed: FeatureInputs | None, seed: int
    ) -> Phase:
        """Freeze the networks as a phase says, and return the phase.

        Parameters
        ----------
        number : int
            Which phase of the trial, from 0.
        phase_spec : PhaseSpec
        splits : Splits
            What the networks are fed.
        probed : FeatureInputs or None
            What cached linear probing was fed, in this phase or an earlier one.
        seed : int
            Of the trial's training, see :func:`training_seed`.
        """
        for network in self.networks:
            network.freeze(phase_spec.kind == "lp", statistics=phase_spec.batch_norm == "frozen")
        return Phase(
            phase_spec,
            number,
            inputs=splits.train,
            cached_plain=probed,
            labels=self.problem.train_labels,
            classes=self.problem.classes,
            device=self.workspace.device,
            seed=seed,
        )


@dataclass(frozen=True, slots=True)
class Splits:
    """Network inputs of a phase."""

    train: Inputs
    validation: Inputs
    test: Inputs


def make_inputs(
    phase: PhaseSpec, method: type[Method], model: Model, cached: list[CachedFeatures], ledger: Ledger
) -> Splits:
    """Return what the networks are fed in a phase: cached features, or live images.

    Extraction that the features in use stand for is entered into ``cached`` and the ledger,
    whoever did it.
    """
    problem, workspace = model.problem, model.workspace
    rows = {"train": problem.train_rows, "validation": problem.validation_rows}
    rows["test"] = torch.arange(len(problem.test_labels))
    parts = {"train": "train", "validation": problem.validation_part, "test": "test"}
    if model.backbone is None:
        if phase.kind != "lp":
            raise UsageError(
                f"'{problem.dataset.name}' holds features, which only linear probing can use.",
                "Choose tuning=lp.",
            )
        given = {name: getattr(problem.dataset, part).features for name, part in parts.items()}
        return Splits(
            **{name: FeatureInputs(given[name], (), (), rows[name], workspace.device) for name in parts}
        )
    if phase.kind == "fft" or not phase.cache:
        return Splits(
            **{
                name: workspace.image_inputs(
                    problem.dataset,
                    getattr(problem.dataset, part),
                    rows[name],
                    model.backbone,
                    model.execution,
                )
                for name, part in parts.items()
            }
        )
    extracted: dict[tuple[str, View], torch.Tensor] = {}
    for part, view in required_views(phase, method, problem.dataset, problem.validation_part):
        entry = workspace.features(problem.dataset, part, model.backbone, view, model.execution)
        if part == "train":
            # Extraction for measuring belongs to evaluation, as live evaluation does.
            ledger.add("features", "backbone_forward", len(problem.train_labels))
            cached.append(entry)
        extracted[part, view] = entry.array
    weak, strong = (
        tuple(array for (_, view), array in extracted.items() if view.kind == kind)
        for kind in ("weak", "strong")
    )
    plain = View("plain")
    return Splits(
        train=FeatureInputs(extracted["train", plain], weak, strong, rows["train"], workspace.device),
        validation=FeatureInputs(
            extracted[problem.validation_part, plain], (), (), rows["validation"], workspace.device
        ),
        test=FeatureInputs(extracted["test", plain], (), (), rows["test"], workspace.device),
    )


def required_views(
    phase: PhaseSpec, method: type[Method], dataset: Dataset, validation_part: str
) -> list[tuple[str, View]]:
    """Return which views of which splits a cached phase needs.

    A method that looks at two weak views gets two stored ones, or ``phase.views`` if that is
    more. Two methods of a grid share what both need.
    """
    recipe = recipe_for(dataset.family)
    weak, strong = method.views.weak, method.views.strong
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
        needed += [("train", View(kind, number, recipe)) for number in range(count)]
    return needed


@torch.no_grad()
def accuracy(method: Method, inputs: Inputs, labels: torch.Tensor) -> float:
    """Return the share of right predictions, in percent."""
    right = 0
    for start in range(0, len(inputs), EVALUATION_BATCH):
        index = torch.arange(start, min(start + EVALUATION_BATCH, len(inputs)))
        logits = method.predict(inputs.plain(index))
        if not torch.isfinite(logits).all():
            raise TrialError("The predictions are not finite.", "Lower the learning rate (lp.lr or fft.lr).")
        right += int((logits.argmax(1).cpu() == labels[index]).sum())
    return 100.0 * right / len(labels)


def summarise(history: list[dict[str, Any]]) -> dict[str, Any]:
    """Return best, last and oracle accuracy (protocol, section 1).

    ``best`` is selected by validation accuracy, the first epoch on ties; ``oracle`` by test
    accuracy, which no method has.
    """
    validation = [entry["validation"] for entry in history]
    test = [entry["test"] for entry in history]
    best = validation.index(max(validation))
    oracle = test.index(max(test))
    return {
        "best": test[best],
        "last": test[-1],
        "oracle": test[oracle],
        "best_epoch": best,
        "oracle_epoch": oracle,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
