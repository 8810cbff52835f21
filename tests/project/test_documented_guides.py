"""Every command of README and guides, run as it stands; see :mod:`documented`."""

from __future__ import annotations

from pathlib import Path

import pytest
from documented import one_ray, run_page
from documented_needs import GUIDES

# A page of several trainings takes minutes where other tests run beside it.
pytestmark = pytest.mark.timeout(1200)

weights = pytest.fixture(scope="module")(one_ray)


@pytest.mark.parametrize("page", GUIDES)
def test_commands(
    page: str,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_page(page, GUIDES[page], tmp_path, weights, monkeypatch, capsys)
