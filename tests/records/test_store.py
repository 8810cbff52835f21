from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from results_factory import fill, make_failure, make_plan, make_record, make_spec

from lnlbench.basics import files
from lnlbench.basics.files import read_checked, write_checked
from lnlbench.errors import StoreError
from lnlbench.records.store import FORMAT, Damaged, Store


def damaged(store: Store) -> list[Damaged]:
    return store.damaged_plans() + store.read_all()[1]


def damage_of(store: Store) -> str:
    (only,) = damaged(store)
    return only.reason


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "out", create=True)


@pytest.fixture
def trial_file(store: Store) -> Path:
    record = make_record(make_spec())
    store.put(record)
    return store.root / "trials" / f"{record.trial_id}.json"


def test_a_record_comes_back_as_it_was(store: Store) -> None:
    record = make_record(make_spec("gce", params=(("q", 0.7), ("widths", (1, 2)))))
    store.put(record)
    assert store.records() == [record]


def test_a_later_record_replaces_the_earlier_one(store: Store) -> None:
    spec = make_spec()
    store.put(make_failure(spec))
    assert store.done_ids() == set()
    store.put(make_record(spec))
    assert store.done_ids() == {spec.trial_id}
    assert len(store.records()) == 1


def test_numbers_that_json_does_not_have_become_null(store: Store) -> None:
    store.put(make_record(make_spec(), history=[{"loss": float("nan")}, {"loss": float("inf")}]))
    (saved,) = store.records()
    assert saved.history == [{"loss": None}, {"loss": None}]


def test_plans_are_kept_by_grid(store: Store) -> None:
    plans = {name: make_plan([make_spec()], grid=name) for name in ("mini", "my grid/1", "Ünïcode")}
    for plan in plans.values():
        store.put_plan(plan)
    assert store.plans() == plans
    assert damaged(store) == []


@pytest.mark.parametrize("name", ["", "..", ".hidden"])
def test_a_grid_without_a_usable_name_is_refused(store: Store, name: str) -> None:
    with pytest.raises(StoreError, match="cannot be called"):
        store.put_plan(make_plan([], grid=name))


# Damage: noticed, named, kept


def test_a_truncated_record_is_reported(store: Store, trial_file: Path) -> None:
    trial_file.write_bytes(trial_file.read_bytes()[:-40])
    assert "truncated" in damage_of(store)


def test_an_empty_record_is_reported(store: Store, trial_file: Path) -> None:
    trial_file.write_bytes(b"")
    assert "empty" in damage_of(store)


def test_foreign_json_is_reported(store: Store, trial_file: Path) -> None:
    trial_file.write_text('{"hello": "world"}')
    assert "not written by lnlbench" in damage_of(store)


def test_a_checked_file_that_is_no_record_is_reported(store: Store, trial_file: Path) -> None:
    write_checked(trial_file, {"hello": "world"})
    assert "not a record" in damage_of(store)


def test_a_misnamed_record_is_reported(store: Store, trial_file: Path) -> None:
    trial_file.rename(trial_file.with_name("0123456789abcdef.json"))
    assert trial_file.stem in damage_of(store)


def test_a_record_under_another_trials_id_is_reported(store: Store, trial_file: Path) -> None:
    payload = read_checked(trial_file)
    assert isinstance(payload, dict)
    payload["spec"]["seed"] = 77
    write_checked(trial_file, payload)
    assert make_spec(seed=77).trial_id in damage_of(store)


@pytest.mark.parametrize("change", [{"colour": "red"}, {"precision": "fp7"}])
def test_a_record_with_unknown_settings_is_reported(
    store: Store, trial_file: Path, change: dict[str, str]
) -> None:
    payload = read_checked(trial_file)
    assert isinstance(payload, dict)
    payload["spec"].update(change)
    payload["spec"]["dataset"].update({} if "precision" in change else change)
    write_checked(trial_file, payload)
    assert "does not understand" in damage_of(store)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("history", {"epoch": 0}),
        ("history", [1, 2]),
        ("metrics", "high"),
        ("metrics", {"best": "high", "last": 1.0, "oracle": 1.0}),
        ("metrics", {}),
        ("times", None),
        ("times", {"train_s": "long"}),
        ("history", [{"phase": 3}]),
        ("history", [{"selection": {"per_class": {"size": [1, "two"]}}}]),
        ("ledger", {"training": {"backbone_forward": 1.5}}),
        ("execution", {"threads": True}),
        ("environment", {"versions": {"torch": 2}}),
        ("embedding", {"before": [[1.0, "left"]]}),
        ("selection", []),
        ("finished", 5),
        ("status", "skipped"),
        ("status", "splendid"),
        ("status", "failed"),  # without an error
        ("spec", []),
        ("trial_id", None),
    ],
)
def test_an_intact_record_of_something_else_is_reported(
    store: Store, trial_file: Path, field: str, value: object
) -> None:
    payload = read_checked(trial_file)
    assert isinstance(payload, dict)
    write_checked(trial_file, payload | {field: value})
    (only,) = damaged(store)
    assert only.path == trial_file


def test_a_foreign_file_among_the_records_is_reported(store: Store, trial_file: Path) -> None:
    (trial_file.parent / "notes.txt").write_text("remember the milk")
    assert "not JSON" in damage_of(store)
    assert len(store.records()) == 1


def test_a_damaged_plan_is_reported(store: Store) -> None:
    store.put_plan(make_plan([make_spec()]))
    path = store.root / "plans" / "mini.json"
    path.write_bytes(path.read_bytes()[:100])
    assert store.plans() == {}
    assert "truncated" in damage_of(store)


def test_a_misnamed_plan_is_reported(store: Store) -> None:
    store.put_plan(make_plan([make_spec()]))
    (store.root / "plans" / "mini.json").rename(store.root / "plans" / "other.json")
    assert store.plans() == {}
    assert "another grid, mini" in damage_of(store)


def test_a_checked_file_that_is_no_plan_is_reported(store: Store, trial_file: Path) -> None:
    (store.root / "plans").mkdir()
    trial_file.rename(store.root / "plans" / "mini.json")
    assert damage_of(store) == "it is not a plan"


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_no_flipped_bit_changes_a_payload_unnoticed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("flip") / "file.json"
    payload = {"best": 60.3, "name": "ünï", "counts": [1, 2, 3], "nested": {"a": None, "b": True}}
    write_checked(path, payload)
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    # A flip in the line break at the end may leave the content as it was.
    assert read_checked(path) == payload or not isinstance(read_checked(path), dict)


def test_damaged_files_are_moved_aside_one_by_one(store: Store, trial_file: Path) -> None:
    for content in (b"first", b"second"):
        trial_file.write_bytes(content)
        (only,) = damaged(store)
        store.set_aside(only)
    kept = sorted((store.root / "damaged").iterdir())
    assert [path.read_bytes() for path in kept] == [b"first", b"second"]
    assert damaged(store) == []


# Folders


def test_a_missing_folder_has_no_results(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no results"):
        Store.open(tmp_path / "nowhere")


def test_opening_twice_with_create_keeps_everything(tmp_path: Path) -> None:
    record = make_record(make_spec())
    fill(tmp_path / "out", [record])
    assert Store.open(tmp_path / "out", create=True).records() == [record]


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(StoreError, match="not made by lnlbench"):
        Store.open(tmp_path, create=True)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.touch()
    with pytest.raises(StoreError, match="is a file"):
        Store.open(path, create=True)


def test_another_format_is_refused(store: Store) -> None:
    marker = {"format": FORMAT + 1, "created_by": "lnlbench 9.0"}
    (store.root / "lnlbench.json").write_text(json.dumps(marker))
    with pytest.raises(StoreError, match=r"lnlbench 9\.0"):
        Store.open(store.root)


def test_a_damaged_marker_is_refused(store: Store) -> None:
    (store.root / "lnlbench.json").write_text('{"form')
    with pytest.raises(StoreError, match="damaged"):
        Store.open(store.root)


def test_a_record_of_another_version_is_refused_not_damaged(store: Store, trial_file: Path) -> None:
    payload = read_checked(trial_file)
    assert isinstance(payload, dict)
    write_checked(trial_file, payload | {"record_version": 99})
    with pytest.raises(StoreError, match="format 99"):
        store.read_all()


def test_a_folder_left_by_a_run_killed_at_its_start_can_be_used(tmp_path: Path) -> None:
    (tmp_path / ".lnlbench.json.1234abcd.tmp").touch()
    assert Store.open(tmp_path, create=True).records() == []


# Writing


def test_a_full_disk_names_the_trial_and_keeps_the_rest(
    store: Store, trial_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    spec = make_spec("gce", seed=3)
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(StoreError, match="No space left") as raised:
            store.put(make_record(spec))
        with pytest.raises(StoreError, match="No space left"):
            store.put(replace(make_record(make_spec()), started="again"))
    assert spec.trial_id in str(raised.value)
    assert spec.describe() in str(raised.value)
    assert [record.started for record in store.records()] == ["2025-01-01T00:00:00+00:00"]
    assert [path.name for path in trial_file.parent.iterdir()] == [trial_file.name]


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be used"):
        Store.open(tmp_path / "file" / "out", create=True)


# Locking

HOLD = """
import sys
from lnlbench.records.store import Store
with Store.open(sys.argv[1]).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_told_who_holds_the_lock(store: Store, trial_file: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(store.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StoreError, match=f"process {holder.pid} on "), store.lock():
            pass
        assert len(store.records()) == 1  # readers are not locked out
        holder.kill()
        holder.wait()
        with store.lock():  # a killed process holds nothing
            pass


def test_the_lock_is_free_again_after_an_error(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.lock():
        raise ZeroDivisionError
    with store.lock():
        pass


def test_locking_removes_what_a_killed_run_left_half_written(store: Store, trial_file: Path) -> None:
    leftover = trial_file.with_name(f".{trial_file.name}.0badf00d.tmp")
    leftover.write_bytes(b'{"sha')
    assert len(store.records()) == 1
    with store.lock():
        assert not leftover.exists()
    assert len(store.records()) == 1


def test_a_folder_that_vanished_cannot_be_locked(store: Store) -> None:
    (store.root / "lnlbench.json").unlink()
    store.root.rmdir()
    store.root.touch()
    with pytest.raises(StoreError, match="cannot be locked"), store.lock():
        pass
