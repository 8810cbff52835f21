"""Identities of all trials of the packaged grids: what records, tables and checkpoints are found by."""

from __future__ import annotations

from pathlib import Path

from lnlbench.grids.plan import plan
from lnlbench.plugins import registry

GOLDEN = Path(__file__).parents[1] / "golden" / "trial_ids.txt"  # "GRID ID" a line, sorted


def test_no_trial_of_a_packaged_grid_has_another_identity() -> None:
    """An identity changes only on purpose, and then the changelog names it, old and new.

    Records on disk are found by it: a change that was not meant makes finished work look undone.
    """
    found = {
        f"{entry.name} {planned.spec.trial_id}"
        for entry in registry.grids()
        for planned in plan(entry.name).planned
    }
    expected = GOLDEN.read_text(encoding="utf-8").splitlines()
    assert sorted(found) == expected
    assert len(expected) == 2596
