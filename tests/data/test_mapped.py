"""Features that stay in their files: the same numbers, and memory that does not grow with them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from lnlbench.data import mapped
from lnlbench.data.arrays import FeaturesFile
from lnlbench.data.mapped import forget, map_array, pieces, take_rows
from lnlbench.errors import DataError
from lnlbench.inputs.network_inputs import FeatureInputs, Wanted
from lnlbench.spec import DatasetSpec

DRAW = np.random.default_rng(0)
ARRAYS = {
    "x_train": DRAW.normal(size=(9, 5)).astype(np.float32),
    "y_train": np.tile(np.arange(3), 3),
    "x_test": DRAW.normal(size=(3, 5)).astype(np.float32),
    "y_test": np.arange(3),
}


def save(folder: Path, **arrays: np.ndarray) -> Path:
    folder.mkdir()
    for name, array in {**ARRAYS, **arrays}.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def load(path: Path, **options: int):
    return FeaturesFile().load(DatasetSpec(f"features:{path}", **options), None)


def test_a_folder_is_what_the_npz_file_is(tmp_path: Path) -> None:
    folder = save(tmp_path / "features", classes=np.array(["a", "b", "c"]))
    np.savez(tmp_path / "features.npz", **ARRAYS, classes=np.array(["a", "b", "c"]))
    one, other = load(folder), load(tmp_path / "features.npz")
    assert one.fingerprint == other.fingerprint
    assert one.classes == other.classes == ("a", "b", "c")
    assert torch.equal(one.train.features, other.train.features)
    assert one.train.features.data_ptr() in mapped._MAPPED
    assert load(folder, train_per_class=2).train.features.shape == (6, 5)


def test_numbers_of_another_type_are_converted(tmp_path: Path) -> None:
    wide = ARRAYS["x_train"].astype(np.float64)
    found = load(save(tmp_path / "features", x_train=wide)).train.features
    assert found.dtype == torch.float32
    assert np.array_equal(found.numpy(), wide.astype(np.float32))


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    folder = save(tmp_path / "features")
    source = FeaturesFile()
    assert source.missing(str(folder), None) is None
    (folder / "y_test.npy").unlink()
    assert "y_test.npy" in str(source.missing(str(folder), None))
    with pytest.raises(DataError, match=r"no y_test\.npy"):
        load(folder)
    np.save(folder / "y_test.npy", ARRAYS["y_test"])
    np.save(folder / "x_val.npy", ARRAYS["x_test"])
    with pytest.raises(DataError, match=r"only one of x_val\.npy and y_val\.npy"):
        load(folder)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4])


def with_objects(path: Path) -> None:
    np.save(path, np.array([{}, {}], dtype=object), allow_pickle=True)


def with_nan(path: Path) -> None:
    array = ARRAYS["x_train"].copy()
    array[4, 2] = np.nan
    np.save(path, array)


def of_something_else(path: Path) -> None:
    path.write_text("remember the milk")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (truncated, "declares 180 bytes"),
        (with_objects, "Python objects"),
        (with_nan, "the first at index 4"),
        (of_something_else, "cannot be read as an npy file"),
    ],
)
def test_files_that_are_no_features_are_refused(tmp_path: Path, harm, message: str) -> None:
    folder = save(tmp_path / "features")
    harm(folder / "x_train.npy")
    with pytest.raises(DataError, match=message):
        load(folder)


def test_pieces_are_the_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "_PIECE", 40)
    monkeypatch.setattr(mapped, "LIMIT", 0)
    array = map_array(save(tmp_path / "features") / "x_train.npy")
    parts = [part.copy() for part in pieces(array)]
    assert [len(part) for part in parts] == [2, 2, 2, 2, 1]
    assert np.array_equal(np.concatenate(parts), ARRAYS["x_train"])


def test_rows_are_the_same_before_and_after_forgetting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped, "LIMIT", 0)
    features = load(save(tmp_path / "features")).train.features
    inputs = FeatureInputs(features, (), (), torch.arange(9).flip(0), torch.device("cpu"))
    for _ in range(3):
        (taken,) = inputs.make(torch.tensor([0, 8]), Wanted("plain", 0, 0), None)
        assert np.array_equal(taken.numpy(), ARRAYS["x_train"][[8, 0]])
    in_memory = torch.ones(4, 2)
    forget(in_memory)
    assert torch.equal(take_rows(in_memory, torch.tensor([3, 1])), torch.ones(2, 2))


@pytest.mark.parametrize("limit", [0, 2**30])
@pytest.mark.parametrize("rows", [[], [4], [3, 4, 5, 0, 1, 1, 8], [8, 7, 6], list(range(9)), [-1, 0]])
def test_any_rows_are_those_of_the_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, rows: list[int]
) -> None:
    monkeypatch.setattr(mapped, "LIMIT", limit)
    features = load(save(tmp_path / "features")).train.features
    taken = take_rows(features, torch.tensor(rows, dtype=torch.int64))
    assert np.array_equal(taken.numpy(), ARRAYS["x_train"][np.array(rows, dtype=int)])
    taken.zero_()  # a copy: the features stay as they are
    assert np.array_equal(features.numpy(), ARRAYS["x_train"])
    with pytest.raises(IndexError):
        take_rows(features, torch.tensor([0, 9]))
    assert torch.equal(take_rows(features[:, 1:3], torch.tensor([2, 0])), features[[2, 0], 1:3])
    assert torch.equal(take_rows(features[1:4], torch.tensor([2, 0])), features[[3, 1]])


def test_a_file_that_became_shorter_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "LIMIT", 0)
    folder = save(tmp_path / "features")
    features = torch.from_numpy(map_array(folder / "x_train.npy"))
    truncated(folder / "x_train.npy")
    with pytest.raises(DataError, match="shorter"):
        take_rows(features, torch.tensor([0, 8]))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
def test_a_file_is_closed_with_its_array(tmp_path: Path) -> None:
    path = save(tmp_path / "features") / "x_train.npy"

    def is_open() -> bool:
        return any(link.resolve() == path for link in Path("/proc/self/fd").iterdir())

    array = map_array(path)
    assert is_open()
    del array
    assert not is_open()


def mapped_kilobytes() -> int:
    found = re.search(r"RssFile:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_pages_that_were_read_do_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.npy"
    np.save(path, np.ones((2**13, 2**10), dtype=np.float32))  # 32 MiB
    features = torch.from_numpy(map_array(path))
    before = mapped_kilobytes()
    features.sum()
    assert mapped_kilobytes() - before > 2**14
    forget(features)
    assert mapped_kilobytes() - before < 2**12
    monkeypatch.setattr(mapped, "LIMIT", 2**22)
    for rows in torch.randperm(len(features), generator=torch.Generator().manual_seed(0)).split(64):
        assert take_rows(features, rows).sum() == 64 * 2**10
    assert mapped_kilobytes() - before < 2**14
