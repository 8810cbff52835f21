"""The state of a method, attribute by attribute: what a checkpoint holds of it, and how it comes back.

==========================================  ==========================================================
attribute                                   what becomes of it
==========================================  ==========================================================
whatever has ``state_dict`` and             its state is saved, and loaded into the object of the same
``load_state_dict``: networks, modules,     place, which ``setup`` or ``begin_phase`` has made again
optimisers, components
tensors that need a gradient                saved, and copied into the tensor of the same place, because
                                            an optimiser may hold it
other tensors, arrays, numbers, texts,      saved, and replaced
booleans, None
dicts, lists and tuples of all these        item by item
``params``; a ``Task``, a ``Phase``, a      not saved: they are given anew
device, a type of numbers
names in ``Method.unsaved``                 not saved: ``setup`` or ``begin_phase`` makes them anew
anything else                               an error when it is saved, not when it is missed
==========================================  ==========================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from lnlbench.errors import PluginError

# Marks a state that an object has to load, so that it is never taken for a dict of values.
_OBJECT = "@state_dict"


@runtime_checkable
class Stateful(Protocol):
    """What saves and loads its own state, as modules and optimisers do."""

    def state_dict(self) -> Any:
        """Return the state."""

    def load_state_dict(self, state: Any) -> Any:
        """Continue from it."""


def collect(attributes: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Return the state of an object's attributes, as references: save it or copy it before training goes on.

    Parameters
    ----------
    attributes : mapping
    owner : str
        Whose they are, for messages.

    Raises
    ------
    PluginError
        If one cannot be saved, with its name.
    """
    return {
        name: _state_of(value, f"{owner}.{name}")
        for name, value in attributes.items()
        if not isinstance(value, (torch.device, torch.dtype))
    }


def restore(attributes: Mapping[str, Any], saved: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Return attributes as they were saved; objects among ``attributes`` load their own state.

    Raises
    ------
    PluginError
        If the state of an object was saved, and there is no such object.
    """
    return {name: _restored(attributes.get(name), value, f"{owner}.{name}") for name, value in saved.items()}


def _state_of(value: Any, where: str) -> Any:
    if isinstance(value, Stateful):
        return {_OBJECT: value.state_dict()}
    if isinstance(value, torch.Tensor):
        return value.detach()
    if value is None or isinstance(value, (bool, int, float, str, np.generic, np.ndarray)):
        return value
    # Only these very types: of a named tuple or a defaultdict, half would come back.
    if type(value) is dict:
        return {key: _state_of(item, f"{where}[{key!r}]") for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_state_of(item, f"{where}[{number}]") for number, item in enumerate(value))
    raise PluginError(
        f"A checkpoint cannot hold {where}, a {type(value).__name__}.",
        "Keep what training changes in modules, tensors, numbers, texts, and dicts, lists and tuples of "
        "them; name what setup() or begin_phase() makes anew in the class attribute unsaved = (…,).",
    )


def _restored(present: Any, saved: Any, where: str) -> Any:
    if isinstance(saved, dict) and saved.keys() == {_OBJECT}:
        if not isinstance(present, Stateful):
            raise PluginError(
                f"The checkpoint holds the state of {where}, and there is no such object.",
                "Make it in setup() or in begin_phase(); what later phases do without belongs into unsaved.",
            )
        present.load_state_dict(saved[_OBJECT])
        return present
    if isinstance(saved, torch.Tensor) and isinstance(present, torch.Tensor) and present.requires_grad:
        with torch.no_grad():
            present.copy_(saved)
        return present
    if isinstance(saved, dict):
        before = present if isinstance(present, dict) else {}
        return {key: _restored(before.get(key), item, f"{where}[{key!r}]") for key, item in saved.items()}
    if isinstance(saved, (list, tuple)):
        items = dict(enumerate(present)) if isinstance(present, (list, tuple)) else {}
        return type(saved)(
            _restored(items.get(number), item, f"{where}[{number}]") for number, item in enumerate(saved)
        )
    return saved
