"""The note of what files said: it saves reading, and nobody can tell from the results that it is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from results_factory import fill, make_failure, make_record, make_spec, mini

from lnlbench.basics.files import read_checked, write_checked
from lnlbench.cli.status import describe
from lnlbench.records import index, store
from lnlbench.records.entry import Entry, entry_of
from lnlbench.records.frame import build_frame, load_frame
from lnlbench.records.record import Record, Status
from lnlbench.records.staleness import Present, staleness
from lnlbench.records.store import INDEX, Damaged, Store


@pytest.fixture(autouse=True)
def for_a_few_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a note of the smallest folders too, and of files that have just been written."""
    monkeypatch.setattr(index, "WORTHWHILE", 1)
    monkeypatch.setattr(index, "SETTLED_NS", -1_000_000_000)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the records' files that are read."""
    names: list[str] = []
    original = store._read_record

    def note(path: Path) -> Record | Damaged:
        names.append(path.name)
        return original(path)

    monkeypatch.setattr(store, "_read_record", note)
    return names


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return mini(tmp_path / "out").root


def entries(root: Path) -> list[Entry]:
    return Store.open(root).look()[0]


def test_files_are_read_once(folder: Path, read: list[str]) -> None:
    first = entries(folder)
    assert sorted(read) == [f"{entry.trial_id}.json" for entry in first]
    assert len(first) == 17
    read.clear()
    assert entries(folder) == first
    assert read == []


def test_one_store_reads_once_even_where_no_note_can_be_written(
    folder: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(index, "write_checked", refuse)
    opened = Store.open(folder)
    first = opened.look()
    read.clear()
    assert opened.look() == first
    assert read == []
    assert not (folder / INDEX).exists()
    assert entries(folder) == first[0]
    assert len(read) == 17


def test_the_note_changes_no_result(folder: Path) -> None:
    records = Store.open(folder).records()
    plans = Store.open(folder).plans()
    present = Present(version="another")
    fresh = build_frame(plans, records, present)
    for _ in range(2):
        noted = entries(folder)
        assert noted == [entry_of(record) for record in records]
        pd.testing.assert_frame_equal(build_frame(plans, noted, present), fresh)
        assert staleness(noted, present) == staleness(records, present)
        assert [entry.spec for entry in noted] == [record.spec for record in records]
    with_note = describe(Store.open(folder))
    (folder / INDEX).unlink()
    assert describe(Store.open(folder)) == with_note
    assert len(with_note["failures"]) == 2


def test_values_that_are_equal_and_not_the_same_stay_what_they_are(tmp_path: Path) -> None:
    note = index.Index(tmp_path / INDEX)
    columns = ("same", "number", "missing", "none")
    for number, value in enumerate((1, 1.0, True, "1", None, 1)):
        values = ["x", value, None if number else 0, None]
        marks = {"data": "abc"} | ({"weights": f"w{number}"} if number % 2 else {})
        entry = Entry(f"t{number}", "{}", number, Status.DONE, columns, values, marks)
        note.put(f"t{number}.json", (number, 2, 3, 4), entry)
    names = [f"t{number}.json" for number in range(6)]
    note.save(names)
    again = index.Index(tmp_path / INDEX)
    for number, name in enumerate(names):
        before, after = (each.get(name, (number, 2, 3, 4)) for each in (note, again))
        assert before is not None
        assert after is not None
        assert repr(list(after.values)) == repr(before.values)
        assert replace(after, values=before.values) == before


def test_an_error_is_its_first_line() -> None:
    record = make_failure(make_spec(), message="\n  a: b\nmore")
    assert entry_of(record).error == "TrialError: a: b"
    assert entry_of(make_record(make_spec())).error is None


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(bytes(content))


def test_a_changed_file_is_read_again(folder: Path, read: list[str]) -> None:
    first = entries(folder)
    changed, removed, other = (folder / "trials" / f"{entry.trial_id}.json" for entry in first[:3])
    size = changed.stat().st_size
    flip_a_bit(changed)
    assert changed.stat().st_size == size
    removed.unlink()
    better = replace(Store.open(folder).read([other.stem])[0], finished="2026-01-01")
    Store.open(folder).put(better)
    Store.open(folder).put(make_record(make_spec("added")))
    read.clear()
    found, damaged = Store.open(folder).look()
    assert sorted(read) == sorted([changed.name, other.name, f"{make_spec('added').trial_id}.json"])
    assert [item.path for item in damaged] == [changed]
    assert "checksum" in damaged[0].reason
    assert len(found) == 16
    assert {entry.finished for entry in found if entry.trial_id == other.stem} == {"2026-01-01"}
    # The damaged one is not remembered, and stays damaged.
    assert Store.open(folder).look()[1] == damaged


def test_a_file_under_another_name_is_read_again(folder: Path) -> None:
    first, second, *_ = entries(folder)
    one, two = (folder / "trials" / f"{entry.trial_id}.json" for entry in (first, second))
    one.replace(two)
    _, damaged = Store.open(folder).look()
    assert [item.path for item in damaged] == [two]
    assert first.trial_id in damaged[0].reason


def test_a_file_that_has_just_been_written_is_not_trusted(
    folder: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "SETTLED_NS", 3600 * 10**9)
    entries(folder)
    assert not (folder / INDEX).exists()
    read.clear()
    assert len(entries(folder)) == len(read) == 17


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def of_other_code(path: Path) -> None:
    content = read_checked(path)
    assert isinstance(content, dict)
    write_checked(path, content | {"version": ["0", *content["version"][1:]]})


def with_a_folder_in_its_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "harm", [Path.unlink, flip_a_bit, truncate, of_other_code, with_a_folder_in_its_place]
)
def test_a_note_that_is_not_right_is_made_again(
    folder: Path, read: list[str], harm: Callable[[Path], None]
) -> None:
    first = entries(folder)
    harm(folder / INDEX)
    read.clear()
    assert entries(folder) == first
    assert len(read) == 17
    read.clear()
    assert entries(folder) == first
    assert len(read) == (17 if (folder / INDEX).is_dir() else 0)


def test_a_note_lists_what_is_there(folder: Path) -> None:
    first = entries(folder)
    (folder / "trials" / f"{first[0].trial_id}.json").unlink()
    Store.open(folder).put(make_record(make_spec("added")))
    entries(folder)
    content = read_checked(folder / INDEX)
    assert isinstance(content, dict)
    assert content["names"] == sorted(path.name for path in (folder / "trials").iterdir())


def test_a_record_of_another_version_is_refused_though_it_was_noted(folder: Path) -> None:
    path = folder / "trials" / f"{entries(folder)[0].trial_id}.json"
    content = read_checked(path)
    assert isinstance(content, dict)
    write_checked(path, content | {"record_version": 99})
    with pytest.raises(store.StoreError, match="format 99"):
        load_frame(folder)


def test_small_folders_get_no_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "WORTHWHILE", 3)
    root = fill(tmp_path / "out", [make_record(make_spec(seed=seed)) for seed in range(2)]).root
    entries(root)
    assert not (root / INDEX).exists()
    Store.open(root).put(make_record(make_spec(seed=2)))
    entries(root)
    assert (root / INDEX).exists()


def test_a_plan_is_parsed_again_when_it_changes(folder: Path) -> None:
    opened = Store.open(folder)
    plan = opened.plans()["mini"]
    assert opened.plans()["mini"] is plan
    Store.open(folder).put_plan({**plan, "title": "Another"})
    assert opened.plans()["mini"]["title"] == "Another"
    truncate(folder / "plans" / "mini.json")
    assert opened.plans() == {}
    assert len(opened.damaged_plans()) == 1
