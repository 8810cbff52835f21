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

from lnlbench import components, detectors
from lnlbench.api import Method
from lnlbench.conformance.kit_problem import trial_spec
from lnlbench.grids import tuning
from lnlbench.grids.tuning import TUNING_MODES
from lnlbench.inputs import feature_cache as features
from lnlbench.noise import human
from lnlbench.noise import noise_file as file
from lnlbench.noise.instance import instance
from lnlbench.noise.maps import NO_MAPS
from lnlbench.noise.noise_options import resolve
from lnlbench.noise.uniform import asymmetric, symmetric
from lnlbench.plugins import registry
from lnlbench.spec import NO_BACKBONE, BackboneSpec, NoiseSpec
from lnlbench.trials import trial
from tools.fidelity.docstrings import Docstring, Parameter, parse

OURS = "lnlbench"  # the distribution whose methods are on the page

# By noise type: what implements it, and a specification that is complete.
GENERATORS: dict[str, tuple[Any, NoiseSpec]] = {
    "symmetric": (symmetric, NoiseSpec("symmetric", 0.5)),
    "asymmetric": (asymmetric, NoiseSpec("asymmetric", 0.5)),
    "instance": (instance, NoiseSpec("instance", 0.5)),
    "human": (human, NoiseSpec("human", options=(("labels", "worse"),))),
    "file": (file, NoiseSpec("file", options=(("path", "labels.npz"),))),
}
# What runs every method; by the name in ``COVERS``.
FOUNDATIONS: dict[str, ModuleType] = {
    "tuning": tuning,
    "cache": features,
    "detectors": detectors,
    "trial": trial,
}
COMPONENTS = "components"

# Of a method's verbs, those that say nothing about its algorithm.
_HOUSEKEEPING = {"state_dict", "load_state_dict", "supports", "resolve", "create"}


@dataclass(frozen=True)
class Facts:
    """A noise generator, or what a method has in common with one.

    Attributes
    ----------
    name : str
    docs : tuple of Docstring
        Its own; of a method, then those of the bases that it shares with other methods.
    parameters : tuple of Parameter
    defaults : dict
        As the code has them.
    """

    name: str
    docs: tuple[Docstring, ...]
    parameters: tuple[Parameter, ...]
    defaults: dict[str, Any]

    @property
    def subject(self) -> str:
        """What tests say that they cover."""
        return f"noise:{self.name}"


@dataclass(frozen=True)
class MethodFacts(Facts):
    """A method, as its class says it is.

    Attributes
    ----------
    cls : type of Method
    steps : dict of str
        First paragraph of the docstrings of its functions, by name, in the order of the code.
    pieces : list of str
        Modules of ``lnlbench.components`` that it is made of.
    declined : dict of str
        Reason by tuning mode, or by what else cannot be run.
    """

    cls: type[Method]
    steps: dict[str, str]
    pieces: list[str]
    declined: dict[str, str]

    @property
    def subject(self) -> str:
        """What tests say that they cover."""
        return self.name


def method_facts() -> list[MethodFacts]:
    """Return the facts of every registered method of this distribution, sorted by name."""
    methods = registry.methods()
    names = [entry.name for entry in methods.entries() if entry.distribution == OURS]
    return [facts_of(name, methods.load(name)) for name in names]


def facts_of(name: str, method: type[Method]) -> MethodFacts:
    """Return the facts of one method."""
    lineage = method.__mro__[: method.__mro__.index(Method)]
    classes = [cls for cls in lineage if issubclass(cls, Method)]
    return MethodFacts(
        name=name,
        docs=tuple(parse(cls.__doc__) for cls in classes),
        parameters=parse(method.Params.__doc__).parameters("Attributes"),
        defaults={field.name: field.default for field in dataclasses.fields(method.Params)},
        cls=method,
        steps=_steps(method, classes),
        pieces=sorted(set(_pieces(sys.modules[method.__module__]))),
        declined=_declined(name, method),
    )


def noise_facts() -> list[Facts]:
    """Return the facts of every noise generator."""
    docs = {name: parse(implementation.__doc__) for name, (implementation, _) in GENERATORS.items()}
    return [
        Facts(name, (docs[name],), docs[name].parameters("Options"), resolve(spec, NO_MAPS, 10))
        for name, (_, spec) in GENERATORS.items()
    ]


def component_facts() -> dict[str, tuple[str, dict[str, str]]]:
    """Return summaries of the modules that methods share, by name, each with those of its functions."""
    modules = [
        import_module(f"{components.__name__}.{info.name}")
        for info in pkgutil.iter_modules(components.__path__)
    ]
    return {
        module.__name__.rpartition(".")[2]: (_summary(module), _summaries(_own_functions(module)))
        for module in modules
    }


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
        features_spec = dataclasses.replace(specs["lp"], backbone=BackboneSpec(NO_BACKBONE))
        skips["data sets of features"] = method.supports(features_spec)
    return {where: skip.reason for where, skip in skips.items() if skip}
