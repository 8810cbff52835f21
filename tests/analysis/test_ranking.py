"""Rankings across settings: scipy as oracle, numbers by hand, error rates and coverage by simulation."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from results_factory import make_failure, make_plan, make_record, make_spec
from scipy import stats as scipy_stats

import lnlbench
from lnlbench.analysis.figures.figure_front import draw_front
from lnlbench.analysis.figures.figure_page import save_figure
from lnlbench.analysis.figures.figure_ranks import draw_ranks
from lnlbench.analysis.ranking.concordance import kendall
from lnlbench.analysis.ranking.contest import Contest, Numbers
from lnlbench.analysis.ranking.order_tests import friedman, holm, ranks, signed_rank_tests
from lnlbench.analysis.ranking.outcomes import pareto, regrets, tallies, verdicts
from lnlbench.analysis.ranking.resampling import draw, nested_interval, paired_differences, pairs_of
from lnlbench.analysis.ranking.standings import Standings, rank
from lnlbench.analysis.ranking.standings_text import to_json, to_markdown, to_text
from lnlbench.errors import NothingSelectedError, UsageError
from lnlbench.records.frame import build_frame
from lnlbench.records.record import Record

GENERATOR_SEED = 12


def contest(values: Numbers, shared: bool = True) -> Contest:
    """A contest of [settings, entrants, seeds]."""
    settings, entrants, _ = values.shape
    return Contest(
        "best",
        tuple(f"m{at}" for at in range(entrants)),
        tuple(f"s{at}" for at in range(settings)),
        tuple(
            {"dataset": "digits", "noise_label": f"n{at}", "noise": "symmetric", "backbone": "b"}
            for at in range(settings)
        ),
        values,
        np.ones((settings, entrants)),
        (shared,) * settings,
        (),
    )


# Error rates


@pytest.mark.parametrize(
    ("settings", "seeds", "between", "within"),
    [(4, 5, 1.0, 0.3), (8, 3, 0.5, 1.0), (20, 5, 1.0, 1.0), (6, 5, 0.0, 1.0)],
)
def test_intervals_about_further_settings_cover_what_they_promise(
    settings: int, seeds: int, between: float, within: float
) -> None:
    repetitions = 4000  # standard error of a coverage of 95 %: 0.34 points
    generator = np.random.default_rng(GENERATOR_SEED)
    effects = between * generator.normal(size=(settings, repetitions, 1))
    values = 3.0 + effects + within * generator.normal(size=(settings, repetitions, seeds))
    found = nested_interval(values, draw(settings, seeds))
    covered = float(((found.low <= 3.0) & (found.high >= 3.0)).mean())
    assert 0.935 <= covered <= 0.965


@pytest.mark.parametrize(("settings", "seeds"), [(1, 3), (4, 5)])
def test_intervals_about_new_seeds_cover_the_mean_of_these_settings(settings: int, seeds: int) -> None:
    repetitions = 4000
    generator = np.random.default_rng(GENERATOR_SEED)
    effects = 5.0 * generator.normal(size=(settings, repetitions, 1))
    values = effects + generator.normal(size=(settings, repetitions, seeds))
    found = nested_interval(values, draw(settings, seeds), "seeds")
    truth = effects[:, :, 0].mean(axis=0)
    covered = float(((found.low <= truth) & (found.high >= truth)).mean())
    assert 0.935 <= covered <= 0.965


def test_a_difference_that_could_have_been_seen_is_seen_so_often() -> None:
    settings, seeds, repetitions = 20, 5, 3000
    generator = np.random.default_rng(GENERATOR_SEED)
    noise = generator.normal(size=(settings, repetitions, 1)) + generator.normal(
        size=(settings, repetitions, seeds)
    )
    draws = draw(settings, seeds)
    smallest = float(np.median(nested_interval(noise, draws).smallest))
    found = nested_interval(noise + smallest, draws)
    assert 0.77 <= float((found.low > 0).mean()) <= 0.83


@pytest.mark.parametrize("unit", ["settings", "seeds"])
def test_the_chance_of_any_false_claim_is_at_most_five_percent(unit: str) -> None:
    """Five methods that do not differ, with settings and seeds that do: no pair may be separable."""
    settings, entrants, seeds, repetitions = 12, 5, 3, 1500
    generator = np.random.default_rng(GENERATOR_SEED)
    common = 10.0 * generator.normal(size=(repetitions, settings, 1, 1)) + generator.normal(
        size=(repetitions, settings, 1, seeds)
    )
    values = common + generator.normal(size=(repetitions, settings, entrants, seeds))
    first, second = (list(side) for side in zip(*pairs_of(entrants), strict=True))
    differences = values[:, :, first] - values[:, :, second]
    # All repetitions in one call: [settings, repetitions · pairs, seeds].
    flat = differences.transpose(1, 0, 2, 3).reshape(settings, -1, seeds)
    p = np.array(signed_rank_tests(flat, unit)).reshape(repetitions, -1)
    false = np.mean([min(holm(list(row))) <= 0.05 for row in p])
    assert false <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / repetitions)
    assert false >= 0.01  # and the tests do not stay silent in general


# Oracles


def test_friedman_is_scipys_and_its_agreement_is_kendalls() -> None:
    means = np.random.default_rng(0).normal(size=(7, 4)) + np.array([0.0, 0.5, 1.0, 2.0])
    found = friedman(means)
    assert found is not None
    oracle = scipy_stats.friedmanchisquare(*means.T)
    assert (found.statistic, found.p) == (pytest.approx(oracle.statistic), pytest.approx(oracle.pvalue))
    sums = scipy_stats.rankdata(-means, axis=1).sum(axis=0)
    spread = ((sums - sums.mean()) ** 2).sum()
    assert found.agreement == pytest.approx(12 * spread / (7**2 * (4**3 - 4)))
    assert friedman(np.ones((3, 3))) is None
    assert friedman(means[:, :2]) is None
    assert friedman(means[:1]) is None


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.integers(-4, 4), min_size=6, max_size=6), min_size=1, max_size=5))
def test_signed_ranks_are_scipys_one_by_one(rows: list[list[int]]) -> None:
    samples = np.array(rows, dtype=float)
    found = signed_rank_tests(samples.T[:, :, None], "settings")
    for sample, p in zip(samples, found, strict=True):
        assert p == (pytest.approx(scipy_stats.wilcoxon(sample).pvalue) if sample.any() else 1.0)


def test_signed_ranks_with_ties_count_all_patterns_of_signs() -> None:
    """Beyond 13 values, from which on scipy approximates: here every pattern is tried."""
    sample = np.array([3, 3, -1, 2, -2, 5, 0, 4, 4, -4, 6, 6, 1, 7, -3, 8], dtype=float)
    values = sample[sample != 0]
    ranked = scipy_stats.rankdata(np.abs(values))
    signs = np.array(list(itertools.product((0, 1), repeat=len(values))))
    sums, seen = signs @ ranked, ranked[values > 0].sum()
    expected = min(1.0, 2 * min((sums <= seen).mean(), (sums >= seen).mean()))
    assert signed_rank_tests(sample[:, None, None], "settings") == [pytest.approx(expected, rel=1e-12)]


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_follows_its_definition(p: list[float]) -> None:
    adjusted = holm(p)
    for at, value in enumerate(p):
        below = [q for q in p if q <= value]
        # The largest over all that are as small of (m - number smaller) times p, at most 1.
        expected = max(min(1.0, (len(p) - sum(r < q for r in p)) * q) for q in below)
        assert adjusted[at] == pytest.approx(expected)


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 7), st.integers(0, 1000))
def test_kendall_is_scipys(entrants: int, seed: int) -> None:
    a, b = np.random.default_rng(seed).integers(0, 4, size=(2, 1, entrants)).astype(float)
    oracle = float(scipy_stats.kendalltau(a[0], b[0]).statistic)
    assert float(kendall(a, b)[0]) == pytest.approx(oracle, nan_ok=True)


def test_an_interval_of_balanced_results_is_students() -> None:
    values = np.random.default_rng(3).normal(size=(6, 2, 4))
    found = nested_interval(values, draw(6, 4, resamples=40_000))
    oracle = scipy_stats.ttest_1samp(values.mean(axis=2), 0.0).confidence_interval()
    assert found.low == pytest.approx(oracle.low, abs=0.02)
    assert found.high == pytest.approx(oracle.high, abs=0.02)


def test_one_seed_in_one_setting_has_no_interval() -> None:
    found = nested_interval(np.array([[[1.0]]]), draw(1, 1))
    assert found.mean[0] == 1.0
    assert math.isnan(found.low[0])
    assert math.isnan(found.smallest[0])


def test_verdicts_are_paired_by_seed_where_seeds_share_their_noise() -> None:
    # The seeds' own noise is large and common: only pairs of trials show the difference of one point.
    seeds = np.array([0.0, 10.0, -10.0, 5.0])
    values = np.stack([seeds + 1 + np.array([0.1, -0.1, 0.1, -0.1]), seeds])[None]
    for shared, expected in ((True, 1.0), (False, 0.0)):
        one = contest(values, shared)
        won = verdicts(one, paired_differences(one))
        assert won.tolist() == [[expected]]
    assert (
        scipy_stats.ttest_rel(*values[0]).pvalue
        < 0.05
        < scipy_stats.ttest_ind(*values[0], equal_var=False).pvalue
    )
    counted = tallies(contest(values), np.array([[1.0]]))
    assert [(each.wins, each.ties, each.losses) for each in counted] == [(1, 0, 0), (0, 0, 1)]


def test_a_single_seed_decides_nothing() -> None:
    one = contest(np.array([[[2.0], [1.0]]]))
    assert np.isnan(verdicts(one, paired_differences(one))).all()
    assert tallies(one, np.array([[np.nan]]))[0].unknown == 1


def test_regret_by_hand() -> None:
    mean, largest = regrets(np.array([[90.0, 80.0], [50.0, 70.0]]))
    assert mean.tolist() == [10.0, 5.0]
    assert largest.tolist() == [20.0, 10.0]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=9))
def test_the_front_is_what_nothing_dominates(points: list[tuple[int, int]]) -> None:
    found = pareto([score for score, _ in points], [cost for _, cost in points])
    for at, (score, cost) in enumerate(points):
        dominated = any(s >= score and c <= cost and (s, c) != (score, cost) for s, c in points)
        assert bool(found[at]) is not dominated
    assert not pareto([1.0], [math.nan])[0]


def test_ranks_share_ties() -> None:
    assert ranks(np.array([[3.0, 1.0, 3.0]])).tolist() == [[1.5, 3.0, 1.5]]


# From records

NOISES = ("symmetric-0.2", "symmetric-0.6", "asymmetric-0.4", "real")


def records(methods: dict[str, float], noises: tuple[str, ...] = NOISES, seeds: int = 3) -> list[Record]:
    generator = np.random.default_rng(GENERATOR_SEED)
    return [
        make_record(
            make_spec(method, "lp", noise, seed),
            strength + generator.normal(scale=0.1),
            strength,
            data={"fingerprint": "d" * 64, "train": 100},
        )
        for noise in noises
        for method, strength in methods.items()
        for seed in range(seeds)
    ]


def frame_of(found: list[Record], table: dict[str, Any] | None = None) -> pd.DataFrame:
    plan = make_plan([record.spec for record in found], table=table)
    for trial in plan["trials"]:
        trial["reference_epochs"] = 5
    return build_frame({"mini": plan}, found)


@pytest.fixture(scope="module")
def three() -> Standings:
    return lnlbench.rank(frame_of(records({"ce": 60.0, "gce": 70.0, "elr": 70.05})))


def test_a_ranking_of_records(three: Standings) -> None:
    assert [entrant.name for entrant in three.entrants][-1] == "LP CE"
    assert three.settings == ("Symm. 0.2", "Symm. 0.6", "Asym. 0.4", "Real noise")
    assert three.seeds == (3, 3)
    assert three.shared
    assert three.unit == "seeds"
    worst = three.entrants[-1]
    assert worst.rank[0] == 3.0
    assert worst.tally.losses == 8
    assert worst.first == 0.0
    assert worst.regret[0] == pytest.approx(10.0, abs=0.3)
    assert all(pair.separable for pair in three.pairs if pair.other == "LP CE")
    assert (0, 1) in three.ties or three.pairs[0].separable
    taus = {(each.first, each.second): each.tau for each in three.concordances}
    assert ("best", "last") in taus
    assert ("synthetic noise", "real noise") in taus
    assert taus["Symm. 0.2", "Symm. 0.6"] >= 1 / 3
    assert list(three.frame()["entrant"]) == [entrant.name for entrant in three.entrants]


def test_the_same_frame_gives_the_same_ranking() -> None:
    frame = frame_of(records({"ce": 60.0, "gce": 70.0}))
    assert rank(frame) == rank(frame)


def test_where_less_is_better_the_lowest_is_ahead() -> None:
    frame = frame_of(records({"ce": 60.0, "gce": 70.0, "elr": 70.05}))
    by_accuracy = rank(frame)
    frame["dead_classes_last"] = 100 - frame["best"]
    by_loss = rank(frame, "dead_classes_last")
    assert [each.name for each in by_loss.entrants] == [each.name for each in by_accuracy.entrants]
    for loss, accuracy in zip(by_loss.entrants, by_accuracy.entrants, strict=True):
        assert loss.score == pytest.approx(100 - accuracy.score)
        assert loss.rank == pytest.approx(accuracy.rank)
        assert loss.tally == accuracy.tally
        assert loss.regret == pytest.approx(accuracy.regret)
    for loss, accuracy in zip(by_loss.pairs, by_accuracy.pairs, strict=True):
        assert (loss.better, loss.won) == (accuracy.better, accuracy.won)
        mean, low, high = loss.difference
        assert (-mean, -high, -low) == pytest.approx(accuracy.difference)
        assert mean <= 0
    assert "rank 1 is the best, which is the lowest" in to_text(by_loss)
    assert "rank 1 is the best." in to_text(by_accuracy)


def test_who_are_level_share_the_first_place() -> None:
    frame = frame_of(records({"ce": 60.0, "gce": 70.0, "elr": 70.0}))
    frame["dead_classes_last"] = (frame["method"] == "ce").astype(float)
    level = rank(frame, "dead_classes_last").entrants
    assert [(each.score, each.first) for each in level] == [(0.0, 0.5), (0.0, 0.5), (1.0, 0.0)]
    assert f"{level[0].score:.2f}" == "0.00"


def test_of_a_number_that_is_neither_good_nor_bad_the_highest_comes_first() -> None:
    frame = frame_of(records({"ce": 60.0, "gce": 70.0}))
    frame["memorised"] = frame["best"]
    text = to_text(rank(frame, "memorised"))
    assert "rank 1 is the highest." in text
    assert "the best" not in text


def test_many_settings_are_what_tests_are_over() -> None:
    noises = tuple(f"symmetric-0.{tenth}" for tenth in range(1, 9))
    found = rank(frame_of(records({"ce": 60.0, "gce": 70.0}, noises)))
    assert found.unit == "settings"
    assert found.friedman is None
    assert found.pairs[0].p == pytest.approx(2 / 2**8)
    assert found.pairs[0].won == (8, 0, 0)


def test_gaps_leave_out_the_method_or_the_setting_that_lacks_most() -> None:
    found = records({"ce": 60.0, "gce": 70.0, "elr": 65.0})
    kept = [
        record for record in found if record.spec.method.name != "elr" or record.spec.noise.type == "real"
    ]
    standings = rank(frame_of(kept))
    assert {entrant.name for entrant in standings.entrants} == {"LP CE", "LP GCE"}
    assert "LP ELR: no result in 3 of 4 settings" in standings.left_out
    failed = [make_failure(record.spec) if record.spec.noise.type == "real" else record for record in found]
    standings = rank(frame_of(failed))
    assert len(standings.settings) == 3
    assert any("failed: TrialError" in reason for reason in standings.left_out)
    assert "failed" in to_text(standings)


def test_trials_with_other_labels_are_not_paired() -> None:
    found = [
        make_record(make_spec(method, "lp", seed=seed), 60.0 + seed, noise={"realised_rate": rate})
        for method, rate in (("ce", 0.5), ("gce", 0.6))
        for seed in range(3)
    ]
    assert not rank(frame_of(found)).shared


def test_parameters_can_tell_entrants_apart() -> None:
    found = [
        make_record(make_spec("turn", "lp-fft", noise, seed, params=(("tau", tau),)), 50 + 10 * tau + seed)
        for noise in NOISES[:2]
        for tau in (0.3, 0.6)
        for seed in (0, 1)
    ]
    with pytest.raises(NothingSelectedError, match="different settings"):
        rank(frame_of(found))
    names = [entrant.name for entrant in rank(frame_of(found), by=("method", "params.tau")).entrants]
    assert names == ["TURN τ = 0.6", "TURN τ = 0.3"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"metric": "bset"}, "best"),
        ({"by": ("metod",)}, "method"),
        ({"by": ("noise",)}, "problem"),
        ({"unit": "x"}, "auto"),
    ],
)
def test_mistakes_are_named(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        rank(frame_of(records({"ce": 60.0, "gce": 70.0})), **arguments)


def test_nothing_to_rank() -> None:
    with pytest.raises(NothingSelectedError, match="nothing to rank"):
        rank(frame_of(records({"ce": 60.0})))


def test_texts_say_what_must_be_known(three: Standings) -> None:
    text, markdown, data = to_text(three), to_markdown(three), json.loads(to_json(three))
    assert "Friedman" in text
    assert "Holm" in text
    assert "speak of these settings with other seeds" in text
    assert markdown.splitlines()[1].startswith("| ---: | --- |")
    assert [entrant["name"] for entrant in data["entrants"]] == [entrant.name for entrant in three.entrants]
    assert len(data["pairs"]) == 3


@pytest.mark.parametrize("seeds", [2, 3, 5, 6, 7, 8])
def test_too_few_observations_are_told_where_no_difference_is_large_enough(seeds: int) -> None:
    found = lnlbench.rank(frame_of(records({"ce": 60.0, "gce": 70.0, "elr": 80.0}, NOISES[:1], seeds)))
    # All differences have one sign, so p is as small as it can be.
    possible = 3 * scipy_stats.wilcoxon(np.arange(1, seeds + 1)).pvalue <= 0.05
    assert found.observations == seeds
    assert found.enough == possible == any(pair.separable for pair in found.pairs)
    told = "no difference is large enough" in to_text(found)
    assert told != possible
    assert told == math.isnan(found.smallest)
    if told:
        assert "for 3 pairs; it takes 7 observations" in to_text(found)


def test_runs_of_methods_that_are_not_separable() -> None:
    names = ["a", "b", "c", "d"]
    apart = {("a", "c"), ("a", "d")}

    def standings() -> Standings:
        base = rank(frame_of(records({"ce": 60.0, "gce": 70.0})))
        entrant, pair = base.entrants[0], base.pairs[0]
        return dataclasses.replace(
            base,
            entrants=tuple(dataclasses.replace(entrant, name=name) for name in names),
            pairs=tuple(
                dataclasses.replace(pair, better=first, other=second, separable=(first, second) in apart)
                for first, second in combinations(names, 2)
            ),
        )

    assert standings().ties == [(0, 1), (1, 3)]


def test_figures_are_the_same_for_the_same_ranking(three: Standings) -> None:
    for make in (draw_ranks, draw_front):
        first, second = (save_figure(*_figure(make, three)) for _ in range(2))
        assert first == second
        assert b"<svg" in first


def _figure(make: Any, standings: Standings) -> tuple[Any, str, str, Any]:
    figure, story = make(standings)
    return figure, "svg", "Ranking", story
