from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from results_factory import fill, make_plan, make_record, make_spec

import lnlbench
from lnlbench.basics.files import read_checked, write_checked
from lnlbench.errors import StoreError
from lnlbench.records.plan_file import pack, planned_spec, unpack
from lnlbench.records.reading.published_folder import ORIGIN, PLANS, read_published
from lnlbench.records.store import Store
from lnlbench.spec import TrialSpec

SPECS = [make_spec(method, "lp", seed=seed) for seed in (0, 1, 2) for method in ("ce", "gce")]


def as_before(plan: dict[str, Any]) -> dict[str, Any]:
    """Return a plan as earlier versions wrote it: a whole spec with every trial, and null for no skip."""
    trials = [
        {"trial_id": trial["trial_id"], "spec": planned_spec(trial).to_dict(), "skip": trial.get("skip")}
        for trial in plan["trials"]
    ]
    return json.loads(json.dumps({**plan, "trials": trials}))


@given(
    st.lists(
        st.builds(
            make_spec,
            st.sampled_from(("ce", "gce", "turn")),
            st.just("lp"),
            seed=st.integers(0, 2**40),
            params=st.sampled_from(((), (("q", 0.7),), (("widths", (1, 2)),))),
        ),
        max_size=20,
        unique_by=lambda spec: spec.trial_id,
    ),
    st.text(min_size=1),
)
def test_what_is_packed_comes_back(specs: list[TrialSpec], reason: str) -> None:
    plan = make_plan(specs, {spec.trial_id: reason for spec in specs[::3]})
    plan["trials"] = [trial | {"reference_epochs": 5} for trial in plan["trials"]]
    stored = json.loads(json.dumps(pack(plan)))
    assert unpack(stored) == plan
    assert [planned_spec(trial) for trial in unpack(stored)["trials"]] == specs


def test_a_setting_is_written_once_whatever_the_number_of_seeds() -> None:
    stored = pack(make_plan(SPECS))
    assert [setting["method"]["name"] for setting in stored["settings"]] == ["ce", "gce"]
    assert [(trial["setting"], trial["seed"]) for trial in stored["planned"]] == [
        (number, seed) for seed in (0, 1, 2) for number in (0, 1)
    ]


def test_plans_of_earlier_versions_are_read(tmp_path: Path) -> None:
    plan = make_plan(SPECS, {SPECS[0].trial_id: "not here"})
    store = fill(tmp_path / "out", [make_record(SPECS[1])], plan)
    now = lnlbench.load(store.root)
    path = store.root / "plans" / "mini.json"
    write_checked(path, as_before(plan))
    assert lnlbench.load(store.root).equals(now)
    # A run that adds to it writes it in the new way.
    store.put_plan(Store.open(store.root).plans()["mini"])
    written = read_checked(path)
    assert isinstance(written, dict)
    assert "trials" not in written
    assert lnlbench.load(store.root).equals(now)


@pytest.mark.parametrize(
    "change",
    [
        {"planned": [{"trial_id": "x", "setting": 7, "seed": 0}]},  # there are two
        {"planned": [{"trial_id": "x", "seed": 0}]},
        {"planned": [3]},
        {"settings": [3]},
        {"settings": None},
        {"grid": None},
        {"trials": [{"trial_id": "x"}]},
    ],
)
def test_what_is_no_plan_is_reported_as_damaged(tmp_path: Path, change: dict[str, Any]) -> None:
    store = fill(tmp_path / "out", [], make_plan(SPECS))
    write_checked(store.root / "plans" / "mini.json", pack(make_plan(SPECS)) | change)
    store = Store.open(store.root)
    assert store.plans() == {}
    (damaged,) = store.damaged_plans()
    assert damaged.reason == "it is not a plan"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    out = fill(tmp_path / "out", [make_record(spec) for spec in SPECS], make_plan(SPECS)).root
    lnlbench.cli.main(["export", "--out", str(out), "--bundle", str(tmp_path / "published")])
    return tmp_path / "published"


def test_published_folders_of_the_first_format_are_read(published: Path) -> None:
    plans, frame = read_published(published).plans(), lnlbench.load([published])
    (published / PLANS).write_text(json.dumps({grid: as_before(plan) for grid, plan in plans.items()}))
    origin = json.loads((published / ORIGIN).read_text())
    (published / ORIGIN).write_text(json.dumps(origin | {"format": 1}))
    assert lnlbench.load([published]).equals(frame)


def test_published_plans_that_are_none_are_refused(published: Path) -> None:
    (published / PLANS).write_text('{"mini": {"grid": "mini"}}')
    with pytest.raises(StoreError, match=r"plans\.json' holds something else than plans"):
        read_published(published)
