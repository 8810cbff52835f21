"""Whether a JSON value is what a type says: the check of records that are read.

A checker is made once per type, and returns where a value is not of it, as ``path is a list, not
a dict``, or None. Keys that a type does not have are left alone: a later version may write more.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

Checker = Callable[[Any, str], str | None]

_NAMES = {int: "whole number", float: "number", str: "text", bool: "flag", type(None): "null"}
# JSON writes 1.0 as 1 where the value came from elsewhere, and has no sign for what is not finite.
_ACCEPTED: dict[Any, frozenset[type]] = {
    float: frozenset((float, int, type(None))),
    int: frozenset((int,)),
    str: frozenset((str,)),
    bool: frozenset((bool,)),
    type(None): frozenset((type(None),)),
}


@cache
def checker(hint: Any) -> Checker:
    """Return the checker of a type: a scalar, ``Any``, a union, list, dict or TypedDict of such."""
    if hint is Any:
        return lambda value, where: None
    if (accepted := _accepted(hint)) is not None:
        return lambda value, where: None if type(value) in accepted else _wrong(value, where, hint)
    if is_typeddict(hint):
        return _of_keys({name: checker(inner) for name, inner in get_type_hints(hint).items()})
    arguments = get_args(hint)
    match get_origin(hint):
        case builtin if builtin is list:
            return _of_list(arguments[0])
        case builtin if builtin is dict:
            return _of_values(checker(arguments[1]))
    if type(None) in arguments:
        (inner,) = (checker(argument) for argument in arguments if argument is not type(None))
        return lambda value, where: None if value is None else inner(value, where)
    raise TypeError(f"{hint} is no type of a record.")


def _accepted(hint: Any) -> frozenset[type] | None:
    """Return the Python types of a scalar or a union of scalars, None for anything else."""
    parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    found = [_ACCEPTED.get(part) for part in parts]
    return None if None in found else frozenset().union(*(part for part in found if part is not None))


def _of_keys(inside: dict[str, Checker]) -> Checker:
    def check(value: Any, where: str) -> str | None:
        if not isinstance(value, dict):
            return f"{where} is a {type(value).__name__}, not a dict"
        return _first(inside[name](value[name], f"{where}.{name}") for name in value if name in inside)

    return check


def _of_values(inside: Checker) -> Checker:
    def check(value: Any, where: str) -> str | None:
        if not isinstance(value, dict):
            return f"{where} is a {type(value).__name__}, not a dict"
        return _first(inside(item, f"{where}.{name}") for name, item in value.items())

    return check


def _of_list(hint: Any) -> Checker:
    accepted, inside = _accepted(hint), checker(hint)

    def check(value: Any, where: str) -> str | None:
        if not isinstance(value, list):
            return f"{where} is a {type(value).__name__}, not a list"
        # Transitions between 1,000 classes are a million numbers: their types are taken at once.
        if accepted is not None and set(map(type, value)) <= accepted:
            return None
        return _first(inside(item, f"{where}[{number}]") for number, item in enumerate(value))

    return check


def _first(messages: Iterable[str | None]) -> str | None:
    return next((message for message in messages if message is not None), None)


def _wrong(value: Any, where: str, hint: Any) -> str:
    parts = get_args(hint) or (hint,)
    return f"{where} is a {type(value).__name__}, not a {' or '.join(_NAMES[part] for part in parts)}"
