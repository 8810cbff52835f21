"""Time left, by kind of trial, and the live line."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from lnlbench.console.progress import Progress
from lnlbench.console.time_left import TimeLeft, describe_seconds
from lnlbench.grids.plan import Plan
from lnlbench.running.pending import Pending
from lnlbench.spec import BackboneSpec, DatasetSpec, MethodSpec, NoiseSpec, PhaseSpec, TrialSpec


def trial(method: str, *phases: PhaseSpec, seed: int = 0) -> TrialSpec:
    return TrialSpec(
        dataset=DatasetSpec("digits"),
        noise=NoiseSpec("symmetric", 0.4),
        backbone=BackboneSpec("efficientnet_lite0"),
        tuning="-".join(phase.kind for phase in phases),
        method=MethodSpec(method),
        seed=seed,
        phases=phases,
    )


LP, FFT = PhaseSpec("lp", 20), PhaseSpec("fft", 2)


def entry(kind: str, epoch: int, seconds: float) -> dict[str, object]:
    return {"phase": kind, "epoch": epoch, "train_s": seconds * 0.75, "eval_s": seconds * 0.25}


def test_an_epoch_of_probing_says_nothing_of_fine_tuning() -> None:
    probed, tuned = trial("ce", LP), trial("ce", FFT)
    left = TimeLeft({probed: (0.01,), tuned: (30.0,)})
    assert left.seconds() is None  # nothing was measured
    left.epoch(probed, entry("lp", 0, 0.02))
    assert left.seconds() == pytest.approx(19 * 0.02 + 2 * 30)
    # What was measured takes the place of what was expected.
    left.epoch(tuned, entry("fft", 0, 40.0))
    assert left.seconds() == pytest.approx(19 * 0.02 + 1 * 40)


def test_other_methods_are_corrected_by_what_was_measured_on_the_backbone() -> None:
    one, other, probed = trial("ce", FFT), trial("elr", FFT), trial("ce", LP)
    left = TimeLeft({one: (10.0,), other: (30.0,), probed: (0.1,)}, jobs=2)
    left.epoch(one, entry("fft", 0, 20.0))  # twice as long as expected
    assert left.seconds() == pytest.approx((20 + 2 * 60 + 20 * 0.1) / 2)


def test_seeds_share_what_was_measured_and_phases_are_told_apart() -> None:
    one, other = (trial("turn", LP, FFT, seed=seed) for seed in (0, 1))
    left = TimeLeft({one: (None, None), other: (None, None)})
    left.epoch(one, entry("lp", 19, 1.0))
    assert left.seconds() is None  # nobody knows what its fine-tuning takes
    left.epoch(one, entry("fft", 0, 100.0))
    assert left.seconds() == pytest.approx(100 + (20 * 1 + 2 * 100))
    left.ended(one)
    assert left.seconds() == pytest.approx(20 * 1 + 2 * 100)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (3, "about 10 s"),
        (44, "about 40 s"),
        (600, "about 10 min"),
        (3600 * 2.5, "about 2.5 h"),
        (1e5, "about 28 h"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert describe_seconds(seconds) == words


def test_the_live_line_shows_epochs_and_fits_the_terminal() -> None:
    progress, specs = Progress(), [trial("elr", LP, FFT, seed=seed) for seed in range(9)]
    progress._console = Console(force_terminal=True, width=60)
    progress._moving = True
    said: list[str] = []
    progress.planned(Plan("mini", "A few", {}, ()), Pending(tuple(specs), 0, 0), Path("out"))
    for spec in specs:
        progress.started(spec)
        progress.epoch(spec, entry("fft", 0, 1.0))
        assert progress._spinner is not None
        said.append(str(progress._spinner.renderable.text))
    progress.ended()
    assert said[0] == "0 of 9 trials  elr lp-fft 21/22"
    assert len(said[-1]) == 58
    assert said[-1].endswith("…")


def test_what_the_first_seconds_are_spent_on_is_shown() -> None:
    progress = Progress()
    progress._console = Console(force_terminal=True, width=60)
    progress._moving = True
    progress.doing("reading digits")
    assert progress._spinner is not None
    assert str(progress._spinner.renderable.text) == "reading digits …"
    progress.doing("")
    assert progress._spinner is None
