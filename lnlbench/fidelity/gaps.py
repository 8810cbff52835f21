"""What the docstrings or the tests leave out: each gap is a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lnlbench.fidelity.coverage import CoveringTest
from lnlbench.fidelity.docstrings import Docstring, Parameter
from lnlbench.fidelity.subjects import COMPONENTS, FOUNDATIONS, MethodFacts, NoiseFacts


def gaps(
    methods: Sequence[MethodFacts], noises: Sequence[NoiseFacts], tests: Mapping[str, list[CoveringTest]]
) -> list[str]:
    """Return what is missing for the page to be complete; empty if nothing is."""
    found: list[str] = []
    known = {COMPONENTS, *FOUNDATIONS}
    for method in methods:
        known.add(method.name)
        own = method.docs[0]
        found += _of_subject(method.name, own.claim, own.source, method.docs, tests)
        if not own.cost:
            found.append(f"{method.name}: the docstring of the class has no paragraph 'Costs …'.")
        found += _of_parameters(method.name, method.parameters, method.defaults)
    for noise in noises:
        name = f"noise:{noise.name}"
        known.add(name)
        found += _of_subject(name, noise.doc.claim, noise.doc.source, (noise.doc,), tests)
        # Not the default of a path, which is there because the page has to give one.
        defaults = {key: None if key in ("path", "map") else value for key, value in noise.defaults.items()}
        found += _of_parameters(name, noise.parameters, defaults)
    found += [f"{name}: no test file says that it covers it." for name in sorted(known - tests.keys())]
    found += [f"{name}: covered by a test, but unknown." for name in sorted(tests.keys() - known)]
    return found


def _of_subject(
    name: str,
    claim: Sequence[str],
    source: str,
    docs: Sequence[Docstring],
    tests: Mapping[str, list[CoveringTest]],
) -> Iterator[str]:
    if not claim:
        yield f"{name}: there is no docstring that says what it is."
    if not source:
        yield f"{name}: the docstring has no paragraph 'Source: …'."
    if not any(doc.deviations for doc in docs):
        yield f"{name}: the docstring has neither 'Deviations …' nor 'No deviations known.'."


def _of_parameters(name: str, described: Sequence[Parameter], defaults: Mapping[str, Any]) -> Iterator[str]:
    for missing in sorted(defaults.keys() - {parameter.name for parameter in described}):
        yield f"{name}: parameter {missing} has no description."
    for parameter in described:
        if parameter.name not in defaults:
            yield f"{name}: parameter {parameter.name} is described, but there is none."
            continue
        if not parameter.meaning:
            yield f"{name}: parameter {parameter.name} has no meaning."
        if not parameter.source:
            yield f"{name}: parameter {parameter.name} has no 'Source: …'."
        expected = written(defaults[parameter.name])
        if parameter.default != expected:
            yield (
                f"{name}: the description of parameter {parameter.name} says 'Default "
                f"{parameter.default}', the code {expected}."
            )


def written(value: Any) -> str:
    """Return a default as docstrings write it: ``4`` for 4.0, ``"once"`` for a string."""
    if isinstance(value, float):
        return f"{value:g}"
    return f'"{value}"' if isinstance(value, str) else str(value)
