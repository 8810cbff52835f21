"""``lnlbench noise``: files of noisy labels, made here or imported, shown, and verified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lnlbench.console.echo import echo
from lnlbench.console.options import data_option, save_bytes
from lnlbench.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from lnlbench.data.dataset import Dataset
    from lnlbench.noise import NoiseFile

_dataset_option = click.option("--dataset", metavar="NAME", help="Data set: a name, or SCHEME:PATH.")
_subset_option = click.option(
    "--train-per-class", type=click.IntRange(1), help="Of the data set, the first so many of each class."
)
_seed_option = click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
_options_option = click.option(
    "--set",
    "options",
    multiple=True,
    metavar="OPTION=VALUE",
    help="An option of the generator, as in variant=exclusive.",
)
_label_option = click.option("--label", default="", help="What tables call it [default: the file's name].")
_output_option = click.option(
    "--output", type=click.Path(path_type=Path), required=True, help="Noise file to write, .npz."
)


@click.group("noise")
def command() -> None:
    """Make, import, show or verify files of noisy labels."""


@command.command("make")
@click.argument("noise")
@_dataset_option
@data_option
@_subset_option
@_seed_option
@_options_option
@_label_option
@_output_option
def make(
    noise: str,
    dataset: str | None,
    data: Path | None,
    train_per_class: int | None,
    seed: int,
    options: tuple[str, ...],
    label: str,
    output: Path,
) -> None:
    """Write the labels that NOISE (symmetric-0.4, human-worse, …) gives to a data set."""
    from lnlbench.noise import write_noise_file

    made = _generate(noise, _read(dataset, data, train_per_class), seed, options, label)
    write_noise_file(output, made)
    echo(f"{noise} of {made.dataset} is in {output}. Use it with: --set noise=file:{output}")


@command.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@_dataset_option
@data_option
@click.option(
    "--from",
    "form",
    type=click.Choice(["cifar-n", "dividemix", "unicon", "csv"]),
    help="Who writes such files [default: by the ending .pt, .json, .npz or .csv].",
)
@click.option("--key", help="Name of the labels in it: a key, an array or a column.")
@_label_option
@_output_option
def import_(
    file: Path,
    dataset: str | None,
    data: Path | None,
    form: str | None,
    key: str | None,
    label: str,
    output: Path,
) -> None:
    """Turn FILE, the labels that another code wrote of a whole training set, into a noise file."""
    from lnlbench.noise import write_noise_file
    from lnlbench.noise.foreign import SUFFIXES, Request, import_labels

    form = form or SUFFIXES.get(file.suffix.lower())
    if form is None:
        raise UsageError(f"'{file}' does not say by its ending who wrote it.", "Say it with --from.")
    found = _read(dataset, data, None)
    request = Request(file, key, found.train.base, found.classes)
    made = import_labels(form, request, dataset=found.name, label=label)
    write_noise_file(output, made)
    echo(f"{made.rate:.2%} of {len(made.labels):,} labels are wrong. Use it with: --set noise=file:{output}")


@command.command("show")
@click.argument("noise")
@_dataset_option
@data_option
@_subset_option
@_seed_option
@_options_option
@click.option(
    "--limit", type=click.IntRange(1), default=10, show_default=True, help="Classes and flows listed."
)
@click.option("--picture", type=click.Path(path_type=Path), help="Also draw it: a .png, .pdf or .svg.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def show(
    noise: str,
    dataset: str | None,
    data: Path | None,
    train_per_class: int | None,
    seed: int,
    options: tuple[str, ...],
    limit: int,
    picture: Path | None,
    form: str,
) -> None:
    """Say what NOISE, a noise file or the noise of a data set, does to the labels."""
    shown = _shown(noise, lambda: _read(dataset, data, train_per_class), dataset, seed, options)
    if form == "json":
        import json

        names = {"classes": list(shown.names), "title": shown.title}
        echo(json.dumps(shown.report.to_dict() | names, indent=2, ensure_ascii=False))
    else:
        from lnlbench.console.noise_text import describe_noise

        for line in describe_noise(shown.title, shown.report, shown.names, limit):
            echo(line)
    if picture is not None:
        _draw(shown, picture)


@command.command("verify")
@click.argument("file", type=click.Path(path_type=Path))
@_dataset_option
@data_option
@_subset_option
def verify(file: Path, dataset: str | None, data: Path | None, train_per_class: int | None) -> int:
    """Check that the noise file FILE is whole, that it fits a data set, and whether it can be made again.

    The exit code is 1 if this lnlbench draws other labels from the same settings and seed: the file is as
    good as before, and records that use it and the generator are not of the same noise.
    """
    from lnlbench.noise import read_noise_file

    found = read_noise_file(file)
    echo(
        f"{file} is whole: {len(found.labels):,} labels of {found.classes} classes, made for {found.dataset}."
    )
    if dataset is None:
        return ExitCode.OK
    read = _read(dataset, data, train_per_class)
    labels = found.labels_for(read.train.base, len(read.classes), str(file))
    echo(f"It fits {read.name}: {len(labels):,} of its labels are of these samples.")
    if found.generator == "import" or len(labels) < len(found.labels):
        return ExitCode.OK
    again = _again(found, read)
    if (again == found.labels).all():
        echo("Made again from its settings and seed, it is the same.")
        return ExitCode.OK
    echo(
        f"Made again from its settings and seed, {(again != found.labels).sum():,} labels are others.",
        err=True,
    )
    return ExitCode.INCOMPLETE


@dataclass(frozen=True)
class _Shown:
    title: str
    report: Any
    names: tuple[str, ...]


def _shown(
    noise: str, read: Callable[[], Dataset], dataset: str | None, seed: int, options: tuple[str, ...]
) -> _Shown:
    from lnlbench.noise import NoiseReport, read_noise_file

    if not noise.endswith(".npz") and not Path(noise).is_file():
        data = read()
        if noise == "real" and data.train.clean is not None:
            report = NoiseReport.of(data.train.clean, data.train.labels, len(data.classes))
            return _Shown(f"the labels of {data.name}", report, data.classes)
        made = _generate(noise, data, seed, options, "")
        report = NoiseReport.of(data.train.base, made.labels, made.classes)
        return _Shown(f"{noise} of {made.dataset}", report, data.classes)
    found = read_noise_file(Path(noise))
    data_set = read() if dataset is not None else None
    if data_set is not None:
        clean = data_set.train.base
        labels = found.labels_for(clean, len(data_set.classes), noise)
    elif found.clean is not None:
        clean, labels = found.clean, found.labels
    else:
        raise UsageError(
            f"'{noise}' is of an earlier version and has no true labels to compare with.",
            f"Name the data set that it was made for: --dataset {found.dataset}.",
        )
    names = tuple(map(str, range(found.classes))) if data_set is None else data_set.classes
    title = found.label or f"{Path(noise).name} of {found.dataset}"
    return _Shown(title, NoiseReport.of(clean, labels, found.classes), names)


def _draw(shown: _Shown, picture: Path) -> None:
    from lnlbench.analysis.figures.figure_data import Story
    from lnlbench.analysis.figures.figure_page import save_figure
    from lnlbench.analysis.figures.noise_picture import draw_noise

    story = Story((f"{shown.report.realised_rate:.2%} of the labels are wrong.",), (), (), complete=True)
    figure = draw_noise(shown.title, shown.report, shown.names)
    form = picture.suffix.removeprefix(".").lower()
    save_bytes(picture, save_figure(figure, form, shown.title, story))
    echo(f"The picture is in {picture}.", err=True)


def _read(name: str | None, data: Path | None, per_class: int | None) -> Dataset:
    """Load a data set with all that it says about noise."""
    from lnlbench.inputs.feature_cache import default_cache_folder
    from lnlbench.spec import DatasetSpec
    from lnlbench.trials.workspace import RunSettings, Workspace

    if name is None:
        raise UsageError("Noise is that of a data set.", "Name one with --dataset, as in --dataset cifar10.")
    workspace = Workspace(RunSettings(data=data, cache=Path(default_cache_folder())))
    return workspace.dataset(DatasetSpec(name, train_per_class=per_class))


def _generate(noise: str, data: Dataset, seed: int, options: tuple[str, ...], label: str) -> NoiseFile:
    """Draw noise, as a trial of the same data set, noise and seed would."""
    from lnlbench.grids.settings import parse_value
    from lnlbench.spec import NoiseSpec, freeze_options

    pairs = [text.partition("=") for text in options]
    if wrong := next((text for text, (_, sign, _) in zip(options, pairs, strict=True) if not sign), None):
        raise UsageError(f"--set is '{wrong}'.", "Write OPTION=VALUE, as in variant=exclusive.")
    given = {name: parse_value(f"noise_options.{name}", value) for name, _, value in pairs}
    spec = NoiseSpec.parse(noise, freeze_options(given))
    if spec.type == "real":
        raise UsageError("Of real noise nobody knows what it did.", "Choose another type of noise.")
    return _corrupted(spec, data, seed, label)


def _again(found: NoiseFile, data: Dataset) -> Any:
    from lnlbench.spec import NoiseSpec, freeze_options

    spec = NoiseSpec(found.generator, found.rate, freeze_options(found.settings))
    return _corrupted(spec, data, found.seed, "").labels


def _corrupted(spec: Any, data: Dataset, seed: int, label: str) -> NoiseFile:
    from lnlbench.noise import NoiseFile, corrupt, raw_inputs
    from lnlbench.noise.noise_options import resolve
    from lnlbench.noise.realised import labels_hash

    clean, classes = data.train.base, len(data.classes)
    inputs = raw_inputs(data.train) if spec.type == "instance" else None
    noisy = corrupt(
        spec, clean, classes, dataset=data.name, seed=seed, maps=data.maps, human=data.human, inputs=inputs
    )
    return NoiseFile(
        labels=noisy.labels,
        generator=spec.type,
        rate=spec.rate,
        settings=resolve(spec, data.maps, classes),
        seed=seed,
        dataset=data.name,
        classes=classes,
        clean_sha256=labels_hash(clean),
        clean=clean,
        label=label,
    )
