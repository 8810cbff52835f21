"""Metrics in the results frame: a column for each and for each rule that chooses an epoch."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from results_factory import fill, make_plan, make_record, make_spec

from lnlbench.analysis.tables.render import render
from lnlbench.analysis.tables.tables import build_table
from lnlbench.errors import UsageError
from lnlbench.plugins import registry
from lnlbench.records.frame import build_frame, curves
from lnlbench.records.record import Record

MEASURED = {
    "balanced": {"best": 40.0, "last": 41.0, "label_wave": 42.0},
    "ece": {"best": 5.0, "last": None},
    "dead_classes": {"best": 0.0, "last": 2.0},
}


def measured(**changes: object) -> Record:
    return make_record(make_spec(), **{"measured": MEASURED, **changes})


def test_a_metric_has_a_column_for_each_rule() -> None:
    row = build_frame({}, [measured()]).iloc[0]
    assert (row["balanced_best"], row["balanced_last"], row["balanced_label_wave"]) == (40.0, 41.0, 42.0)
    assert row["ece_best"] == 5.0
    assert pd.isna(row["ece_last"])
    assert pd.isna(row["macro_f1_best"])  # not measured


def test_a_record_of_before_has_blanks_and_its_accuracies() -> None:
    old = make_record(make_spec())
    assert Record.from_dict({k: v for k, v in old.to_dict().items() if k != "measured"}) == old
    row = build_frame({}, [old]).iloc[0]
    assert (row["best"], row["last"]) == (80.0, 70.0)
    assert row.filter(like="balanced").isna().all()


def test_metrics_survive_the_disk_and_are_in_the_curves(tmp_path: Path) -> None:
    history = [
        {"phase": "lp", "epoch": 0, "loss": 1.0, "validation": 1.0, "test": 2.0},
        {"phase": "lp", "epoch": 1, "loss": 1.0, "validation": 1.0, "test": 2.0},
    ]
    history[0]["metrics"] = {"validation": {"balanced": 30.0}, "test": {"balanced": 40.0}}
    history[1]["metrics"] = {"validation": {"balanced": 31.0}, "test": {"balanced": None}}
    store = fill(tmp_path / "out", [measured(history=history)])
    assert store.records()[0].measured == MEASURED
    found = curves(store.root)
    assert list(found["validation_balanced"]) == [30.0, 31.0]
    assert found["test_balanced"][0] == 40.0
    assert found["test_balanced"].isna()[1]
    assert found["test_macro_f1"].isna().all()


def test_values_of_a_wrong_type_are_damage(tmp_path: Path) -> None:
    store = fill(tmp_path / "out", [measured(measured={"balanced": {"best": "high"}})])
    (damaged,) = store.read_all()[1]
    assert "measured.balanced.best is a str" in damaged.reason


def test_a_metric_given_by_path_has_columns(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("from lnlbench.api import Metric\n\n\nclass Luck(Metric):\n    unit = ''\n")
    registry.metrics().add_path(str(path))
    row = build_frame({}, [measured(measured={"luck": {"best": 1.0, "last": 7.0}})]).iloc[0]
    assert (row["luck_best"], row["luck_last"]) == (1.0, 7.0)


def shown(metric: str | list[str], *records: Record) -> str:
    plan = make_plan([record.spec for record in records])
    frame = build_frame({"mini": plan}, records)
    return render(build_table(frame, {"metric": metric, "extra": []}, plan), "text")


def test_a_table_of_a_metric_says_what_it_is() -> None:
    text = shown("balanced", measured())
    assert "balanced accuracy [%], best / last" in text
    assert "40.00 / 41.00" in text
    said = " ".join(text.split())
    assert "Test balanced accuracy in percent: mean of the recalls of all classes (best: at the" in said
    assert "Every trial has dead classes after the last epoch" in said


def test_the_lowest_error_is_marked() -> None:
    other = make_record(make_spec("gce"), measured={"ece": {"best": 9.0}})
    text = shown("ece_best", measured(), other)
    assert "*5.00*" in text
    assert "The lowest mean" in text


def test_several_metrics_have_columns_of_their_own() -> None:
    lines = shown(["best/last", "balanced_last"], measured()).splitlines()
    heading = " ".join(" ".join(lines[:3]).split())
    assert "best / last" in heading
    assert "balanced accuracy [%], last" in heading
    assert "Test accuracy in percent (best" in " ".join(lines)


def test_a_blank_says_why() -> None:
    text = shown("balanced_last", make_record(make_spec()))
    assert "no balanced accuracy in the record: made before it was measured, or not defined" in text


def test_an_unknown_metric_is_named_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="'balancd'") as error:
        shown("balancd", measured())
    assert "balanced" in str(error.value.hint)
