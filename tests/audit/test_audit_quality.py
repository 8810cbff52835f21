"""The comparison of an audit with cleanlab: its bootstrap, and the rule that both have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lnlbench.trials.workspace import RunSettings, Workspace
from tools.audit_quality import differences, report


def test_intervals_are_of_paired_differences() -> None:
    generator = np.random.default_rng(0)
    wrong = generator.random(400) < 0.3
    score = np.where(wrong, -1.0, 1.0) + generator.normal(size=400)
    others = {"same": score, "order": 3 * score + 1, "worse": score + 2 * generator.normal(size=400)}
    found = differences(wrong, score, others, draws=50)
    for measure in ("AUROC", "AP"):
        assert found["same"][measure] == (0.0, 0.0)
        assert found["order"][measure] == pytest.approx((0.0, 0.0), abs=1e-12)
        low, high = found["worse"][measure]
        assert 0.05 < low < high < 0.5


def test_confident_learning_is_cleanlabs_on_features_of_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cleanlab")
    workspace = Workspace(RunSettings(data=None, cache=tmp_path))
    sets = ["image_size=32", "train_per_class=12", "test_per_class=1"]
    report("digits", "symmetric-0.4", sets, workspace, draws=5)
    said = capsys.readouterr().out
    assert "flags equal cleanlab's: True; scores within 0.0e+00" in said
    lines = {line[:44].strip(): line[44:].split()[:2] for line in said.splitlines()}
    assert lines["confident"] == lines["cleanlab self_confidence"]
