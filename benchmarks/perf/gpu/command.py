"""``python -m lnlbench.benchmarks.perf gpu [--part N ...] [--device cuda] [--json FILE] [--quick]``."""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import click


class Entry(NamedTuple):
    """A part: where it is, how long it may take in seconds, and what it asks."""

    module: str
    function: str
    seconds: float
    question: str


PARTS = {
    "machine": Entry("machine", "machine", 20, "how fast are this machine's products and copies?"),
    "agree": Entry("agreement", "agree", 80, "does CUDA compute what the CPU computes?"),
    "repeat": Entry("agreement", "repeat", 50, "does a trial repeat, and continue, bit for bit?"),
    "syncs": Entry("waiting", "syncs", 30, "how often does a step wait for the device?"),
    "faults": Entry("faults", "faults", 45, "does a broken trial leave the next ones alone?"),
    "speed": Entry("speed", "speed", 75, "is training as fast as a loop written by hand?"),
    "methods": Entry("waiting", "methods", 70, "what does a unit of the ledger cost, by method?"),
    "probing": Entry("speed", "probing", 25, "how fast is linear probing on cached features?"),
    "memory": Entry("memory", "memory", 30, "what is held beside and after trials?"),
    "scale": Entry("memory", "scale", 30, "do millions of samples and a thousand classes fit?"),
    "files": Entry("files", "files", 40, "how fast are images from files, and are they the same?"),
}
MODULES = ("transformers", "timm", "torchvision.transforms.v2", "sklearn.mixture", "scipy.stats")


@click.command(
    epilog="\b\n"
    + "\n".join(f"{name:<8} {entry.question} ({entry.seconds:g} s)" for name, entry in PARTS.items())
)
@click.option(
    "--part",
    "parts",
    multiple=True,
    type=click.Choice(list(PARTS)),
    help="This part; may be repeated. Default: all.",
)
@click.option("--device", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True)
@click.option(
    "--json",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write all results to this file, after every part.",
)
@click.option("--quick", is_flag=True, help="Tiny sizes: shows that it runs; the numbers mean nothing.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.0),
    default=600.0,
    show_default=True,
    help="Start no part later than this.",
)
def main(parts: tuple[str, ...], device: str, file: Path | None, quick: bool, seconds: float) -> None:
    """Check, on a GPU, that results are right and as fast as they should be.

    Offline, within ten minutes on one H100. Every part runs in a process of its own and passes or fails;
    the exit code is 1 if any fails or is not finished in its time.
    """
    # Counting GPUs by their driver's library starts no CUDA context, which forked processes could not use.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    # Read when a context is made: without it, cuBLAS may not repeat.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    from .processes import FAILED, UNFINISHED, run_part

    entries = {name: PARTS[name] for name in parts or PARTS}
    functions = {
        name: getattr(import_module(f".{e.module}", __package__), e.function) for name, e in entries.items()
    }
    for module in MODULES:  # once, for all the processes
        import_module(module)
    started = time.perf_counter()
    results: dict[str, Any] = {"device": device, "quick": quick, "environment": None, "parts": {}}
    # In a process of its own: asking for a GPU may start a CUDA context.
    report = run_part(import_module(".machine", __package__).environment, device, True, 30.0)
    results["environment"] = report["rows"][0] if report["rows"] else {"error": report["error"]}
    if device == "cuda" and not results["environment"].get("gpu"):
        raise click.ClickException(
            "There is no CUDA device here. --device cpu --quick shows that everything runs."
        )
    for name, entry in entries.items():
        click.echo(f"{name}: {entry.question}")
        sys.stdout.flush()
        if time.perf_counter() - started > seconds:
            report = {
                "status": UNFINISHED,
                "seconds": 0.0,
                "rows": [],
                "checks": [],
                "notes": ["not started"],
                "error": None,
            }
        else:
            report = run_part(functions[name], device, quick, entry.seconds)
        results["parts"][name] = {"question": entry.question, **report}
        click.echo(f"   {report['status']} after {report['seconds']:.1f} s")
        if file is not None:
            file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    click.echo(render(results))
    if any(report["status"] in (FAILED, UNFINISHED) for report in results["parts"].values()):
        raise SystemExit(1)


def render(results: dict[str, Any]) -> str:
    """Return a line per part: what it asked, whether it passed, how many checks held, its time."""
    lines = [_machine(results), f"{'part':<8} {'result':<11} {'checks':>7} {'rows':>5} {'s':>6}  question"]
    for name, part in results["parts"].items():
        held = sum(check["ok"] for check in part["checks"])
        checks = f"{held}/{len(part['checks'])}"
        numbers = f"{checks:>7} {len(part['rows']):>5} {part['seconds']:>6.1f}"
        lines.append(f"{name:<8} {part['status']:<11} {numbers}  {part['question']}")
        lines += [
            f"         ✗ {check['what']}{check['detail'] and ': '}{check['detail']}"
            for check in part["checks"]
            if not check["ok"]
        ]
        if part["error"] is not None:
            lines.append(f"         ✗ {part['error'].strip().splitlines()[-1]}")
    return "\n".join(lines)


def _machine(results: dict[str, Any]) -> str:
    environment = results["environment"] or {}
    versions = environment.get("versions", {})
    known = [f"{name} {versions[name]}" for name in ("torch", "timm", "transformers") if name in versions]
    name = environment.get("gpu") if results["device"] == "cuda" else environment.get("cpu")
    quick = " (quick: sizes too small to mean anything)" if results["quick"] else ""
    return f"{name}, {', '.join(known)}{quick}"
