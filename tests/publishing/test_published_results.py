"""What lies in results/: every folder is made again from its records, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from lnlbench.publishing.checking import check_published
from lnlbench.records.reading.published_folder import ORIGIN, read_published

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(path.parent for path in ROOT.glob(f"results/*/{ORIGIN}"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_published_results_are_what_their_records_give(folder: Path) -> None:
    wrong = [finding for finding in check_published(read_published(folder)) if not finding.agrees]
    assert not wrong
    assert "to be written" not in (folder / "README.md").read_text(encoding="utf-8")
