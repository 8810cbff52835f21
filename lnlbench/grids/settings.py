"""What can be set for a trial: one list of keys and types for grid files, overrides and ``--set``.

A setting is a dotted key (``lp.epochs``, ``methods.turn.tau``) with a value and the place where
it was given. The keys and types are those of the dataclasses in :mod:`lnlbench.spec`, which are
also what checks a value's range.
"""

from __future__ import annotations

import math
import tomllib
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

from lnlbench.basics.printable import check_characters
from lnlbench.errors import UsageError, suggest
from lnlbench.grids.toml import MAX_INTEGER, Origin, parse_toml
from lnlbench.grids.tuning import is_mode, kinds_of, phase_kind, registered_kinds
from lnlbench.spec import (
    NOISE_TYPES,
    PRECISIONS,
    BackboneSpec,
    DatasetSpec,
    EmbeddingSpec,
    PhaseSpec,
    one_of,
)

# Axes of a grid; `--set` replaces them as a whole.
AXES = ("dataset", "backbone", "noise", "tuning", "method", "seeds")

# A type, and a constructor that raises for a value out of range.
Declared = tuple[Any, Callable[[Any], object]]


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and where it was given."""

    value: Any
    origin: Origin


Settings = Mapping[str, Setting]


def _probe(cls: type[Any], field: str, **required: Any) -> Callable[[Any], object]:
    return lambda value: cls(**(required | {field: value}))


def _fixed_keys() -> dict[str, Declared]:
    """Every key that does not depend on which kinds of phases there are."""
    keys: dict[str, Declared] = {"precision": (str, lambda value: one_of(value, PRECISIONS, "precision"))}
    for prefix, spec in (("dataset_options", DatasetSpec), ("backbone_options", BackboneSpec)):
        for name, annotation in get_type_hints(spec).items():
            if name not in ("name", "options"):
                keys[f"{prefix}.{name}"] = (annotation, _probe(spec, name, name="probe"))
    for name, annotation in get_type_hints(EmbeddingSpec).items():
        # "none" turns the embedding off again.
        kind = annotation | None if name == "samples" else annotation
        keys[f"embedding.{name}"] = (kind, _unless_none(_probe(EmbeddingSpec, name, samples=2)))
    return keys


def _unless_none(probe: Callable[[Any], object]) -> Callable[[Any], object]:
    return lambda value: None if value is None else probe(value)


_FIXED = _fixed_keys()


def _of_kind(kind: str) -> dict[str, Declared]:
    declaration = phase_kind(kind)
    own = get_type_hints(declaration.Options)
    return {
        name: (annotation, _probe(declaration.Options, name))
        if name in own
        else (annotation, _probe(PhaseSpec, name, kind=kind, epochs=1))
        for name, annotation in declaration.settings().items()
    }


def phase_settings(kind: str) -> tuple[str, ...]:
    """Return the names of what can be set for a kind of phase: ``epochs``, ``lr`` …"""
    return tuple(phase_kind(kind).settings())


def all_keys() -> tuple[str, ...]:
    """Return every full key, with those of all registered kinds of phases.

    A mode's own values (``lp-fft.lp.lr``) are not among them, nor parameters and options that their
    owners check.
    """
    return (*_FIXED, *(f"{kind}.{name}" for kind in registered_kinds() for name in phase_settings(kind)))


def short_for(name: str) -> list[str]:
    """Return the full keys that a name without a section may mean."""
    return [key for key in all_keys() if key.rpartition(".")[2] == name]


def phase_key(key: str) -> tuple[str, str] | None:
    """Return the kind and the name of a key ``KIND.NAME`` or ``MODE.KIND.NAME``; None for others."""
    parts = key.split(".")
    if len(parts) not in (2, 3) or parts[-2] not in registered_kinds():
        return None
    *mode, kind, name = parts
    if mode and ("-" not in mode[0] or kind not in mode[0].split("-") or not is_mode(mode[0])):
        return None
    return kind, name


def _declared(key: str) -> Declared | None:
    """Return what a key takes; None for what its owner checks, and for what is no key."""
    if (phase := phase_key(key)) is not None:
        kind, name = phase
        return _of_kind(kind).get(name)
    return _FIXED.get(key)


def resolve_key(key: str) -> str:
    """Return the full key for a full or unambiguously abbreviated one.

    Raises
    ------
    UsageError
        If the key is unknown, or short for several.
    """
    if _declared(key) is not None:
        return key
    section, _, rest = key.partition(".")
    if section == "backbone_options" and rest and "." not in rest:
        return key  # options of a source are its own business
    if section == "methods":
        if rest.count(".") == 1 and all(rest.split(".")):
            return key
        raise UsageError(f"'{key}' names no parameter.", "Write methods.METHOD.PARAMETER.")
    if section == "noise_options":
        kind, _, option = rest.partition(".")
        one_of(kind, NOISE_TYPES, "noise")
        if option and "." not in option:
            return key
        raise UsageError(f"'{key}' names no option.", "Write noise_options.TYPE.OPTION.")
    matches = short_for(key)
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UsageError(f"'{key}' is short for several keys.", f"Write {' or '.join(matches)}.")
    parent, known = key.rpartition(".")[0], all_keys()
    if (phase := phase_key(key)) is not None:
        siblings = [f"{parent}.{name}" for name in phase_settings(phase[0])]
    else:
        siblings = [name for name in known if parent and name.startswith(f"{parent}.")]
    short = [name.rpartition(".")[2] for name in known]
    raise UsageError(f"Unknown key '{key}'.", suggest(key, siblings or {*short, *known}))


def check_value(key: str, value: Any) -> Any:
    """Return ``value`` as the type that ``key`` takes.

    ``"none"`` unsets a key that may be unset; an integer is a float where one is wanted.

    Raises
    ------
    UsageError
        If the type is wrong or the value is out of range.
    """
    _check_plain(key, value)
    declared = _declared(key)
    if declared is None:  # options of noise, backbones and methods, checked by their owners
        return value
    annotation, probe = declared
    allowed = get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    if types.NoneType in allowed and value == "none":
        return None
    if float in allowed and type(value) is int:
        value = float(value)
    if type(value) not in allowed:  # and not isinstance: true is no integer
        wanted = " or ".join(_TYPE_NAMES[item] for item in allowed)
        raise UsageError(f"{key} is {_shown(value)}; it must be {wanted}.")
    probe(value)
    return value


def _check_plain(key: str, value: Any) -> None:
    """Refuse what no setting can be, and no record could hold."""
    if isinstance(value, dict):
        raise UsageError(f"{key} is a table; it must be a value.")
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, list):
            todo += item
        elif isinstance(item, str):
            check_characters(item, key)
        elif type(item) not in (int, float, bool):  # TOML has dates, and tables in arrays
            raise UsageError(
                f"{key} holds a {type(item).__name__}.",
                "It must be a text, a number, true or false, or a list of these.",
            )
        elif isinstance(item, float) and not math.isfinite(item):
            raise UsageError(f"{key} is {item}; it must be a finite number.")
        elif isinstance(item, int) and abs(item) > MAX_INTEGER:
            raise UsageError(f"{key} is a number beyond 64 bits.")


_TYPE_NAMES = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a text",
    types.NoneType: '"none"',
}


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'the text "{value}"' if isinstance(value, str) else str(value)


def parse_value(key: str, text: str) -> Any:
    """Read a value of the command line: a TOML value if it is one, else a text."""
    try:
        document = parse_toml(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    if len(document) > 1:
        return text  # more than a value: a text with lines of its own
    value = document["value"]
    annotation = declared[0] if (declared := _declared(key)) is not None else None
    wants_text = str in (annotation, *get_args(annotation))
    # A revision may look like a number and still be a name.
    return text if wants_text and not isinstance(value, str) else value


def parse_values(key: str, text: str) -> list[Any]:
    """Read several values of the command line: a TOML array, or values separated by commas.

    Raises
    ------
    UsageError
        If the array is empty.
    """
    try:
        document = parse_toml(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return [parse_value(key, part.strip()) for part in text.split(",")]
    value = document["value"]
    if len(document) > 1 or not isinstance(value, list):
        return [parse_value(key, text)]
    if not value:
        raise UsageError(f"{key} is an empty list.", "Give at least one value.")
    return value


def flatten(tables: Mapping[str, Any], parent: str = "") -> Iterator[tuple[str, Any]]:
    """Yield nested tables as dotted keys with their values."""
    for name, value in tables.items():
        key = f"{parent}.{name}" if parent else name
        if isinstance(value, dict) and (value or _may_be_empty(key)):
            yield from flatten(value, key)
        else:
            yield key, value


def _may_be_empty(key: str) -> bool:
    """Whether a table without keys is one that could have some; else it stands where a value should."""
    section, _, rest = key.partition(".")
    if key in _FIXED:
        return False
    nested = section in ("methods", "noise_options") or ("-" in section and is_mode(section))
    return not rest or (nested and "." not in rest)


def options_under(settings: Settings, prefix: str) -> dict[str, Any]:
    """Return the values of the keys ``prefix.NAME`` as ``{NAME: value}``."""
    start = f"{prefix}."
    return {
        key.removeprefix(start): setting.value
        for key, setting in settings.items()
        if key.startswith(start) and "." not in key.removeprefix(start)
    }


def phase_spec(settings: Settings, tuning: str, kind: str) -> PhaseSpec:
    """Return the budget of one phase of a tuning mode.

    Raises
    ------
    UsageError
        If the number of epochs is not given.
    """
    chosen = phase_kind(kind)
    values = options_under(settings, kind) | options_under(settings, f"{tuning}.{kind}")
    if chosen.settings_of:
        known = chosen.settings()
        given = options_under(settings, chosen.settings_of)
        values = {key: value for key, value in given.items() if key in known} | values
    if "epochs" not in values:
        raise UsageError(
            f"Tuning '{tuning}' needs {kind}.epochs, which is not given.", f"Add --set {kind}.epochs=5."
        )
    if "batch_norm" in chosen.takes and _follows_probing(tuning, kind):
        # Statistics that move make another network of the probed one; results/batch_norm has what it costs.
        values.setdefault("batch_norm", "frozen")
    return chosen.resolve(kind, values)


def _follows_probing(tuning: str, kind: str) -> bool:
    """Whether all phases before one of this kind, of which there are some, keep the backbone as it is."""
    kinds = kinds_of(tuning)
    before = kinds[: kinds.index(kind)]
    return bool(before) and all(phase_kind(name).keeps_features for name in before)
