"""Noise files: saved, read, and refused when anything about them is wrong."""

import dataclasses
import json

import numpy as np
import pytest

from lnlbench.data.known.cifar import CIFAR10
from lnlbench.errors import NoiseError
from lnlbench.noise import check, corrupt, read_noise_file, save_noise_file, write_noise_file
from lnlbench.spec import NoiseSpec

COVERS = ("noise:file",)
SPEC = NoiseSpec("asymmetric", 0.4)
CLEAN = np.tile(np.arange(10), 20)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "noise.npz"
    noisy = corrupt(SPEC, CLEAN, 10, dataset="cifar10", maps=CIFAR10.maps, seed=3)
    save_noise_file(
        path, noisy.labels, CLEAN, spec=SPEC, dataset="cifar10", maps=CIFAR10.maps, classes=10, seed=3
    )
    return path, noisy


def from_file(path, clean=CLEAN, classes=10, **kwargs):
    spec = NoiseSpec.parse(f"file:{path}")
    return corrupt(spec, clean, classes, dataset="any", seed=99, **kwargs)


def rewrite(path, labels=None, **changes):
    """Write the file again with other labels or metadata, hashes kept."""
    with np.load(path) as archive:
        metadata = json.loads(str(archive["metadata"]))
        content = archive["labels"] if labels is None else labels
        clean = archive["clean"]
    text = json.dumps({name: value for name, value in {**metadata, **changes}.items() if value is not None})
    np.savez(path, labels=content, clean=clean, metadata=np.array(text))


def test_round_trip(saved):
    path, noisy = saved
    found = read_noise_file(path)
    assert np.array_equal(found.labels, noisy.labels)
    assert (found.generator, found.rate, found.seed, found.dataset) == ("asymmetric", 0.4, 3, "cifar10")
    assert found.settings == {"map": "cifar10", "count": "exact"}
    again = from_file(path)
    assert np.array_equal(again.labels, noisy.labels)
    assert again.report == noisy.report


def test_saving_leaves_one_file_of_the_same_bytes(saved):
    path, noisy = saved
    before = path.read_bytes()
    save_noise_file(
        path, noisy.labels, CLEAN, spec=SPEC, dataset="cifar10", maps=CIFAR10.maps, classes=10, seed=3
    )
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(NoiseError, match=r"noise\.npz cannot be written"):
        save_noise_file(
            tmp_path / "absent" / "noise.npz",
            CLEAN,
            CLEAN,
            spec=SPEC,
            dataset="d",
            classes=10,
            seed=0,
        )


def test_changed_labels_are_noticed(saved):
    path, noisy = saved
    labels = noisy.labels.copy()
    labels[0] = (labels[0] + 1) % 10
    rewrite(path, labels)
    with pytest.raises(NoiseError, match="changed since it was written"):
        read_noise_file(path)


def test_foreign_clean_labels_are_noticed(saved):
    with pytest.raises(NoiseError, match="another order than the official one"):
        from_file(saved[0], np.roll(CLEAN, 1))


def test_a_file_of_the_whole_serves_its_subsets(saved):
    path, noisy = saved
    assert np.array_equal(from_file(path, CLEAN[:190]).labels, noisy.labels[:190])
    rows = np.flatnonzero(CLEAN != 3)
    assert np.array_equal(from_file(path, CLEAN[rows]).labels, noisy.labels[rows])
    with pytest.raises(NoiseError, match="has 20 samples of class 4, and the data set has 21"):
        from_file(path, np.append(CLEAN, 4))


def test_files_of_earlier_versions_serve_the_labels_that_they_were_made_for(saved):
    path, noisy = saved
    with np.load(path) as archive:
        np.savez(path, labels=archive["labels"], metadata=archive["metadata"])
    assert read_noise_file(path).clean is None
    assert np.array_equal(from_file(path).labels, noisy.labels)
    with pytest.raises(NoiseError, match="other clean labels"):
        from_file(path, np.roll(CLEAN, 1))
    with pytest.raises(NoiseError, match="holds 200 labels of 10 classes, but the data set has 190"):
        from_file(path, CLEAN[:190])


def test_a_label_is_in_the_report(saved):
    path, noisy = saved
    content = dataclasses.replace(read_noise_file(path), label="our noise")
    write_noise_file(path, content)
    report = from_file(path).report
    assert report.to_dict()["label"] == "our noise"
    assert dataclasses.replace(report, label="") == noisy.report
    assert "label" not in noisy.report.to_dict()
    rewrite(path, label=3)
    with pytest.raises(NoiseError, match="lacks metadata: label"):
        read_noise_file(path)


def test_another_number_of_classes_is_noticed_before_any_work(saved):
    spec = NoiseSpec.parse(f"file:{saved[0]}")
    check(spec, CLEAN, 10)
    with pytest.raises(NoiseError, match="of 10 classes, but the data set has 200 samples of 12 classes"):
        check(spec, CLEAN, 12)


def test_other_labels_are_noticed_before_any_work(saved):
    spec = NoiseSpec.parse(f"file:{saved[0]}")
    with pytest.raises(NoiseError, match="another order"):
        check(spec, np.roll(CLEAN, 1), 10)
    check(spec, CLEAN[:190], 10)
    with pytest.raises(NoiseError, match="training set only"):
        check(spec, CLEAN, 10, parts=("train", "validation"))


def test_a_validation_split_of_its_own_is_not_covered(saved):
    with pytest.raises(NoiseError, match="training set only"):
        from_file(saved[0], part="validation")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "not a noise file"),
        ({"version": 2}, "version 2 of the noise file format"),
        ({"seed": None}, "lacks metadata: seed"),
        ({"classes": 5}, "labels from 0 to 9 for 5 classes"),
    ],
)
def test_wrong_metadata_is_refused(saved, changes, message):
    rewrite(saved[0], **changes)
    with pytest.raises(NoiseError, match=message):
        read_noise_file(saved[0])


def test_labels_of_another_type_are_refused(saved):
    rewrite(saved[0], CLEAN.astype(float))
    with pytest.raises(NoiseError, match="labels has type float64"):
        read_noise_file(saved[0])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"labels"])
def test_a_file_that_is_no_archive_is_refused(tmp_path, content):
    path = tmp_path / "noise.npz"
    path.write_bytes(content)
    with pytest.raises(NoiseError, match="cannot be read as an npz archive"):
        read_noise_file(path)


def test_pickles_are_refused(tmp_path):
    path = tmp_path / "noise.npz"
    np.savez(path, labels=CLEAN, metadata=np.array({"format": "lnlbench-noise"}, dtype=object))
    with pytest.raises(NoiseError, match="Python objects"):
        read_noise_file(path)


def test_metadata_that_is_not_json_is_refused(tmp_path):
    path = tmp_path / "noise.npz"
    np.savez(path, labels=CLEAN, metadata=np.array("asymmetric"))
    with pytest.raises(NoiseError, match="not a noise file"):
        read_noise_file(path)
