"""Asymmetric noise maps: the class that each class is mistaken for."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from lnlbench.data.source import Labels, Maps
from lnlbench.errors import NoiseError

# Of a data set that has none of its own.
NO_MAPS: Maps = MappingProxyType({})

_BLOCK = 5


def block_map(classes: int) -> list[int]:
    """The next class inside blocks of five consecutive numbers, circular.

    This is what the commonly used code does for CIFAR-100, whose numbers are alphabetical:
    only 6 of the 100 pairs share a superclass.
    """
    return [number - number % _BLOCK + (number + 1) % _BLOCK for number in range(classes)]


def next_map(classes: int) -> list[int]:
    """The next class, circular."""
    return [(number + 1) % classes for number in range(classes)]


def named_maps(own: Maps, classes: int) -> dict[str, list[int]]:
    """Return the maps that a data set can have by name: its own, the default first, and those of any."""
    maps = {name: list(targets) for name, targets in own.items()}
    maps["next"] = next_map(classes)
    if classes % _BLOCK == 0:
        maps["block5"] = block_map(classes)
    return maps


def resolve_map(value: Any, own: Maps, classes: int) -> Labels:
    """Return the target of every class.

    Parameters
    ----------
    value : str, sequence or mapping
        The name of a map, C targets, or pairs ``old: new`` of the classes that change (as a
        mapping, or as a sequence of pairs).
    own : mapping of str to sequence of int
        The data set's own maps.
    classes : int
        Number of classes, C.

    Returns
    -------
    int64 array of shape [C]

    Raises
    ------
    NoiseError
        If the data set has no map of that name, or the given map is not one.
    """
    if isinstance(value, str):
        maps = named_maps(own, classes)
        if value not in maps:
            raise NoiseError(
                f"This data set has no asymmetric map '{value}' for its {classes} classes.",
                f"Choose one of {', '.join(maps)}, or give map as a list of {classes} classes.",
            )
        value = maps[value]
    target = _user_map(value, classes)
    if target == list(range(classes)):
        raise NoiseError("The asymmetric map changes no class.", "Map at least one class to another.")
    return np.array(target, dtype=np.int64)


def _user_map(value: Any, classes: int) -> list[int]:
    """Read a list of targets, or pairs, into a list of targets."""
    expected = f"Give the name of a map, a list of {classes} classes, or pairs of old and new class."
    try:
        if isinstance(value, Mapping):
            pairs = [(int(old), _integer(new)) for old, new in value.items()]
        elif all(isinstance(item, (list, tuple)) for item in value):
            pairs = [(_integer(old), _integer(new)) for old, new in value]
        else:
            pairs = list(enumerate(_integer(new) for new in value))
            if len(pairs) != classes:
                raise NoiseError(
                    f"The asymmetric map has {len(pairs)} targets for {classes} classes.", expected
                )
    except (TypeError, ValueError):
        raise NoiseError(f"{value!r} is not an asymmetric map.", expected) from None
    outside = [number for pair in pairs for number in pair if not 0 <= number < classes]
    if outside:
        raise NoiseError(
            f"The asymmetric map names class {outside[0]}, but classes are 0 to {classes - 1}.",
            "Correct the map.",
        )
    if len({old for old, _ in pairs}) != len(pairs):
        raise NoiseError("The asymmetric map names a class twice.", "Give each class one target.")
    return [dict(pairs).get(number, number) for number in range(classes)]


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    return value
