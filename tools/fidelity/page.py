"""The page as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from lnlbench.grids.tuning import TUNING_MODES
from tools.fidelity.covering import CoveringTest
from tools.fidelity.docstrings import Docstring
from tools.fidelity.facts import COMPONENTS, FOUNDATIONS, Facts, MethodFacts, component_facts
from tools.fidelity.gaps import written

_INTRODUCTION = """\
<!-- Made by `python -m tools.fidelity` from docstrings, classes and tests. Edit those instead. -->

# Fidelity

What each method and noise generator claims to be, where every value comes from, each known deviation, and
the tests. This page is made from the code, and a test fails when it is out of date or something is missing.

- "Their" paper and code are those named under *source*. A parameter whose source is "ours" is not in them.
- Cost is in forward units: a forward pass is 1, a backward pass 2, per training sample and epoch of full
  fine-tuning. Counted passes are compared with these formulas in `tests/test_ledger_theory.py`.
- *Noise-aware* values use knowledge of the noise that nobody has in practice. They are presets, never
  defaults, and records and tables flag them.
- Budgets, optimisers, learning rates and schedules belong to a grid, not to a method, and are not
  listed as deviations. The originals train for many more epochs, on CIFAR from random weights.
- A step that is not listed is the default of `lnlbench.api.Method`: one network, one pass over all
  samples per epoch, the network's logits as prediction.
- What is not a method's is not repeated at each. Views are made by the data set's
  [recipe](data-and-backbones.md#augmentation), which on CIFAR is not the crop and flip of the methods' own
  codes (`dataset_options.recipe=crop-flip`). A last batch of one sample is joined to the one before, because
  batch normalisation has no variance of one; the loaders of DivideMix and ELR keep it, UNICON's drops it, and
  a record counts the event `batch_of_one_joined`. `preact_resnet18` is not quite the network
  [of these codes](data-and-backbones.md#from-scratch)."""


def render(
    methods: Sequence[MethodFacts], noises: Sequence[Facts], tests: Mapping[str, list[CoveringTest]]
) -> str:
    """Return the page; ``tests`` are by what they cover."""
    blocks = [_INTRODUCTION, "## Methods", _overview(methods, tests)]
    for method in methods:
        blocks += [*_method(method), *_tests(tests.get(method.subject, []))]
    blocks.append("## Noise generators")
    blocks.append("What is drawn depends on data set, noise and seed only. `real` and `none` draw nothing.")
    for noise in noises:
        blocks += [*_noise(noise), *_tests(tests.get(noise.subject, []))]
    blocks += ["## Shared pieces", _components(methods)]
    blocks += _tests(tests.get(COMPONENTS, []))
    blocks.append("## Trials, tuning modes and the feature cache")
    for name, module in FOUNDATIONS.items():
        blocks.append(f"`{module.__name__}`: {(module.__doc__ or '').partition(chr(10))[0]}")
        blocks += _tests(tests.get(name, []))
    return _markdown("\n\n".join(blocks) + "\n")


def _overview(methods: Sequence[MethodFacts], tests: Mapping[str, list[CoveringTest]]) -> str:
    rows = []
    for method in methods:
        cost = method.docs[0].cost.partition(" forward units")[0]
        modes = ", ".join(mode for mode in TUNING_MODES if mode not in method.declined)
        count = str(len(tests.get(method.name, [])))
        rows.append((f"[`{method.name}`](#{method.name})", method.docs[0].claim[0], cost, modes, count))
    return _table(("method", "what it is", "cost", "tuning modes", "tests"), rows)


def _method(method: MethodFacts) -> Iterator[str]:
    own, *shared = method.docs
    yield f"### {method.name}"
    yield f"`{method.cls.__name__}`. {own.claim[0]}"
    yield from own.claim[1:]
    yield from (text for base in shared for text in base.claim)
    yield f"**Source.** {_capital(own.source)}"
    yield f"**Cost.** {own.cost}"
    modes = [f"{', '.join(mode for mode in TUNING_MODES if mode not in method.declined)}."]
    modes += [f"Not {where}: {reason}." for where, reason in method.declined.items()]
    yield f"**Tuning modes.** {' '.join(modes)}"
    yield from _deviations(method.docs)
    yield "**Steps.**"
    yield "\n".join(f"- `{name}`: {text}" for name, text in method.steps.items())
    if method.pieces:
        names = ", ".join(f"`{name}`" for name in method.pieces)
        yield f"Made of these [shared pieces](#shared-pieces): {names}."
    yield from _parameters("Parameters", method)
    if method.cls.dataset_defaults:
        rows = [(f"`{name}`", _values(values)) for name, values in method.cls.dataset_defaults.items()]
        yield "**Defaults by data set** (noise-agnostic; their sources are those of the parameters)**.**"
        yield _table(("data set", "values"), rows)
    if method.cls.presets:
        yield "**Presets.**"
        yield _table(
            ("preset", "values", "noise-aware", "source"),
            [
                (f"`{name}`", _values(preset.values), "yes" if preset.noise_aware else "no", preset.source)
                for name, preset in method.cls.presets.items()
            ],
        )


def _noise(noise: Facts) -> Iterator[str]:
    yield f"### {noise.name}"
    yield from noise.docs[0].claim
    yield f"**Source.** {_capital(noise.docs[0].source)}"
    yield from _deviations(noise.docs)
    yield from _parameters("Options", noise)


def _deviations(docs: Sequence[Docstring]) -> Iterator[str]:
    yield "**Deviations.**"
    texts = [text.removeprefix("Deviations ") for doc in docs for text in doc.deviations]
    yield "\n".join(f"- {_capital(text)}" for text in texts)


def _components(methods: Sequence[MethodFacts]) -> str:
    lines = []
    for piece, (summary, functions) in component_facts().items():
        users = ", ".join(f"`{method.name}`" for method in methods if piece in method.pieces)
        lines.append(f"- `{piece}`, used by {users or 'none of these'}: {summary}")
        lines += [f"  - `{name}`: {text}" for name, text in functions.items()]
    return "\n".join(lines)


def _parameters(title: str, facts: Facts) -> Iterator[str]:
    if not facts.parameters:
        yield f"**{title}.** None."
        return
    yield f"**{title}.**"
    rows = []
    for name, meaning, default, source in facts.parameters:
        # Nothing is lost with a sentence that only repeats the default.
        shown = meaning.removesuffix(f" Default {default}.")
        rows.append((f"`{name}`", f"`{default}`", shown, _capital(source)))
    yield _table(("name", "default", "meaning", "source"), rows)


def _tests(tests: list[CoveringTest]) -> Iterator[str]:
    yield "**Tests.**"
    lines = []
    for file, group in groupby(tests, key=lambda test: test.file):
        lines.append(f"- [`{file}`](../tests/{file})")
        lines += [f"  - {test.sentence}" for test in group]
    yield "\n".join(lines) or "None."


def _values(values: Mapping[str, Any]) -> str:
    return ", ".join(f"`{name} = {written(value)}`" for name, value in values.items())


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _markdown(text: str) -> str:
    """Turn the reStructuredText of docstrings into Markdown."""
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text.replace("``", "`"))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    # A row is one line, and a pipe would end its cell.
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
