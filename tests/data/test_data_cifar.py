"""CIFAR from a local npz and in torchvision's layout, on small stand-ins with the real file formats."""

import hashlib
import pickle
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from torchvision import datasets

from lnlbench.data.known.cifar import CIFAR10, CIFAR10_CLASSES, CIFAR100, CIFAR100_CLASSES
from lnlbench.errors import DataError
from lnlbench.spec import DatasetSpec

RNG = np.random.default_rng(0)


def arrays(classes, train=3, test=1):
    return {
        "x_train": RNG.integers(0, 256, (classes * train, 32, 32, 3), dtype=np.uint8),
        "y_train": RNG.permutation(np.repeat(np.arange(classes), train)),
        "x_test": RNG.integers(0, 256, (classes * test, 32, 32, 3), dtype=np.uint8),
        "y_test": np.tile(np.arange(classes), test),
    }


def write_official(root, content, monkeypatch):
    """Write CIFAR-10's extracted archive, and tell torchvision its checksums."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)

    def write(name, value):
        raw = pickle.dumps(value)
        (folder / name).write_bytes(raw)
        return hashlib.md5(raw).hexdigest()

    def batch(name, pixels, labels):
        rows = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)
        return [name, write(name, {"data": rows, "labels": labels.tolist()})]

    half = len(content["x_train"]) // 2
    train = [
        batch("data_batch_1", content["x_train"][:half], content["y_train"][:half]),
        batch("data_batch_2", content["x_train"][half:], content["y_train"][half:]),
    ]
    test = [batch("test_batch", content["x_test"], content["y_test"])]
    meta = {**datasets.CIFAR10.meta, "md5": write("batches.meta", {"label_names": list(CIFAR10_CLASSES)})}
    monkeypatch.setattr(datasets.CIFAR10, "train_list", train)
    monkeypatch.setattr(datasets.CIFAR10, "test_list", test)
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)
    return folder


def test_npz_and_official_archive_are_the_same_data_set(tmp_path, monkeypatch):
    content = arrays(10)
    write_official(tmp_path / "official", content, monkeypatch)
    (tmp_path / "local").mkdir()
    np.savez(tmp_path / "local" / "cifar10.npz", **content)
    spec = DatasetSpec("cifar10", train_per_class=2)
    official, local = (CIFAR10().load(spec, tmp_path / name) for name in ("official", "local"))
    assert official.fingerprint == local.fingerprint
    assert official.train.labels.tolist() == local.train.labels.tolist()
    assert len(official.train) == 20
    index = np.arange(10)
    assert torch.equal(official.test.images.take(index), local.test.images.take(index))
    assert (official.family, official.classes) == ("cifar10", CIFAR10_CLASSES)


def test_cifar100_from_npz(tmp_path):
    np.savez(tmp_path / "cifar100.npz", **arrays(100))
    data = CIFAR100().load(DatasetSpec("cifar100"), tmp_path)
    assert (data.family, len(data.classes), len(data.train)) == ("cifar100", 100, 300)
    assert [CIFAR100_CLASSES[i] for i in (0, 1, 47, 99)] == ["apple", "aquarium_fish", "maple_tree", "worm"]


def test_missing_names_the_command_and_the_alternative(tmp_path):
    for root in (None, tmp_path):
        message = CIFAR10().missing(None, root)
        assert "lnlbench data fetch cifar10" in message
        assert "cifar10.npz" in message
        with pytest.raises(DataError, match="lnlbench data fetch cifar10"):
            CIFAR10().load(DatasetSpec("cifar10"), root)
    assert "LNLBENCH_DATA" in CIFAR10().missing(None, None)


def test_a_damaged_archive_is_refused(tmp_path, monkeypatch):
    folder = write_official(tmp_path, arrays(10), monkeypatch)
    with (folder / "test_batch").open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(DataError, match="damaged or incomplete"):
        CIFAR10().load(DatasetSpec("cifar10"), tmp_path)


def test_an_npz_of_another_size_is_refused(tmp_path):
    content = arrays(10)
    content["x_test"] = content["x_test"][:, :16]
    np.savez(tmp_path / "cifar10.npz", **content)
    with pytest.raises(DataError, match="x_test has shape"):
        CIFAR10().load(DatasetSpec("cifar10"), tmp_path)


def test_an_npz_with_the_labels_of_another_data_set_is_refused(tmp_path):
    np.savez(tmp_path / "cifar10.npz", **arrays(100, train=1))
    with pytest.raises(DataError, match="label 99, but there are 10 classes"):
        CIFAR10().load(DatasetSpec("cifar10"), tmp_path)


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A web server on this machine, and the folder that it serves."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path / "server"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=folder)) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", folder
        running.shutdown()
        thread.join()


def test_fetch_downloads_and_extracts(tmp_path, server, monkeypatch):
    url, served = server
    folder = write_official(tmp_path, arrays(10), monkeypatch)
    archive = served / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(folder, folder.name)
    monkeypatch.setattr(datasets.CIFAR10, "url", f"{url}/{archive.name}")
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    root = tmp_path / "new" / "data"
    CIFAR10().fetch(root)
    assert CIFAR10().missing(None, root) is None
    assert len(CIFAR10().load(DatasetSpec("cifar10"), root).train) == 30


def test_a_download_that_fails_is_an_error_with_an_alternative(tmp_path, server, monkeypatch):
    monkeypatch.setattr(datasets.CIFAR10, "url", f"{server[0]}/absent.tar.gz")
    with pytest.raises(DataError, match="could not be downloaded: ") as caught:
        CIFAR10().fetch(tmp_path)
    assert "cifar10.npz" in caught.value.hint


def test_a_download_with_another_content_is_refused(tmp_path, server, monkeypatch):
    url, served = server
    (served / "cifar.tar.gz").write_bytes(b"a captive portal")
    monkeypatch.setattr(datasets.CIFAR10, "url", f"{url}/cifar.tar.gz")
    with pytest.raises(DataError, match="could not be downloaded into"):
        CIFAR10().fetch(tmp_path)
