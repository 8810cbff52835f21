"""The epoch that Label Wave chooses, by hand, and in a trial."""

from __future__ import annotations

import pytest

from lnlbench.basics.facts import EpochFacts
from lnlbench.metrics.label_wave import label_wave
from lnlbench.trials.measuring.accuracy import summarise


def history(*phases: list[float | None]) -> list[EpochFacts]:
    return [
        {"epoch": at, "prediction_changes": change, "validation": float(at), "test": 10.0 * number + at}
        for number, phase in enumerate(phases)
        for at, change in enumerate(phase)
    ]


@pytest.mark.parametrize(
    ("changes", "epoch"),
    [
        # Means of up to three: 9; 6.5; 5; 3; 4; …: the fourth is the first before a rise.
        ([None, 9.0, 4.0, 2.0, 3.0, 7.0, 1.0], 4),
        ([None, 9.0, 8.0, 7.0, 6.0], 4),  # falls to the end: the last
        ([None, 5.0, 5.0, 5.0], 3),  # nor does a plain rise
        ([None, 1.0, 2.0, 0.0, 0.0], 1),
        ([None], 0),
    ],
)
def test_the_first_local_minimum_of_the_moving_average(changes: list[float | None], epoch: int) -> None:
    assert label_wave(history(changes)) == epoch


def test_epochs_are_those_of_the_last_phase_counted_over_all() -> None:
    # Means of the last phase: 4, 3, 3, 14/3.
    assert label_wave(history([None, 1.0, 9.0], [50.0, 4.0, 2.0, 3.0, 9.0])) == 3 + 3
    assert label_wave(history([None, 1.0, 9.0], [50.0])) == 3


def test_unknown_changes_choose_nothing() -> None:
    assert label_wave(history([None, 3.0, None, 2.0])) is None
    assert "label_wave" not in summarise(history([None, None, None]))


def test_it_is_a_rule_beside_the_others() -> None:
    found = summarise(history([None, 9.0, 4.0, 2.0, 3.0, 7.0, 1.0]))
    assert (found["label_wave"], found["label_wave_epoch"]) == (4.0, 4)
    assert (found["best_epoch"], found["last"]) == (6, 6.0)
