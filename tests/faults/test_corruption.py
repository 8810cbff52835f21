"""Damaged files of every kind: noticed, named, moved aside or refused, and never used."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lnlbench.basics.files import read_checked, write_checked
from lnlbench.data.known.digits import Digits
from lnlbench.errors import ExitCode
from lnlbench.models import calibration
from lnlbench.models.calibration import Execution
from lnlbench.models.sources import efficientnet_lite
from lnlbench.noise.noise_file import read_noise_file, save_noise_file
from lnlbench.records.store import Store
from lnlbench.spec import DatasetSpec, NoiseSpec
from lnlbench.trials import checkpoint


def truncate(path):
    path.write_bytes(path.read_bytes()[:-20])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(bytes(content))


def empty(path):
    path.write_bytes(b"")


def replace_by_something_else(path):
    path.write_bytes(b"remember the milk\n" * 20)


HARMS = [truncate, flip_a_bit, empty, replace_by_something_else]


@pytest.fixture(autouse=True)
def one_layout(monkeypatch):
    """Measure the same speeds every time: another layout would be an honest other number."""
    monkeypatch.setattr(
        calibration, "_measure", lambda *_: {Execution(): 1.0, Execution(channels_last=True): 9.0}
    )


@pytest.fixture
def done(tiny):
    """Two finished trials with a cache of their own, and their numbers."""
    tiny.cache = Path("cache").absolute()
    code, _, err = tiny.run()
    assert code == ExitCode.OK, err
    return tiny, tiny.numbers()


@pytest.mark.parametrize("harm", HARMS)
def test_damaged_files_of_a_run_are_named_moved_aside_and_made_again(done, harm):
    tiny, undisturbed = done
    first, second = sorted((tiny.cache / "features").glob("*.npy"))
    # Of the two entries, the array of one and the manifest of the other.
    cached = [first, second.with_suffix(".json"), next((tiny.cache / "calibration").glob("*.json"))]
    kept = [sorted((tiny.out / "trials").iterdir())[0], tiny.out / "plans" / "tiny.json"]
    for path in cached + kept:
        harm(path)
    damaged = {path: path.read_bytes() for path in cached + kept}

    # Reading commands name them, and leave them alone.
    _, status, _ = tiny.call("status", "--out", "runs/tiny")
    _, _, warnings = tiny.call("table", "--out", "runs/tiny")
    for path in kept:
        assert path.name in status
        assert f"{path.relative_to(tiny.folder)} is damaged" in warnings
        assert path.read_bytes() == damaged[path]

    code, _, err = tiny.run()
    assert code == ExitCode.OK, err
    assert "1 trials to run; 1 done" in err
    for path in cached:
        assert path.with_suffix("").name in err
        assert path.with_name(f"{path.name}.damaged").read_bytes() == damaged[path]
    for path in kept:
        assert f"{path.relative_to(tiny.folder)} is damaged" in err
        assert (tiny.out / "damaged" / path.name).read_bytes() == damaged[path]
    assert tiny.numbers() == undisturbed
    assert tiny.call("table", "--out", "runs/tiny")[0] == ExitCode.OK


def test_whole_files_of_other_entries_are_not_used(done):
    tiny, undisturbed = done
    first, second = sorted((tiny.cache / "features").glob("*.npy"))
    for suffix in (".npy", ".json"):
        one, two = first.with_suffix(suffix), second.with_suffix(suffix)
        shutil.move(one, "aside")
        shutil.move(two, one)
        shutil.move("aside", two)
    kept = next((tiny.cache / "calibration").glob("*.json"))
    write_checked(kept, {"chosen": {"precision": "fp32", "channels_last": False}, "entry": "another"})
    one, two = sorted((tiny.out / "trials").iterdir())
    shutil.copy(one, two)
    code, _, err = tiny.run()
    assert code == ExitCode.OK, err
    for path in (first, second):
        assert f"{path.name} are damaged (they are those of something else)" in err
    assert f"{kept.name} is damaged (it is that of something else)" in err
    assert f"{two.name} is damaged (it holds the record of another trial" in err
    assert tiny.numbers() == undisturbed


def test_features_of_another_version_are_not_used(done):
    tiny, undisturbed = done
    for manifest in (tiny.cache / "features").glob("*.json"):
        content = read_checked(manifest)
        content["key"]["version"] += 1
        write_checked(manifest, content)
    code, _, err = tiny.run("--retry", "all")
    assert code == ExitCode.OK, err
    assert err.count("those of something else") == 2
    assert tiny.numbers() == undisturbed


def test_a_record_of_another_version_stops_the_run_and_is_left_alone(done):
    tiny, _ = done
    path = sorted((tiny.out / "trials").iterdir())[0]
    write_checked(path, read_checked(path) | {"record_version": 99})
    before = path.read_bytes()
    for code, _, err in (tiny.run(), tiny.call("table", "--out", "runs/tiny")):
        assert code == ExitCode.USAGE
        assert f"{path.relative_to(tiny.folder)}' has format 99" in err
        assert path.read_bytes() == before


# Checkpoints

INTERRUPTED = '''
import os
import signal
from pathlib import Path

from lnlbench.api import Method, functional


class Interrupted(Method):
    """Cross-entropy; the first time, somebody presses Ctrl-C in the second epoch."""

    def epoch(self, phase):
        super().epoch(phase)
        flag = Path(__file__).with_name("interrupted")
        if phase.epoch == 1 and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGINT)

    def loss(self, batch):
        return functional.cross_entropy(self.network(batch.inputs), batch.labels)
'''
OPTIONS = ("--plugin", "plugin.py", "--set", "method=interrupted", "--set", "lp.epochs=4")


def of_another_version(path):
    path.write_bytes(path.read_bytes().replace(b"lnlbench checkpoint 3", b"lnlbench checkpoint 9", 1))


def of_another_trial(path):
    content = checkpoint.read(path)
    path.write_bytes(checkpoint.encode(content | {"trial_id": "0" * 16}))


def test_damaged_checkpoints_are_named_and_their_trials_start_anew(tiny):
    Path("plugin.py").write_text(INTERRUPTED)
    assert tiny.run(*OPTIONS)[0] == ExitCode.INTERRUPTED
    assert tiny.run(*OPTIONS, "--out", "anew")[0] == ExitCode.OK  # once interrupted is enough for it
    interrupted, tiny.out = tiny.out, Path("anew")
    undisturbed = tiny.numbers()
    for harm in (*HARMS, of_another_version, of_another_trial):
        tiny.out = Path(harm.__name__)
        shutil.copytree(interrupted, tiny.out)
        (path,) = (tiny.out / "checkpoints").glob("*.ckpt")
        harm(path)
        damaged = path.read_bytes()
        code, _, err = tiny.run(*OPTIONS, "--out", str(tiny.out))
        assert code == ExitCode.OK, err
        assert f"{path.name} is damaged" in err
        assert (tiny.out / "damaged" / path.name).read_bytes() == damaged
        assert tiny.numbers() == undisturbed
        (record,) = Store.open(tiny.out).records()
        assert record.execution["continued"] == []


def test_a_checkpoint_of_other_code_is_not_continued_and_the_record_says_so(tiny):
    Path("plugin.py").write_text(INTERRUPTED)
    assert tiny.run(*OPTIONS)[0] == ExitCode.INTERRUPTED
    Path("plugin.py").write_text(INTERRUPTED.replace("batch.labels)", "batch.labels) * 1"))
    # Python would take the plugin of this process's memory for the one on disk.
    for name in [name for name in sys.modules if name.startswith("lnlbench_plugin_")]:
        del sys.modules[name]
    assert tiny.run(*OPTIONS)[0] == ExitCode.OK
    (path,) = (tiny.out / "trials").iterdir()
    execution = read_checked(path)["execution"]
    assert execution["discarded_checkpoint"] == "other method"
    assert execution["continued"] == []


# Noise files and weights: what only the user can replace is refused before any work


def noise_file():
    labels = Digits().load(DatasetSpec("digits", train_per_class=8, test_per_class=4), None).train.labels
    noisy = labels.copy()
    noisy[::3] = (noisy[::3] + 1) % 10
    path = Path("noisy.npz")
    spec = NoiseSpec.parse("symmetric-0.4")
    save_noise_file(path, noisy, labels, spec=spec, dataset="digits", classes=10, seed=0)
    return path


def of_another_noise_version(path):
    arrays = dict(np.load(path))
    metadata = json.loads(str(arrays["metadata"])) | {"version": 99}
    np.savez(path, labels=arrays["labels"], metadata=np.array(json.dumps(metadata)))


def with_other_labels(path):
    arrays = dict(np.load(path))
    np.savez(path, labels=arrays["labels"][::-1], metadata=arrays["metadata"])


@pytest.mark.parametrize("harm", [*HARMS, of_another_noise_version, with_other_labels])
def test_a_damaged_noise_file_is_refused_before_any_work(tiny, harm):
    path = noise_file()
    assert read_noise_file(path).classes == 10
    harm(path)
    code, _, err = tiny.run("--set", "noise=file:noisy.npz")
    assert code == ExitCode.USAGE
    assert "noisy.npz" in err
    assert "Traceback" not in err
    assert not list(Path().glob("runs/*/trials/*"))


def test_an_intact_noise_file_is_used(tiny):
    noise_file()
    code, _, err = tiny.run("--set", "noise=file:noisy.npz", "--where", "method=ce")
    assert code == ExitCode.OK, err


def test_a_replaced_noise_file_makes_older_records_stale(tiny):
    path = noise_file()
    grid = ("--set", "noise=file:noisy.npz")
    tiny.run(*grid, "--where", "method=ce")
    content = read_noise_file(path)
    clean = Digits().load(DatasetSpec("digits", train_per_class=8, test_per_class=4), None).train.labels
    spec = NoiseSpec.parse("symmetric-0.4")
    save_noise_file(path, clean, clean, spec=spec, dataset="digits", classes=content.classes, seed=0)
    _, table, _ = tiny.run(*grid)
    assert "stale: noisy labels changed" in table


@pytest.mark.parametrize("harm", HARMS)
def test_damaged_installed_weights_are_refused(tiny, monkeypatch, harm):
    copy = Path(
        shutil.copy(efficientnet_lite.weights_path(efficientnet_lite.LITE0), "weights.pth")
    ).absolute()
    harm(copy)
    monkeypatch.setattr(efficientnet_lite, "weights_path", lambda _: copy)
    code, _, err = tiny.run()
    assert code == ExitCode.USAGE
    assert "weights.pth' is not the file of weights" in err
    assert not list(Path().glob("runs/*/trials/*"))


@pytest.fixture
def model():
    """A tiny vision model in a folder, as transformers saves it."""
    import transformers

    torch.manual_seed(0)
    configuration = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=8,
    )
    transformers.ViTModel(configuration).save_pretrained("model")
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained("model")
    return Path("model/model.safetensors")


@pytest.mark.parametrize("harm", [truncate, empty, replace_by_something_else])
def test_damaged_weights_of_a_folder_are_refused(tiny, model, harm):
    harm(model)
    code, _, err = tiny.run("--set", "backbone=hf:./model")
    assert code == ExitCode.USAGE
    assert "'hf:./model'" in err
    assert not list(Path().glob("runs/*/trials/*"))


def test_other_weights_in_a_folder_make_older_records_stale(tiny, model):
    assert tiny.run("--set", "backbone=hf:./model", "--where", "method=ce")[0] == ExitCode.OK
    content = bytearray(model.read_bytes())
    first = 8 + int.from_bytes(content[:8], "little")  # the class token follows the header
    content[first] ^= 1
    model.write_bytes(bytes(content))
    code, table, _ = tiny.run("--set", "backbone=hf:./model")
    assert code == ExitCode.OK
    assert "stale: weights changed" in table
