"""Every command of the pages on the paper, run as it stands; see :mod:`documented`."""

from __future__ import annotations

from pathlib import Path

import pytest
from documented import one_ray, run_page
from documented_needs import PAPER_PAGES

# A page of several trainings takes minutes where other tests run beside it.
pytestmark = pytest.mark.timeout(1200)

weights = pytest.fixture(scope="module")(one_ray)


@pytest.mark.parametrize("page", PAPER_PAGES)
def test_commands(
    page: str,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_page(page, PAPER_PAGES[page], tmp_path, weights, monkeypatch, capsys)
