"""Subsets, fingerprints and the contract of splits."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lnlbench.data.arrays import ArrayImages
from lnlbench.data.known.digits import Digits
from lnlbench.data.source import (
    DatasetSource,
    Images,
    Split,
    assemble,
    fingerprint,
    first_per_class,
    local_path,
)
from lnlbench.errors import DataError, PluginError
from lnlbench.spec import DatasetSpec

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 4, 5, 3), dtype=np.uint8)
LABELS = np.tile(np.arange(3), 4)


def image_split(pixels=PIXELS, labels=LABELS):
    return Split(images=ArrayImages(pixels), features=None, labels=labels)


class PluginImages(Images):
    """Only what a plugin must write."""

    size = (4, 5)

    def __len__(self):
        return len(PIXELS)

    def take(self, index):
        return torch.from_numpy(PIXELS[index]).permute(0, 3, 1, 2)


@given(labels=st.lists(st.integers(0, 3), min_size=8, max_size=60), count=st.integers(1, 3))
def test_first_per_class_keeps_the_first_in_official_order(labels, count):
    if any(labels.count(number) < count for number in set(labels)):
        with pytest.raises(DataError, match="train_per_class"):
            first_per_class(np.array(labels), count, "train_per_class")
        return
    expected = [i for i, label in enumerate(labels) if labels[:i].count(label) < count]
    assert first_per_class(np.array(labels), count, "train_per_class").tolist() == expected


def test_assemble_takes_the_subset_of_both_splits():
    spec = DatasetSpec("demo", train_per_class=2, test_per_class=1)
    data = assemble(spec, family="custom", classes=("a", "b", "c"), train=image_split(), test=image_split())
    assert data.train.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert data.test.labels.tolist() == [0, 1, 2]
    assert torch.equal(
        data.train.images.take(np.array([5, 0])),
        torch.from_numpy(PIXELS[[5, 0]]).permute(0, 3, 1, 2),
    )
    assert data.kind == "images"


def test_fingerprint_sees_pixels_labels_order_and_split():
    reference = fingerprint({"train": image_split(), "test": None})
    assert reference == fingerprint({"train": image_split(PIXELS.copy()), "test": None})
    brighter = PIXELS.copy()
    brighter[3, 1, 2, 0] ^= 1
    relabelled = LABELS.copy()
    relabelled[0] = 1
    others = [
        {"train": image_split(brighter)},
        {"train": image_split(labels=relabelled)},
        {"train": image_split(PIXELS[::-1])},
        {"test": image_split()},
    ]
    prints = {reference, *(fingerprint(splits) for splits in others)}
    assert len(prints) == 5


def test_fingerprint_of_features():
    values = torch.arange(12.0).reshape(4, 3)
    labels = np.array([0, 1, 0, 1])
    base = fingerprint({"train": Split(None, values, labels)})
    assert base == fingerprint({"train": Split(None, values.clone(), labels)})
    assert base != fingerprint({"train": Split(None, values + 1, labels)})
    assert base != fingerprint({"train": Split(None, values.reshape(4, 3).flip(0), labels)})


def test_plugin_images_need_only_three_methods():
    images = PluginImages()
    chosen = images.select(np.array([7, 2]))
    assert len(chosen) == 2
    assert chosen.size == (4, 5)
    assert torch.equal(chosen.take(np.array([1])), images.take(np.array([2])))
    splits = [Split(part, None, LABELS[: len(part)]) for part in (images, chosen)]
    assert fingerprint({"train": splits[0]}) != fingerprint({"train": splits[1]})
    assert fingerprint({"train": splits[0]}) == fingerprint({"train": Split(PluginImages(), None, LABELS)})


def test_a_split_needs_one_kind_of_content_and_a_label_for_each():
    with pytest.raises(PluginError, match="either images or features"):
        Split(images=None, features=None, labels=LABELS)
    with pytest.raises(PluginError, match="12 samples and 3 labels"):
        Split(images=ArrayImages(PIXELS), features=None, labels=LABELS[:3])


def test_a_relative_path_is_also_looked_for_in_the_data_folder(tmp_path):
    (tmp_path / "pets.npz").touch()
    assert local_path("pets.npz", tmp_path, "npz") == tmp_path / "pets.npz"
    assert local_path("cats.npz", tmp_path, "npz").name == "cats.npz"
    assert not local_path("cats.npz", tmp_path, "npz").is_absolute()
    with pytest.raises(DataError, match="needs a path"):
        local_path(None, tmp_path, "npz")


def test_sources_without_a_download_say_so(tmp_path):
    with pytest.raises(DataError, match="nothing to fetch"):
        Digits().fetch(tmp_path)


def test_digits():
    source = Digits()
    assert isinstance(source, DatasetSource)
    assert source.missing(None, None) is None
    data = source.load(DatasetSpec("digits"), None)
    everything = np.bincount(np.concatenate([data.train.labels, data.test.labels]))
    assert everything.sum() == 1797
    assert np.bincount(data.train.labels).tolist() == [int(n * 0.8) for n in everything]
    assert (data.family, data.classes[9], data.train.images.size) == ("digits", "9", (8, 8))

    from sklearn.datasets import load_digits

    first = torch.tensor(load_digits().images[0])
    image = data.train.images.take(np.array([0]))[0]
    assert image.dtype == torch.uint8
    assert torch.equal(image.double(), (first * 15.9375).round().expand(3, 8, 8))


def test_sources_and_noise_import_nothing_heavy():
    code = (
        "import sys, lnlbench.noise; "
        "from lnlbench.data import arrays, holdout, imagefolder, source; "
        "from lnlbench.data.known import cifar, digits; "
        "print({'torch', 'torchvision', 'sklearn', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
