"""Maps of test features: what they depend on, what they cost, and what cannot be mapped."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from lnlbench.errors import GridError, LnlbenchError, UsageError
from lnlbench.grids.plan import plan
from lnlbench.records.record import Record
from lnlbench.spec import DatasetSpec, EmbeddingSpec, TrialSpec
from lnlbench.trials.attempt import run_trial
from lnlbench.trials.measuring.embedding import choose_sample
from lnlbench.trials.workspace import RunSettings, Workspace

SMALL = ["train_per_class=8", "test_per_class=6", "image_size=32", "lp.epochs=1", "fft.epochs=1"]
MAPPED = ["embedding.samples=40", "embedding.perplexity=5"]


def spec(
    tuning: str = "fft", noise: str = "symmetric-0.1", sets: Sequence[str] = MAPPED, seed: int = 0
) -> TrialSpec:
    changes = [*SMALL, "precision=fp32", "method=ce", f"tuning={tuning}", f"noise={noise}", *sets]
    (planned,) = plan("quickstart", sets=changes, seeds=str(seed)).planned
    return planned.spec


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(RunSettings(data=None, cache=tmp_path_factory.mktemp("cache"), threads=1))


@pytest.fixture(scope="module")
def mapped(workspace: Workspace) -> Record:
    return run_trial(spec(), workspace)


def test_a_map_has_a_point_per_image_and_equally_many_images_per_class(mapped: Record) -> None:
    value = mapped.embedding
    assert value is not None
    assert np.shape(value["before"]) == np.shape(value["after"]) == (40, 2)
    assert np.bincount(value["labels"]).tolist() == [4] * 10
    assert value["classes"] == [str(digit) for digit in range(10)]
    assert value["settings"]["perplexity"] == 5.0
    assert value["before"] != value["after"]


def test_the_map_before_training_depends_on_neither_noise_nor_seed(
    mapped: Record, workspace: Workspace
) -> None:
    other = run_trial(spec(noise="symmetric-0.9", seed=1), workspace)
    assert mapped.embedding is not None
    assert other.embedding is not None
    assert other.embedding["before"] == mapped.embedding["before"]
    assert other.embedding["labels"] == mapped.embedding["labels"]
    assert other.embedding["after"] != mapped.embedding["after"]


def test_the_same_trial_gives_the_same_maps(mapped: Record, workspace: Workspace, tmp_path: Path) -> None:
    # Layouts are measured, so that a busy machine may choose another one, which rounds otherwise.
    (tmp_path / "calibration").symlink_to(workspace.setting.cache / "calibration")
    again = run_trial(spec(), Workspace(RunSettings(data=None, cache=tmp_path, threads=1)))
    assert again.embedding == mapped.embedding


def test_mapping_changes_nothing_but_the_evaluation_counts(mapped: Record, workspace: Workspace) -> None:
    plain = run_trial(spec(sets=[]), workspace)
    assert plain.embedding is None
    assert plain.metrics == mapped.metrics
    assert plain.ledger["training"] == mapped.ledger["training"]
    assert plain.ledger["features"] == mapped.ledger["features"]
    counts = [record.ledger["evaluation"]["backbone_forward"] for record in (plain, mapped)]
    assert counts[1] - counts[0] == 2 * 40
    assert plain.trial_id != mapped.trial_id


def test_a_frozen_backbone_has_one_map(workspace: Workspace) -> None:
    value = run_trial(spec("lp"), workspace).embedding
    assert value is not None
    assert value["after"] == value["before"]


def test_a_record_with_maps_survives_json(mapped: Record) -> None:
    assert Record.from_dict(mapped.to_dict()) == mapped


# The sample


@pytest.fixture(scope="module")
def digits(workspace: Workspace):  # type: ignore[no-untyped-def]
    return workspace.dataset(DatasetSpec("digits", test_per_class=6))


def test_images_are_the_first_of_their_class(digits) -> None:  # type: ignore[no-untyped-def]
    sample = choose_sample(EmbeddingSpec(40, perplexity=5), digits)
    for label in range(10):
        rows = sample.rows[torch.tensor(sample.labels) == label]
        assert rows.tolist() == np.flatnonzero(digits.test.labels == label)[:4].tolist()


def test_classes_are_drawn_once_for_all(digits) -> None:  # type: ignore[no-untyped-def]
    settings = EmbeddingSpec(12, classes=3, perplexity=5)
    one, other = choose_sample(settings, digits), choose_sample(settings, digits)
    assert one.classes == other.classes
    assert len(set(one.classes)) == 3
    names = [digits.classes[label] for label in digits.test.labels[one.rows]]
    assert names == [one.classes[label] for label in one.labels]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (EmbeddingSpec(5, perplexity=2), "less than one for each of 10 classes"),
        (EmbeddingSpec(40, classes=11), "'digits' has 10 classes"),
        (EmbeddingSpec(1000, perplexity=60), "60 test images, and a perplexity of 60"),
    ],
)
def test_what_cannot_be_mapped_is_refused(digits, settings: EmbeddingSpec, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=message):
        choose_sample(settings, digits)


def test_a_refusal_comes_before_any_training(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a network was made")

    monkeypatch.setattr("lnlbench.trials.trial.Model", never)
    with pytest.raises(UsageError, match="perplexity"):
        run_trial(spec(sets=["embedding.samples=100", "embedding.perplexity=70"]), workspace)


# Settings


def test_no_embedding_leaves_the_identity_of_a_trial_as_it_is() -> None:
    plain = spec(sets=[])
    assert plain.embedding is None
    assert "embedding" not in plain.canonical()
    assert spec(sets=[*MAPPED, "embedding.samples=none"]) == plain
    old = plain.to_dict()
    del old["embedding"]  # a record from before there were any
    assert TrialSpec.from_dict(old) == plain


def test_the_settings_are_part_of_the_identity() -> None:
    specs = [spec(), spec(sets=["embedding.samples=40"]), spec(sets=[*MAPPED, "embedding.classes=4"])]
    assert len({item.trial_id for item in specs}) == 3
    assert TrialSpec.from_dict(specs[2].to_dict()) == specs[2]


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["embedding.samples=1"], "at least 2"),
        (["embedding.samples=20"], "below the 20 samples"),
        (["embedding.perplexity=5"], "samples is not given"),
        (["embedding.samples=40", "embedding.perplexity=0"], "positive"),
        (["embedding.sample=40"], "Did you mean 'embedding.samples'"),
        (["dataset=features:x.npz", "embedding.samples=40"], "holds features"),
    ],
)
def test_wrong_settings_are_errors_of_the_plan(sets: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        spec("lp", sets=sets)


def test_a_mistake_in_a_file_has_its_line(tmp_path: Path) -> None:
    path = tmp_path / "maps.toml"
    path.write_text(
        'schema = 1\ndataset = "features:x.npz"\nbackbone = "efficientnet_lite0"\nnoise = "none"\n'
        '[[rows]]\ntuning = "lp"\nmethod = "ce"\n[lp]\nepochs = 1\n[embedding]\nsamples = 100\n'
    )
    with pytest.raises(GridError, match=r"maps\.toml:11: .*holds features"):
        plan(str(path))


def test_features_are_refused_by_the_trial_too(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    labels = np.repeat(np.arange(4), 10)
    features = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    np.savez(path, x_train=features, y_train=labels, x_test=features, y_test=labels)
    planned = spec("lp", sets=[f"dataset=features:{path}", "train_per_class=none", "test_per_class=none"])
    asked = dataclasses.replace(planned, embedding=EmbeddingSpec(20, perplexity=5))
    with pytest.raises(LnlbenchError, match="holds features"):
        run_trial(asked, workspace)
