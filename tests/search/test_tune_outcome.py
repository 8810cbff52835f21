"""What is chosen: by validation accuracy alone, by documented rules, with its uncertainty."""

import math
from dataclasses import replace

import pytest

from lnlbench.errors import UsageError
from lnlbench.records.record import Record, Status
from lnlbench.search.design import Search
from lnlbench.search.outcome import (
    Curve,
    Result,
    State,
    check_metric,
    collect,
    effects,
    rank,
    within_noise,
)
from lnlbench.search.search_report import describe_result
from lnlbench.search.space import Configuration, parse_space
from lnlbench.spec import BackboneSpec, DatasetSpec, MethodSpec, NoiseSpec, PhaseSpec, TrialSpec

SPACE = parse_space("lp", ["lr=0.1,0.01,0.001", "optimizer=sgd,adamw", "weight_decay=0", "batch_size=32"])
BASE = TrialSpec(
    DatasetSpec("digits"),
    NoiseSpec("symmetric", 0.6),
    BackboneSpec("efficientnet_lite0"),
    "lp",
    MethodSpec("ce"),
    0,
    (PhaseSpec("lp", 3),),
)


class Poisoned(dict):
    """A dict whose test accuracies must not be looked at."""

    def __getitem__(self, key):
        assert key not in ("test", "best", "last", "oracle", "best_epoch", "oracle_epoch"), f"saw {key}"
        return super().__getitem__(key)

    def _refuse(self, *_):
        raise AssertionError("looked at all values")

    get = values = items = _refuse


def record(spec, validation, error=None):
    history = [
        Poisoned({"phase": "lp", "epoch": epoch, "validation": accuracy, "test": 100.0 - accuracy})
        for epoch, accuracy in enumerate(validation)
    ]
    status = Status.DONE if error is None else Status.FAILED
    metrics = Poisoned(best=1.0, last=1.0, oracle=1.0)
    failure = None if error is None else {"type": error, "message": "…"}
    return Record(spec, status, metrics=metrics, history=history, data={"validation": 100}, error=failure)


def search(seeds=(0,)):
    base = tuple(replace(BASE, seed=seed) for seed in seeds)
    return Search(SPACE, base, tuple(SPACE.configurations()))


def results_of(curves, seeds=(0,)):
    """Results of a search whose configurations have these curves, in order; one per seed."""
    made = search(seeds)
    records = [
        record(spec, validation)
        for configuration, of_seeds in zip(made.configurations, curves, strict=False)
        for spec, validation in zip(made.specs(configuration), of_seeds, strict=True)
    ]
    return made, collect(made, records)


def numbers(ranked):
    return [result.configuration.number for result in ranked]


def test_the_choice_and_its_report_see_no_test_accuracy():
    made, results = results_of([[(30, 40, 35)], [(20, 50, 10)], [(45, 45, 45)]])
    assert numbers(rank(results, "best_validation")) == [1, 2, 0]
    assert numbers(rank(results, "last_validation")) == [2, 0, 1]
    assert "50.00" in describe_result(made, results, "best_validation", 10)
    # The guard works: what does look is caught.
    with pytest.raises(AssertionError, match="saw test"):
        record(BASE, (1.0,)).history[0]["test"]


def test_scores_are_means_over_seeds():
    _, results = results_of([[(30,), (50,)], [(45,), (45,)], [(60,), (10,)]], seeds=(0, 1))
    ranked = rank(results, "best_validation")
    assert [result.score("best_validation") for result in ranked] == [45.0, 40.0, 35.0]
    assert numbers(ranked) == [1, 0, 2]


def test_ties_go_to_the_other_metric_and_then_to_the_order_of_the_space():
    _, results = results_of([[(50, 20)], [(50, 40)], [(10, 50)], [(50, 40)]])
    assert numbers(rank(results, "best_validation")) == [2, 1, 3, 0]
    _, results = results_of([[(20, 40)], [(60, 40)], [(60, 40)]])
    assert numbers(rank(results, "last_validation")) == [1, 2, 0]


def test_the_best_epoch_is_the_first_of_the_highest_as_in_tables():
    result = Result(Configuration(0, ()), State.DONE, (Curve((10.0, 40.0, 40.0), 10),))
    assert result.best_epoch() == 2


def test_only_configurations_that_finished_with_every_seed_are_chosen():
    made = search(seeds=(0, 1))
    first, second, third, fourth, fifth, _ = made.configurations
    (a0, a1), (b0, b1), (c0, c1), (d0, _d1) = map(made.specs, (first, second, third, fourth))
    (e0, e1) = made.specs(fifth)
    records = [record(a0, (30,)), record(a1, (30,)), record(b0, (90,)), record(b1, (), "TrialError")]
    records += [record(c0, (90,)), record(c1, (), "WorkerDied"), record(d0, (90,)), record(e0, (80,))]
    results = collect(made, records, {e1.trial_id: Curve((80.0,))})
    found = [str(result.state) for result in results]
    assert found == ["done", "diverged", "failed", "pending", "stopped", "pending"]
    assert numbers(rank(results, "best_validation")) == [0]


def test_the_standard_error_is_that_of_a_share_of_the_validation_set():
    _, results = results_of([[(36,), (64,)]], seeds=(0, 1))
    expected = 100 * math.sqrt(0.36 * 0.64 / 100 + 0.64 * 0.36 / 100) / 2
    assert results[0].standard_error("best_validation") == pytest.approx(expected)


def test_configurations_within_one_standard_error_are_counted():
    # At 50 % of 100 samples it is 5 points.
    _, results = results_of([[(50,)], [(45,)], [(44.9,)], [(50,)]])
    assert within_noise(rank(results, "best_validation"), "best_validation") == 2


def test_effects_split_the_variance_as_in_an_analysis_of_variance():
    # lr 0.1, 0.01, 0.001 × sgd, adamw: additive, so the shares add up to one.
    scores = [10 + lr + optimizer for lr in (0, 6, 12) for optimizer in (0, 2)]
    _, results = results_of([[(score,)] for score in scores])
    found = {
        effect.name: effect for effect in effects(rank(results, "best_validation"), SPACE, "best_validation")
    }
    assert list(found) == ["lr", "optimizer"]  # the larger share first; nothing that was not searched
    assert found["lr"].share == pytest.approx(144 / 150)  # Σ 2·6² against Σ 6·1²
    assert found["lr"].share + found["optimizer"].share == pytest.approx(1)
    assert found["lr"].best == {0.1: 12.0, 0.01: 18.0, 0.001: 24.0}
    assert (found["lr"].spread, found["optimizer"].spread) == (12.0, 2.0)


def test_a_best_value_at_the_edge_is_pointed_out_if_it_matters():
    made, results = results_of([[(score,)] for score in (10, 12, 30, 32, 50, 52)])
    text = describe_result(made, results, "best_validation", 10)
    assert "lr = 1e-3 is the smallest value of the space" in text
    assert "--space lp.lr=0.1,0.01,1e-3,1e-4" in text
    made, results = results_of([[(score,)] for score in (49, 50, 51, 50, 52, 52)])  # all within noise
    assert "Warning" not in describe_result(made, results, "best_validation", 10)


def test_equal_scores_of_all_are_no_error():
    made, results = results_of([[(20,)]] * 6)
    assert {effect.share for effect in effects(results, SPACE, "best_validation")} == {0.0}
    assert "5 other configurations are within it" in describe_result(made, results, "best_validation", 10)


@pytest.mark.parametrize("name", ["best", "last", "oracle", "test", "test_accuracy"])
def test_test_accuracies_are_refused_with_the_reason(name):
    with pytest.raises(UsageError, match="trained on the test set"):
        check_metric(name)


def test_unknown_metrics_are_refused():
    assert check_metric("last_validation") == "last_validation"
    with pytest.raises(UsageError, match="Did you mean 'best_validation'"):
        check_metric("best_valid")
