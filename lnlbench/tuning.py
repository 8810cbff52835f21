"""Tuning modes as sequences of phases (protocol, section 2).

A phase is ``lp`` (the head learns on a frozen backbone) or ``fft`` (everything learns). All
that differs between the modes is which phases they have, so nothing else asks for the mode.
"""

from __future__ import annotations

from lnlbench.errors import UsageError, suggest
from lnlbench.spec import PhaseSpec

TUNING_MODES: dict[str, tuple[str, ...]] = {
    "lp": ("lp",),
    "fft": ("fft",),
    "lp-fft": ("lp", "fft"),
}


def phases_for(tuning: str, lp: PhaseSpec, fft: PhaseSpec) -> tuple[PhaseSpec, ...]:
    """Return the phases of a tuning mode, given the budget of each kind.

    Raises
    ------
    UsageError
        For an unknown mode.
    """
    if tuning not in TUNING_MODES:
        raise UsageError(f"Unknown tuning mode '{tuning}'.", suggest(tuning, TUNING_MODES))
    budgets = {"lp": lp, "fft": fft}
    return tuple(budgets[kind] for kind in TUNING_MODES[tuning])
