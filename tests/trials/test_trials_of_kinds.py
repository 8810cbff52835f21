"""Whole trials in low-rank and partial tuning: continued bit for bit, counted, and told in their records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lnlbench.grids.tuning import kinds_of, phase_kind
from lnlbench.spec import BackboneSpec, DatasetSpec, MethodSpec, NoiseSpec, TrialSpec
from lnlbench.trials.attempt import StopTrial, run_trial
from lnlbench.trials.workspace import RunSettings, Workspace

pytest.importorskip("peft")
LEARNT = {"rank": 2, "lr": 1e-2}


def spec(tuning: str, method: str) -> TrialSpec:
    phases = tuple(
        phase_kind(kind).resolve(
            kind, {"epochs": 2, "batch_size": 16, **(LEARNT if kind == "lora" else {"lr": 1e-2})}
        )
        for kind in kinds_of(tuning)
    )
    data = DatasetSpec("digits", train_per_class=4, test_per_class=2)
    backbone = BackboneSpec("efficientnet_lite0", image_size=32)
    return TrialSpec(data, NoiseSpec.parse("symmetric-0.4"), backbone, tuning, MethodSpec(method), 0, phases)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize(("tuning", "method"), [("lp-lora", "turn"), ("partial", "elr"), ("lora", "ce")])
def test_continued_is_uninterrupted_and_counted(
    tuning: str, method: str, cache: Path, tmp_path: Path
) -> None:
    seen: list[Any] = []

    def interrupt(entry: Any) -> None:
        seen.append(entry)
        if len(seen) == 2 * len(kinds_of(tuning)) - 1:
            raise StopTrial

    chosen = spec(tuning, method)
    stopped = Workspace(RunSettings(data=None, cache=cache, checkpoints=tmp_path))
    with pytest.raises(StopTrial):
        run_trial(chosen, stopped, interrupt)
    continued = run_trial(chosen, stopped)
    assert continued.execution["continued"]
    whole = run_trial(chosen, Workspace(RunSettings(data=None, cache=cache)))
    numbers = ("phase", "epoch", "loss", "validation", "test", "selection")
    assert [[entry.get(name) for name in numbers] for entry in continued.history] == [
        [entry.get(name) for name in numbers] for entry in whole.history
    ]
    passes = whole.ledger["training"]
    assert passes["backbone_backward"] > 0
    saved = passes["backbone_backward_saved"] / passes["backbone_backward"]
    # Without gradients of weights a backward pass costs one unit, not two; of the last block, far less.
    assert 1.5 < saved < 2 if tuning == "partial" else saved == 1
    assert continued.ledger == whole.ledger
    head = 1280 * 10 + 10
    trained = whole.execution["trained_parameters"]
    assert head < trained < 0.3 * 4_000_000  # of EfficientNet-Lite0's parameters
