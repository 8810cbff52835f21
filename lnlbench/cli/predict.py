"""``lnlbench predict``: what a saved model says of image files."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import click

from lnlbench.console.echo import echo
from lnlbench.console.options import save_bytes


@click.command("predict")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), help="CSV file to write [default: the terminal].")
@click.option(
    "--epoch",
    type=click.Choice(["best", "last"]),
    help="Which model of a trial, where MODEL does not say it [default: best].",
)
@click.option("--probabilities", is_flag=True, help="Add a column for each class.")
@click.option(
    "--plugin",
    "plugins",
    multiple=True,
    metavar="FILE.py[:CLASS]",
    help="A backbone or kind of phase that is not installed, and that the model has.",
)
def command(
    model: Path,
    images: tuple[Path, ...],
    output: Path | None,
    epoch: str | None,
    probabilities: bool,
    plugins: tuple[str, ...],
) -> None:
    """Predict IMAGES, which are files or folders of them, with a model that lnlbench run --save-models saved.

    MODEL is its folder, or an output folder that holds models of one trial. Writes a row for each image:
    file, predicted class and its probability.
    """
    import torch

    from lnlbench.analysis.tables.render_csv import defuse
    from lnlbench.basics.printable import printable
    from lnlbench.deploy.predicting import image_files, predict_files
    from lnlbench.deploy.saved_model import load_model
    from lnlbench.plugins import registry

    for plugin in plugins:
        registry.add_plugin(plugin)
    files = image_files(images)
    loaded = load_model(model, epoch)
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    added = [defuse(printable(name)) for name in loaded.classes] if probabilities else []
    rows.writerow(["file", "predicted", "confidence", *added])
    for found in predict_files(loaded, files, "cuda" if torch.cuda.is_available() else "cpu"):
        names = [defuse(printable(text)) for text in (str(found.file), found.predicted)]
        chances = found.probabilities if probabilities else ()
        rows.writerow([*names, *(f"{chance:.6g}" for chance in (found.confidence, *chances))])
    if output is None:
        echo(table.getvalue(), nl=False)
    else:
        save_bytes(output, table.getvalue().encode())
        echo(f"{len(files)} predictions are in {output}.")
