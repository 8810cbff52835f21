"""Findings in sentences: how many labels are wrong, and what to do about it."""

from __future__ import annotations

from lnlbench.audit.audit_findings import Findings

FEW, MANY = 0.02, 0.25  # shares of wrong labels between which cleaning by hand pays most


def describe_estimate(findings: Findings) -> list[str]:
    """Return what is suspected and how sure that is, as sentences."""
    low, high = findings.interval
    samples, suspects = len(findings.subject), len(findings.suspects)
    lines = [
        f"Of {samples:,} labels, {suspects:,} look wrong. Estimated share of wrong labels: "
        f"{findings.rate:.1%}, between {low:.1%} (all {len(findings.detections)} detectors suspect them) and "
        f"{high:.1%} (the most that one detector says)."
    ]
    if len(wrong := findings.subject.wrong):
        whose = "The true labels" if len(wrong) == samples else f"The true labels of {len(wrong):,} samples"
        lines.append(f"{whose} are known: {wrong.mean():.1%} are wrong.")
    return lines


def next_steps(findings: Findings) -> list[str]:
    """Return what to do next, in order."""
    if not len(findings.suspects):
        return ["Nothing is suspected: train on the labels as they are."]
    steps = [
        "Look at the suspects of the classes that have most of them. If most suspects are right after all, "
        "the features tell these classes apart badly: audit again with a stronger --backbone, or larger "
        "images (--set image_size=224).",
        "Correct verdicts.csv where you know better: suspected (True or False) and suggested.",
    ]
    if findings.subject.files is not None:
        steps.append(
            "lnlbench audit --apply --out FOLDER writes a cleaned manifest, without the suspects or, with "
            "--relabel, with the suggested labels. Your files stay as they are."
        )
    else:
        steps.append("Leave out the suspected samples of verdicts.csv, or take their suggested labels.")
    if findings.rate > MANY:
        steps.append(
            "With this many wrong labels, compare methods that are made for them before you drop a "
            "quarter of the data: lnlbench list methods."
        )
    elif findings.rate < FEW:
        steps.append(
            "With this few wrong labels, mend those of the test set first: they decide what you measure."
        )
    return steps
