"""What lies in results/: folders are made again byte for byte, and bold numbers have seeds enough."""

from __future__ import annotations

from pathlib import Path

import pytest

from lnlbench.analysis.tables.tables import build_table
from lnlbench.publishing.checking import check_published
from lnlbench.records.frame import build_frame
from lnlbench.records.reading.published_folder import ORIGIN, read_published

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(path.parent for path in ROOT.glob(f"results/*/{ORIGIN}"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_published_results_are_what_their_records_give(folder: Path) -> None:
    wrong = [finding for finding in check_published(read_published(folder)) if not finding.agrees]
    assert not wrong
    assert "to be written" not in (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_nothing_is_in_bold_with_fewer_than_three_seeds(folder: Path) -> None:
    found = read_published(folder)
    plans = found.plans()
    frame = build_frame(plans, found.records)
    marked = []
    for grid, plan in plans.items():
        table = build_table(frame[frame["grid"] == grid], plan["table"])
        values = [value for row in table.cells for cell in row for value in cell.values]
        marked += [value.summary.n for value in values if value.best]
    assert marked
    assert min(marked) >= 3
