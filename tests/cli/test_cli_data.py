"""lnlbench data fetch and data check."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar
from urllib.error import URLError

import numpy as np
import pytest

from lnlbench.cli import main
from lnlbench.data.known import cifar
from lnlbench.data.source import Dataset, DatasetSource
from lnlbench.errors import ExitCode
from lnlbench.plugins import registry
from lnlbench.spec import DatasetSpec


def write_npz(path: Path, train: int = 6, test: int = 4) -> Path:
    """Write images of 5 × 7 pixels, 2 classes, the first of them twice as large in training."""
    images = np.arange((train + test) * 5 * 7 * 3).reshape(-1, 5, 7, 3).astype(np.uint8)
    labels = np.arange(train + test) % 2
    labels[: train // 3] = 0
    np.savez(
        path, x_train=images[:train], y_train=labels[:train], x_test=images[train:], y_test=labels[train:]
    )
    return path


@pytest.fixture(autouse=True)
def _no_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LNLBENCH_DATA", raising=False)


# fetch


def test_fetch_leaves_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "fetch", "digits"]) == ExitCode.OK
    assert "'digits' is there already." in capsys.readouterr().out


def test_fetch_needs_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "fetch", "cifar10"]) == ExitCode.USAGE
    assert "Give --data DIR, or set LNLBENCH_DATA." in capsys.readouterr().err


def test_fetch_of_an_unknown_data_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "fetch", "cifar11"]) == ExitCode.USAGE
    assert "Unknown data set 'cifar11'. Did you mean 'cifar1" in capsys.readouterr().err


def test_fetch_of_what_has_no_download(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "fetch", f"npz:{tmp_path}/pets.npz", "--data", str(tmp_path)]) == ExitCode.USAGE
    assert "There is nothing to fetch" in capsys.readouterr().err


def test_fetch_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(cifar.CIFAR10, "_torchvision_class", lambda self: unreachable)
    assert main(["data", "fetch", "cifar10", "--data", str(tmp_path)]) == ExitCode.USAGE
    assert "could not be downloaded: no route to host." in capsys.readouterr().err


class Remote(DatasetSource):
    """A source whose download can be made to fail, or to stop early."""

    summary = "for tests"
    error: ClassVar[OSError | None] = None
    files: ClassVar[tuple[str, ...]] = ("remote.bin",)

    def missing(self, path: str | None, root: Path | None) -> str | None:
        there = root is not None and (root / "remote.bin").is_file()
        return None if there else "remote.bin is not there."

    def load(self, spec: DatasetSpec, root: Path | None) -> Dataset:
        raise NotImplementedError

    def fetch(self, root: Path) -> None:
        if self.error is not None:
            raise self.error
        for name in self.files:
            (root / name).write_bytes(b"data")


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> type[Remote]:
    class Fresh(Remote):
        pass

    monkeypatch.setattr(registry.datasets(), "load", lambda name: Fresh)
    return Fresh


def test_fetch_says_where_the_data_are(
    tmp_path: Path, remote: type[Remote], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "fetch", "remote", "--data", str(tmp_path)]) == ExitCode.OK
    assert f"'remote' is in {tmp_path}." in capsys.readouterr().out


def test_fetch_reports_what_a_plugin_lets_through(
    tmp_path: Path, remote: type[Remote], capsys: pytest.CaptureFixture[str]
) -> None:
    remote.error = TimeoutError("timed out")
    assert main(["data", "fetch", "remote", "--data", str(tmp_path)]) == ExitCode.USAGE
    assert f"'remote' could not be fetched into {tmp_path}: timed out." in capsys.readouterr().err


def test_fetch_that_stops_early(
    tmp_path: Path, remote: type[Remote], capsys: pytest.CaptureFixture[str]
) -> None:
    remote.files = ()
    assert main(["data", "fetch", "remote", "--data", str(tmp_path)]) == ExitCode.USAGE
    assert "is incomplete. remote.bin is not there." in capsys.readouterr().err


# check


def test_check_describes_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", f"npz:{write_npz(tmp_path / 'pets.npz')}"]) == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "npz:pets.npz: 2 classes, images of 5 × 7 pixels"
    assert lines[1:3] == [
        "  train       6 samples, 2 to 4 of a class",
        "  test        4 samples, 2 to 2 of a class",
    ]
    assert lines[3].startswith("  fingerprint ")


def test_check_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_npz(tmp_path / "pets.npz")
    assert main(["data", "check", f"npz:{path}", "--format", "json"]) == ExitCode.OK
    value = json.loads(capsys.readouterr().out)
    assert value["splits"]["train"] == {"samples": 6, "smallest_class": 2, "largest_class": 4}
    dataset = registry.datasets().load("npz")().load(DatasetSpec(f"npz:{path}"), None)
    assert value["fingerprint"] == dataset.fingerprint


def test_check_describes_features(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.normal(size=(6, 9)).astype(np.float32),
        "y_train": np.arange(6) % 3,
        "x_test": rng.normal(size=(3, 9)).astype(np.float32),
        "y_test": np.arange(3),
    }
    np.savez(tmp_path / "embedded.npz", **arrays)
    assert main(["data", "check", "features:embedded.npz", "--data", str(tmp_path)]) == ExitCode.OK
    assert capsys.readouterr().out.startswith("features:embedded.npz: 3 classes, features of length 9\n")


def test_check_of_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "cifar10", "--data", str(tmp_path)]) == ExitCode.USAGE
    assert "lnlbench data fetch cifar10" in capsys.readouterr().err


def test_check_of_what_is_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_npz(tmp_path / "pets.npz")
    path.write_bytes(path.read_bytes()[:100])
    assert main(["data", "check", f"npz:{path}"]) == ExitCode.USAGE
    assert "pets.npz" in capsys.readouterr().err


def test_check_lists_every_problem_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "make-standin", "clothing1m", "--data", str(tmp_path), "--per-class", "1"]) == 0
    lists = tmp_path / "clothing1m" / "annotations"
    keys = (lists / "clean_test_key_list.txt").read_text().split()
    for key in keys[:3]:
        (tmp_path / "clothing1m" / key).unlink()
    with (lists / "noisy_label_kv.txt").open("a") as file:
        file.write("images/0/00/x.jpg 14\n../x.jpg 0\n")
    capsys.readouterr()
    assert main(["data", "check", "clothing1m", "--data", str(tmp_path), "--limit", "4"]) == 1
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert lines[0] == "clothing1m: 5 problems"
    assert "noisy_label_kv.txt:15: the label '14' is not a class from 0 to 13" in lines[1]
    assert "noisy_label_kv.txt:16: the path '../x.jpg' leads out" in lines[2]
    assert lines[3].endswith(f"{keys[0]} does not exist")
    assert lines[5] == "  … and 1 more (see --limit)"


def test_check_decodes_images_in_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "make-standin", "clothing1m", "--data", str(tmp_path), "--per-class", "2"]) == 0
    keys = (tmp_path / "clothing1m" / "annotations" / "noisy_train_key_list.txt").read_text().split()
    for key in keys[:2]:
        (tmp_path / "clothing1m" / key).write_bytes(b"no image")
    capsys.readouterr()
    command = ["data", "check", "clothing1m", "--data", str(tmp_path), "--workers", "0"]
    assert main([*command, "--sample", "all"]) == ExitCode.INCOMPLETE
    captured = capsys.readouterr()
    assert "train       28 of 28 images decoded" in captured.out
    assert "This is a stand-in" in captured.out
    assert "Warning" not in captured.out  # a stand-in is smaller by design
    assert captured.err.count("cannot be decoded: no known image format") == 2
    assert main([*command, "--sample", "0", "--format", "json"]) == ExitCode.OK
    value = json.loads(capsys.readouterr().out)
    assert value["decoded"]["train"] == {"decoded": 0, "of": 28}
    assert (value["standin"], value["problems"]) == (True, [])


def test_check_warns_of_counts_that_are_not_the_official_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "cifar10.npz",
        x_train=rng.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8),
        y_train=np.arange(20) % 10,
        x_test=rng.integers(0, 256, (10, 32, 32, 3), dtype=np.uint8),
        y_test=np.arange(10),
    )
    assert main(["data", "check", "cifar10", "--data", str(tmp_path)]) == ExitCode.OK
    out = capsys.readouterr().out
    assert "Warning: train has 20 samples; the complete data set has 50,000." in out
    assert "stand-in" not in out


def test_check_refuses_a_sample_that_is_no_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "digits", "--sample", "some"]) == ExitCode.USAGE
    assert "--sample is 'some'. Give a number of images, or all." in capsys.readouterr().err


@pytest.mark.parametrize("name", ["clothing1m", "webvision", "webvision_mini"])
def test_fetch_says_how_to_get_what_no_program_may_download(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ([], ["--data", str(tmp_path)]):
        assert main(["data", "fetch", name, *folder]) == ExitCode.USAGE
        message = capsys.readouterr().err
        assert "cannot be downloaded by a program" in message
        assert f"make-standin {name}" in message
