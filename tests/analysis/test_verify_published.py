"""The paper's tables as they are installed."""

from __future__ import annotations

import pytest

from lnlbench.analysis.paper.published import (
    TABLES,
    canonical,
    find_table,
    read_published,
    read_sizes,
)
from lnlbench.errors import UsageError

# Numbers as they are printed in the paper, one corner of each table.
PRINTED = {
    "paper_table2": (216, ("cifar100", "resnet50", "instance-0.4"), ("lp-fft", "turn"), (69.99, 69.99)),
    "paper_table3": (90, ("clothing1m", "mae_vit_b", "real"), ("fft", "elr"), (61.51, 61.51)),
    "paper_table4": (8, ("clip_vit_b", "symmetric-0.9"), ("lp-fft", "once"), (60.80,)),
    "paper_table5": (18, ("cifar100", "vit_l16", "symmetric-0.9"), ("fft", "elr"), (80.22, 49.78)),
    "paper_table9": (10, ("symmetric-0.6",), ("0.9",), (15200.0, 99.26, 90.68, 90.68)),
}


@pytest.mark.parametrize("grid", PRINTED)
def test_tables_hold_what_is_printed(grid: str) -> None:
    size, setting, entrant, values = PRINTED[grid]
    cells = read_published(find_table(grid))
    assert len(cells) == len({(cell.setting, cell.entrant) for cell in cells}) == size
    assert [cell.values for cell in cells if (cell.setting, cell.entrant) == (setting, entrant)] == [values]


def test_times_are_relative_to_ce() -> None:
    times = {cell.entrant: cell.values[0] for cell in read_published(TABLES["paper_table1"])}
    assert times[("ce",)] == 1.0
    # The paper calls UNICON's time 622 % of that of plain training: 675.6 / 108.6.
    assert times[("unicon",)] == pytest.approx(6.22, abs=0.005)


def test_sizes_are_those_of_table_6() -> None:
    sizes = read_sizes()
    assert sizes["cifar100"] == {"classes": 100, "train": 47_500, "validation": 2_500, "test": 10_000}
    assert "validation" not in sizes["webvision"]


def test_a_grid_without_published_numbers_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"no numbers for the grid 'paper_fig3b'.*paper_table2"):
        find_table("paper_fig3b")


def test_numbers_have_one_form() -> None:
    assert [canonical(value) for value in (0.60, "0.6", 3, "turn", "symmetric-0.6")] == [
        "0.6",
        "0.6",
        "3",
        "turn",
        "symmetric-0.6",
    ]


@pytest.mark.parametrize("grid", TABLES)
def test_the_packaged_grid_has_a_trial_for_every_published_number(grid: str) -> None:
    from lnlbench.analysis.paper.matching import make_runs
    from lnlbench.grids.plan import plan
    from lnlbench.records.frame import build_frame

    table = TABLES[grid]
    paper = plan(grid).to_dict()
    places = [run.place(table.keys) for run in make_runs(build_frame({grid: paper}, ()), paper)]
    published = [(*cell.setting, *cell.entrant) for cell in read_published(table)]
    assert sorted(set(places)) == sorted(published)
