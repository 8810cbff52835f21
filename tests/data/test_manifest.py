"""Manifests: rows become splits, and every row that cannot is named."""

import os
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manifest_files import ROWS, pixels, png, write_csv, write_hub, write_images

from lnlbench.data.manifests.manifest import CsvManifest, ParquetManifest
from lnlbench.errors import DataError
from lnlbench.spec import DatasetSpec

FUZZ = int(os.environ.get("LNLBENCH_FUZZ", "150"))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path)
    return tmp_path


def load(name="m.csv", root=None, **options):
    source = CsvManifest if name.endswith("csv") else ParquetManifest
    return source().load(DatasetSpec(f"{source.scheme}:{name}", **options), root)


def refuse(match, name="m.csv", root=None):
    with pytest.raises(DataError, match=match) as caught:
        load(name, root)
    assert len(str(caught.value)) < 1500


def shows(split, numbers):
    images = split.images.take(np.arange(len(split)))
    return all(np.array_equal(images[i].permute(1, 2, 0), pixels(n)) for i, n in enumerate(numbers))


def test_rows_become_splits():
    write_csv(Path("m.csv"))
    data = load()
    assert (data.classes, data.name) == (("cat", "dog"), "csv:m.csv")
    assert (data.train.labels.tolist(), data.train.clean.tolist()) == ([0, 0, 1, 1], [0, 1, -1, 1])
    assert data.test.labels.tolist() == [0, 1]
    assert data.test.clean is None
    assert data.validation is None
    assert shows(data.train, [0, 1, 2, 3])
    assert shows(data.test, [4, 5])


def test_other_columns_orders_and_spellings():
    rows = [(s or "train", "x", label, name) for name, label, _, s in ROWS]
    rows.append(("valid", "x", "dog", "./a//6.png"))
    Path("a/6.png").write_bytes(png(6))
    write_csv(Path("m.csv"), rows, "split,score,label,path")
    data = load()
    assert data.train.clean is None
    assert data.validation.labels.tolist() == [1]
    assert shows(data.validation, [6])


def test_numbers_are_sorted_as_numbers():
    names = {"cat": 10, "dog": 9}
    write_csv(Path("m.csv"), [(name, names[label], "", split) for name, label, _, split in ROWS])
    data = load()
    assert data.classes == ("9", "10")
    assert data.train.labels.tolist() == [1, 1, 0, 0]


def test_paths_below_the_data_folder(tmp_path):
    elsewhere = tmp_path / "made"
    elsewhere.mkdir()
    write_csv(elsewhere / "m.csv")
    assert shows(load("made/m.csv", tmp_path).train, [0, 1, 2, 3])
    rows = [(tmp_path / name, *rest) for name, *rest in ROWS]
    write_csv(elsewhere / "m.csv", rows)
    assert shows(load("made/m.csv", tmp_path).test, [4, 5])
    assert load("made/m.csv", tmp_path).fingerprint == load_relative(elsewhere, tmp_path)
    refuse("is not below made; --data gives another folder", "made/m.csv")


def load_relative(elsewhere, root):
    write_csv(elsewhere / "r.csv")
    return load("made/r.csv", root).fingerprint


def test_the_truth_is_in_the_fingerprint_and_the_place_is_not(tmp_path):
    write_csv(Path("m.csv"))
    first = load().fingerprint
    write_csv(Path("m.csv"), [(n, label, "", s) for n, label, _, s in ROWS])
    assert load().fingerprint != first
    moved = tmp_path / "moved"
    write_images(moved)
    write_csv(moved / "m.csv")
    assert load("moved/m.csv").fingerprint == first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({1: ("a/9.png", "cat", "", "")}, r"a/9\.png does not exist"),
        ({1: ("a/0.png", "cat", "", "")}, "row 3: 'a/0.png' is in row 2 already"),
        ({1: ("./a/0.png", "dog", "", "test")}, "row 3: 'a/0.png' is in row 2 already"),
        ({1: ("../x.png", "cat", "", "")}, "row 3: the path '../x.png' leads out of"),
        ({1: ("a/../../x.png", "cat", "", "")}, "row 3: the path .* leads out of"),
        ({1: ("/etc/passwd", "cat", "", "")}, "row 3: '/etc/passwd' is not below"),
        ({1: ("a\\0.png", "cat", "", "")}, "row 3: the path .* is not one below"),
        ({1: ("a/\x1b[2J.png", "cat", "", "")}, "row 3: the path .* holds control characters"),
        ({1: ("", "cat", "", "")}, "row 3: it has no path"),
        ({1: ("a", "cat", "", "")}, "a is no file"),
        ({1: ("a/1.png", "", "", "")}, "row 3: it has no label"),
        ({1: ("a/1.png", "c\x1bt", "", "")}, "row 3: its label .* holds control characters"),
        ({1: ("a/1.png", "cat", "cow", "")}, "row 3: 'cow' is no label of a training row"),
        ({4: ("a/4.png", "cow", "", "test")}, "row 6: 'cow' is no label of a training row"),
        ({1: ("a/1.png", "cat", "", "dev")}, "row 3: its split 'dev' is none of train, test"),
        ({1: ("a/1.png", "cat", "")}, "row 3: it has another number of fields"),
        ({1: ("a/1.png", "cat", "", "", "")}, "row 3: it has another number of fields"),
        ({4: None, 5: None}, "has no row of the test split"),
        ({2: None, 3: None, 5: None}, "has the class cat alone"),
    ],
)
def test_rows_that_are_wrong(change, message):
    rows = [change.get(number, row) for number, row in enumerate(ROWS)]
    write_csv(Path("m.csv"), [row for row in rows if row])
    refuse(message)


def test_check_lists_every_mistake():
    write_csv(
        Path("m.csv"),
        [*ROWS, ("a/0.png", "cat", "", ""), ("../x", "cat", "", ""), ("a/7.png", "cat", "", "")],
    )
    found = CsvManifest().inspect("m.csv", None)
    assert [text.partition(": ")[2] or text for text in found] == [
        "'a/0.png' is in row 2 already",
        "the path '../x' leads out of the data set's folder",
        "./a/7.png does not exist",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not have one column path"),
        (b"image,label\n", "does not have one column path; its heading is 'image, label'"),
        (b"path,label,label\n", "does not have one column label"),
        (b"path,label\n\xff\xfe,cat\n", "not a text file in UTF-8"),
        (b'path,label\n"a,cat\n', "cannot be read as csv"),
        (b"path,label\na\0b,cat\n", "csv|control"),
        (b"path,label\n" + b"a" * 200_000 + b",cat\n", "field larger"),
    ],
)
def test_files_that_are_no_manifest(content, message):
    Path("m.csv").write_bytes(content)
    refuse(message)


def test_links_that_lead_out_are_refused(tmp_path):
    inside = tmp_path / "inside"
    write_images(inside)
    write_csv(inside / "m.csv")
    (inside / "a" / "1.png").unlink()
    (inside / "a" / "1.png").symlink_to(tmp_path / "a" / "1.png")
    refuse(r"is a link to .*, outside of", "inside/m.csv")


def test_a_missing_manifest_is_said():
    assert "no.csv does not exist. Its first line is path,label" in CsvManifest().missing("no.csv", None)


# Parquet


@pytest.mark.parametrize("names", [["cat", "dog"], None])
def test_a_folder_of_the_hub(names):
    data = Path("set/data")
    data.mkdir(parents=True)
    labels = [0, 1, 1, 0] if names else ["cat", "dog", "dog", "cat"]
    write_hub(data / "train-00000-of-00002.parquet", labels[:2], names)
    write_hub(data / "train-00001-of-00002.parquet", labels[2:], names)
    write_hub(data / "test-00000-of-00001.parquet", labels[:2], names)
    loaded = load("set")
    assert loaded.classes == ("cat", "dog")
    assert loaded.train.labels.tolist() == [0, 1, 1, 0]
    assert shows(loaded.train, [0, 1, 0, 1])
    assert loaded.train.images.size == (6, 5)
    assert loaded.train.images.select(np.array([3, 0])).size == (6, 5)
    part = loaded.train.select(np.array([2, 1]))
    assert shows(part, [0, 1])
    small = load("set", resize=8)
    assert small.fingerprint != loaded.fingerprint
    for file in data.glob("*.parquet"):
        table = pq.read_table(file)
        pq.write_table(table.rename_columns(["img", "label"]), file)
    assert load("set").fingerprint == loaded.fingerprint


def test_one_file_with_splits_and_truth():
    write_hub(
        Path("m.parquet"),
        [0, 1, 1, 0, 1],
        ["cat", "dog"],
        clean=[1, 1, -1, None, 1],
        split=["train", "train", "train", "test", "test"],
    )
    data = load("m.parquet")
    assert (data.train.labels.tolist(), data.train.clean.tolist()) == ([0, 1, 1], [1, 1, -1])
    assert shows(data.test, [3, 4])


def test_images_go_to_workers(tmp_path):
    write_hub(Path("m.parquet"), [0, 1, 0, 1], ["cat", "dog"], split=["train", "train", "test", "test"])
    images = load("m.parquet").train.images
    assert images.from_files
    part = pickle.loads(pickle.dumps(images.select(np.array([1]))))
    assert np.array_equal(part.take(np.array([0]))[0].permute(1, 2, 0), pixels(1))
    small = load("m.parquet", resize=8).train.images
    assert small.size == (6, 5)  # nothing is enlarged


def test_paths_in_parquet():
    columns = list(zip(*ROWS, strict=True))
    pq.write_table(
        pa.table(dict(zip(("path", "label", "clean", "split"), map(list, columns), strict=True))), "m.parquet"
    )
    write_csv(Path("m.csv"))
    assert load("m.parquet").fingerprint == load("m.csv").fingerprint


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": [0, 1]}, "lacks a column; it has label"),
        ({"image": [b"x", None], "label": [0, 1]}, "row 1: its image has no bytes"),
        ({"image": [{"path": "a"}, {"path": "b"}], "label": [0, 1]}, "row 0: its image has no bytes"),
        ({"image": [{"bytes": b"", "path": "a"}] * 2, "label": [0, 1]}, "row 0: its image has no bytes"),
        ({"path": ["a/0.png", "a/1.png"], "label": [0.5, 1.5]}, "row 0: label is no text and no number"),
        ({"path": ["a/0.png", None], "label": [0, 1]}, "row 1: it has no path"),
        ({"path": ["a/0.png", "a/1.png"], "label": [0, None]}, "row 1: it has no label"),
        ({"path": [["a"], ["b"]], "label": [0, 1]}, "row 0: path is no text"),
    ],
)
def test_parquet_that_is_wrong(columns, message):
    pq.write_table(pa.table(columns), "m.parquet")
    refuse(message, "m.parquet")


def test_texts_that_are_no_utf8():
    write_hub(Path("m.parquet"), [0, 1, 0, 1], split=["train", "train", "test", "test"])
    raw = Path("m.parquet").read_bytes()
    Path("m.parquet").write_bytes(raw.replace(b"train", b"tr\xffin"))
    refuse("cannot be read as parquet: .*UTF8|cannot be read", "m.parquet")
    table = pa.table({"path": ["a/0.png", "a/1.png"], "label": pa.array([10**17] * 2, pa.timestamp("us"))})
    pq.write_table(table, "m.parquet")
    refuse("row 0: label is no text|column label cannot be read", "m.parquet")


def test_parquet_that_is_damaged_or_badly_named():
    Path("m.parquet").write_bytes(b"PAR1 not really PAR1")
    refuse("cannot be read as parquet", "m.parquet")
    refuse("holds no .parquet file", "a")
    Path("set").mkdir()
    write_hub(Path("set/all.parquet"), [0, 1])
    refuse("does not say by its name which split", "set")
    write_hub(Path("m.parquet"), [0, 5], ["cat", "dog"])
    refuse("row 1: label 5 is none of 2 classes", "m.parquet")
    write_hub(Path("m.parquet"), [0, 1], ["cat", "cat"])
    refuse("are not different", "m.parquet")
    images = [{"bytes": b"no image", "path": None}] * 4
    table = pa.table({"image": images, "label": [0, 1, 0, 1], "split": ["train", "train", "test", "test"]})
    pq.write_table(table, "m.parquet")
    data = load("m.parquet")
    with pytest.raises(DataError, match=r"m\.parquet, row 0 cannot be decoded: no known image format"):
        data.train.images.take(np.array([0]))


# Anything


FUZZED = settings(max_examples=FUZZ, deadline=None, derandomize=True, database=None)


def damage(raw, data):
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(raw)))
        end = place + data.draw(st.integers(0, 6))
        pieces = [b"\n", b",", b'"', b"../", b"/", b"\r", b"\0", b"train", b"\xc3"]
        raw[place:end] = data.draw(st.binary(max_size=4) | st.sampled_from(pieces))
    return bytes(raw)


@FUZZED
@given(data=st.data())
def test_any_damage_of_a_csv_is_an_error_of_ours(tmp_path_factory, data):
    base = tmp_path_factory.getbasetemp()
    if not (base / "a").exists():
        write_images(base)
    path = write_csv(base / "fuzz.csv")
    path.write_bytes(damage(bytearray(path.read_bytes()), data))
    try:
        loaded = load(str(path))
    except DataError:
        return
    assert len(loaded.train.labels) == len(loaded.train.images)


@FUZZED
@given(data=st.data())
def test_any_damage_of_a_parquet_is_an_error_of_ours(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "fuzz.parquet"
    write_hub(path, [0, 1, 0, 1], ["cat", "dog"], split=["train", "train", "test", "test"])
    path.write_bytes(damage(bytearray(path.read_bytes()), data))
    try:
        loaded = load(str(path))
        loaded.train.images.take(np.arange(len(loaded.train)))
    except DataError:
        return
    assert len(loaded.train.labels) == len(loaded.train.images)
