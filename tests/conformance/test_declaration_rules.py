"""What a method must declare, found without training it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from lnlbench.api import Batch, Method, Preset, Skip, functional
from lnlbench.conformance import Outcome
from lnlbench.conformance.declaration import DECLARATION_RULES, Declaration


class Sound(Method):
    """A method with nothing to complain about."""

    def loss(self, batch: Batch) -> torch.Tensor:
        return functional.cross_entropy(self.network(batch.inputs), batch.labels)


def judge_declaration(method_class: type[Method]) -> dict[str, str]:
    findings = [rule.judge(Declaration("method", method_class), "class") for rule in DECLARATION_RULES]
    return {finding.check: finding.reason for finding in findings if finding.outcome is Outcome.FAILED}


def test_no_docstring() -> None:
    class Silent(Sound):
        loss = Sound.loss

    assert judge_declaration(Silent) == {"documented": "class Silent has none"}


def test_parameters_that_can_change() -> None:
    @dataclass
    class Params:
        rate: float = 0.1

    broken = judge_declaration(type("Loose", (Sound,), {"__doc__": "Loose.", "Params": Params}))
    assert broken == {"parameters": "Params is not decorated with @dataclass(frozen=True)"}


def test_parameters_that_a_record_cannot_hold() -> None:
    @dataclass(frozen=True)
    class Params:
        rates: frozenset[float] = frozenset({0.1})

    broken = judge_declaration(type("Odd", (Sound,), {"__doc__": "Odd.", "Params": Params}))
    assert broken["parameters"].startswith("TypeError: Object of type frozenset is not JSON serializable")


@dataclass(frozen=True)
class OneParam:
    rate: float = 0.1


@pytest.mark.parametrize(
    ("presets", "defaults", "reason"),
    [
        ({"big": Preset({"rate": 1.0}, " ")}, {}, "preset 'big' names no source"),
        (
            {"big": Preset({"size": 1.0}, "a paper")},
            {},
            "preset 'big': Method 'method' has no parameter 'size'.",
        ),
        ({"big": Preset({"rate": "1"}, "a paper")}, {}, "preset 'big': Parameter 'rate'"),
        ({}, {"cifar10": {"size": 1.0}}, "defaults for 'cifar10': Method 'method' has no parameter 'size'."),
    ],
)
def test_presets_that_cannot_be_used(presets: Any, defaults: Any, reason: str) -> None:
    attributes = {"__doc__": "Preset.", "Params": OneParam, "presets": presets, "dataset_defaults": defaults}
    broken = judge_declaration(type("WithPresets", (Sound,), attributes))
    assert broken.keys() == {"presets"}
    assert broken["presets"].startswith(reason)


def test_valid_presets() -> None:
    attributes = {
        "__doc__": "Preset.",
        "Params": OneParam,
        "presets": {"big": Preset({"rate": 1}, "a paper")},
        "dataset_defaults": {"cifar10": {"rate": 0.5}},
    }
    assert not judge_declaration(type("WithPresets", (Sound,), attributes))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda spec: Skip(" "), "lp is declined without a reason"),
        (lambda spec: False, "the answer to lp is False; it must be Skip(reason) or None"),
        (lambda spec: Skip("too hard"), "every tuning mode is declined"),
        (
            lambda spec: Skip("too noisy") if spec.noise.rate > 0.5 else None,
            "the answer to lp changes with the noise (symmetric-0.9), which no method knows",
        ),
    ],
)
def test_dishonest_answers(answer: Any, reason: str) -> None:
    attributes = {"__doc__": "Dishonest.", "supports": classmethod(lambda cls, spec: answer(spec))}
    assert judge_declaration(type("Dishonest", (Sound,), attributes)) == {"supports": reason}
