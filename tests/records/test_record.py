"""Records as values: what is read back, from the disk of an earlier version too."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import get_type_hints

import pytest
from results_factory import make_failure, make_record, make_spec

from lnlbench.basics import facts
from lnlbench.records.frame import build_frame
from lnlbench.records.frame_columns import COLUMNS
from lnlbench.records.record import Record
from lnlbench.records.shapes import checker
from lnlbench.records.store import Store

# Written by `lnlbench run` before records had types: TURN, 2 + 1 epochs on 114 digits.
OLD = Path(__file__).parents[1] / "golden" / "trials" / "a44805fc5c045f9e.json"


def test_a_record_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "out", create=True)
    (store.root / "trials").mkdir()
    shutil.copy(OLD, store.root / "trials")
    (record,), damaged = store.read_all()
    assert damaged == []
    written, read = json.loads(OLD.read_bytes())["payload"], record.to_dict()
    # What it did not have.
    assert [read.pop(name) for name in ("measured", "verdicts", "models")] == [{}, None, None]
    assert read.pop("record_version") == 2
    assert written.pop("record_version") == 1
    del written["spec"], read["spec"]  # which gains settings; the trial's id says that it is the same
    assert read == written
    (row,) = build_frame({}, [record]).to_dict("records")
    assert (row["best"], row["last"], row["best_epoch"]) == (4.0, 10.0, 0)
    assert (row["train_samples"], row["method"], row["tuning"]) == (114, "turn", "lp-fft")
    assert row["version"] == "0.1.0"


@pytest.mark.parametrize("record", [make_record(make_spec("turn", "lp-fft")), make_failure(make_spec())])
def test_a_record_comes_back_from_json(record: Record) -> None:
    assert Record.from_dict(json.loads(json.dumps(record.to_dict()))) == record


@pytest.mark.parametrize(
    ("part", "value", "wrong"),
    [
        (facts.TimeFacts, {"train_s": "long"}, "x.train_s is a str, not a number"),
        (facts.LedgerFacts, {"training": {"head_forward": 1.5}}, "x.training.head_forward is a float"),
        (facts.ExecutionFacts, {"threads": True}, "x.threads is a bool, not a whole number"),
        (facts.EmbeddingFacts, {"after": [[0.0, 1.0], [0.0, "1"]]}, r"x.after\[1\]\[1\] is a str"),
        (facts.ErrorFacts, {"hint": 3}, "x.hint is a int, not a text or null"),
        (facts.EnvironmentFacts, {"versions": {"torch": 2}}, "x.versions.torch is a int, not a text"),
        (list[facts.EpochFacts], {}, "x is a dict, not a list"),
    ],
)
def test_a_wrong_type_is_named_with_its_place(part: type, value: object, wrong: str) -> None:
    message = checker(part)(value, "x")
    assert message is not None
    assert message.startswith(wrong.replace("\\", ""))


def test_what_is_not_finite_and_what_is_not_known_are_no_damage() -> None:
    assert checker(facts.AccuracyFacts)({"best": None, "last": 3, "rank": "of a later version"}, "x") is None
    assert checker(facts.SelectionFacts)({"size": 5, "score": [0.5], "per_class": {"size": [5]}}, "x") is None


def test_columns_of_facts_have_the_facts_types() -> None:
    kinds = {column.origin: column.kind for column in COLUMNS}
    assert kinds["metrics.best"] == "float64"
    assert kinds["selection.size"] == "Int64"
    assert kinds["environment.dirty"] == "boolean"
    assert kinds["environment.commit"] == "string"
    assert get_type_hints(facts.SelectionFacts)["purity"] == float | None
