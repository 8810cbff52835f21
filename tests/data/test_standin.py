"""Stand-ins: the layout of the real data, the same for the same seed, never taken for real data."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from lnlbench.basics.seeding import numpy_stream
from lnlbench.cli import main
from lnlbench.data.known.cifar import CIFAR10, CIFAR100
from lnlbench.data.known.clothing1m import Clothing1M
from lnlbench.data.known.standin import Painter
from lnlbench.data.known.webvision import WebVisionMini
from lnlbench.data.source import fingerprint
from lnlbench.errors import DataError, ExitCode
from lnlbench.spec import DatasetSpec


def files(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("source", [Clothing1M, CIFAR10, WebVisionMini])
def test_the_same_seed_gives_the_same_stand_in(tmp_path, source):
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        source().make_standin(tmp_path / name, per_class=1, seed=seed)
    one, two, three = (files(tmp_path / name) for name in ("one", "two", "three"))
    assert one == two
    assert one != three


@pytest.mark.parametrize(
    ("source", "classes", "train", "test"),
    [
        (CIFAR10, 10, 60, 30),
        (CIFAR100, 100, 600, 300),
        (Clothing1M, 14, 84, 42),
        (WebVisionMini, 50, 300, 150),
    ],
)
def test_counts_flag_and_sizes(tmp_path, source, classes, train, test):
    source().make_standin(tmp_path, per_class=6, seed=0)
    name = source.__name__.lower()
    data = source().load(DatasetSpec("webvision_mini" if name == "webvisionmini" else name), tmp_path)
    assert (len(data.classes), len(data.train), len(data.test)) == (classes, train, test)
    assert data.standin
    sizes = {tuple(image.shape) for image in data.train.images.take(np.arange(40))}
    assert sizes == {(3, 32, 32)} if name.startswith("cifar") else len(sizes) > 20


def test_labels_for_training_are_noisy_and_others_are_not(tmp_path):
    """Every test digit is nearest, by pixels, to a training digit of its own class more often than not."""
    CIFAR10().make_standin(tmp_path, per_class=60, seed=0)
    data = CIFAR10().load(DatasetSpec("cifar10"), tmp_path)
    train, test = (
        split.images.take(np.arange(len(split))).float().mean(1).flatten(1).numpy()
        for split in (data.train, data.test)
    )
    train, test = (
        (pixels - pixels.mean(1, keepdims=True)) / pixels.std(1, keepdims=True) for pixels in (train, test)
    )
    nearest = data.train.labels[(test @ train.T).argmax(1)]
    assert (nearest == data.test.labels).mean() > 0.5  # 0.1 by chance


def test_digits_of_test_images_are_in_no_training_image():
    painters = Painter(10, training=True), Painter(10, training=False)
    shown = [{glyph.tobytes() for group in painter._glyphs for glyph in group} for painter in painters]
    assert shown[0]
    assert shown[1]
    assert shown[0].isdisjoint(shown[1])


def test_every_class_has_a_number_of_its_own():
    rng = [numpy_stream("painter") for _ in range(2)]
    one, other = (
        Painter(1000, training=True).paint(n, 64, 128, r) for n, r in zip((7, 700), rng, strict=True)
    )
    assert one.size == (128, 64)
    assert np.abs(np.asarray(one).astype(int) - np.asarray(other)).max() > 50


def test_a_stand_in_never_has_the_fingerprint_of_real_data(tmp_path):
    CIFAR10().make_standin(tmp_path, per_class=1, seed=0)
    data = CIFAR10().load(DatasetSpec("cifar10"), tmp_path)
    splits = {"train": data.train, "validation": None, "test": data.test}
    assert data.fingerprint == fingerprint(splits, standin=True)
    assert data.fingerprint != fingerprint(splits)


def test_real_data_are_never_overwritten(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(DataError, match="holds CIFAR-10 itself"):
        CIFAR10().make_standin(tmp_path, 1, 0)
    np.savez(tmp_path / "cifar100.npz", x_train=np.zeros(1))
    with pytest.raises(DataError, match="is there already"):
        CIFAR100().make_standin(tmp_path, 1, 0)
    (tmp_path / "clothing1m").mkdir()
    with pytest.raises(DataError, match="is there already, and is something else"):
        Clothing1M().make_standin(tmp_path, 1, 0)
    WebVisionMini().make_standin(tmp_path, 1, 0)
    with pytest.raises(DataError, match="is there already, and is a stand-in"):
        WebVisionMini().make_standin(tmp_path, 1, 0)


def test_an_interrupted_stand_in_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(DataError, match="cannot be written: No space left"):
        Clothing1M().make_standin(tmp_path, 1, 0)
    assert list(tmp_path.iterdir()) == []


def test_the_command_makes_one_and_says_what_it_is(tmp_path, capsys):
    command = ["data", "make-standin", "clothing1m", "--data", str(tmp_path), "--per-class", "1"]
    assert main(command) == ExitCode.OK
    assert f"A stand-in for 'clothing1m' is in {tmp_path / 'clothing1m'}." in capsys.readouterr().out
    assert main(command) == ExitCode.USAGE
    assert "Remove it first" in capsys.readouterr().err


def test_not_every_data_set_has_one(tmp_path, capsys):
    assert main(["data", "make-standin", "digits", "--data", str(tmp_path)]) == ExitCode.USAGE
    assert "has no stand-in" in capsys.readouterr().err
    assert main(["data", "make-standin", "cifar10"]) == ExitCode.USAGE
    assert "--data DIR" in capsys.readouterr().err


def test_a_trial_on_files_is_the_same_with_workers_and_says_that_it_is_a_stand_in(tmp_path):
    from lnlbench.grids.plan import plan
    from lnlbench.trials.attempt import run_trial
    from lnlbench.trials.workspace import RunSettings, Workspace

    WebVisionMini().make_standin(tmp_path, per_class=1, seed=0)
    changes = ["dataset=webvision_mini", "noise=real", "method=turn", "tuning=lp-fft", "train_per_class=none"]
    changes += ["test_per_class=none", "image_size=32", "lp.epochs=1", "fft.epochs=2", "resize=48"]
    (planned,) = plan("quickstart", sets=changes, seeds="0").planned
    # Layouts are measured, so that a busy machine may choose another one, which rounds otherwise.
    (tmp_path / "cache0" / "calibration").mkdir(parents=True)
    (tmp_path / "cache1").mkdir()
    (tmp_path / "cache1" / "calibration").symlink_to(tmp_path / "cache0" / "calibration")
    records = [
        run_trial(
            planned.spec,
            Workspace(
                RunSettings(tmp_path, tmp_path / f"cache{workers}", workers=workers, cache_images=cache)
            ),
        )
        for workers, cache in ((0, False), (1, True))
    ]
    histories = [
        [{name: entry[name] for name in ("phase", "loss", "validation", "test")} for entry in record.history]
        for record in records
    ]
    assert histories[0] == histories[1]
    assert records[0].metrics == records[1].metrics
    assert records[0].data["standin"] is True
    assert (records[0].execution["workers"], records[1].execution["workers"]) == (0, 1)
    # Nobody knows the true labels: what does not need them is kept.
    selection = records[0].selection
    assert selection is not None
    assert selection.keys() == {"size", "score", "per_class"}
    assert sum(selection["per_class"]["size"]) == selection["size"] > 0
