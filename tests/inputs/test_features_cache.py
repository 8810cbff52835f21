"""The feature cache: extracted once, verified on read, shared between processes."""

import dataclasses
import json
import multiprocessing
import time
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from filelock import FileLock

from lnlbench.errors import CacheError
from lnlbench.inputs.feature_cache import FeatureCache, FeatureKey, View

COVERS = ("cache",)
KEY = FeatureKey("data", "train", "backbone", "{}", View("plain"), "fp32")
SHAPE = (300, 5)


class Extractor:
    """Yields fixed numbers in chunks, and counts how often it was asked."""

    def __init__(self, rows=SHAPE[0]):
        self.calls = 0
        self.rows = rows

    def __call__(self):
        self.calls += 1
        whole = torch.arange(self.rows * SHAPE[1], dtype=torch.float32).reshape(self.rows, SHAPE[1])
        yield from whole.split(128)


def test_features_are_extracted_once_and_read_back_exactly(tmp_path):
    extract = Extractor()
    first = FeatureCache(tmp_path).obtain(KEY, SHAPE, extract)
    second = FeatureCache(tmp_path).obtain(KEY, SHAPE, extract)
    assert extract.calls == 1
    assert (first.fresh, second.fresh) == (True, False)
    assert second.seconds == first.seconds
    torch.testing.assert_close(second.array, torch.cat(list(Extractor()())), rtol=0, atol=0)


def test_keys_are_what_they_were():
    """Entries are found by these names: another name for the same array extracts it again."""
    assert KEY.digest == "b90ef50cd6f877e3ef1044c564772b4e"
    assert (
        dataclasses.replace(KEY, view=View("weak", 1, "cifar")).digest == "040a6b43c761d74cb4cd110604a9268c"
    )


@pytest.mark.parametrize(
    "other",
    [
        {"dataset": "other"},
        {"split": "test"},
        {"backbone": "other"},
        {"preprocessing": '{"size": 8}'},
        {"view": View("weak", 0, "cifar")},
        {"view": View("weak", 0, "crop-flip")},
        {"precision": "bf16"},
    ],
    ids=str,
)
def test_everything_that_features_depend_on_is_in_the_key(tmp_path, other):
    extract = Extractor()
    cache = FeatureCache(tmp_path)
    cache.obtain(KEY, SHAPE, extract)
    cache.obtain(dataclasses.replace(KEY, **other), SHAPE, extract)
    assert extract.calls == 2


def truncate(path):
    path.write_bytes(path.read_bytes()[:-7])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(bytes(content))


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("harm", [truncate, flip_a_bit, empty])
@pytest.mark.parametrize("suffix", [".npy", ".json"])
def test_a_damaged_entry_is_named_moved_aside_and_made_again(tmp_path, capsys, harm, suffix):
    extract = Extractor()
    FeatureCache(tmp_path).obtain(KEY, SHAPE, extract)
    path = tmp_path / "features" / f"{KEY.digest}{suffix}"
    if harm is flip_a_bit and suffix == ".json":
        manifest = json.loads(path.read_text())
        path.write_text(json.dumps(manifest | {"sha256": "0" * 64}))
    else:
        harm(path)
    again = FeatureCache(tmp_path).obtain(KEY, SHAPE, extract)
    assert extract.calls == 2
    assert again.fresh
    assert f"{KEY.digest}.npy are damaged" in capsys.readouterr().err
    assert (tmp_path / "features" / f"{KEY.digest}{suffix}.damaged").exists()


def test_arrays_with_objects_are_never_unpickled(tmp_path):
    extract = Extractor()
    cache = FeatureCache(tmp_path)
    cache.obtain(KEY, SHAPE, extract)
    path = tmp_path / "features" / f"{KEY.digest}.npy"
    np.save(path, np.array([object()], dtype=object), allow_pickle=True)
    FeatureCache(tmp_path).obtain(KEY, SHAPE, extract)
    assert extract.calls == 2


def test_an_extraction_of_another_shape_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(CacheError, match="299 rows instead of 300"):
        FeatureCache(tmp_path).obtain(KEY, SHAPE, Extractor(rows=299))
    assert not list((tmp_path / "features").glob("*.npy"))
    assert not list((tmp_path / "features").glob("*.part"))


def test_a_folder_that_cannot_be_made_is_an_error_with_advice(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="--cache-dir"):
        FeatureCache(tmp_path / "file").obtain(KEY, SHAPE, Extractor())


def _obtain(folder, log):
    def extract():
        with log.open("a") as stream:
            stream.write("extracted\n")
        time.sleep(0.3)  # long enough for the others to arrive
        yield from torch.zeros(SHAPE).split(128)

    FeatureCache(folder).obtain(KEY, SHAPE, extract)


def test_processes_that_want_the_same_features_extract_them_once(tmp_path):
    context = multiprocessing.get_context("fork")
    log = tmp_path / "log"
    workers = [context.Process(target=_obtain, args=(tmp_path, log)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert log.read_text() == "extracted\n"


def test_keys_of_the_cpu_are_what_they_were_and_those_of_a_gpu_are_others():
    key = FeatureKey("d", "train", "b", "{}", View("weak", 1, "digits"), "bf16")
    assert key.digest == "a854cd704af0697d5244f9d26775b6c1"  # as it was before keys had a device
    other = dataclasses.replace(key, device="cuda")
    assert other.digest != key.digest
    assert other.to_dict() == {**key.to_dict(), "device": "cuda"}


@pytest.mark.timeout(60)
def test_reading_waits_for_nobody(tmp_path):
    first = FeatureCache(tmp_path).obtain(KEY, SHAPE, Extractor())
    (lock,) = (tmp_path / "features").glob("*.lock")
    with FileLock(lock):
        again = FeatureCache(tmp_path).obtain(KEY, SHAPE, Extractor())
    assert not again.fresh
    assert torch.equal(again.array, first.array)


@pytest.mark.timeout(60)
def test_what_another_process_makes_meanwhile_is_taken(tmp_path, monkeypatch):
    late, extract = FeatureCache(tmp_path), Extractor()
    folder = late._arrays
    original = folder._locked

    @contextmanager
    def made_while_waiting(name):
        FeatureCache(tmp_path).obtain(KEY, SHAPE, extract)
        with original(name) as may_write:
            yield may_write

    monkeypatch.setattr(folder, "_locked", made_while_waiting)
    found = late.obtain(KEY, SHAPE, extract)
    assert not found.fresh
    assert extract.calls == 1
