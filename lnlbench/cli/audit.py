"""``lnlbench audit``: which labels of a data set are wrong?"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lnlbench.console.echo import echo
from lnlbench.console.options import cache_option, data_option, save_bytes, where_option
from lnlbench.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from lnlbench.audit.audit_findings import Findings
    from lnlbench.running.listener import Listener
    from lnlbench.spec import TrialSpec
    from lnlbench.trials.workspace import Workspace

AUDITS = Path("audits")
DEFAULT_BACKBONE = "efficientnet_lite0"


@click.command("audit")
@click.argument("dataset", required=False)
@click.option(
    "--backbone",
    default=DEFAULT_BACKBONE,
    show_default=True,
    help="Whose features are compared (see lnlbench list backbones); data sets of features need none.",
)
@click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="KEY=VALUE",
    help="As in image_size=64, train_per_class=1000 or noise=human-worse (repeatable).",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the results [default: audits/NAME].")
@click.option(
    "--also",
    multiple=True,
    type=click.Choice(["deft"]),  # SLOW of lnlbench.detectors.detect, which takes seconds to import
    help="Ask a slow detector as well: deft, with CLIP and on a GPU (repeatable).",
)
@click.option("--apply", is_flag=True, help="Write FOLDER/cleaned.csv, a manifest without the suspects.")
@click.option("--relabel", is_flag=True, help="With --apply: keep suspects, with the suggested labels.")
@click.option(
    "--plugin", "plugins", multiple=True, metavar="FILE.py[:CLASS]", help="A backbone or data set of yours."
)
@where_option
@data_option
@cache_option
def command(
    dataset: str | None,
    backbone: str,
    sets: tuple[str, ...],
    out: Path | None,
    also: tuple[str, ...],
    apply: bool,
    relabel: bool,
    plugins: tuple[str, ...],
    conditions: tuple[str, ...],
    data: Path | None,
    cache_dir: Path | None,
) -> int:
    """Find labels that look wrong in DATASET: imagefolder:PATH, npz:PATH, features:PATH, or a name.

    Neighbours in a frozen backbone's features, and a linear head that has not seen the label that it
    judges, are asked by several detectors. Prints the suspects, and writes verdicts.parquet,
    verdicts.csv and the page audit.html. Nothing is changed in the data.

    Without DATASET, --out is the folder of a grid that was run with --verdicts: the trained methods are
    asked instead. --apply takes the (edited) verdicts.csv in --out and writes a cleaned manifest.
    """
    if relabel and not apply:
        raise UsageError("--relabel says how to --apply.", "Add --apply.")
    if conditions and dataset is not None:
        raise UsageError("--where chooses trials of a grid's --out.", "Leave it, or the data set, out.")
    if also and dataset is None:
        raise UsageError("--also names a detector of features.", "Give the data set to audit.")
    if out is None:
        if dataset is None:
            raise UsageError(
                "Nothing says what to audit.", "Give a data set, or the --out of a grid or of an audit."
            )
        out = AUDITS / _folder_name(dataset)
    findings = None

    from lnlbench.console.progress import Progress

    progress = Progress()
    try:
        progress.doing("loading PyTorch")
        if dataset is not None:
            asked = {"dataset": dataset, "backbone": backbone, "sets": sets, "plugins": plugins}
            spec, workspace = _prepare(asked, out, data, cache_dir, progress)
            findings = _audit({**asked, "also": also} if also else asked, spec, workspace, out, progress)
        elif apply:
            from lnlbench.audit.findings_files import read_facts

            spec, workspace = _prepare(read_facts(out), out, data, cache_dir, progress)
        else:
            findings = _audit_run(out, conditions, plugins, data, cache_dir, progress)
    finally:
        progress.ended()
    if findings is not None:
        from lnlbench.console.audit_text import audit_text

        echo(audit_text(findings))
        echo(f"\nLook at {out / 'audit.html'}; every sample is in {out / 'verdicts.csv'}.")
    if apply:
        _apply(spec, workspace, out, relabel)
    return ExitCode.OK


def _prepare(
    asked: dict[str, Any], out: Path, data: Path | None, cache: Path | None, listener: Listener
) -> tuple[TrialSpec, Workspace]:
    """Resolve what is asked, and load data and weights, or say what is missing."""
    from lnlbench.audit.asked import audit_spec
    from lnlbench.running.job import add_plugins, make_job
    from lnlbench.running.preflight import preflight
    from lnlbench.trials.workspace import Workspace

    add_plugins(asked["plugins"])
    spec = audit_spec(asked["dataset"], asked["backbone"], asked["sets"])
    workspace = Workspace(make_job(out, data=data, cache=cache, executor="inline").settings)
    preflight([spec], workspace, listener)
    return spec, workspace


def _audit(
    asked: dict[str, Any], spec: TrialSpec, workspace: Workspace, out: Path, listener: Listener
) -> Findings:
    """Audit, and write the files."""
    from lnlbench.audit.audit_findings import examine
    from lnlbench.audit.subject import load_features, load_subject, load_texts

    subject = load_subject(spec, workspace)
    listener.doing(f"extracting features of {len(subject):,} samples")
    features = load_features(spec, workspace)
    listener.doing("asking the detectors")
    texts = load_texts(spec, workspace)
    findings = examine(subject, features, spec.seed, texts, asked.get("also", ()))
    _save(findings, asked, out, listener)
    return findings


def _audit_run(
    out: Path,
    conditions: tuple[str, ...],
    plugins: tuple[str, ...],
    data: Path | None,
    cache: Path | None,
    listener: Listener,
) -> Findings:
    """Audit what the trials of a grid say, and write the files beside their records."""
    from lnlbench.audit.from_run import findings_of_run, records_with_verdicts, sets_of
    from lnlbench.records.filters import filter_frame, parse_where
    from lnlbench.records.frame import load_frame
    from lnlbench.records.store import Store
    from lnlbench.running.job import add_plugins, make_job
    from lnlbench.trials.workspace import Workspace

    add_plugins(plugins)
    frame = load_frame(out)
    chosen = filter_frame(frame, parse_where(conditions)) if conditions else frame
    store = Store.open(out)
    records = records_with_verdicts(store, chosen["trial_id"].tolist())
    listener.doing(f"reading the verdicts of {len(records)} trials")
    workspace = Workspace(make_job(out, data=data, cache=cache, executor="inline").settings)
    findings = findings_of_run(store, records, workspace)
    asked = {
        "dataset": records[0].spec.dataset.name,
        "backbone": DEFAULT_BACKBONE,
        "sets": sets_of(records[0].spec),
        "plugins": plugins,
        "trials": [record.trial_id for record in records],
    }
    _save(findings, asked, out, listener)
    return findings


def _save(findings: Findings, asked: dict[str, Any], out: Path, listener: Listener) -> None:
    from lnlbench.audit.findings_files import save_findings
    from lnlbench.audit.gallery import audit_page

    listener.doing("drawing the page")
    save_findings(findings, asked, out)
    save_bytes(out / "audit.html", audit_page(findings, asked).encode())


def _apply(spec: TrialSpec, workspace: Workspace, out: Path, relabel: bool) -> None:
    from lnlbench.audit.cleaning import clean_manifest
    from lnlbench.audit.findings_files import read_sheet
    from lnlbench.audit.subject import load_subject
    from lnlbench.data.image_files import FileImages

    subject = load_subject(spec, workspace)
    cleaned = clean_manifest(workspace.dataset(spec.dataset), subject, read_sheet(out), relabel=relabel)
    path = out / "cleaned.csv"
    save_bytes(path, cleaned.text.encode())
    done = f"{cleaned.relabelled:,} relabelled" if relabel else f"{cleaned.dropped:,} left out"
    echo(f"{path}: {cleaned.kept:,} training samples, {done}. The data are as they were.")
    if isinstance(subject.images, FileImages):  # else there is no manifest
        options = f"--set {shlex.quote(f'dataset=csv:{path}')} --data {shlex.quote(str(subject.images.root))}"
        echo(f"Train on it with: lnlbench run --grid GRID {options}")


def _folder_name(dataset: str) -> str:
    """Return the name of a data set, or of its file or folder, as a name of a folder."""
    return Path(dataset.partition(":")[2] or dataset).stem or "data"
