"""Features in an npz archive: converted once, to the same data set, and again when the archive changes."""

from __future__ import annotations

import multiprocessing
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from lnlbench.data import mapped, npz
from lnlbench.data.arrays import FeaturesFile
from lnlbench.errors import DataError
from lnlbench.inputs import feature_archive
from lnlbench.inputs.feature_archive import FeatureArchives
from lnlbench.spec import DatasetSpec
from lnlbench.trials.workspace import RunSettings, Workspace

DRAW = np.random.default_rng(0)
ARRAYS = {
    "x_train": DRAW.normal(size=(9, 5)),  # float64: the conversion rounds
    "y_train": np.tile(np.arange(3), 3),
    "x_val": np.asfortranarray(DRAW.normal(size=(4, 5)).astype(np.float32)),
    "y_val": np.array([0, 1, 2, 0]),
    "x_test": DRAW.normal(size=(3, 5)).astype(np.float16),
    "y_test": np.arange(3),
    "clean_train": np.array([0, 1, 2, 0, 1, 2, 0, 1, -1]),
    "classes": np.array(["a", "b", "c"]),
}


def save(path: Path, write=np.savez, **changes: np.ndarray) -> DatasetSpec:
    write(path, **{**ARRAYS, **changes})
    return DatasetSpec(f"features:{path}")


def converted(spec: DatasetSpec, cache: Path):
    return Workspace(RunSettings(data=None, cache=cache)).dataset(spec)


def entries(cache: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (cache / "archives").glob("*.npy")}


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("piece", [1, 90, 2**26])
def test_the_data_set_is_that_of_the_archive(tmp_path: Path, monkeypatch, write, piece: int) -> None:
    monkeypatch.setattr(npz, "_PIECE", piece)
    spec = save(tmp_path / "f.npz", write)
    read, made = FeaturesFile().load(spec, None), converted(spec, tmp_path / "cache")
    assert made.fingerprint == read.fingerprint
    assert (made.name, made.classes, made.kind) == (read.name, read.classes, read.kind)
    for part in ("train", "validation", "test"):
        one, other = getattr(made, part), getattr(read, part)
        assert torch.equal(one.features, other.features)
        assert np.array_equal(one.labels, other.labels)
        assert one.features.data_ptr() in mapped._MAPPED
    assert np.array_equal(made.train.clean, read.train.clean)
    assert np.array_equal(made.train.features.numpy(), ARRAYS["x_train"].astype(np.float32))


def test_it_is_converted_once_and_again_when_the_archive_changes(tmp_path: Path) -> None:
    spec, cache = save(tmp_path / "f.npz"), tmp_path / "cache"
    first = converted(spec, cache)
    made = entries(cache)
    assert len(made) == 3
    (tmp_path / "elsewhere").mkdir()
    moved = (tmp_path / "f.npz").rename(tmp_path / "elsewhere" / "g.npz")
    assert converted(DatasetSpec(f"features:{moved}"), cache).fingerprint == first.fingerprint
    assert entries(cache) == made
    other = save(tmp_path / "f.npz", x_train=ARRAYS["x_train"] + 1)
    again = converted(other, cache)
    assert again.fingerprint == FeaturesFile().load(other, None).fingerprint != first.fingerprint
    assert entries(cache).items() > made.items()


def test_a_damaged_entry_is_made_again(tmp_path: Path, capsys) -> None:
    spec, cache = save(tmp_path / "f.npz"), tmp_path / "cache"
    first = converted(spec, cache).fingerprint
    for path in (cache / "archives").glob("*.npy"):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    assert converted(spec, cache).fingerprint == first
    assert capsys.readouterr().err.count("damaged") == 3


def declares_more_than_it_packs(path: Path) -> None:
    save(path, np.savez_compressed, x_train=np.zeros((2**16, 300), dtype=np.float32))  # 79 MB of zeros


def with_objects(path: Path) -> None:
    save(path, partial(np.savez, allow_pickle=True), x_test=np.array([[{}]], dtype=object))


def of_integers(path: Path) -> None:
    save(path, x_val=np.ones((4, 5), dtype=np.int64))


def cut(path: Path) -> None:
    save(path)
    path.write_bytes(path.read_bytes()[:-30])


def without_labels(path: Path) -> None:
    np.savez(path, **{name: array for name, array in ARRAYS.items() if name != "y_test"})


def with_half_a_validation_split(path: Path) -> None:
    np.savez(path, **{name: array for name, array in ARRAYS.items() if name != "y_val"})


def too_short(path: Path) -> None:
    save(path)
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in members.items():
            new.writestr(name, content[:-8] if name == "x_test.npy" else content)


@pytest.mark.parametrize(
    "harm",
    [
        declares_more_than_it_packs,
        with_objects,
        of_integers,
        cut,
        without_labels,
        with_half_a_validation_split,
        too_short,
    ],
)
def test_a_hostile_archive_is_refused_as_ever_before_anything_is_written(tmp_path: Path, harm) -> None:
    path = tmp_path / "f.npz"
    harm(path)
    spec = DatasetSpec(f"features:{path}")
    with pytest.raises(DataError) as read:
        FeaturesFile().load(spec, None)
    with pytest.raises(DataError) as made:
        converted(spec, tmp_path / "cache")
    assert made.value.message == read.value.message
    assert not (tmp_path / "cache" / "archives").exists()


def not_finite(path: Path) -> None:
    save(path, x_train=np.where(np.arange(45).reshape(9, 5) == 22, 1e300, ARRAYS["x_train"]))


def with_a_wrong_checksum(path: Path) -> None:
    values = np.tile(ARRAYS["x_train"], (5000, 1))  # more than is read for the header
    save(path, x_train=values, y_train=np.tile(ARRAYS["y_train"], 5000), clean_train=np.zeros(45_000, int))
    content = path.read_bytes()
    end = values[-2:].tobytes()
    path.write_bytes(content.replace(end, end[:-1] + bytes([end[-1] ^ 1])))


@pytest.mark.parametrize("harm", [not_finite, with_a_wrong_checksum])
def test_values_that_are_no_features_leave_no_entry(tmp_path: Path, harm) -> None:
    path = tmp_path / "f.npz"
    harm(path)
    spec = DatasetSpec(f"features:{path}")
    with pytest.raises(DataError) as read:
        FeaturesFile().load(spec, None)
    with pytest.raises(DataError) as made:
        converted(spec, tmp_path / "cache")
    assert made.value.message == read.value.message
    assert {file.suffix for file in (tmp_path / "cache" / "archives").iterdir()} == {".lock"}


def test_an_archive_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "f.npz"
    save(path)
    write = feature_archive._write

    def and_change(*arguments) -> None:
        write(*arguments)
        save(path, x_train=ARRAYS["x_train"] + 1)

    monkeypatch.setattr(feature_archive, "_write", and_change)
    with pytest.raises(DataError, match="changed while it was read"):
        FeatureArchives(tmp_path / "cache").arrays(path)
    assert not entries(tmp_path / "cache")


def _convert(path: Path, cache: Path) -> None:
    arrays = FeatureArchives(cache).arrays(path)
    assert np.array_equal(arrays["x_train"], ARRAYS["x_train"].astype(np.float32))


def test_processes_convert_an_archive_once(tmp_path: Path) -> None:
    path, cache = tmp_path / "f.npz", tmp_path / "cache"
    save(path)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_convert, args=(path, cache)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert len(entries(cache)) == 3
    assert not list((cache / "archives").glob("*.part"))
