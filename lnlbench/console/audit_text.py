"""An audit for a terminal: suspects as a table that fits it."""

from __future__ import annotations

import io
import shutil

from rich.console import Console
from rich.table import Table

from lnlbench.analysis.names import clean
from lnlbench.audit.advice import describe_estimate
from lnlbench.audit.audit_findings import Findings

SHOWN = 20
FLOWS = 5


def audit_text(findings: Findings, width: int | None = None) -> str:
    """Return what an audit found, in lines of at most ``width`` characters.

    Parameters
    ----------
    findings : Findings
    width : int, optional
        Default: the terminal's.
    """
    width = width or shutil.get_terminal_size().columns
    console = Console(file=io.StringIO(), width=width, highlight=False, markup=False, color_system=None)
    for line in describe_estimate(findings):
        console.print(line)
    names = findings.subject.classes
    flows = [f"{clean(names[g])} → {clean(names[s])} ({n})" for g, s, n in findings.flows[:FLOWS]]
    if flows:
        console.print(f"Most often: {', '.join(flows)}.")
        console.print()
        console.print(_suspects(findings))
        if len(findings.suspects) > SHOWN:
            console.print(f"… and {len(findings.suspects) - SHOWN:,} more.")
    if findings.quality:
        console.print()
        console.print(_quality(findings))
    stream = console.file
    assert isinstance(stream, io.StringIO)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def _suspects(findings: Findings) -> Table:
    subject, agreed = findings.subject, findings.agreed
    table = Table(box=None, pad_edge=False)
    table.add_column("sample", justify="right", no_wrap=True)
    if subject.files is not None:
        table.add_column("file", overflow="fold", ratio=1)
    for heading in ("given", "suggested"):
        table.add_column(heading, overflow="fold")
    for heading in ("score", "detectors"):
        table.add_column(heading, justify="right", no_wrap=True)
    for sample in findings.suspects[:SHOWN]:
        table.add_row(
            str(sample),
            *([clean(subject.files[sample])] if subject.files is not None else []),
            clean(subject.classes[subject.labels[sample]]),
            clean(subject.classes[agreed.suggested[sample]]),
            f"{agreed.score[sample]:.2f}",
            f"{findings.votes[sample]} of {len(findings.detections)}",
        )
    return table


def _quality(findings: Findings) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("detector")
    for heading in ("AUROC", "AP", "precision at the estimated rate"):
        table.add_column(heading, justify="right")
    for name, quality in findings.quality.items():
        numbers = (quality.auroc, quality.average_precision, quality.precision)
        table.add_row(name, *(f"{number:.3f}" for number in numbers))
    return table
