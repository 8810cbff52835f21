"""What the docstrings or the tests leave out: each gap is a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tools.fidelity.covering import CoveringTest
from tools.fidelity.facts import COMPONENTS, FOUNDATIONS, Facts, MethodFacts


def gaps(subjects: Sequence[Facts], tests: Mapping[str, list[CoveringTest]]) -> list[str]:
    """Return what is missing for the page to be complete; empty if nothing is."""
    found = [gap for facts in subjects for gap in (*_of_docs(facts), *_of_parameters(facts))]
    known = {COMPONENTS, *FOUNDATIONS, *(facts.subject for facts in subjects)}
    found += [f"{name}: no test file says that it covers it." for name in sorted(known - tests.keys())]
    found += [f"{name}: covered by a test, but unknown." for name in sorted(tests.keys() - known)]
    return found


def _of_docs(facts: Facts) -> Iterator[str]:
    doc = facts.docs[0]
    if not doc.claim:
        yield f"{facts.subject}: there is no docstring that says what it is."
    if not doc.source:
        yield f"{facts.subject}: the docstring has no paragraph 'Source: …'."
    if not any(doc.deviations for doc in facts.docs):
        yield f"{facts.subject}: the docstring has neither 'Deviations …' nor 'No deviations known.'."
    if isinstance(facts, MethodFacts) and not doc.cost:
        yield f"{facts.subject}: the docstring of the class has no paragraph 'Costs …'."


def _of_parameters(facts: Facts) -> Iterator[str]:
    for missing in sorted(facts.defaults.keys() - {parameter.name for parameter in facts.parameters}):
        yield f"{facts.subject}: parameter {missing} has no description."
    for parameter in facts.parameters:
        name = f"parameter {parameter.name}"
        if parameter.name not in facts.defaults:
            yield f"{facts.subject}: {name} is described, but there is none."
            continue
        if not parameter.meaning:
            yield f"{facts.subject}: {name} has no meaning."
        if not parameter.source:
            yield f"{facts.subject}: {name} has no 'Source: …'."
        # The page has to give a path, labels or a map, which is no default.
        given = isinstance(facts, MethodFacts) or parameter.name not in ("path", "labels", "map")
        expected = written(facts.defaults[parameter.name] if given else None)
        if parameter.default != expected:
            yield (
                f"{facts.subject}: the description of {name} says 'Default {parameter.default}', "
                f"the code {expected}."
            )


def written(value: Any) -> str:
    """Return a default as docstrings write it: ``4`` for 4.0, ``"once"`` for a string."""
    if isinstance(value, float):
        return f"{value:g}"
    return f'"{value}"' if isinstance(value, str) else str(value)
