"""Measured results beside published ones: matching, verdicts, rankings, and their formats."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from verify_factory import Measure, as_published, compare_simulated, make_record_of, on_other_data, simulate

from lnlbench.analysis.paper.agreement import Standing, Verdict
from lnlbench.analysis.paper.comparison import ComparedCell, Comparison
from lnlbench.analysis.paper.comparison_report import to_json, to_text
from lnlbench.analysis.paper.published import TABLES, PublishedCell, read_published
from lnlbench.spec import MethodSpec, NoiseSpec, TrialSpec

TABLE2, TABLE5 = TABLES["paper_table2"], TABLES["paper_table5"]
VIT_L = ("cifar100", "vit_l16", "symmetric-0.9")
TURN = ("lp-fft", "turn")


def cell_of(comparison: Comparison, setting: tuple[str, ...], entrant: tuple[str, ...]) -> ComparedCell:
    (found,) = (
        cell
        for group in comparison.groups
        if group.setting == setting
        for cell in group.cells
        if cell.entrant == entrant
    )
    return found


def turn_at(best: float, last: float) -> Measure:
    """Measure what is published, but for TURN on ViT-L/16."""

    def measure(cell: PublishedCell, seed: int) -> dict[str, Any] | None:
        ours = (cell.setting, cell.entrant) == (VIT_L, TURN)
        return {"best": best, "last": last} if ours else as_published(TABLE5)(cell, seed)

    return measure


# Cells


@pytest.mark.parametrize("grid", TABLES)
def test_the_papers_own_numbers_agree(grid: str) -> None:
    table = TABLES[grid]
    if grid == "paper_table1":  # train_s is in seconds, and is divided by that of CE
        comparison = compare_simulated(
            table, measure=lambda cell, seed: {"train_s": 60.0 * (cell.values[0] or 0.0)}
        )
    else:
        comparison = compare_simulated(table)
    assert comparison.differences == ()
    assert comparison.count(Verdict.AGREES) == len(read_published(table))
    assert comparison.complete
    assert comparison.mismatches() == ()
    assert [comparison.mean_tau(quantity) for quantity in table.quantities] == pytest.approx(
        [1.0] * len(table.quantities)
    )


def test_table_2_has_24_settings_of_9_rows() -> None:
    groups = compare_simulated(TABLE2).groups
    assert len(groups) == 24
    assert {len(group.cells) for group in groups} == {9}
    # The paper's own exception: on MAE-ViT-B with asymmetric noise, ELR with FFT is ahead of TURN.
    without = [group.setting for group in groups if not group.leads]
    assert ("cifar100", "mae_vit_b", "asymmetric-0.4") in without


def test_a_difference_beyond_the_tolerance_is_a_mismatch() -> None:
    # Published: 87.02 / 85.90.
    comparison = compare_simulated(TABLE5, measure=turn_at(86.5, 83.4))
    cell = cell_of(comparison, VIT_L, TURN)
    best, last = cell.numbers
    assert (best.verdict, last.verdict, cell.verdict) == (Verdict.AGREES, Verdict.DIFFERS, Verdict.DIFFERS)
    assert last.difference == pytest.approx(-2.5)
    # UNICON's last is 84.87, and so ahead by 1.47.
    assert comparison.mismatches() == (
        "1 of 18 cells differ",
        "who leads in the paper is behind in 1 of 4 rankings",
    )
    assert compare_simulated(TABLE5, fixed=2.5, measure=turn_at(86.5, 83.4)).mismatches() == ()


def test_the_spread_over_seeds_counts() -> None:
    def measure(cell: PublishedCell, seed: int) -> dict[str, Any] | None:
        return turn_at(84.0 + seed, 85.9)(cell, seed)

    comparison = compare_simulated(TABLE5, measure=measure, seeds=range(3))
    best = cell_of(comparison, VIT_L, TURN).numbers[0]
    # Mean 85, standard deviation 1, published 87.02; t(2) = 4.303, times sqrt(1 + 1/3).
    assert best.measured is not None
    assert (best.measured.mean, best.measured.sd, best.measured.n) == (85.0, 1.0, 3)
    assert best.difference == pytest.approx(-2.02)
    assert best.allowed == pytest.approx(4.302653 * (4 / 3) ** 0.5, rel=1e-6)
    assert best.verdict is Verdict.AGREES


def test_missing_seeds_leave_a_cell_incomplete_but_compared() -> None:
    def measure(cell: PublishedCell, seed: int) -> dict[str, Any] | None:
        pending = (cell.setting, cell.entrant, seed) == (VIT_L, TURN, 1)
        return None if pending else as_published(TABLE5)(cell, seed)

    comparison = compare_simulated(TABLE5, measure=measure, seeds=(0, 1))
    cell = cell_of(comparison, VIT_L, TURN)
    assert cell.notes == ("1 of 2 seeds pending",)
    assert cell.verdict is Verdict.AGREES
    assert not comparison.complete


def test_cells_that_nobody_planned_are_missing() -> None:
    cells = read_published(TABLE5)[:4]
    comparison = compare_simulated(TABLE5, cells=cells)
    assert comparison.count(Verdict.AGREES) == 4
    assert comparison.count(Verdict.MISSING) == 14
    assert not comparison.complete
    assert cell_of(comparison, VIT_L, TURN).notes == ("not in the plan",)
    assert comparison.groups[1].measured is None


def test_a_selection_is_compared_with_what_it_stands_for() -> None:
    comparison = compare_simulated(TABLE5, narrowed=True, cells=read_published(TABLE5)[:4])
    assert len(comparison.cells) == comparison.count(Verdict.AGREES) == 4
    assert comparison.complete


def test_a_number_that_is_not_one_is_missing() -> None:
    comparison = compare_simulated(TABLE5, measure=turn_at(float("nan"), 85.9))
    cell = cell_of(comparison, VIT_L, TURN)
    assert cell.verdict is Verdict.MISSING
    assert cell.notes == ("without a value for best / last",)
    ranking = next(group for group in comparison.groups if group.setting == VIT_L).rankings[0]
    assert ranking.entrants == 8


def test_times_are_compared_in_relation_to_ce_of_the_same_seed() -> None:
    table = TABLES["paper_table1"]
    # The second seed ran on a machine half as fast.
    comparison = compare_simulated(
        table,
        measure=lambda cell, seed: {"train_s": 10.0 * (seed + 1) * (cell.values[0] or 0.0)},
        seeds=(0, 1),
    )
    (group,) = comparison.groups
    unicon = group.cells[-1].numbers[0].measured
    assert unicon is not None
    assert (unicon.mean, unicon.sd) == (pytest.approx(675.6 / 108.6), pytest.approx(0.0, abs=1e-12))


def test_times_of_a_busy_machine_are_flagged() -> None:
    execution = {"device": "cpu", "threads": 2, "shared_device": True}
    comparison = compare_simulated(TABLES["paper_table1"], execution=execution)
    assert any("--jobs 1" in remark for remark in comparison.remarks)


# Protocol and stand-ins


def test_runs_on_other_data_are_ranked_beside_every_setting() -> None:
    comparison = compare_simulated(TABLE2, change=on_other_data)
    assert {item.key for item in comparison.differences} == {"dataset", "backbone"}
    assert len(comparison.groups) == 24
    assert {group.measured for group in comparison.groups if group.setting[2] == "instance-0.4"} == {
        ("cifar10", "efficientnet_lite0", "instance-0.4")
    }
    # The runs are the paper's numbers of its first backbone, so there the order is the same.
    first = [group for group in comparison.groups if group.setting[1] == "vit_b16"]
    assert {ranking.tau for group in first for ranking in group.rankings} == {1.0}
    # Cells differ on the other backbones, and do not count; lost leads do.
    assert comparison.count(Verdict.DIFFERS) > 0
    assert not any("cells differ" in statement for statement in comparison.mismatches())


def test_other_noise_stands_for_noise_of_its_type() -> None:
    def change(spec: TrialSpec) -> TrialSpec:
        return replace(spec, noise=NoiseSpec.parse("symmetric-0.8"))

    comparison = compare_simulated(TABLE2, narrowed=True, change=change)
    assert {group.setting[2] for group in comparison.groups} == {"symmetric-0.6", "symmetric-0.9"}


def test_synthetic_noise_stands_for_real_noise() -> None:
    def change(spec: TrialSpec) -> TrialSpec:
        return replace(on_other_data(spec), noise=NoiseSpec.parse("symmetric-0.6"))

    comparison = compare_simulated(TABLES["paper_table3"], change=change)
    assert {group.measured for group in comparison.groups} == {
        ("cifar10", "efficientnet_lite0", "symmetric-0.6")
    }
    assert len(comparison.groups) == 10


def test_a_method_that_the_paper_does_not_have_is_named() -> None:
    def change(spec: TrialSpec) -> TrialSpec:
        return replace(spec, method=MethodSpec("mine")) if spec.method.name == "gce" else spec

    comparison = compare_simulated(TABLE5, change=change)
    assert comparison.strangers == {("lp", "mine"): 2, ("fft", "mine"): 2}
    assert comparison.count(Verdict.MISSING) == 4


def test_trials_with_different_settings_are_never_averaged() -> None:
    def change(spec: TrialSpec) -> TrialSpec:
        return replace(spec, precision="fp32") if spec.seed else spec

    comparison = compare_simulated(TABLE5, seeds=(0, 1), change=change)
    assert comparison.count(Verdict.MISSING) == 18
    assert "different settings" in comparison.cells[0].notes[0]


# Rankings


def test_a_lost_lead_is_found() -> None:
    comparison = compare_simulated(TABLE5, measure=turn_at(80.0, 85.9))
    group = next(group for group in comparison.groups if group.setting == VIT_L)
    lead = group.leads[0]
    assert (lead.standing, lead.rival) == (Standing.BEHIND, ("lp", "unicon"))
    assert lead.gap == pytest.approx(84.87 - 80.0)
    # Of the 36 pairs, those of TURN with everything above 80 change places.
    rivals = [cell for cell in read_published(TABLE5) if cell.setting == VIT_L and cell.entrant != TURN]
    above = sum((cell.values[0] or 0.0) > 80.0 for cell in rivals)
    assert group.rankings[0].tau == pytest.approx((36 - 2 * above) / 36)


def test_a_least_tau_can_be_asked_for() -> None:
    comparison = compare_simulated(TABLE5, measure=turn_at(80.0, 85.9))
    tau = comparison.mean_tau(TABLE5.quantities[0])
    assert tau is not None
    statement = f"the mean τ of best is {tau:.2f}, below 0.95"
    assert statement in comparison.mismatches(least_tau=0.95)
    assert statement not in comparison.mismatches(least_tau=0.1)


# Formats


@pytest.fixture
def mixed() -> Comparison:
    """Two seeds; one cell differs, one is missing, one method is unknown to the paper."""

    def measure(cell: PublishedCell, seed: int) -> dict[str, Any] | None:
        if cell.entrant == ("lp", "ce"):
            return None
        return turn_at(80.0 + seed / 10, 85.9)(cell, seed)

    return compare_simulated(TABLE5, measure=measure, seeds=(0, 1), fixed=0.5)


def test_text_lists_what_differs_or_is_missing(mixed: Comparison) -> None:
    text = to_text(mixed, mixed.mismatches())
    assert "missing; pending" in text
    assert "Only cells that differ" in text
    assert "DivideMix" not in text.partition("18 cells")[0]
    everything = to_text(mixed, (), everything=True)
    assert everything.partition("18 cells")[0].count("DivideMix") == 2
    assert "80.05 ± 0.07 / 85.90 ± 0.00" in everything
    assert "Mismatch" not in everything


def test_text_says_loudly_on_what_it_was_measured() -> None:
    comparison = compare_simulated(TABLE5, change=on_other_data)
    text = to_text(comparison, ())
    assert "MEASURED UNDER ANOTHER PROTOCOL" in text.splitlines()[2]
    assert "dataset: cifar10, in the paper cifar100 (9 trials)" in text
    assert "not judged" in to_text(comparison, (), everything=True)


def test_text_of_216_cells_is_short() -> None:
    text = to_text(compare_simulated(TABLE2), ())
    assert len(text.splitlines()) < 50
    assert max(map(len, text.splitlines())) <= 120
    vit = [cell for cell in read_published(TABLE2) if cell.setting[1] == "vit_b16"]
    missing = to_text(compare_simulated(TABLE2, cells=vit), ())
    assert missing.count("all 9 cells are missing: not in the plan") == 20


def test_json_holds_the_same(mixed: Comparison) -> None:
    value = json.loads(to_json(mixed, ("x",)))
    assert value["grid"] == "paper_table5"
    assert value["mismatches"] == ["x"]
    assert value["same_protocol"] is True
    assert not value["complete"]
    group = value["groups"][0]
    assert group["setting"]["backbone"] == "vit_l16"
    assert group["ranked"] == {"best": 8, "last": 8}
    assert len(group["cells"]) == 9


@pytest.mark.parametrize("grid", TABLES)
def test_both_formats_take_every_table(grid: str) -> None:
    comparison = compare_simulated(TABLES[grid])
    for text in (to_text(comparison, (), everything=True), to_json(comparison, ())):
        assert "nan" not in text.lower()
        assert text.endswith("\n")


def test_a_failed_trial_is_missing_with_its_reason() -> None:
    from results_factory import make_failure, make_plan
    from verify_factory import paper_runs

    from lnlbench.analysis.paper.comparison import compare
    from lnlbench.analysis.paper.matching import make_runs
    from lnlbench.records.frame import build_frame

    specs, records = simulate(TABLE5)
    records[0] = make_failure(records[0].spec)
    plan = make_plan(specs, skips={specs[1].trial_id: "too dear"}, grid="paper_table5")
    frame = build_frame({"paper_table5": plan}, [records[0], *records[2:]])
    comparison = compare(TABLE5, read_published(TABLE5), make_runs(frame, plan), paper_runs(TABLE5), {})
    notes = {cell.notes for cell in comparison.cells if cell.verdict is Verdict.MISSING}
    assert notes == {("failed: TrialError: The loss is not finite.",), ("skipped: too dear",)}
    assert not comparison.complete


def test_a_record_of_other_data_under_the_same_name_is_a_difference() -> None:
    specs, _ = simulate(TABLE5)
    assert make_record_of(specs[0], {}).data  # has a fingerprint, and no sizes: nothing to compare
    sizes = {"fingerprint": "d" * 64, "train": 475, "validation": 25, "test": 10_000, "classes": 100}
    comparison = compare_simulated(TABLE5, data=sizes)
    assert [str(item) for item in comparison.differences] == [
        "data.train: 475, in the paper 47500",
        "data.validation: 25, in the paper 2500",
    ]
