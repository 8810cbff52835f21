"""Human labels: the right rows of the right file, or an error that names the mistake."""

import dataclasses
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from label_files import cifar10n, cifar100n, write_pt

import lnlbench
from lnlbench.data.known.cifar import CIFAR10, CIFAR100
from lnlbench.data.source import first_per_class
from lnlbench.errors import NoiseError, UsageError
from lnlbench.noise import corrupt
from lnlbench.noise.alignment import rows_of
from lnlbench.noise.label_pickle import read_label_pickle
from lnlbench.spec import DatasetSpec, NoiseSpec

COVERS = ("noise:human",)
CLEAN = np.random.default_rng(1).permutation(np.repeat(np.arange(10), 12))
CONTENT = cifar10n(CLEAN)
REAL = Path(os.environ.get("LNLBENCH_DATA", "/nowhere"))


def human(folder, source=CIFAR10):
    return dataclasses.replace(source.human, folder=folder)


def noisy(folder, clean, name="worse", source=CIFAR10, classes=10, **kwargs):
    spec = NoiseSpec.parse(f"human-{name}")
    kwargs = {"human": human(folder, source)} | kwargs
    return corrupt(spec, clean, classes, dataset="cifar10", seed=7, **kwargs)


@pytest.fixture
def data(tmp_path):
    write_pt(tmp_path / "CIFAR-10_human.pt", CONTENT)
    return tmp_path


def test_a_name_is_a_noise():
    spec = NoiseSpec.parse("human-random3")
    assert (spec.type, spec.rate, spec.label) == ("human", 0.0, "human-random3")
    assert NoiseSpec.parse("human-worse") != NoiseSpec.parse("human-aggre")
    for text in ("human", "human-", "human-0.4", "human-a b"):
        with pytest.raises(UsageError, match="does not say which labels"):
            NoiseSpec.parse(text)


@pytest.mark.parametrize("name", CIFAR10.human.keys)
def test_labels_of_the_whole_set(data, name):
    found = noisy(data, CLEAN, name)
    expected = CONTENT[CIFAR10.human.keys[name]]
    assert np.array_equal(found.labels, expected)
    assert found.report.realised_rate == np.mean(expected != CLEAN)
    assert sum(map(sum, found.report.transitions)) == len(CLEAN)


@pytest.mark.parametrize("count", [1, 5, 11])
def test_a_subset_takes_its_rows(data, count):
    rows = first_per_class(CLEAN, count, "train_per_class")
    assert np.array_equal(noisy(data, CLEAN[rows]).labels, CONTENT["worse_label"][rows])


def test_rows_of_classes_of_different_sizes():
    whole = np.array([2, 0, 1, 0, 2, 1, 0, 2])
    assert rows_of(np.array([2, 0, 0, 2]), whole, "f").tolist() == [0, 1, 3, 4]
    assert rows_of(np.array([0, 1]), whole, "f").tolist() == [1, 2]


def test_another_order_is_refused_with_its_reason(data):
    with pytest.raises(NoiseError, match=r"of 120 samples differ, the first at sample \d") as caught:
        noisy(data, np.sort(CLEAN))
    assert "another order than the official one" in str(caught.value)
    # The check of sums, which the published loader makes, passes here.
    assert np.sort(CLEAN).sum() == CLEAN.sum()
    one = CLEAN.copy()
    first, second = 0, int(np.argmax(one != one[0]))
    one[[first, second]] = one[[second, first]]
    with pytest.raises(NoiseError, match="true labels of 2 of 120 samples differ, the first at sample 0"):
        noisy(data, one)


def test_other_data_are_refused(data):
    with pytest.raises(NoiseError, match="has 12 samples of class 3, and the data set has 13"):
        noisy(data, np.append(CLEAN, 3))
    with pytest.raises(NoiseError, match="has 0 samples of class 10, and the data set has 1"):
        noisy(data, np.append(CLEAN, 10), classes=11)


def test_what_is_missing_is_said(tmp_path, data):
    with pytest.raises(NoiseError, match=r"no labels human-noisy\. .*human-aggre, human-random1"):
        noisy(data, CLEAN, "noisy")
    with pytest.raises(NoiseError, match=r"Get CIFAR-10_human\.pt from github\.com/.*CC BY-NC 4\.0"):
        noisy(tmp_path / "absent", CLEAN)
    with pytest.raises(NoiseError, match="no data folder is given"):
        noisy(None, CLEAN)
    with pytest.raises(NoiseError, match="Nobody published human labels"):
        noisy(data, CLEAN, human=None)
    with pytest.raises(NoiseError, match="training set only"):
        noisy(data, CLEAN, part="validation")


def test_files_whose_arrays_do_not_fit(data):
    path = data / "CIFAR-10_human.pt"
    write_pt(path, CONTENT | {"worse_label": CLEAN[:-1]})
    with pytest.raises(NoiseError, match="has 119 worse_label for 120 clean_label"):
        noisy(data, CLEAN)
    write_pt(path, CONTENT | {"worse_label": CLEAN + 1})
    with pytest.raises(NoiseError, match="worse_label has label 10 for 10 classes"):
        noisy(data, CLEAN)
    write_pt(path, {"clean_label": CLEAN})
    with pytest.raises(NoiseError, match="has no worse_label; it holds clean_label"):
        noisy(data, CLEAN)


def test_cifar100(tmp_path):
    clean = np.random.default_rng(2).permutation(np.repeat(np.arange(100), 3))
    write_pt(tmp_path / "CIFAR-100_human.pt", cifar100n(clean), stem="CIFAR-100_human")
    found = noisy(tmp_path, clean, "noisy", CIFAR100, 100)
    assert np.array_equal(found.labels, (clean + 1) % 100)
    assert found.report.realised_rate == 1.0


def test_a_trial_knows_the_truth(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LNLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LNLBENCH_DATA", raising=False)
    CIFAR10().make_standin(tmp_path / "data", per_class=8, seed=0)
    few = {"train_per_class": 6, "test_per_class": 2, "image_size": 32, "lp.epochs": 2}
    few |= {"methods.dividemix.warmup": 1}
    done = lnlbench.run(
        "cifar10_cpu",
        "x",
        sets=few | {"noise": "human-worse"},
        where=["tuning=lp", "method=dividemix"],
        data="data",
        executor="inline",
    )
    (record,) = done.records
    data = CIFAR10().load(DatasetSpec("cifar10", train_per_class=6), tmp_path / "data")
    expected = noisy(tmp_path / "data", data.train.labels)
    assert record.noise["realised_rate"] == expected.report.realised_rate > 0.1
    assert record.noise["labels_sha256"] == expected.report.labels_sha256
    (row,) = done.frame().to_dict("records")
    assert (row["noise"], row["noise_label"]) == ("human", "human-worse")
    assert row["realised_rate"] == expected.report.realised_rate
    assert 0.0 <= row["recall"] <= 100.0
    assert row["auc"] is not None


@pytest.mark.skipif(not (REAL / "CIFAR-10_human.pt").is_file(), reason="needs CIFAR-10N in LNLBENCH_DATA")
def test_the_published_file():
    """Hashes and rates as published with the data set, on what is there of CIFAR-10."""
    hashes = {
        "aggre": "b3c3d486d22c3055",
        "worse": "a64d887522cf6d8f",
        "random1": "b5dc9007ae247a48",
        "random2": "1182c45d3a246366",
        "random3": "b51e116c617ded2c",
    }
    wrong = {"aggre": 4505, "worse": 20104, "random1": 8617, "random2": 9061, "random3": 8820}
    keys = CIFAR10.human.keys
    found = read_label_pickle(REAL / "CIFAR-10_human.pt", ("clean_label", *keys.values()))
    clean = found["clean_label"]
    for name, key in keys.items():
        labels = noisy(REAL, clean, name).labels
        assert np.array_equal(labels, found[key])
        assert hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest()[:16] == hashes[name]
        assert np.count_nonzero(labels != clean) == wrong[name]
    votes = np.stack([found[keys[f"random{k}"]] != clean for k in (1, 2, 3)])
    assert np.array_equal(found["worse_label"] != clean, votes.any(axis=0))


@pytest.mark.skipif(
    not all((REAL / name).is_file() for name in ("CIFAR-10_human.pt", "cifar10.npz")),
    reason="needs CIFAR-10N and cifar10.npz in LNLBENCH_DATA",
)
@pytest.mark.parametrize(("name", "rate"), [("worse", 0.4105), ("aggre", 0.0910), ("random1", 0.1781)])
def test_rates_of_the_first_thousand_of_each_class(name, rate):
    data = CIFAR10().load(DatasetSpec("cifar10", train_per_class=1000), REAL)
    assert noisy(REAL, data.train.labels, name).report.realised_rate == pytest.approx(rate, abs=1e-12)


@pytest.mark.skipif(not (REAL / "CIFAR-100_human.pt").is_file(), reason="needs CIFAR-100N in LNLBENCH_DATA")
def test_the_published_file_of_cifar100():
    found = read_label_pickle(REAL / "CIFAR-100_human.pt", ("clean_label", "noisy_label"))
    clean = found["clean_label"]
    labels = noisy(REAL, clean, "noisy", CIFAR100, 100).labels
    assert hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest()[:16] == "4a1efd5da7a214b2"
    assert np.count_nonzero(labels != clean) == 20_100
    with pytest.raises(NoiseError, match="49,508 of 50,000 samples differ, the first at sample 0"):
        noisy(REAL, np.sort(clean), "noisy", CIFAR100, 100)
