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
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

from lnlbench.errors import GridError, LnlbenchError, UsageError, suggest
from lnlbench.printable import check_characters
from lnlbench.spec import (
    NOISE_TYPES,
    PRECISIONS,
    BackboneSpec,
    DatasetSpec,
    EmbeddingSpec,
    PhaseSpec,
    one_of,
)
from lnlbench.toml_text import MAX_INTEGER, parse_toml

# Axes of a grid; `--set` replaces them as a whole.
AXES = ("dataset", "backbone", "noise", "tuning", "method", "seeds")

PHASES = ("lp", "fft", "lp-fft.lp", "lp-fft.fft")

# A cache holds features of a frozen backbone, so only `lp` has one; batch statistics are frozen
# along with the backbone in `lp`, so only `fft` has a choice.
ONE_PHASE_ONLY = {"cache": "lp", "views": "lp", "batch_norm": "fft"}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was given: ``grid.toml:12`` or ``--set lp.epochs=3``."""

    text: str
    in_file: bool

    @contextmanager
    def locating(self) -> Iterator[None]:
        """Put this place in front of the message of a user's error."""
        try:
            yield
        except LnlbenchError as error:
            kind = GridError if self.in_file else UsageError
            raise kind(f"{self.text}: {error.message}", error.hint) from error


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and where it was given."""

    value: Any
    origin: Origin


Settings = Mapping[str, Setting]


def _keys() -> dict[str, tuple[Any, Callable[[Any], object]]]:
    """Every fixed key with its type and a constructor that raises for a value out of range."""
    keys: dict[str, tuple[Any, Callable[[Any], object]]] = {
        "precision": (str, lambda value: one_of(value, PRECISIONS, "precision"))
    }

    def probe(cls: type[Any], field: str, **required: Any) -> Callable[[Any], object]:
        return lambda value: cls(**(required | {field: value}))

    for prefix, spec in (("dataset_options", DatasetSpec), ("backbone_options", BackboneSpec)):
        for name, annotation in get_type_hints(spec).items():
            if name not in ("name", "options"):
                keys[f"{prefix}.{name}"] = (annotation, probe(spec, name, name="probe"))
    for name, annotation in get_type_hints(EmbeddingSpec).items():
        # "none" turns the embedding off again.
        kind = annotation | None if name == "samples" else annotation
        keys[f"embedding.{name}"] = (kind, _unless_none(probe(EmbeddingSpec, name, samples=2)))
    for prefix in PHASES:
        kind = prefix.rpartition(".")[2]
        for name, annotation in get_type_hints(PhaseSpec).items():
            if name != "kind" and ONE_PHASE_ONLY.get(name, kind) == kind:
                keys[f"{prefix}.{name}"] = (annotation, probe(PhaseSpec, name, kind=kind, epochs=1))
    return keys


def _unless_none(probe: Callable[[Any], object]) -> Callable[[Any], object]:
    return lambda value: None if value is None else probe(value)


KEYS = _keys()


def _short_names() -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for key in KEYS:
        if not key.startswith("lp-fft."):  # deviations of a mode are never what a short name means
            names.setdefault(key.rpartition(".")[2], []).append(key)
    return names


SHORT_NAMES = _short_names()


def resolve_key(key: str) -> str:
    """Return the full key for a full or unambiguously abbreviated one.

    Raises
    ------
    UsageError
        If the key is unknown, or short for several.
    """
    if key in KEYS:
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
    matches = SHORT_NAMES.get(key, [])
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UsageError(f"'{key}' is short for several keys.", f"Write {' or '.join(matches)}.")
    parent = key.rpartition(".")[0]
    siblings = [name for name in KEYS if parent and name.startswith(f"{parent}.")]
    raise UsageError(
        f"Unknown key '{key}'.",
        suggest(key, siblings or [*SHORT_NAMES, *(name for name in KEYS if not name.startswith("lp-fft."))]),
    )


def check_value(key: str, value: Any) -> Any:
    """Return ``value`` as the type that ``key`` takes.

    ``"none"`` unsets a key that may be unset; an integer is a float where one is wanted.

    Raises
    ------
    UsageError
        If the type is wrong or the value is out of range.
    """
    _check_plain(key, value)
    if key not in KEYS:  # options of noise, backbones and methods, checked by their owners
        return value
    annotation, probe = KEYS[key]
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
    wants_text = key in KEYS and str in (KEYS[key][0], *get_args(KEYS[key][0]))
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
    if key in KEYS:
        return False
    return not rest or (section in ("methods", "noise_options", "lp-fft") and "." not in rest)


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
    values = options_under(settings, kind) | options_under(settings, f"{tuning}.{kind}")
    values.setdefault("augmentation", "weak" if kind == "fft" else "none")
    if "epochs" not in values:
        raise UsageError(
            f"Tuning '{tuning}' needs {kind}.epochs, which is not given.", f"Add --set {kind}.epochs=5."
        )
    return PhaseSpec(kind=kind, **values)
