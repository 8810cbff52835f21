"""``npz:PATH`` and ``features:PATH``, and what they refuse."""

import struct
import zipfile

import numpy as np
import pytest
import torch

from lnlbench.data.arrays import FeaturesFile, NpzFile
from lnlbench.errors import DataError
from lnlbench.spec import DatasetSpec

RNG = np.random.default_rng(0)


def image_arrays(**changes):
    arrays = {
        "x_train": RNG.integers(0, 256, (9, 6, 4, 3), dtype=np.uint8),
        "y_train": np.tile(np.arange(3), 3),
        "x_test": RNG.integers(0, 256, (3, 6, 4, 3), dtype=np.uint8),
        "y_test": np.arange(3),
    }
    return {name: value for name, value in {**arrays, **changes}.items() if value is not None}


def feature_arrays(**changes):
    return image_arrays(
        x_train=RNG.normal(size=(9, 5)), x_test=RNG.normal(size=(3, 5)).astype(np.float32), **changes
    )


def load(tmp_path, arrays, source=NpzFile, **options):
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    return source().load(DatasetSpec(f"{source.scheme}:{path}", **options), None)


@pytest.mark.parametrize("shape", [(6, 4, 3), (6, 4, 1), (6, 4)])
def test_images_come_back_as_rgb(tmp_path, shape):
    pixels = RNG.integers(0, 256, (9, *shape), dtype=np.uint8)
    data = load(tmp_path, image_arrays(x_train=pixels, x_test=pixels[:3]))
    batch = data.train.images.take(np.array([4, 1]))
    assert batch.shape == (2, 3, 6, 4)
    assert batch.dtype == torch.uint8
    expected = np.broadcast_to(pixels[[4, 1]].reshape(2, 6, 4, -1), (2, 6, 4, 3))
    assert np.array_equal(batch.permute(0, 2, 3, 1).numpy(), expected)
    assert data.train.images.size == (6, 4)


def test_names_classes_validation_and_family(tmp_path):
    arrays = image_arrays(
        x_val=np.zeros((2, 6, 4, 3), dtype=np.uint8),
        y_val=np.array([2, 0], dtype=np.uint8),
        classes=np.array(["cat", "dog", "owl"]),
    )
    data = load(tmp_path, arrays, train_per_class=2)
    assert data.classes == ("cat", "dog", "owl")
    assert (data.name, data.family, data.kind) == ("npz:data.npz", "custom", "images")
    assert data.validation.labels.tolist() == [2, 0]
    assert data.validation.labels.dtype == np.int64
    assert len(data.train) == 6


def test_fingerprint_does_not_depend_on_the_path(tmp_path):
    arrays = image_arrays()
    (tmp_path / "elsewhere").mkdir()
    assert load(tmp_path, arrays).fingerprint == load(tmp_path / "elsewhere", arrays).fingerprint


def test_features_become_float32(tmp_path):
    arrays = feature_arrays()
    data = load(tmp_path, arrays, FeaturesFile)
    assert data.kind == "features"
    assert data.train.features.dtype == torch.float32
    assert np.array_equal(data.train.features.numpy(), arrays["x_train"].astype(np.float32))


def test_a_subset_of_features(tmp_path):
    arrays = feature_arrays(y_train=np.array([0, 0, 0, 1, 1, 1, 2, 2, 2]))
    data = load(tmp_path, arrays, FeaturesFile, train_per_class=2)
    assert data.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    expected = arrays["x_train"][[0, 1, 3, 4, 6, 7]].astype(np.float32)
    assert np.array_equal(data.train.features.numpy(), expected)


def test_missing_is_told_without_reading(tmp_path):
    path = tmp_path / "data.npz"
    assert "does not exist" in NpzFile().missing(str(path), None)
    path.write_bytes(b"not an archive")
    assert NpzFile().missing(str(path), None) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_test": None}, "no array y_test"),
        ({"x_train": np.zeros((9, 6, 4, 3))}, "x_train has type float64"),
        ({"x_train": np.zeros((9, 6, 4, 4), dtype=np.uint8)}, "x_train has type uint8 and shape"),
        ({"x_test": np.zeros((3, 6, 5, 3), dtype=np.uint8)}, "splits differ in shape"),
        ({"x_test": np.zeros((0, 6, 4, 3), dtype=np.uint8)}, "at least one image"),
        ({"y_train": np.arange(8) % 3}, "8 labels for 9 samples"),
        ({"y_train": np.arange(9) % 3 - 1}, "labels from -1 to 1"),
        ({"y_train": np.arange(9) / 3}, "y_train has type float64"),
        ({"y_train": np.arange(9)[:, None]}, r"shape \(9, 1\)"),
        ({"y_train": np.tile([0, 1, 3], 3)}, "no sample of class 2"),
        ({"y_train": np.zeros(9, dtype=int), "y_test": np.zeros(3, dtype=int)}, "no sample of class 1"),
        ({"y_test": np.array([0, 1, 3])}, "y_test has label 3, but there are 3 classes"),
        ({"x_val": np.zeros((1, 6, 4, 3), dtype=np.uint8)}, "only one of the arrays x_val and y_val"),
        ({"classes": np.array([1, 2, 3])}, "array classes has type int64"),
        ({"classes": np.array(["a", "a", "b"])}, "different texts"),
        ({"classes": np.array(["a", "b"])}, "label 2, but there are 2 classes"),
    ],
)
def test_wrong_arrays_are_named(tmp_path, changes, message):
    with pytest.raises(DataError, match=message) as caught:
        load(tmp_path, image_arrays(**changes))
    assert "data.npz" in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((9, 5), np.nan), "x_train: 9 samples hold NaN"),
        (np.eye(9, 5) * 1e300, "5 samples hold NaN, infinity or values beyond float32, the first at index 0"),
        (np.zeros((9, 5), dtype=int), "x_train has type int64"),
        (np.zeros(9), "floating-point numbers of shape"),
    ],
)
def test_wrong_features_are_named(tmp_path, values, message):
    arrays = feature_arrays()
    arrays["x_train"] = values
    with pytest.raises(DataError, match=message):
        load(tmp_path, arrays, FeaturesFile)


def test_object_arrays_are_refused_and_not_unpickled(tmp_path):
    with pytest.raises(DataError, match="x_train holds Python objects"):
        load(tmp_path, image_arrays(x_train=np.array([{}] * 9, dtype=object)))


def test_a_truncated_file_is_refused(tmp_path):
    load(tmp_path, image_arrays())
    path = tmp_path / "data.npz"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match="cannot be read as an npz archive"):
        NpzFile().load(DatasetSpec(f"npz:{path}"), None)


def test_a_changed_byte_is_noticed(tmp_path):
    arrays = image_arrays()
    load(tmp_path, arrays)
    path = tmp_path / "data.npz"
    raw = bytearray(path.read_bytes())
    raw[raw.index(arrays["x_train"].tobytes()) + 7] ^= 1
    path.write_bytes(raw)
    with pytest.raises(DataError, match="CRC"):
        NpzFile().load(DatasetSpec(f"npz:{path}"), None)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("(100, 6, 4, 3)", "declares 7200 bytes but stores 648"),
        ("(99999999999, 6, 4, 3)", "is not plausible"),
        ("(-9, 6, 4, 3)", "is not plausible"),
    ],
)
def test_a_header_that_lies_is_refused_before_allocation(tmp_path, shape, message):
    path = tmp_path / "data.npz"
    np.savez(path, **image_arrays(x_train=None))
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(
            "x_train.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(648)
        )
    with pytest.raises(DataError, match=message):
        NpzFile().load(DatasetSpec(f"npz:{path}"), None)


def test_a_file_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(DataError, match=r"absent\.npz does not exist"):
        NpzFile().load(DatasetSpec(f"npz:{tmp_path}/absent.npz"), None)


def test_true_labels_beside_the_given_ones(tmp_path):
    clean = np.array([0, 1, 2, 2, -1, 2, 0, 0, 2])
    data = load(tmp_path, image_arrays(clean_train=clean))
    assert np.array_equal(data.train.clean, clean)
    assert np.array_equal(data.train.base, data.train.labels)  # the truth of one sample is not known
    part = load(tmp_path, image_arrays(clean_train=clean), train_per_class=1)
    assert part.train.clean.tolist() == [0, 1, 2]
    assert np.array_equal(part.train.base, part.train.clean)
    assert data.fingerprint != load(tmp_path, image_arrays(clean_train=clean * 0)).fingerprint


@pytest.mark.parametrize(
    ("clean", "message"),
    [
        (np.zeros(8, int), r"array clean_train has type int64 and shape \(8,\)"),
        (np.zeros(9), "array clean_train has type float64"),
        (np.full(9, -2), "labels from -2 to -2 for 3 classes"),
        (np.full(9, 3), "labels from 3 to 3 for 3 classes"),
    ],
)
def test_true_labels_that_are_none(tmp_path, clean, message):
    with pytest.raises(DataError, match=message):
        load(tmp_path, image_arrays(clean_train=clean))
