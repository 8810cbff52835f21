"""Identity of trials: what it depends on, and what it must not depend on."""

import dataclasses
import json
import subprocess
import sys

import pytest

from lnlbench.errors import UsageError
from lnlbench.spec import (
    BackboneSpec,
    DatasetSpec,
    MethodSpec,
    NoiseSpec,
    PhaseSpec,
    TrialSpec,
    portable_reference,
)


def make(**changes):
    values = {
        "dataset": DatasetSpec("digits"),
        "noise": NoiseSpec("symmetric", 0.6),
        "backbone": BackboneSpec("efficientnet_lite0", image_size=32),
        "tuning": "lp",
        "method": MethodSpec("gce", (("q", 0.7), ("truncation", 0.0))),
        "seed": 0,
        "phases": (PhaseSpec("lp", 20),),
    }
    return TrialSpec(**(values | changes))


def test_the_identity_is_a_known_constant():
    # A change of this value makes every existing record an orphan: raise SPEC_VERSION on purpose only.
    assert make().trial_id == GOLDEN


def test_the_identity_is_the_hash_of_the_canonical_json():
    import hashlib

    text = json.dumps(make().canonical(), sort_keys=True, separators=(",", ":"))
    assert make().trial_id == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_the_identity_is_the_same_in_another_process():
    code = "import sys; sys.path.insert(0, 'tests'); from test_spec import make; print(make(seed=3).trial_id)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == make(seed=3).trial_id


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"noise": NoiseSpec("symmetric", 0.9)},
        {"noise": NoiseSpec("symmetric", 0.6, (("variant", "exclusive"),))},
        {"dataset": DatasetSpec("digits", train_per_class=5)},
        {"backbone": BackboneSpec("efficientnet_lite0", image_size=64)},
        {"method": MethodSpec("gce", (("q", 0.5), ("truncation", 0.0)))},
        {"phases": (PhaseSpec("lp", 20, lr=0.1),)},
        {"phases": (PhaseSpec("lp", 20, cache=False),)},
        {"precision": "fp32"},
    ],
    ids=str,
)
def test_every_setting_is_part_of_the_identity(change):
    assert make(**change).trial_id != make().trial_id


def test_folders_presets_and_defaults_written_out_are_not():
    here = make(dataset=DatasetSpec("npz:/here/pets.npz"))
    there = make(dataset=DatasetSpec("npz:../there/pets.npz"))
    assert here.trial_id == there.trial_id
    named = dataclasses.replace(make().method, preset="published", noise_aware=True)
    assert make(method=named).trial_id == make().trial_id
    assert make(phases=(PhaseSpec("lp", 20, momentum=0.9, cache=True),)).trial_id == make().trial_id


def test_a_spec_survives_json():
    spec = make(noise=NoiseSpec("asymmetric", 0.4, (("map", ((0, 1), (1, 0))),)))
    again = TrialSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again == spec
    assert again.trial_id == spec.trial_id


@pytest.mark.parametrize(
    ("reference", "portable"),
    [
        ("npz:/data/x.npz", "npz:x.npz"),
        ("hf:./models/tiny", "hf:tiny"),
        ("hf:google/vit-base-patch16-224", "hf:google/vit-base-patch16-224"),
        ("timm:resnet18", "timm:resnet18"),
        ("digits", "digits"),
    ],
)
def test_portable_references_keep_names_and_drop_folders(reference, portable):
    assert portable_reference(reference) == portable


@pytest.mark.parametrize("text", ["symmetric-0.6", "instance-0.4", "none", "real"])
def test_noise_labels_read_back(text):
    assert NoiseSpec.parse(text).label == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("symetric-0.6", "Did you mean 'symmetric'"),
        ("symmetric", "no rate"),
        ("symmetric-60", "share, not a percentage"),
        ("symmetric-x", "no rate that can be read"),
        ("none-0.1", "takes no rate"),
        ("file", "needs a path"),
    ],
)
def test_noise_that_cannot_be_is_refused(text, says):
    with pytest.raises(UsageError, match=says):
        NoiseSpec.parse(text)


@pytest.mark.parametrize(
    "field",
    [
        {"epochs": 0},
        {"lr": 0.0},
        {"optimizer": "adam"},
        {"schedule": "step"},
        {"momentum": 1.0},
        {"views": 0},
    ],
    ids=str,
)
def test_budgets_that_cannot_be_are_refused(field):
    with pytest.raises(UsageError):
        PhaseSpec(**({"kind": "lp", "epochs": 1} | field))


GOLDEN = "d97bdfbc3587e5d3"
