"""The cache of resized images: the pixels of the files, made once, verified, made again when damaged."""

import numpy as np
import pytest
import torch

from lnlbench.data.known.clothing1m import Clothing1M
from lnlbench.data.known.digits import Digits
from lnlbench.errors import CacheError, UsageError
from lnlbench.inputs import image_cache
from lnlbench.inputs.image_cache import ImageCache
from lnlbench.inputs.loader import Workers
from lnlbench.spec import DatasetSpec


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    Clothing1M().make_standin(folder, per_class=1, seed=0)
    return folder


def load(root, side=40):
    return Clothing1M().load(DatasetSpec("clothing1m", resize=side), root)


def cached(data, folder, workers=0):
    return ImageCache(folder).of_dataset(data, Workers(workers))


def same(one, other):
    index = np.arange(len(one))[::-1]
    pairs = zip(one.take(index), other.take(index), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("workers", [0, 2])
def test_pixels_and_fingerprints_are_those_of_the_files(root, tmp_path, monkeypatch, workers):
    monkeypatch.setattr(image_cache, "SHARD", 5)  # several arrays, the last one smaller
    data = load(root)
    kept = cached(data, tmp_path, workers)
    for part in ("train", "validation", "test"):
        assert same(getattr(data, part).images, getattr(kept, part).images)
        assert getattr(kept, part).labels.tolist() == getattr(data, part).labels.tolist()
    assert kept.fingerprint == data.fingerprint
    chosen = kept.train.images.select(np.array([6, 1, 6]))
    assert same(chosen, data.train.images.select(np.array([6, 1, 6])))
    assert list(chosen.content()) == list(data.train.images.select(np.array([6, 1, 6])).content())


def test_files_are_decoded_once(root, tmp_path, monkeypatch, capsys):
    data = load(root)
    cached(data, tmp_path)
    assert "resizing the images of clothing1m, train: part 1 of 1" in capsys.readouterr().err

    def decode(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr("lnlbench.data.image_files.decode", decode)
    again = cached(load(root), tmp_path)
    assert capsys.readouterr().err == ""
    assert len(again.train.images.take(np.arange(len(again.train)))) == 14


def test_another_side_is_another_entry(root, tmp_path):
    cached(load(root), tmp_path)
    other = load(root, side=24)
    assert same(cached(other, tmp_path).test.images, other.test.images)


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(bytes(content))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize("harm", [flip_a_bit, truncate])
@pytest.mark.parametrize("suffix", ["npy", "json"])
def test_damage_is_named_and_mended(root, tmp_path, capsys, harm, suffix):
    data = load(root)
    cached(data, tmp_path)
    for path in (tmp_path / "images").glob(f"*.{suffix}"):
        harm(path)
    mended = cached(data, tmp_path)
    assert capsys.readouterr().err.count("are damaged") == 3
    assert same(mended.train.images, data.train.images)


def test_arrays_that_disappear_are_an_error(root, tmp_path):
    kept = cached(load(root), tmp_path)
    for path in (tmp_path / "images").glob("*.npy"):
        path.unlink()
    with pytest.raises(CacheError, match="are gone"):
        kept.train.images.take(np.array([0]))


def test_images_of_their_own_size_are_not_cached(root, tmp_path):
    with pytest.raises(UsageError, match="not resized") as caught:
        cached(load(root, side=None), tmp_path)
    assert "dataset_options.resize" in caught.value.hint


def test_images_in_memory_stay_there(tmp_path):
    data = Digits().load(DatasetSpec("digits"), None)
    assert cached(data, tmp_path).train.images is data.train.images
