"""What is on the page: methods, noise generators, shared pieces, and the running of a trial."""

from __future__ import annotations

import dataclasses
import inspect
import pkgutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from lnlbench import components, registry, trial, tuning
from lnlbench.api import Method, Preset
from lnlbench.conformance.problem import trial_spec
from lnlbench.data import features
from lnlbench.fidelity.docstrings import Docstring, Parameter, parse
from lnlbench.noise import file
from lnlbench.noise.instance import instance
from lnlbench.noise.settings import resolve
from lnlbench.noise.uniform import asymmetric, symmetric
from lnlbench.spec import DatasetSpec, NoiseSpec
from lnlbench.tuning import TUNING_MODES

OURS = "lnlbench"  # the distribution whose methods are on the page

# By noise type: what implements it, and a specification that is complete.
GENERATORS: dict[str, tuple[Any, NoiseSpec]] = {
    "symmetric": (symmetric, NoiseSpec("symmetric", 0.5)),
    "asymmetric": (asymmetric, NoiseSpec("asymmetric", 0.5)),
    "instance": (instance, NoiseSpec("instance", 0.5)),
    "file": (file, NoiseSpec("file", options=(("path", "labels.npz"),))),
}
# What runs every method; by the name in ``COVERS``.
FOUNDATIONS: dict[str, ModuleType] = {"tuning": tuning, "cache": features, "trial": trial}
COMPONENTS = "components"

# Of a method's verbs, those that say nothing about its algorithm.
_HOUSEKEEPING = {"state_dict", "load_state_dict", "supports", "resolve", "create"}


@dataclass(frozen=True, slots=True)
class MethodFacts:
    """A method, as its class says it is.

    Attributes
    ----------
    name : str
    title : str
        Name of the class.
    docs : tuple of Docstring
        Of the class and of the bases that it shares with other methods, its own first.
    steps : dict of str
        First paragraph of the docstrings of its functions, by name, in the order of the code.
    pieces : tuple of str
        Modules of ``lnlbench.components`` that it is made of.
    parameters : tuple of Parameter
    defaults : dict
        The defaults as the code has them.
    dataset_defaults : dict
    presets : dict of Preset
    declined : dict of str
        Reason by tuning mode, or by what else cannot be run.
    """

    name: str
    title: str
    docs: tuple[Docstring, ...]
    steps: dict[str, str]
    pieces: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    defaults: dict[str, Any]
    dataset_defaults: Mapping[str, Mapping[str, Any]]
    presets: Mapping[str, Preset]
    declined: dict[str, str]


@dataclass(frozen=True, slots=True)
class NoiseFacts:
    """A noise generator, as its docstring says it is; ``defaults`` are those of the code."""

    name: str
    doc: Docstring
    parameters: tuple[Parameter, ...]
    defaults: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ComponentFacts:
    """A module that methods share; ``functions`` are summaries by name."""

    name: str
    summary: str
    functions: dict[str, str]


def method_facts() -> list[MethodFacts]:
    """Return the facts of every registered method of this distribution, sorted by name."""
    methods = registry.methods()
    names = [entry.name for entry in methods.entries() if entry.distribution == OURS]
    return [facts_of(name, methods.load(name)) for name in names]


def facts_of(name: str, method: type[Method]) -> MethodFacts:
    """Return the facts of one method."""
    lineage = method.__mro__[: method.__mro__.index(Method)]
    classes = [cls for cls in lineage if issubclass(cls, Method)]
    params = method.Params
    return MethodFacts(
        name=name,
        title=method.__name__,
        docs=tuple(parse(cls.__doc__) for cls in classes),
        steps=_steps(method, classes),
        pieces=tuple(sorted(set(_pieces(sys.modules[method.__module__])))),
        parameters=parse(params.__doc__).parameters("Attributes"),
        defaults={field.name: field.default for field in dataclasses.fields(params)},
        dataset_defaults=method.dataset_defaults,
        presets=method.presets,
        declined=_declined(name, method),
    )


def noise_facts() -> list[NoiseFacts]:
    """Return the facts of every noise generator."""
    facts = []
    for name, (implementation, spec) in GENERATORS.items():
        doc = parse(implementation.__doc__)
        defaults = resolve(spec, "digits", 10)
        facts.append(NoiseFacts(name, doc, doc.parameters("Options"), defaults))
    return facts


def component_facts() -> list[ComponentFacts]:
    """Return the facts of every module of shared pieces, sorted by name."""
    facts = []
    for info in pkgutil.iter_modules(components.__path__):
        module = import_module(f"{components.__name__}.{info.name}")
        facts.append(ComponentFacts(info.name, _summary(module), _summaries(_own_functions(module))))
    return facts


def _steps(method: type[Method], classes: list[type[Method]]) -> dict[str, str]:
    # A base is the frame, so its functions come first; each is described by its last override.
    names = dict.fromkeys(name for cls in reversed(classes) for name in vars(cls) if name[0] != "_")
    verbs = {name: getattr(method, name) for name in names if name not in _HOUSEKEEPING}
    return _summaries(verbs | _own_functions(sys.modules[method.__module__]))


def _own_functions(module: ModuleType) -> dict[str, Any]:
    """Return the public functions that a module defines itself."""
    return {
        name: value
        for name, value in vars(module).items()
        if name[0] != "_" and getattr(value, "__module__", None) == module.__name__
    }


def _summaries(objects: Mapping[str, Any]) -> dict[str, str]:
    return {name: _summary(value) for name, value in objects.items() if inspect.isfunction(value)}


def _summary(value: Any) -> str:
    return next(iter(parse(value.__doc__).paragraphs), "")


def _pieces(module: ModuleType) -> Iterator[str]:
    """Yield the component modules that a module takes something from, directly or through another."""
    for value in list(vars(module).values()):
        origin = getattr(value, "__module__", None) or ""
        if origin.startswith(f"{components.__name__}.") and origin != module.__name__:
            yield origin.rpartition(".")[2]
            yield from _pieces(sys.modules[origin])


def _declined(name: str, method: type[Method]) -> dict[str, str]:
    specs = {mode: trial_spec(method.resolve(name, "digits", {}), mode) for mode in TUNING_MODES}
    skips = {mode: method.supports(spec) for mode, spec in specs.items()}
    if skips["lp"] is None:  # the only mode for a data set of features
        features_spec = dataclasses.replace(specs["lp"], dataset=DatasetSpec("features:features.npz"))
        skips["data sets of features"] = method.supports(features_spec)
    return {where: skip.reason for where, skip in skips.items() if skip}
