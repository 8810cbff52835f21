from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pandas as pd
import pytest
from results_factory import fill, make_failure, make_plan, make_record, make_spec, mini

import lnlbench
from lnlbench.errors import NothingSelectedError, StoreError, UsageError
from lnlbench.records.filters import filter_frame, parse_where
from lnlbench.records.frame import DamagedRecordWarning, build_frame, curves, load_frame
from lnlbench.records.metric_columns import schema
from lnlbench.spec import BackboneSpec, DatasetSpec, PhaseSpec


def row_of(frame: pd.DataFrame) -> pd.Series:
    assert len(frame) == 1
    return frame.iloc[0]


def test_every_planned_trial_has_a_row_in_the_plans_order(tmp_path: Path) -> None:
    store = mini(tmp_path / "out")
    frame = lnlbench.load(store.root)
    planned = store.plans()["mini"]["trials"]
    assert list(frame["trial_id"]) == [trial["trial_id"] for trial in planned]
    assert frame["status"].value_counts().to_dict() == {"done": 15, "failed": 2, "skipped": 2, "pending": 1}


def test_columns_and_types_do_not_depend_on_the_content(tmp_path: Path) -> None:
    full = build_frame({}, [make_record(make_spec())])
    empty = build_frame({}, [])
    pending = build_frame({"mini": make_plan([make_spec()])}, [])
    assert list(full.columns) == list(schema())
    assert list(full.dtypes) == list(empty.dtypes) == list(pending.dtypes)


def test_the_numbers_of_a_record() -> None:
    selection = {"size": 9, "purity": 83.0, "recall": 50.0, "auc": 0.9, "per_class": {}}
    record = make_record(make_spec("turn", "lp-fft"), selection=selection, events={"b": 2, "a": 1})
    row = row_of(build_frame({}, [record]))
    assert row["grid"] == ""
    assert (row["noise"], row["rate"], row["realised_rate"]) == ("symmetric", 0.6, 0.54)
    assert row["epochs"] == 24
    assert (row["best"], row["last"], row["oracle"]) == (80.0, 70.0, 81.0)
    assert (row["selected"], row["purity"], row["recall"], row["auc"]) == (9, 83.0, 50.0, 0.9)
    # 100 forward, 1,000 forward and backward in training, 50 forward for the features.
    assert row["cost_units"] == 100 + 1000 + 2 * 1000 + 50
    assert row["events"] == "a=1, b=2"
    assert bool(row["cached"])
    assert row["version"] == "0.1.0"
    assert pd.isna(row["error"])


def test_a_failure_has_its_reason_and_no_numbers() -> None:
    row = row_of(build_frame({}, [make_failure(make_spec())]))
    assert row["error"] == "TrialError: The loss is not finite."
    assert pd.isna(row["best"])
    assert pd.isna(row["cost_units"])


def test_a_record_wins_over_a_later_skip() -> None:
    spec = make_spec()
    plan = make_plan([spec], skips={spec.trial_id: "too dear"})
    assert row_of(build_frame({"mini": plan}, []))["status"] == "skipped"
    row = row_of(build_frame({"mini": plan}, [make_record(spec)]))
    assert (row["status"], row["skip"]) == ("done", "too dear")


def test_a_trial_of_two_grids_has_two_rows() -> None:
    spec = make_spec()
    plans = {name: make_plan([spec], grid=name) for name in ("one", "two")}
    frame = build_frame(plans, [make_record(spec)])
    assert list(frame["grid"]) == ["one", "two"]


@pytest.mark.parametrize(("cache", "expected"), [(True, True), (False, False)])
def test_cached_says_what_linear_probing_saw(cache: bool, expected: bool) -> None:
    spec = dataclasses.replace(make_spec(tuning="lp"), phases=(PhaseSpec("lp", 2, cache=cache),))
    assert bool(row_of(build_frame({}, [make_record(spec)]))["cached"]) is expected


def test_cached_is_empty_without_linear_probing() -> None:
    assert pd.isna(row_of(build_frame({}, [make_record(make_spec())]))["cached"])


def test_setting_differs_with_everything_but_the_seed() -> None:
    specs = [make_spec(seed=0), make_spec(seed=1), make_spec(params=(("q", 0.5),)), make_spec("gce")]
    setting = build_frame({}, map(make_record, specs)).set_index("trial_id")["setting"]
    settings = [setting[spec.trial_id] for spec in specs]
    assert settings[0] == settings[1]
    assert len(set(settings)) == 3


def test_damaged_records_are_warned_about_and_pending(tmp_path: Path) -> None:
    spec = make_spec()
    store = fill(tmp_path / "out", [make_record(spec)], make_plan([spec]))
    (store.root / "trials" / f"{spec.trial_id}.json").write_bytes(b"{")
    with pytest.warns(DamagedRecordWarning, match=spec.trial_id):
        frame = load_frame(store.root)
    assert row_of(frame)["status"] == "pending"


def test_a_folder_without_results_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        load_frame(tmp_path / "nowhere")


# Staleness


def test_records_of_changed_methods_are_stale() -> None:
    old = make_record(make_spec(), finished="2025-01-01", plugin={"fingerprint": "a" * 64})
    new = make_record(make_spec(seed=1), finished="2025-01-02", plugin={"fingerprint": "b" * 64})
    other = make_record(make_spec("gce"), finished="2025-01-01", plugin={"fingerprint": "c" * 64})
    failed = make_failure(make_spec(seed=2))
    stale = build_frame({}, [new, old, other, failed]).set_index("trial_id")["stale"]
    assert stale[old.trial_id] == f"method changed (ce): {'a' * 12}, now {'b' * 12}"
    assert stale.drop(old.trial_id).isna().all()


def test_records_of_older_versions_are_stale() -> None:
    old = make_record(make_spec(), finished="2025-01-01", environment={"lnlbench": "0.1.0"})
    new = make_record(make_spec(seed=1), finished="2025-01-02", environment={"lnlbench": "0.2.0"})
    stale = build_frame({}, [old, new]).set_index("trial_id")["stale"]
    assert stale[old.trial_id] == "lnlbench changed: 0.1.0, now 0.2.0"


def test_records_of_changed_data_are_stale() -> None:
    old = make_record(make_spec(), finished="2025-01-01", data={"fingerprint": "a" * 64})
    new = make_record(make_spec("gce"), finished="2025-01-02", data={"fingerprint": "b" * 64})
    part = dataclasses.replace(make_spec(), dataset=DatasetSpec("digits", train_per_class=5))
    subset = make_record(part, finished="2025-01-01", data={"fingerprint": "c" * 64})
    stale = build_frame({}, [old, new, subset]).set_index("trial_id")["stale"]
    assert stale[old.trial_id].startswith("data changed")
    assert stale.drop(old.trial_id).isna().all()


def test_records_of_replaced_noise_files_are_stale() -> None:
    noise = "file:noisy.npz"
    old = make_record(make_spec(noise=noise), finished="2025-01-01", noise={"labels_sha256": "a" * 64})
    new = make_record(make_spec("gce", noise=noise), finished="2025-01-02", noise={"labels_sha256": "b" * 64})
    seed = make_record(
        make_spec(noise=noise, seed=1), finished="2025-01-01", noise={"labels_sha256": "c" * 64}
    )
    stale = build_frame({}, [old, new, seed]).set_index("trial_id")["stale"]
    assert stale[old.trial_id] == f"noisy labels changed: {'a' * 12}, now {'b' * 12}"
    assert stale.drop(old.trial_id).isna().all()


def test_records_that_started_from_other_weights_are_stale() -> None:
    old = make_record(make_spec(), finished="2025-01-01", plugin={"backbone": "a" * 64})
    new = make_record(make_spec("gce"), finished="2025-01-02", plugin={"backbone": "b" * 64})
    scratch = [
        make_record(
            dataclasses.replace(make_spec(seed=seed), backbone=BackboneSpec("resnet", weights="none")),
            finished=f"2025-01-0{seed + 1}",
            plugin={"backbone": str(seed) * 64},
        )
        for seed in (0, 1)
    ]
    stale = build_frame({}, [old, new, *scratch]).set_index("trial_id")["stale"]
    assert stale[old.trial_id] == f"weights changed (efficientnet_lite0): {'a' * 12}, now {'b' * 12}"
    assert stale.drop(old.trial_id).isna().all()


# Curves


def test_curves_count_epochs_over_all_phases(tmp_path: Path) -> None:
    store = fill(tmp_path / "out", [make_record(make_spec("turn", "lp-fft")), make_failure(make_spec())])
    curve = curves(store.root)
    assert list(curve["epoch"]) == [0, 1]
    assert list(curve["phase"]) == ["lp", "fft"]
    assert list(curve["test"]) == [50.0, 70.0]
    assert list(curve["train_s"]) == [1.0, 3.0]
    assert set(curve["method"]) == {"turn"}


# Filters


def test_where_is_read_as_axes_and_values() -> None:
    where = parse_where(["method=turn,ce", "noise=symmetric-0.6", "method = ce , gce"])
    assert where == {"method": ["turn", "ce", "gce"], "noise": ["symmetric-0.6"]}
    assert parse_where([]) == {}


def test_a_value_may_hold_an_equals_sign() -> None:
    assert parse_where(["dataset=npz:a=b.npz"]) == {"dataset": ["npz:a=b.npz"]}


@pytest.mark.parametrize("condition", ["", "method", "=turn", "method=", "method=turn,", "method=,turn"])
def test_malformed_filters_are_errors(condition: str) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        parse_where([condition])


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("method=ce", 8),
        ("method=ce,turn", 12),
        ("noise=symmetric", 20),
        ("noise=symmetric-0.9", 10),
        ("noise=symmetric-0.90", 10),
        ("rate=0.6", 10),
        ("seed=1", 10),
        ("status=pending,failed", 3),
        ("noise_aware=false", 20),
        ("best=80", 1),
    ],
)
def test_filters_compare_by_the_columns_type(tmp_path: Path, condition: str, rows: int) -> None:
    frame = load_frame(mini(tmp_path / "out").root)
    assert len(filter_frame(frame, parse_where([condition]))) == rows


def test_filters_on_parameters(tmp_path: Path) -> None:
    taus = {"a": 0.5, "b": 0.75}
    records = [
        make_record(make_spec("turn", "lp-fft", params=(("mixture", name), ("tau", tau))))
        for name, tau in taus.items()
    ]
    frame = load_frame(fill(tmp_path / "out", [*records, make_record(make_spec("ce"))]).root)

    def found(*conditions: str) -> list[str]:
        selected = filter_frame(frame, parse_where(conditions))
        assert list(selected.columns) == list(frame.columns)
        return [json.loads(params).get("mixture") for params in selected["params"]]

    assert found("methods.turn.tau=5e-1") == ["a"]
    assert sorted(found("methods.turn.tau=0.50,0.75")) == ["a", "b"]
    assert found("methods.turn.mixture=b", "tuning=lp-fft") == ["b"]
    with pytest.raises(NothingSelectedError, match=r"No trial has methods\.turn\.tau=0\.6"):
        found("methods.turn.tau=0.6")
    for axis in ("methods.turn.tao", "methods.ce.tau", "methods.turn", "methods."):
        with pytest.raises(UsageError, match=f"No trial has a setting '{axis}'"):
            found(f"{axis}=1")


def test_filters_on_settings_of_phases_and_options() -> None:
    sets = ["backbone_options.image_size=64,96", "fft.batch_norm=update,frozen"]
    plan = lnlbench.plan("batch_norm", sets=sets, seeds="0").to_dict()
    frame = build_frame({"batch_norm": plan}, [])
    assert len(frame) == 16  # two data sets, two methods, two sizes, two settings

    def count(*conditions: str) -> int:
        return len(filter_frame(frame, parse_where(conditions)))

    assert count("fft.batch_norm=frozen") == 8
    assert count("fft.batch_norm=frozen", "backbone_options.image_size=96") == 4
    assert count("lp.lr=0.0001") == 16
    assert count("dataset_options.train_per_class=50") == 8  # an override has it for CIFAR-100 alone
    with pytest.raises(NothingSelectedError, match=r"No trial has fft\.batch_norm=adapt"):
        count("fft.batch_norm=adapt")
    for axis, advice in {
        "fft.bach_norm": "KIND.NAME",
        "backbone_options.size": "backbone_options.NAME",
    }.items():
        with pytest.raises(UsageError, match=f"No trial has a setting '{axis}'") as caught:
            count(f"{axis}=1")
        assert advice in str(caught.value.hint)


def test_different_axes_must_all_hold(tmp_path: Path) -> None:
    frame = load_frame(mini(tmp_path / "out").root)
    assert len(filter_frame(frame, {"method": ["ce"], "tuning": ["lp"], "seed": ["0"]})) == 2
    assert filter_frame(frame, {}).equals(frame)
    with pytest.raises(NothingSelectedError, match="--where method=turn --where tuning=fft"):
        filter_frame(frame, {"method": ["turn"], "tuning": ["fft"]})


@pytest.mark.parametrize(
    ("condition", "error", "message"),
    [
        ("metod=ce", UsageError, "Did you mean 'method'"),
        ("seed=one", UsageError, "Write 0-4"),
        ("noise_aware=maybe", UsageError, "true or false"),
        ("method=ce,turm", NothingSelectedError, "Did you mean 'turn'"),
    ],
)
def test_wrong_filters_are_errors(
    tmp_path: Path, condition: str, error: type[Exception], message: str
) -> None:
    frame = load_frame(mini(tmp_path / "out").root)
    with pytest.raises(error, match=message):
        filter_frame(frame, parse_where([condition]))
