"""Verdicts on samples: written, read, small, and checked; and what lies beside records."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from results_factory import fill, make_record, make_spec

from lnlbench.basics.files import read_checked
from lnlbench.errors import StoreError
from lnlbench.records.beside.verdicts import Verdicts, encode_verdicts, facts_of, path_of, read_verdicts
from lnlbench.records.frame import curves
from lnlbench.records.record import Record
from lnlbench.records.store import Store

NAMES = ("zebra", "ant", "bee")


def some(count: int = 6, **changes: object) -> Verdicts:
    rng = np.random.default_rng(0)
    held_out = np.arange(count) % 3 == 2
    values = {
        "classes": NAMES,
        "held_out": held_out,
        "given": np.arange(count) % 3,
        "predicted": rng.integers(0, 3, count),
        "probability": rng.random(count),
        "margin": rng.random(count) * 2 - 1,
        "score": np.where(held_out, np.nan, rng.random(count)),
        "selected": rng.random(count) > 0.5,
    }
    return Verdicts(**(values | changes))  # type: ignore[arg-type]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    wrote = some()
    path = tmp_path / "v.parquet"
    path.write_bytes(encode_verdicts(wrote))
    found = read_verdicts(path)
    assert list(found["sample"]) == [0, 1, 2, 3, 4, 5]
    assert list(found["split"]) == ["train", "train", "validation"] * 2
    assert list(found["given"]) == ["zebra", "ant", "bee"] * 2
    # Codes are those of the data set, whatever the order of names, and of a class that is never predicted.
    assert list(found["given"].cat.categories) == list(found["predicted"].cat.categories) == list(NAMES)
    assert list(found["predicted"].cat.codes) == list(wrote.predicted)
    assert np.allclose(found["probability"], wrote.probability, atol=1e-6)
    assert np.allclose(found["margin"], wrote.margin, atol=1e-6)
    assert wrote.score is not None
    assert wrote.selected is not None
    train = ~wrote.held_out
    assert np.allclose(found["score"][train], wrote.score[train], atol=1e-6)
    assert list(found["selected"][train]) == list(wrote.selected[train])
    assert found[["score", "selected"]][~train].isna().all(axis=None)
    assert found["file"].isna().all()


def test_a_method_without_a_score_has_none(tmp_path: Path) -> None:
    path = tmp_path / "v.parquet"
    path.write_bytes(encode_verdicts(some(score=None, selected=None, files=[f"a/{i}.png" for i in range(6)])))
    found = read_verdicts(path)
    assert found[["score", "selected"]].isna().all(axis=None)
    assert found["file"][5] == "a/5.png"


def test_a_sample_takes_less_than_forty_bytes() -> None:
    count = 20_000
    files = [f"train/class_{i % 3}/{i:06d}.png" for i in range(count)]
    assert len(encode_verdicts(some(count, files=files))) < 40 * count


def test_a_record_knows_its_verdicts_and_a_folder_keeps_them(tmp_path: Path) -> None:
    table = encode_verdicts(some())
    record = make_record(make_spec(), verdicts=facts_of(table), verdict_table=table)
    assert record.verdicts is not None
    assert record.verdicts["rows"] == 6
    assert "verdict_table" not in record.to_dict()
    store = fill(tmp_path / "out", [record])
    (read,) = store.records()
    assert len(store.verdicts(read)) == 6
    path = path_of(store.root, record.trial_id)
    path.write_bytes(encode_verdicts(some(7)))
    with pytest.raises(StoreError, match="not those that the record"):
        store.verdicts(read)
    store.put(make_record(make_spec()))  # run again, without
    assert not path.exists()
    with pytest.raises(StoreError, match="has no verdicts"):
        store.verdicts(store.records()[0])


@pytest.mark.parametrize("content", [b"", b"PAR1", b"\x00" * 99, b"PAR1" + b"\xff" * 50 + b"PAR1"])
def test_what_holds_no_verdicts_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "v.parquet"
    path.write_bytes(content)
    with pytest.raises(StoreError, match="holds no verdicts"):
        read_verdicts(path)
    with pytest.raises(StoreError, match="no verdicts in"):
        read_verdicts(tmp_path / "other.parquet")


# Details

CLASSES = 100


def detailed(epochs: int = 20) -> Record:
    history = [
        {
            "phase": "lp",
            "epoch": epoch,
            "loss": 3.14159265358979 / (epoch + 1),
            "prediction_changes": 12.3456 if epoch else None,
            "validation": 47.07692307692308,
            "test": 51.23,
            "metrics": {
                split: dict.fromkeys(("balanced", "ece", "macro_f1", "worst_recall"), 51.2345)
                for split in ("validation", "test")
            },
            "train_s": 0.123456789012345,
            "eval_s": 0.0123456789012345,
            "selection": {
                "size": 33_000,
                "score": [0.0, 0.25, 0.5, 0.75, 1.0],
                "purity": 98.76543209876543,
                "recall": 87.65432109876543,
                "auc": 0.9876543209876543,
                "per_class": {
                    "size": [330] * CLASSES,
                    "purity": [98.7] * CLASSES,
                    "recall": [87.6] * CLASSES,
                },
            },
        }
        for epoch in range(epochs)
    ]
    noise = {
        "realised_rate": 0.594,
        "per_class": [0.594] * CLASSES,
        "transitions": [[5] * CLASSES] * CLASSES,
        "entropy": 4.60517018,
        "largest_class_share": 0.0123,
        "labels_sha256": "ab" * 32,
    }
    last = history[-1]["selection"]
    return make_record(make_spec(), history=history, noise=noise, selection=last)


def test_what_is_by_epoch_and_class_lies_beside_a_small_record(tmp_path: Path) -> None:
    record = detailed()
    store = fill(tmp_path / "out", [record])
    (path,) = (store.root / "trials").iterdir()
    assert path.stat().st_size < 5_000
    (read,) = store.records()
    assert [entry["test"] for entry in read.history] == [51.23] * 20
    assert read.history[0]["prediction_changes"] is None
    assert not any("selection" in entry or "metrics" in entry for entry in read.history)
    assert read.selection is not None
    assert read.selection["purity"] == 98.76543209876543
    assert store.whole(read) == record


def test_noise_between_classes_is_kept_once(tmp_path: Path) -> None:
    store = fill(tmp_path / "out", [detailed()])
    (file,) = (store.root / "noise").iterdir()
    before = file.stat().st_mtime_ns
    other = detailed()
    store.put(make_record(make_spec(seed=1), noise=other.noise))
    assert file.stat().st_mtime_ns == before
    noise = store.whole(store.records()[1]).noise
    assert noise["transitions"] == other.noise["transitions"]


def test_curves_have_what_lies_beside(tmp_path: Path) -> None:
    store = fill(tmp_path / "out", [detailed(3)])
    found = curves(store.root)
    assert list(found["purity"]) == [98.76543209876543] * 3
    assert list(found["test_balanced"]) == [51.2345] * 3


def test_damaged_details_leave_the_record_as_it_is(tmp_path: Path) -> None:
    record = detailed(2)
    store = fill(tmp_path / "out", [record])
    path = store.root / "details" / f"{record.trial_id}.json"
    path.write_text(path.read_text().replace("51.2345", "61.2345"))
    assert store.read_all()[1] == []
    assert "metrics" not in store.whole(store.records()[0]).history[0]


def test_columns_of_different_lengths_are_damage(tmp_path: Path) -> None:
    from lnlbench.basics.files import write_checked

    store = fill(tmp_path / "out", [detailed(2)])
    (path,) = (store.root / "trials").iterdir()
    payload = read_checked(path)
    assert isinstance(payload, dict)
    payload["history"]["test"].pop()
    write_checked(path, json.loads(json.dumps(payload)))
    (damaged,) = store.read_all()[1]
    assert "no lists of one length" in damaged.reason


def test_a_record_of_before_keeps_its_details_when_it_is_saved_again(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "out", create=True)
    old = detailed(2)
    store.put(old)
    (slim,) = store.records()
    table = encode_verdicts(some())
    store.put(replace(slim, verdicts=facts_of(table), verdict_table=table))
    store.put(store.records()[0])
    assert len(store.verdicts(store.records()[0])) == 6
    assert replace(store.whole(store.records()[0]), verdicts=None) == old
