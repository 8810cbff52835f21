"""Rules of metrics: ours keep them, and what breaks each is found by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lnlbench.api import Metric, Predictions
from lnlbench.cli import main
from lnlbench.conformance import Outcome, check_metric, check_plugin
from lnlbench.conformance.metric_rules import METRIC_RULES, METRIC_SOURCE_RULES, MetricSubject, splits
from lnlbench.errors import ExitCode, PluginError
from lnlbench.metrics.calibration_error import ExpectedCalibrationError
from lnlbench.plugins import registry
from lnlbench.plugins.describe import Description

OURS = tuple(entry.name for entry in registry.metrics().entries() if entry.path is None)


def described(metric: Metric) -> Description:
    fields = {name: getattr(metric, name) for name in ("title", "unit", "better", "decimals", "meaning")}
    return Description(**fields)


def broken(metric: Metric, name: str = "sound", said: Description | None = None) -> dict[str, str]:
    """Return the rules that a metric breaks, with the reasons."""
    subject = MetricSubject(name, metric, said or described(metric))
    findings = [rule.judge(subject, "split") for rule in (*METRIC_SOURCE_RULES, *METRIC_RULES)]
    return {finding.check: finding.reason for finding in findings if finding.outcome is Outcome.FAILED}


class Sound(Metric):
    """Share of samples whose class has a probability above one half."""

    bounds = (0.0, 100.0)

    def measure(self, predictions: Predictions) -> float | None:
        return 100.0 * float(
            (np.where(np.isnan(predictions.probability), np.nan, predictions.probability > 0.5)).mean()
        )


def measuring(how: Callable[[Predictions], Any], **attributes: Any) -> Metric:
    fields = {"measure": lambda self, predictions: how(predictions), "__doc__": "A metric.", **attributes}
    made: Metric = type("Made", (Metric,), fields)()
    return made


@pytest.mark.parametrize("name", OURS)
def test_ours_keep_the_rules(name: str) -> None:
    report = check_metric(name)
    assert report.passed, report
    assert report.kind == "metric"
    assert len(report.findings) == len(METRIC_SOURCE_RULES) + len(METRIC_RULES)


def test_a_sound_metric_breaks_no_rule() -> None:
    assert broken(Sound()) == {}


def accuracy(predictions: Predictions) -> float:
    return predictions.accuracy


def spoil(predictions: Predictions) -> float:
    predictions.confidence.sort()
    return accuracy(predictions)


def rounds(predictions: Predictions) -> float:
    """Depends on which samples stand in which batch of 50."""
    right = (predictions.predicted == predictions.labels).astype(float)
    return 100 * float(np.mean([part.mean() for part in np.array_split(right, max(1, len(right) // 50))]))


CALLS: list[int] = []


def remembers(predictions: Predictions) -> float:
    CALLS.append(len(predictions))
    return float(len(CALLS))


@pytest.mark.parametrize(
    ("rule", "how", "said"),
    [
        ("measures", lambda p: None, "is None for 257 samples"),
        ("measures", lambda p: float("inf"), "is inf"),
        ("measures", lambda p: "good", "could not convert"),
        ("measures", lambda p: p.logits, "no attribute 'logits'"),
        (
            "splits",
            lambda p: 100 * float(np.std(p.confidence[:1], ddof=len(p) == 1)),
            "is nan for one sample",
        ),
        ("splits", lambda p: float(np.bincount(p.labels)[p.classes - 1]), "IndexError for"),
        ("splits", lambda p: accuracy(p) if len(p) > 1 else 1 / 0, "ZeroDivisionError for one sample"),
        ("order", lambda p: 100 * float(p.predicted[0] == p.labels[0]), "when they are"),
        ("order", rounds, "when they are"),
        ("repeats", spoil, "it changes predictions.confidence"),
        ("repeats", remembers, "the second time"),
        ("repeats", lambda p: accuracy(p) + 0 * np.random.rand(), "global random"),
        ("repeats", lambda p: accuracy(p) + 0 * torch.rand(()).item(), "global random"),
        ("nan", lambda p: 100 * float(np.nanmean(p.probability)), "depends on predictions.probability"),
        ("nan", lambda p: 100 * float((p.confidence > 0.5).mean()), "depends on predictions.confidence"),
        ("better", lambda p: 100 - accuracy(p), "all right is 0, all wrong 100"),
    ],
)
def test_each_broken_metric_is_found(rule: str, how: Callable[[Predictions], Any], said: str) -> None:
    found = broken(measuring(how))
    assert said in found[rule]


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (50.0, None), (None, 99.0)])
def test_values_outside_the_bounds_are_found(bounds: tuple[float | None, float | None]) -> None:
    assert "its bounds are" in broken(measuring(accuracy, bounds=bounds))["bounds"]


@pytest.mark.parametrize(
    ("attributes", "rule", "said"),
    [
        ({"__doc__": ""}, "documented", "has none"),
        ({"better": "larger"}, "attributes", "better is 'larger'"),
        ({"decimals": -1}, "attributes", "decimals is -1"),
        ({"decimals": 1.5}, "attributes", "not of type int"),
        ({"unit": None}, "attributes", "not of type str"),
        ({"bounds": (1.0, 0.0)}, "attributes", "the first is below the second"),
    ],
)
def test_wrong_attributes_are_found(attributes: dict[str, Any], rule: str, said: str) -> None:
    assert said in broken(measuring(accuracy, **attributes))[rule]


def test_attributes_that_tables_cannot_read_are_found() -> None:
    metric = measuring(accuracy, title="two " + "words")
    assert "write it as a literal" in broken(metric, said=Description())["attributes"]


@pytest.mark.parametrize("name", ["best", "oracle"])
def test_names_of_columns_are_taken(name: str) -> None:
    assert "is a column already" in broken(Sound(), name)["name"]


def test_a_metric_without_direction_or_bounds_is_not_judged_by_them() -> None:
    subject = MetricSubject(
        "spread", measuring(lambda p: float(p.rank.mean()), better=""), Description(better="")
    )
    outcomes = {rule.name: rule.judge(subject, "split").outcome for rule in METRIC_RULES}
    assert outcomes["better"] is outcomes["bounds"] is Outcome.NOT_APPLICABLE
    assert outcomes["order"] is Outcome.PASSED


def test_the_splits_are_predictions_as_trials_make_them() -> None:
    for _, made in splits():
        right = made.predicted == made.labels
        assert ((made.rank == 0) == right).all()
        assert np.allclose(made.confidence[right], made.probability[right])
        assert (made.confidence >= made.probability).all()
        assert ((made.confidence >= 1 / made.classes) & (made.confidence <= 1)).all()
        assert ((made.rank >= 0) & (made.rank < made.classes)).all()
    assert min(len(made) for _, made in splits()) == 1


PLUGIN = '''
from lnlbench.api import Metric

class FirstIsRight(Metric):
    """Whether the first sample is right."""

    def measure(self, predictions):
        return 100.0 * float(predictions.predicted[0] == predictions.labels[0])
'''


def test_the_command_checks_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "first.py").write_text(PLUGIN)
    assert main(["check", str(tmp_path / "first.py"), "--format", "json"]) == ExitCode.INCOMPLETE
    report = json.loads(capsys.readouterr().out)
    assert report["kind"] == "metric"
    assert {finding["check"] for finding in report["findings"] if finding["outcome"] == "failed"} == {"order"}
    assert main(["check", "ece"]) == ExitCode.OK
    assert "ece (lnlbench" in capsys.readouterr().out


def test_a_kind_of_phase_has_no_rules() -> None:
    with pytest.raises(PluginError, match="Unknown method, backbone, data set or metric 'lora'"):
        check_plugin("lora")


def test_a_nan_is_not_hidden_by_the_calibration_error() -> None:
    assert "nan" not in broken(ExpectedCalibrationError(), "ece")
