"""``python -m lnlbench.benchmarks.perf [SECTION ...] [--threads N] [--quick] [--format text|json]``.

What is asked of a GPU has a command of its own, ``python -m lnlbench.benchmarks.perf gpu``.
"""

from __future__ import annotations

import importlib
import json
import os
import sys

import click

# Section → module and what it measures; modules are imported when they are used.
SECTIONS = {
    "fft": ("fft", "a fine-tuning epoch beside a loop written by hand"),
    "lp": ("lp", "a linear-probing epoch beside a bare loop"),
    "mapped": ("mapped_features", "the same on 2.4 million samples in a file, and its memory"),
    "batched": ("batched_search", "a search whose configurations are trained together beside one by one"),
    "ray": ("ray_cost", "a trial under Ray beside one in-process"),
    "cli": ("command_line", "lnlbench --help"),
    "records": ("many_records", "status, table and run beside reading every record"),
    "select": ("selection_cost", "losses and mixtures of the whole set beside what they replace"),
    "methods": ("methods", "methods beside CE, cached beside live views, and strong views in batches"),
}


@click.command(epilog="\b\n" + "\n".join(f"{name:<8} {text}" for name, (_, text) in SECTIONS.items()))
@click.argument("sections", nargs=-1, type=click.Choice(list(SECTIONS)), metavar="[SECTION]...")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=os.cpu_count() or 1,
    show_default=True,
    help="CPU threads.",
)
@click.option("--quick", is_flag=True, help="Tiny sizes: shows that it runs; the numbers mean nothing.")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
def main(sections: tuple[str, ...], threads: int, quick: bool, style: str) -> None:
    """Measure the speed of lnlbench beside what it should be as fast as.

    Run it on a machine that does nothing else. It measures and does not judge: a missed aim is
    in the output, not in the exit code. On a GPU: `gpu --help`, which does judge.
    """
    from lnlbench.basics.environment import describe_environment

    environment = describe_environment()
    packages = ", ".join(f"{name} {environment['versions'][name]}" for name in ("torch", "ray"))
    machine = f"{environment['cpu']}, --threads {threads}, Python {environment['python']}, {packages}"
    if quick:
        machine += " (quick: sizes too small to mean anything)"
    lines = []
    for name in sections or SECTIONS:
        section = importlib.import_module(f"lnlbench.benchmarks.perf.{SECTIONS[name][0]}")
        for line in section.run(threads, quick):
            if style == "text":
                click.echo(line.to_text(machine))
            lines.append(line.to_dict())
    if style == "json":
        click.echo(
            json.dumps(
                {"environment": environment, "threads": threads, "quick": quick, "lines": lines}, indent=1
            )
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["gpu"]:
        from lnlbench.benchmarks.perf.gpu.command import main as gpu

        gpu(sys.argv[2:], prog_name="python -m lnlbench.benchmarks.perf gpu")
    main()
