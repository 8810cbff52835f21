"""Records and output folders with fixed numbers, for tests of everything that reads results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lnlbench.plugins import registry
from lnlbench.records.entry import setting_of
from lnlbench.records.record import Record, Status
from lnlbench.records.store import Store
from lnlbench.spec import BackboneSpec, DatasetSpec, MethodSpec, NoiseSpec, PhaseSpec, TrialSpec

PHASES = {
    "lp": (PhaseSpec("lp", 20),),
    "fft": (PhaseSpec("fft", 5, augmentation="weak"),),
    "lp-fft": (PhaseSpec("lp", 20), PhaseSpec("fft", 4, augmentation="weak")),
}


def make_spec(
    method: str = "ce",
    tuning: str = "fft",
    noise: str = "symmetric-0.6",
    seed: int = 0,
    dataset: str = "digits",
    backbone: str = "efficientnet_lite0",
    phases: tuple[PhaseSpec, ...] | None = None,
    **method_fields: Any,
) -> TrialSpec:
    return TrialSpec(
        dataset=DatasetSpec(dataset),
        noise=NoiseSpec.parse(noise),
        backbone=BackboneSpec(backbone),
        tuning=tuning,
        method=MethodSpec(method, **method_fields),
        seed=seed,
        phases=phases or PHASES[tuning],
    )


def make_record(spec: TrialSpec, best: float = 80.0, last: float = 70.0, **changes: Any) -> Record:
    before = sum(phase.epochs for phase in spec.phases[:-1])  # best and oracle are of the last phase
    epochs = {"best_epoch": before + 2, "oracle_epoch": before + 3}
    values: dict[str, Any] = {
        "metrics": {"best": best, "last": last, "oracle": best + 1.0, **epochs},
        "history": [
            {"phase": "lp", "epoch": 0, "loss": 2.5, "validation": 40.0, "test": 50.0, "train_s": 1.0},
            {"phase": "fft", "epoch": 0, "loss": 1.5, "validation": 60.0, "test": 70.0, "train_s": 3.0},
        ],
        "times": {
            "setup_s": 1.0,
            "features_s": 2.0,
            "features_shared": True,
            "train_s": 30.0,
            "eval_s": 4.0,
            "wall_s": 37.0,
        },
        "ledger": {
            "training": {
                "backbone_forward": 100,
                "backbone_forward_grad": 1000,
                "backbone_backward": 1000,
                "head_forward": 7,
                "head_forward_grad": 8,
                "head_backward": 9,
            },
            "features": {"backbone_forward": 50},
        },
        "noise": {"realised_rate": 0.54},
        "data": {"fingerprint": "d" * 64},
        "execution": {
            "device": "cpu",
            "precision": "fp32",
            "layout": "channels_last",
            "threads": 2,
            "shared_device": False,
        },
        "environment": {"commit": "c" * 40, "dirty": False, "lnlbench": "0.1.0"},
        "plugin": _code(spec.method.name),
        "started": "2025-01-01T00:00:00+00:00",
        "finished": "2025-01-01T00:01:00+00:00",
    }
    return Record(spec=spec, status=Status.DONE, **(values | changes))


def _code(method: str) -> dict[str, str]:
    """What made a record: the method that is installed, or one that nobody has."""
    installed = {entry.name for entry in registry.methods().entries()}
    if method in installed:
        return registry.methods().fingerprint(method)
    return {"origin": "mine 0.1.0", "fingerprint": "f" * 64}


def make_failure(
    spec: TrialSpec, kind: str = "TrialError", message: str = "The loss is not finite."
) -> Record:
    error = {"type": kind, "message": message, "hint": None, "traceback": "Traceback …"}
    return Record(spec, Status.FAILED, error=error, finished="2025-01-01T00:01:00+00:00")


def make_plan(
    specs: list[TrialSpec],
    skips: dict[str, str] | None = None,
    grid: str = "mini",
    table: dict[str, Any] | None = None,
) -> dict[str, Any]:
    skips = skips or {}
    trials = [
        {"trial_id": spec.trial_id, "setting": setting_of(spec.to_dict()), "seed": spec.seed}
        | ({"skip": skips[spec.trial_id]} if spec.trial_id in skips else {})
        for spec in specs
    ]
    return {"grid": grid, "title": "A small grid", "table": table or {}, "trials": trials, "source": {}}


def fill(folder: Path, records: list[Record], *plans: dict[str, Any]) -> Store:
    store = Store.open(folder, create=True)
    for plan in plans:
        store.put_plan(plan)
    for record in records:
        store.put(record)
    return store


def mini(folder: Path, table: dict[str, Any] | None = None) -> Store:
    """Two noise rates, five rows, two seeds; one seed pending, one cell failed, one skipped."""
    rows = [("fft", "ce"), ("lp", "ce"), ("lp", "gce"), ("lp", "mine"), ("lp-fft", "turn")]
    noises = ["symmetric-0.6", "symmetric-0.9"]
    # Accuracies (best, last) of seeds 0 and 1, by row and noise.
    numbers = {
        ("fft", "ce", "symmetric-0.6"): [(80.0, 60.0), (82.0, 61.0)],
        ("fft", "ce", "symmetric-0.9"): [(40.0, 20.0)],
        ("lp", "ce", "symmetric-0.6"): [(85.0, 75.0), (85.5, 75.5)],
        ("lp", "ce", "symmetric-0.9"): [(60.0, 30.0), (60.4, 30.4)],
        ("lp", "gce", "symmetric-0.6"): [(90.0, 90.5), (90.4, 89.5)],
        ("lp", "mine", "symmetric-0.6"): [(70.0, 70.0), (70.2, 70.4)],
        ("lp", "mine", "symmetric-0.9"): [(50.0, 50.0), (50.2, 50.4)],
        ("lp-fft", "turn", "symmetric-0.6"): [(90.6, 90.0), (91.0, 89.8)],
    }
    specs, records, skips = [], [], {}
    for noise in noises:
        for tuning, method in rows:
            for seed in (0, 1):
                spec = make_spec(method, tuning, noise, seed)
                specs.append(spec)
                measured = numbers.get((tuning, method, noise), [])
                if seed < len(measured):
                    times = {"train_s": 12.0 + seed if tuning == "lp" else 100.0 + 10 * seed}
                    records.append(make_record(spec, *measured[seed], times=times))
                elif method == "gce":
                    records.append(make_failure(spec))
                elif method == "turn":
                    skips[spec.trial_id] = "left out for its cost"
    return fill(folder, records, make_plan(specs, skips, table=table))
