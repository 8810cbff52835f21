"""What a figure shows: the ``[figure]`` section of a grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lnlbench.analysis.axes import resolve_axis
from lnlbench.analysis.quantities import check_quantity, expand, family_of
from lnlbench.analysis.table_layout import listed
from lnlbench.errors import UsageError, suggest

KINDS = ("scatter", "lines", "embedding")

_KEYS = ("kind", "x", "y", "series", "panels", "caption")
_DEFAULTS: dict[str, dict[str, Any]] = {
    "scatter": {"x": ("train_s", "cost"), "y": ("last",), "series": ("tuning", "method"), "panels": ()},
    "lines": {"y": ("last",), "series": ("noise",), "panels": ()},
    "embedding": {"series": ("noise",), "panels": ("backbone",)},
}


@dataclass(frozen=True, slots=True)
class FigureLayout:
    """Kind and axes of a figure.

    Attributes
    ----------
    kind : {"scatter", "lines", "embedding"}
        A point per method against one of its numbers; lines along a setting; maps of features.
    x : tuple of str
        One panel each. In ``scatter`` these are numbers of a trial, in ``lines`` axes; empty
        in ``embedding``.
    y : tuple of str
        Numbers of a trial; several accuracies share their axis, each as series of its own. Empty
        in ``embedding``.
    series : tuple of str
        Axes that tell points or lines of a panel apart; in ``embedding``, the rows.
    panels : tuple of str
        Axes with a panel for each of their values; in ``embedding``, the columns.
    caption : str
        First sentence of the caption.
    """

    kind: str
    x: tuple[str, ...]
    y: tuple[str, ...]
    series: tuple[str, ...]
    panels: tuple[str, ...]
    caption: str

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> FigureLayout:
        """Read a layout; what it leaves out takes the default of its kind.

        Raises
        ------
        UsageError
            For an unknown key, kind, axis or number, or one that the kind has no use for.
        """
        for key in values:
            if key not in _KEYS:
                raise UsageError(f"Unknown key '{key}' in the figure's layout.", suggest(key, _KEYS))
        kind = values.get("kind")
        if kind is None:
            raise UsageError("The figure's layout has no kind.", f"Write kind = one of {', '.join(KINDS)}.")
        if kind not in KINDS:
            raise UsageError(f"Unknown kind '{kind}' of figure.", suggest(str(kind), KINDS))
        for key in ("x", "y"):
            if kind == "embedding" and key in values:
                raise UsageError(f"A figure of kind 'embedding' has no {key}.", f"Leave {key} out.")
        merged = {"x": (), "y": (), "caption": ""} | _DEFAULTS[kind] | dict(values)
        given = {key: listed(merged[key], key, "a figure's layout") for key in ("x", "y", "series", "panels")}
        for key, example in (("x", "train_s" if kind == "scatter" else "params.tau"), ("y", "last")):
            if kind != "embedding" and not given[key]:
                raise UsageError(
                    f"A figure of kind '{kind}' needs {key}.", f'Write {key} = "{example}", for example.'
                )
        y = tuple(name for given_name in given["y"] for name in expand(given_name))
        y = tuple(check_quantity(name, "number 'y' of a figure:") for name in y)
        if len(y) > 1 and family_of(y) is None:
            raise UsageError(
                f"{' and '.join(y)} cannot share an axis of a figure.",
                "Only those of one metric can, as best and last; choose one y.",
            )
        x = tuple(
            check_quantity(name, "number 'x' of a figure:")
            if kind == "scatter"
            else resolve_axis(name, "a figure")
            for name in given["x"]
        )
        return cls(
            kind=kind,
            x=x,
            y=y,
            series=tuple(resolve_axis(name, "a figure") for name in given["series"]),
            panels=tuple(resolve_axis(name, "a figure") for name in given["panels"]),
            caption=str(merged["caption"]),
        )

    @property
    def axes(self) -> tuple[str, ...]:
        """All axes along which trials are laid out."""
        return (*(self.x if self.kind == "lines" else ()), *self.series, *self.panels)
