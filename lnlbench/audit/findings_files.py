"""The files of an audit: a row per sample as parquet and csv, and what was audited as JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lnlbench.analysis.tables.render_csv import defuse
from lnlbench.audit.audit_findings import AGREEMENT, Findings
from lnlbench.basics.files import write_atomically
from lnlbench.basics.printable import printable
from lnlbench.errors import StoreError

if TYPE_CHECKING:
    import pandas as pd

TABLE, SHEET, FACTS = "verdicts.parquet", "verdicts.csv", "audit.json"
VERSION = 1


def verdict_frame(findings: Findings) -> pd.DataFrame:
    """Return one row per training sample, in stored order.

    Columns: ``sample`` (its row, from 0), ``file`` (below the data set's folder; empty where there is
    none), ``given`` and ``suggested`` (names of classes; equal where a sample is not suspected),
    ``suspected``, ``score`` in [0, 1] (1 = surely right: that of the agreement), one column per detector
    with its score, ``agreement``, ``votes`` (how many detectors flag it), and ``true`` where that is known of
    any sample.
    """
    import numpy as np
    import pandas as pd

    subject, agreed = findings.subject, findings.agreed
    names = np.array(subject.classes, dtype=object)
    columns: dict[str, Any] = {
        "sample": np.arange(len(subject)),
        "file": list(subject.files) if subject.files is not None else None,
        "given": names[subject.labels],
        "suggested": names[agreed.suggested],
        "suspected": agreed.flags,
        "score": agreed.score.astype(np.float32),
    }
    columns |= {name: found.score.astype(np.float32) for name, found in findings.detections.items()}
    columns |= {AGREEMENT: agreed.score.astype(np.float32), "votes": findings.votes.astype(np.int8)}
    if len(subject.known):
        # A label that is known to be wrong, and no more, has no name; nor has one that nobody knows.
        columns["true"] = names[subject.truth]
        columns["true"][subject.truth < 0] = None
    frame = pd.DataFrame(columns)
    frame["file"] = frame["file"].astype("string")
    return frame


def save_findings(findings: Findings, facts: Mapping[str, Any], folder: Path) -> None:
    """Write ``verdicts.parquet``, ``verdicts.csv`` and ``audit.json`` into a folder, made if need be.

    Texts in the csv are such that no spreadsheet takes them for formulas.

    Parameters
    ----------
    findings : Findings
    facts : mapping
        What was audited, with what; JSON values.
    folder : Path
    """
    folder.mkdir(parents=True, exist_ok=True)
    frame = verdict_frame(findings)
    write_atomically(folder / TABLE, frame.to_parquet(index=False, compression="zstd"))
    for name in frame.columns:
        if name in ("file", "given", "suggested", "true"):
            safe = frame[name].astype(object).map(lambda text: defuse(printable(text)), na_action="ignore")
            frame[name] = safe
    write_atomically(folder / SHEET, frame.to_csv(index=False, float_format="%.4f").encode())
    low, high = findings.interval
    estimates = {"rate": findings.rate, "low": low, "high": high, "suspects": len(findings.suspects)}
    text = json.dumps({"version": VERSION, **facts, **estimates}, indent=2, sort_keys=True)
    write_atomically(folder / FACTS, text.encode())


def read_facts(folder: Path) -> dict[str, Any]:
    """Return what ``audit.json`` says.

    Raises
    ------
    StoreError
        If the folder holds no audit, or one of another version.
    """
    try:
        facts = json.loads((folder / FACTS).read_bytes())
    except OSError as error:
        raise StoreError(
            f"'{folder}' holds no audit: {FACTS} {error.strerror or 'cannot be read'}.",
            "Make one with lnlbench audit DATASET --out FOLDER.",
        ) from error
    except (ValueError, RecursionError) as error:
        raise StoreError(f"'{folder / FACTS}' is damaged.", "Audit the data set again.") from error
    if not isinstance(facts, dict) or facts.get("version") != VERSION:
        raise StoreError(f"'{folder / FACTS}' is not of version {VERSION}.", "Audit the data set again.")
    return facts


def read_sheet(folder: Path) -> list[dict[str, str]]:
    """Return the rows of ``verdicts.csv``, which its reader may have edited, as texts.

    Raises
    ------
    StoreError
        If it cannot be read, or lacks a column that says what to do.
    """
    path = folder / SHEET
    try:
        text = path.read_bytes().decode("utf-8-sig")  # as spreadsheets save it
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StoreError(f"'{path}' cannot be read: {error}.", "Audit the data set again.") from error
    needed = {"sample", "given", "suggested", "suspected"}
    if not rows or not needed <= rows[0].keys():
        raise StoreError(f"'{path}' lacks one of the columns {', '.join(sorted(needed))}.", "Put them back.")
    return rows
