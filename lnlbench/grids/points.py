"""A point of a grid: one trial by its coordinates, before its settings are looked up."""

from __future__ import annotations

from dataclasses import dataclass

from lnlbench.records.filters import Condition
from lnlbench.spec import NoiseSpec, portable_reference

AXES = ("dataset", "noise", "rate", "backbone", "tuning", "method", "seed")

# What a row of the grid sets for a trial, as pairs of key and value, the value as text.
Variant = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class GridPoint:
    """One trial of a grid, by its coordinates.

    Attributes
    ----------
    dataset, backbone : str
        As the grid gives them.
    noise : NoiseSpec
        Without the options of its type.
    tuning, method : str
    seed : int
    variant : tuple of (key, text)
        What the trial's row sets; each key is an axis too.
    """

    dataset: str
    backbone: str
    noise: NoiseSpec
    tuning: str
    method: str
    seed: int
    variant: Variant = ()

    def values(self, axis: str) -> frozenset[str]:
        """Return all ways to name this point's place on an axis."""
        match axis:
            case "dataset" | "backbone":
                name = getattr(self, axis)
                return frozenset((name, portable_reference(name)))
            case "noise":
                return frozenset((self.noise.label, self.noise.type))
            case "rate":
                return frozenset((f"{self.noise.rate:g}",))
            case "tuning" | "method" | "seed":
                return frozenset((str(getattr(self, axis)),))
            case _:
                return frozenset(text for key, text in self.variant if key == axis)

    def matches(self, condition: Condition) -> bool:
        """Whether the point is one that the condition means."""
        return all(not values.isdisjoint(self.values(axis)) for axis, values in condition.items())
