"""Models that come out of trials: what is saved predicts what the trial measured."""

from __future__ import annotations

import importlib.util
import json
import shutil

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import lnlbench
from lnlbench.api import Method, functional
from lnlbench.basics.files import read_checked, write_checked
from lnlbench.cli.predict import command as predict
from lnlbench.deploy.model_files import MANIFEST, WEIGHTS, find_model
from lnlbench.deploy.snapshots import UnsavableError, predicting_networks
from lnlbench.errors import DataError, UsageError, WeightsError
from lnlbench.grids.plan import plan
from lnlbench.trials.attempt import run_trial
from lnlbench.trials.problem import prepare_problem
from lnlbench.trials.recording import record_of
from lnlbench.trials.trial import Trial
from lnlbench.trials.workspace import RunSettings, Workspace

NEEDS_PEFT = pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="needs peft")
SMALL = ["train_per_class=12", "test_per_class=6", "image_size=32", "lp.epochs=3", "fft.epochs=1"]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def workspace(out, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return Workspace(RunSettings(data=None, cache=cache, threads=1, models=out / "models"))


def spec(*sets):
    (planned,) = plan("quickstart", sets=[*SMALL, "noise=symmetric-0.4", *sets], seeds="0").planned
    return planned.spec


@pytest.fixture(scope="module")
def probed(workspace):
    return run_trial(spec("method=ce", "tuning=lp"), workspace)


def accuracy(model, problem):
    test = problem.dataset.test
    images = test.images.take(np.arange(len(test)))
    with torch.no_grad():
        found = model(model.preprocessing(images)).argmax(1)
    return 100.0 * float((found.numpy() == test.labels).mean())


@pytest.mark.parametrize(
    "sets",
    [
        ("method=ce", "tuning=lp"),
        ("method=ce", "tuning=fft"),
        ("method=dividemix", "tuning=lp"),
        ("method=elr_plus", "tuning=fft"),
        ("method=ce", "tuning=partial"),
        pytest.param(("method=ce", "tuning=lora"), marks=NEEDS_PEFT),
    ],
    ids=" ".join,
)
def test_saved_models_have_the_accuracy_of_the_record(workspace, out, sets):
    asked = spec(*sets)
    record = run_trial(asked, workspace)
    problem = prepare_problem(asked, workspace)
    folder = out / "models" / asked.trial_id
    for which in ("best", "last"):
        model = lnlbench.load_model(folder, which)
        assert accuracy(model, problem) == pytest.approx(record.metrics[which])
        assert model.manifest["test"] == record.metrics[which]
        assert record.models[which] == model.manifest["weights_sha256"]
        assert model.classes == problem.dataset.classes
        assert not model.training
    assert model.manifest["epoch"] == asked.epochs - 1


def test_frozen_backbones_of_two_networks_are_stored_once(workspace, out):
    asked = spec("method=dividemix", "tuning=lp")
    if not (out / "models" / asked.trial_id).exists():
        run_trial(asked, workspace)
    model = lnlbench.load_model(out / "models" / asked.trial_id)
    assert len(model.networks) == 2
    assert model.manifest["backbones"] == [0, 0]
    assert model.manifest["combine"] == "sum"


def test_saving_changes_no_number_and_survives_an_interruption(workspace, out, probed):
    from lnlbench.trials.checkpoint import decode, encode

    plain = Workspace(RunSettings(data=None, cache=workspace.setting.cache, threads=1))
    without = run_trial(probed.spec, plain)
    assert without.models is None
    assert [entry["test"] for entry in without.history] == [entry["test"] for entry in probed.history]
    assert without.ledger == probed.ledger
    first = Trial(probed.spec, workspace)
    states = [decode(encode(first.state())) for _ in first.epochs()]
    again = Trial(probed.spec, workspace)
    for _ in again.epochs(states[-2]):
        pass
    assert record_of(again).models == probed.models


def test_a_model_of_features_takes_features(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    features = rng.normal(size=(60, 5)).astype(np.float32) + labels[:, None].astype(np.float32)
    np.savez(tmp_path / "f.npz", x_train=features, y_train=labels, x_test=features, y_test=labels)
    changes = [f"dataset=features:{tmp_path / 'f.npz'}", "tuning=lp", "method=ce", "lp.epochs=2"]
    (planned,) = plan("quickstart", sets=[*changes, "noise=none"], seeds="0").planned
    settings = RunSettings(data=None, cache=tmp_path / "cache", threads=1, models=tmp_path / "models")
    record = run_trial(planned.spec, Workspace(settings))
    model = lnlbench.load_model(tmp_path)
    found = model(torch.from_numpy(features)).argmax(1).numpy()
    assert 100 * (found == labels).mean() == pytest.approx(record.metrics["best"])
    with pytest.raises(UsageError, match="takes features"):
        model.transform(Image.new("RGB", (8, 8)))


# What is refused


@pytest.fixture
def copied(out, probed, tmp_path):
    shutil.copytree(out / "models" / probed.trial_id / "last", tmp_path / "model")
    return tmp_path / "model"


def test_weights_of_another_sum_are_refused(copied):
    content = bytearray((copied / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (copied / WEIGHTS).write_bytes(content)
    with pytest.raises(WeightsError, match="their sum is another"):
        lnlbench.load_model(copied)


def change(folder, **values):
    manifest = read_checked(folder / MANIFEST)
    write_checked(folder / MANIFEST, manifest | values)


def test_another_format_is_refused(copied):
    change(copied, format=3, lnlbench="9.9")
    with pytest.raises(
        WeightsError, match=r"format 3, made by lnlbench 9\.9; lnlbench .* reads formats 1 to 2"
    ):
        lnlbench.load_model(copied)


def test_a_manifest_that_was_edited_is_refused(copied):
    path = copied / MANIFEST
    path.write_text(path.read_text().replace('"combine":"sum"', '"combine":"max"'))
    with pytest.raises(WeightsError, match="does not match its checksum"):
        lnlbench.load_model(copied)


def test_weights_of_another_architecture_are_refused(copied):
    change(copied, feature_dim=7)
    with pytest.raises(WeightsError, match="does not fit what is installed"):
        lnlbench.load_model(copied)


@pytest.mark.parametrize("content", [b"", b"{}", json.dumps({"format": 1}).encode(), b"\xff" * 99])
def test_what_is_no_manifest_is_named(copied, content):
    (copied / MANIFEST).write_bytes(content)
    with pytest.raises(WeightsError, match="is no manifest"):
        lnlbench.load_model(copied)


def test_missing_weights_are_named(copied):
    (copied / WEIGHTS).unlink()
    with pytest.raises(WeightsError, match="cannot be read"):
        lnlbench.load_model(copied)


def test_a_model_is_found_where_there_is_one(out, probed, tmp_path):
    folder = out / "models" / probed.trial_id
    assert find_model(folder, "last") == folder / "last"
    assert find_model(folder / "best" / MANIFEST) == folder / "best"
    with pytest.raises(UsageError, match="no model in"):
        find_model(tmp_path)
    for name in ("a", "b"):
        shutil.copytree(folder, tmp_path / "models" / name)
    with pytest.raises(UsageError, match="models of 2 trials"):
        find_model(tmp_path)


class Flipping(Method):
    """Predicts with two views of an image."""

    def loss(self, batch):
        return functional.cross_entropy(self.network(batch.inputs), batch.labels)

    def predict(self, inputs):
        return self.network(inputs) + self.network(-inputs)


def test_what_networks_alone_do_not_tell_is_not_saved():
    from small_problem import SmallProblem

    problem = SmallProblem()
    method = Flipping(None)
    method.setup(problem.task())
    with pytest.raises(UnsavableError, match=r"Flipping\.predict\(\) is neither the sum nor the mean"):
        predicting_networks(method, problem.features())


# The verb


def test_predict_writes_a_row_for_each_image(out, probed, tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "images" / "deeper"
    folder.mkdir(parents=True)
    for number in range(3):
        Image.fromarray(rng.integers(0, 255, (20, 24, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    (folder / "notes.txt").write_text("no image")
    model = out / "models" / probed.trial_id / "best"
    target = tmp_path / "p.csv"
    arguments = [str(model), str(tmp_path / "images"), "--output", str(target), "--probabilities"]
    result = CliRunner().invoke(predict, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    header, *rows = [line.split(",") for line in target.read_text().splitlines()]
    loaded = lnlbench.load_model(model)
    assert header == ["file", "predicted", "confidence", *loaded.classes]
    assert [row[0] for row in rows] == [str(folder / f"{number}.png") for number in range(3)]
    with torch.no_grad():
        chances = loaded(loaded.transform(folder / "1.png")[None]).double().softmax(1)[0]
    assert [float(text) for text in rows[1][3:]] == pytest.approx(chances.tolist(), rel=1e-4)
    assert rows[1][1] == loaded.classes[int(chances.argmax())]
    assert float(rows[1][2]) == pytest.approx(float(chances.max()), rel=1e-4)


@pytest.mark.parametrize(("name", "message"), [("nothing", "no file"), ("empty", "no image in")])
def test_images_that_are_not_there_are_named(out, probed, tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    model = out / "models" / probed.trial_id / "best"
    result = CliRunner().invoke(predict, [str(model), str(tmp_path / name)])
    assert isinstance(result.exception, DataError)
    assert message in result.exception.message
