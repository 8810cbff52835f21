"""Checks of what a method does when it is trained, in one tuning mode."""

from __future__ import annotations

import dataclasses
import math
from functools import cached_property

import torch

from lnlbench.api import Method
from lnlbench.conformance.device_trace import judge
from lnlbench.conformance.kit_problem import as_features, learning_spec, with_other_truth
from lnlbench.conformance.rehearsal import Course, Rehearsal, global_generators
from lnlbench.conformance.rules import NotApplicable, Rule, Verdict, describe, rule
from lnlbench.errors import TrialError
from lnlbench.grids.tuning import phase_kind
from lnlbench.models.ledger import PARTS
from lnlbench.models.network import Network
from lnlbench.spec import TrialSpec, has_images
from lnlbench.trials.batched.grouping import has_head_losses
from lnlbench.trials.batched.head_rows import HeadRows, fits_together
from lnlbench.trials.problem import Problem, prepare_problem
from lnlbench.trials.workspace import Workspace

# Accuracy that guessing would exceed once in some millions of times: five standard deviations.
DEVIATIONS = 5.0
SATURATED_MARGIN = 200.0
# So small that weights stay where they are; a gradient that is not finite spoils them anyway.
STANDSTILL = 1e-12
# Of a loss that is computed in another order.
ROUNDING = 1e-3


class Training:
    """Trials of one method in one tuning mode, each made when the first check asks for it.

    Parameters
    ----------
    method_class : type of Method
    spec : TrialSpec
    workspace : Workspace
    covered : frozenset of str
        Kinds of phases that simpler modes of the same method have been checked in.
    """

    def __init__(
        self,
        method_class: type[Method],
        spec: TrialSpec,
        workspace: Workspace,
        covered: frozenset[str] = frozenset(),
    ) -> None:
        self.method_class = method_class
        self.spec = spec
        self.workspace = workspace
        self.covered = covered
        self.problem = prepare_problem(spec, workspace)
        self.checkpoint: bytes | None = None
        self.cannot_save = ""

    @property
    def kinds(self) -> frozenset[str]:
        """Kinds of this mode's phases."""
        return frozenset(phase.kind for phase in self.spec.phases)

    @property
    def interruption(self) -> int:
        """Epoch after which the state is saved, over all phases: half of the last phase is left."""
        return self.spec.epochs - math.ceil(self.spec.phases[-1].epochs / 2) - 1

    @cached_property
    def trained(self) -> Rehearsal:
        """The method after training, with its course; ``checkpoint`` is set on the way."""
        with global_generators(1):
            rehearsal = Rehearsal(self.method_class, self.spec, self.workspace, self.problem)
            for number, _ in enumerate(rehearsal.follow()):
                if number == self.interruption:
                    self._save(rehearsal)
        return rehearsal

    @cached_property
    def repeated(self) -> Course:
        """The same training again."""
        with global_generators(2):
            return Rehearsal(self.method_class, self.spec, self.workspace, self.problem).run()

    @cached_property
    def elsewhere(self) -> Course:
        """The same training where other labels are true, and so the noise is another."""
        problem = with_other_truth(self.problem)
        with global_generators(3):
            return Rehearsal(self.method_class, self.spec, self.workspace, problem).run()

    @cached_property
    def live(self) -> Course | None:
        """Linear probing on live images; None where the method declines it, and in other modes."""
        phases = tuple(dataclasses.replace(phase, cache=False, epochs=2) for phase in self.spec.phases)
        return self._if_supported(dataclasses.replace(self.spec, phases=phases), self.problem)

    @cached_property
    def on_features(self) -> Course | None:
        """Linear probing on a data set of features; None as for ``live``."""
        return self._if_supported(*as_features(self.spec, self.workspace))

    def _if_supported(self, spec: TrialSpec, problem: Problem) -> Course | None:
        if spec.tuning != "lp" or self.method_class.supports(spec) is not None:
            return None
        if self.method_class.reads_texts(spec) and not has_images(spec):
            return None
        return Rehearsal(self.method_class, spec, self.workspace, problem).run()

    def _save(self, rehearsal: Rehearsal) -> None:
        try:
            self.checkpoint = rehearsal.save()
        except Exception as error:  # noqa: BLE001  (told by the check that needs the state)
            self.cannot_save = describe(error)


TRAINING_RULES: list[Rule[Training]] = []


@rule("runs", TRAINING_RULES)
def runs(training: Training) -> Verdict:
    """A trial that supports() accepts can be run."""
    for where in ("trained", "live", "on_features"):
        try:
            getattr(training, where)
        except Exception as error:  # noqa: BLE001  (a plugin may raise anything at all)
            return f"{_VARIANTS[where]}{describe(error)}"
    return None


_VARIANTS = {"trained": "", "live": "on live images: ", "on_features": "on a data set of features: "}


@rule("learns", TRAINING_RULES)
def learns(training: Training) -> Verdict:
    """Linear probing under mild noise lifts test accuracy clearly above chance."""
    if "lp" not in training.kinds:
        return NotApplicable("a few steps of fine-tuning show nothing")
    if "lp" in training.covered:
        return NotApplicable("as in lp")
    spec = learning_spec(training.spec)
    problem = prepare_problem(spec, training.workspace)
    course = Rehearsal(training.method_class, spec, training.workspace, problem).run()
    chance = 1.0 / problem.classes
    deviation = math.sqrt(chance * (1.0 - chance) / len(problem.test_labels))
    needed = 100.0 * (chance + DEVIATIONS * deviation)
    reached = course.epochs[-1].test
    if reached < needed:
        return f"{reached:.0f} % after {spec.epochs} epochs of linear probing, where {needed:.0f} % is little"
    return None


@rule("predictions", TRAINING_RULES)
def predicts_logits(training: Training) -> Verdict:
    """predict() returns one row of floating-point logits per sample, and the same ones when asked again."""
    rehearsal = training.trained
    for count in (1, 7):
        inputs = rehearsal.splits.test.plain(torch.arange(count))
        with torch.no_grad(), rehearsal.ledger.bucket("evaluation"):
            logits, again = rehearsal.method.predict(inputs), rehearsal.method.predict(inputs)
        if not isinstance(logits, torch.Tensor):
            return f"it returns a {type(logits).__name__}"
        if logits.shape != (count, training.problem.classes):
            wanted = [count, training.problem.classes]
            return f"the shape for {count} inputs is {list(logits.shape)} instead of {wanted}"
        if not logits.is_floating_point():
            return f"the type is {logits.dtype}"
        if not torch.equal(logits, again):
            return "two calls on the same inputs differ"
    return None


@rule("ledger", TRAINING_RULES)
def ledger_is_plausible(training: Training) -> Verdict:
    """Training passes through the networks of task.network(), and leaves a frozen backbone alone."""
    for course in (training.trained.course, training.live):
        if course is not None and (problem := _implausible(course)):
            return problem
    return None


def _implausible(course: Course) -> str | None:
    for kind, passes in course.passes.items():
        for part in PARTS:
            forward, backward = passes[f"{part}_forward_grad"], passes[f"{part}_backward"]
            if backward > forward:
                return f"{backward} samples went back through the {part} in {kind}, of {forward} forward"
        frozen = passes["backbone_forward_grad"] + passes["backbone_backward"]
        keeps = phase_kind(kind).keeps_features
        if keeps and frozen:
            return f"{frozen} passes with gradient through the frozen backbone"
        stepped = any(epoch.loss is not None for epoch in course.epochs if epoch.kind == kind)
        for part in ("head",) if keeps else PARTS:
            if stepped and not passes[f"{part}_backward"]:
                return f"steps in {kind} pass nothing back through the {part} of a task.network()"
    return None


@rule("deterministic", TRAINING_RULES)
def is_deterministic(training: Training) -> Verdict:
    """The same seed gives the same losses, accuracies and predictions, bit for bit."""
    # `elsewhere` repeats the training too: if it is the same, a third one needs not be made.
    if training.trained.course.difference(training.elsewhere) is None:
        return None
    difference = training.trained.course.difference(training.repeated)
    return difference and f"in a second run, {difference}; draw random numbers from phase.generator"


@rule("blind", TRAINING_RULES)
def is_blind_to_the_truth(training: Training) -> Verdict:
    """Training does not change when other labels are the true ones and the given ones stay."""
    difference = training.trained.course.difference(training.elsewhere)
    if difference is None:
        return None
    if training.trained.course.difference(training.repeated) is not None:
        return NotApplicable("training is not deterministic")
    return f"with another truth, {difference}"


@rule("resumes", TRAINING_RULES)
def state_survives(training: Training) -> Verdict:
    """A new object that loads the saved state continues exactly as the old one did."""
    trained = training.trained
    if training.checkpoint is None:
        return f"state_dict() cannot be saved: {training.cannot_save}"
    with global_generators(4):
        fresh = Rehearsal(training.method_class, training.spec, training.workspace, training.problem)
        course = fresh.run(training.checkpoint)
    difference = trained.course.difference(course, since=training.interruption + 1)
    return (
        difference and f"after loading, {difference}; state_dict() may lack something that training changes"
    )


@rule("together", TRAINING_RULES)
def heads_learn_together(training: Training) -> Verdict:
    """Heads that are trained together lose in every epoch what they lose by themselves."""
    if training.spec.tuning != "lp" or not has_head_losses(training.method_class):
        return NotApplicable("it has no head_losses(), or none for this mode")
    with global_generators(7):
        members = [
            Rehearsal(training.method_class, training.spec, training.workspace, training.problem)
            for _ in range(2)
        ]
        starts = [member.starts() for member in members]
        rows: HeadRows | None = None
        for alone in training.trained.course.epochs:
            for begin in starts:
                next(begin)
            if not all(map(fits_together, members)):
                return "its optimiser has more than the head of the network, which head_losses() leaves out"
            rows = rows or HeadRows(members)
            rows.train()
            for member in members:
                loss = member.finish_epoch()["loss"]
                if not math.isclose(loss or 0.0, alone.loss or 0.0, rel_tol=ROUNDING):
                    where = f"the loss of epoch {alone.epoch + 1}"
                    return f"{where} is {loss} by head_losses() and {alone.loss} by loss()"
    return None


@rule("devices", TRAINING_RULES)
def devices_are_kept_apart(training: Training) -> Verdict:
    """On a GPU, no operator would get tensors of the GPU and of the CPU together."""
    if training.kinds <= training.covered:
        return NotApplicable("as in the simpler tuning modes")
    with global_generators(6):
        return judge(training.method_class, training.spec, training.workspace, training.problem)


@rule("saturation", TRAINING_RULES)
def finite_at_saturation(training: Training) -> Verdict:
    """Losses and gradients stay finite where the logit margin is 200, for wrong labels too."""
    if training.kinds <= training.covered:
        return NotApplicable("as in the simpler tuning modes")
    samples = len(training.problem.train_labels)
    # In one large batch, so that a gradient that is not finite does not show as the next loss.
    phases = tuple(
        dataclasses.replace(phase, lr=STANDSTILL, batch_size=samples) for phase in training.spec.phases
    )
    spec = dataclasses.replace(training.spec, phases=phases)
    with global_generators(5):
        rehearsal = Rehearsal(training.method_class, spec, training.workspace, training.problem)
        inputs = training.trained.splits.train.plain(torch.arange(samples))
        for network in rehearsal.model.networks:
            saturate(network.eval(), inputs)
        try:
            rehearsal.run()
        except TrialError as error:
            reason = error.message  # its hint is about learning rates
        else:
            reason = ""
    for network in rehearsal.model.networks:
        for name, parameter in network.named_parameters():
            if not parameter.isfinite().all():
                return f"{reason} A gradient of {name} is not finite.".lstrip()
    return reason or None


@torch.no_grad()
def saturate(network: Network, inputs: torch.Tensor) -> None:
    """Scale a network's head so that the mean margin between its two largest logits is 200."""
    largest = network(inputs).topk(2, dim=1).values
    factor = SATURATED_MARGIN / float((largest[:, 0] - largest[:, 1]).mean())
    for parameter in network.head.parameters():
        parameter.mul_(factor)
