"""Checks of what a method's class declares; they need no trial."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from lnlbench.api import Method, Skip
from lnlbench.conformance.kit_problem import DATASET, trial_spec
from lnlbench.conformance.rules import NotApplicable, Rule, Verdict, rule
from lnlbench.errors import LnlbenchError
from lnlbench.grids.tuning import TUNING_MODES
from lnlbench.spec import MethodSpec, NoiseSpec, TrialSpec

# Noise that a method might wrongly choose its trials by.
NOISES = ("none", "real", "symmetric-0.2", "symmetric-0.9", "asymmetric-0.4", "instance-0.4")


@dataclass(frozen=True, slots=True)
class Declaration:
    """A method's class under the name by which it is asked for."""

    name: str
    method_class: type[Method]

    def resolve(self, dataset: str = DATASET.name, preset: str | None = None) -> MethodSpec:
        """Return the method with its default parameters, or a preset's."""
        return self.method_class.resolve(self.name, dataset, {}, preset)

    def skips(self, spec: TrialSpec) -> Skip | None:
        """Return the method's answer to a trial."""
        return self.method_class.supports(spec)


DECLARATION_RULES: list[Rule[Declaration]] = []


@rule("documented", DECLARATION_RULES)
def documented(subject: Declaration) -> Verdict:
    """The class has a docstring of its own; lists and tables show its first line."""
    # Not inspect.getdoc, which would find the docstring of Method.
    if (vars(subject.method_class).get("__doc__") or "").strip():
        return None
    return f"class {subject.method_class.__name__} has none"


@rule("parameters", DECLARATION_RULES)
def parameters_survive(subject: Declaration) -> Verdict:
    """Parameters are a frozen dataclass with defaults, and are the same after a record was read back."""
    decoration = vars(subject.method_class.Params).get("__dataclass_params__")
    if decoration is None or not decoration.frozen:
        return "Params is not decorated with @dataclass(frozen=True)"
    spec = trial_spec(subject.resolve(), "lp")
    read = TrialSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    if read.trial_id != spec.trial_id:
        return f"a trial with {dict(spec.method.params)} has another identity when it is read back"
    before, after = (subject.method_class.create(value.method).params for value in (spec, read))
    if before != after:
        return f"{before} becomes {after}"
    return None


@rule("presets", DECLARATION_RULES)
def presets_are_valid(subject: Declaration) -> Verdict:
    """Every preset and every data set's default names its source and has valid values."""
    method_class = subject.method_class
    if not method_class.presets and not method_class.dataset_defaults:
        return NotApplicable("the method has none")
    for name, preset in method_class.presets.items():
        if not preset.source.strip():
            return f"preset '{name}' names no source"
        if broken := _broken(subject, preset=name):
            return f"preset '{name}': {broken}"
    for dataset in method_class.dataset_defaults:
        if broken := _broken(subject, dataset=dataset):
            return f"defaults for '{dataset}': {broken}"
    return None


def _broken(subject: Declaration, dataset: str = DATASET.name, preset: str | None = None) -> str | None:
    """Say what is wrong with values that the class itself gives."""
    given = (
        subject.method_class.presets[preset].values
        if preset
        else subject.method_class.dataset_defaults[dataset]
    )
    try:
        # Given like a user's values, types are checked as well.
        subject.method_class.resolve(subject.name, dataset, given)
        subject.resolve(dataset, preset)
    except LnlbenchError as error:
        return str(error)
    return None


@rule("supports", DECLARATION_RULES)
def supports_is_honest(subject: Declaration) -> Verdict:
    """supports() declines with a reason, not by the noise, and leaves at least one tuning mode."""
    method = subject.resolve()
    declined = 0
    for tuning in TUNING_MODES:
        spec = trial_spec(method, tuning)
        answer = subject.skips(spec)
        if answer is not None:
            if not isinstance(answer, Skip):
                return f"the answer to {tuning} is {answer!r}; it must be Skip(reason) or None"
            if not answer.reason.strip():
                return f"{tuning} is declined without a reason"
            declined += 1
        for noise in NOISES:
            if subject.skips(dataclasses.replace(spec, noise=NoiseSpec.parse(noise))) != answer:
                return f"the answer to {tuning} changes with the noise ({noise}), which no method knows"
    if declined == len(TUNING_MODES):
        return "every tuning mode is declined"
    return None
