"""Small trials on the digits, for the sections that time whole trials."""

from __future__ import annotations

from lnlbench.plugins import registry
from lnlbench.records.record import Record, Status
from lnlbench.spec import BackboneSpec, DatasetSpec, NoiseSpec, PhaseSpec, TrialSpec

# What is measured, and a network that is small enough to show in seconds that everything runs.
BACKBONE = BackboneSpec("efficientnet_lite0", image_size=64)
QUICK_BACKBONE = BackboneSpec("timm:test_efficientnet", weights="none", image_size=32)


def describe_backbone(spec: BackboneSpec) -> str:
    """Return name and input size in words."""
    return f"{spec.label} at {spec.image_size} px"


def digits_trial(
    method: str,
    phase: PhaseSpec,
    backbone: BackboneSpec,
    *,
    per_class: int,
    seed: int = 0,
    **params: object,
) -> TrialSpec:
    """Return a trial of one phase on the first digits of each class, symmetric noise of 0.6.

    The test set has one image per class: measuring accuracy is not what is timed.
    """
    return TrialSpec(
        dataset=DatasetSpec("digits", train_per_class=per_class, test_per_class=1),
        noise=NoiseSpec("symmetric", 0.6),
        backbone=backbone,
        tuning=phase.kind,
        method=registry.methods().load(method).resolve(method, "digits", params),
        seed=seed,
        phases=(phase,),
        precision="fp32",
    )


def require_done(record: Record) -> Record:
    """Return the record of a trial that is done, else raise: a failure has no speed."""
    if record.status is not Status.DONE:
        raise RuntimeError(f"The trial {record.spec.describe()} failed: {record.error}")
    return record
