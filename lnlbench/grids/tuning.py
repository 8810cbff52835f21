"""Tuning modes as sequences of kinds of phases (protocol, section 2).

A mode is written as its kinds, joined by ``-``: any registered kinds, in any order. All that differs
between the modes is which phases they have, so nothing asks for a mode by name.
"""

from __future__ import annotations

from itertools import permutations

from lnlbench.errors import UsageError, suggest
from lnlbench.models.phase_kind import PhaseKind
from lnlbench.plugins.registry import phase_kinds

# The modes of the protocol, in which methods are compared and checked.
TUNING_MODES = ("lp", "fft", "lp-fft")


def registered_kinds() -> tuple[str, ...]:
    """Return the names of all kinds of phases, sorted."""
    return tuple(dict.fromkeys(entry.name for entry in phase_kinds().entries()))


def phase_kind(name: str) -> type[PhaseKind]:
    """Return a registered kind of phase."""
    return phase_kinds().load(name)


def is_mode(text: str) -> bool:
    """Whether a text is a tuning mode."""
    return set(text.split("-")) <= set(registered_kinds())


def kinds_of(tuning: str) -> tuple[str, ...]:
    """Return the kinds of a tuning mode's phases, in order.

    Raises
    ------
    UsageError
        If it is no mode: its parts are not registered kinds.
    """
    if not is_mode(tuning):
        kinds = registered_kinds()
        known = [*kinds, *map("-".join, permutations(kinds, 2))]
        advice = suggest(tuning, known)
        if not advice.startswith("Did you mean"):
            advice = f"Known: {', '.join(kinds)}, and sequences of them, as lp-fft."
        raise UsageError(f"Unknown tuning mode '{tuning}'.", advice)
    return tuple(tuning.split("-"))
