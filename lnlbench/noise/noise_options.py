"""Settings of the generators: defaults filled in, everything else refused."""

from __future__ import annotations

from typing import Any

from lnlbench.data.source import Maps
from lnlbench.errors import NoiseError, suggest
from lnlbench.noise.maps import named_maps, resolve_map
from lnlbench.spec import RATED_NOISE, NoiseSpec

_DEFAULTS: dict[str, dict[str, Any]] = {
    "symmetric": {"variant": "inclusive"},
    "asymmetric": {"map": None, "count": "exact"},
    "instance": {"W": "shared", "input": "uint8", "std": 0.1},
    "human": {"labels": None},
    "real": {},
    "none": {},
    "file": {"path": None},
}

_CHOICES = {
    "variant": ("inclusive", "exclusive"),
    "count": ("exact", "independent"),
    "W": ("shared", "per_class"),
    "input": ("uint8", "standardised"),
}


def resolve(spec: NoiseSpec, maps: Maps, classes: int) -> dict[str, Any]:
    """Return every setting of a generator with its value, sorted by name.

    Two specifications that mean the same noise give the same settings, whether they write a
    default out or not.

    Parameters
    ----------
    spec : NoiseSpec
    maps : mapping of str to sequence of int
        The data set's own asymmetric maps; the first is the default.
    classes : int
        Number of classes, C.

    Returns
    -------
    dict of JSON values
        ``map`` is a name, or a list of C targets for a map that the user gave.

    Raises
    ------
    NoiseError
        For an unknown setting or value, or one that the data set does not allow.
    """
    check_options(spec)
    settings = _DEFAULTS[spec.type] | dict(spec.options)
    if spec.type in RATED_NOISE and classes < 2:
        raise NoiseError(f"Noise '{spec.type}' needs at least two classes, not {classes}.")
    if spec.type == "asymmetric":
        settings["map"] = _map_setting(settings["map"], maps, classes)
    if spec.type == "instance":
        settings["std"] = _std_setting(settings["std"])
    return dict(sorted(settings.items()))


def check_options(spec: NoiseSpec) -> None:
    """Check all that can be known about the settings of a generator without a data set.

    Raises
    ------
    NoiseError
        For an unknown setting or value.
    """
    settings = _DEFAULTS[spec.type] | dict(spec.options)
    for name, value in spec.options:
        if name not in _DEFAULTS[spec.type]:
            raise NoiseError(
                f"Noise '{spec.type}' has no option '{name}'.", suggest(name, _DEFAULTS[spec.type])
            )
        if name in _CHOICES and value not in _CHOICES[name]:
            raise NoiseError(
                f"Option {name} of noise '{spec.type}' is {value!r}.",
                f"Choose one of {', '.join(_CHOICES[name])}.",
            )
    if spec.type == "instance":
        _std_setting(settings["std"])
    if spec.type == "file" and not settings["path"]:
        raise NoiseError("Noise 'file' needs a path.", "Write file:PATH.")
    if spec.type == "human" and not isinstance(settings["labels"], str):
        raise NoiseError("Noise 'human' needs the name of its labels.", "Write human-worse, for example.")


def _map_setting(value: Any, maps: Maps, classes: int) -> str | list[int]:
    if value is None:
        return next(iter(named_maps(maps, classes)))
    target: list[int] = resolve_map(value, maps, classes).tolist()
    return value if isinstance(value, str) else target


def _std_setting(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 <= value <= 1.0:
        raise NoiseError(
            f"Option std of noise 'instance' is {value!r}.",
            "Give a number in [0, 1]; the published value is 0.1.",
        )
    return float(value)
