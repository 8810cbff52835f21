"""Write what a search chose into a hyperparameter file, beside what the file already has.

The format is read by :mod:`lnlbench.grids.hyperparameters`. A file may have been written by hand, so its
comments and its order are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from lnlbench._version import __version__
from lnlbench.basics.files import write_atomically
from lnlbench.errors import UsageError
from lnlbench.search.design import Search
from lnlbench.search.outcome import Result
from lnlbench.search.space import Space
from lnlbench.spec import DatasetSpec, PhaseSpec, TrialSpec

SCHEMA = 1

# In which order people look for settings.
_ORDER = ("optimizer", "lr", "weight_decay", "batch_size")


@dataclass(frozen=True, slots=True)
class Chosen:
    """The settings of one phase of one backbone, and how they were found.

    Attributes
    ----------
    backbone : str
    phase : str
        A kind of phase.
    settings : mapping
        Settings of the phase.
    source : tuple of str
        Provenance, one fact each.
    """

    backbone: str
    phase: str
    settings: Mapping[str, Any]
    source: tuple[str, ...]


def choose(search: Search, ranked: list[Result], metric: str, how: str) -> Chosen:
    """Return the best configuration of a search with its provenance.

    Parameters
    ----------
    search : Search
    ranked : list of Result
        Best first, at least one.
    metric : str
    how : str
        ``grid``, ``random`` or ``asha``, with its options.
    """
    best, spec = ranked[0], search.base[0]
    phase = spec.phases[0]
    space = "; ".join(
        f"{name} {', '.join(map(show, values))}" for name, values in search.space.values.items()
    )
    source = (
        f"method {spec.method.name}",
        f"dataset {spec.dataset.label}{_options(spec.dataset)}",
        f"noise {spec.noise.label}",
        *_conditions(spec, search.space),
        f"seeds {', '.join(str(base.seed) for base in search.base)}",
        f"epochs {phase.epochs}",
        f"{metric} {best.score(metric):.2f} %",
        f"search {how}: {len(ranked)} of {search.space.size} configurations trained to the end",
        f"space {space}",
        f"lnlbench {__version__}, {datetime.now(UTC).date().isoformat()}",
    )
    return Chosen(search.backbone, search.space.phase, dict(best.configuration.values), source)


def _options(spec: DatasetSpec) -> str:
    default = DatasetSpec(spec.name)
    changed = [
        f"{name} {getattr(spec, name)}"
        for name in ("train_per_class", "test_per_class", "validation_fraction", "validation_labels")
        if getattr(spec, name) != getattr(default, name)
    ]
    return f" ({', '.join(changed)})" if changed else ""


def _conditions(spec: TrialSpec, space: Space) -> list[str]:
    """What else the values may depend on, where it is not at its default."""
    facts = []
    if spec.backbone.image_size is not None:
        facts.append(f"image_size {spec.backbone.image_size}")
    if spec.backbone.weights != "pretrained":
        facts.append(f"weights {spec.backbone.weights}")
    phase = spec.phases[0]
    default = PhaseSpec(phase.kind, phase.epochs).settings()
    for name, value in phase.settings().items():
        is_default = name in phase.at_default or (name in default and value == default[name])
        if name not in space.values and not is_default:
            facts.append(f"{name} {show(value)}")
    return facts


def show(value: Any) -> str:
    """Return a value of a space as a person writes it: ``0.001`` is ``1e-3``."""
    if type(value) is not float:
        return str(value).lower() if isinstance(value, bool) else str(value)
    if value and not 1e-2 <= abs(value) < 1e6:
        mantissa, _, exponent = f"{value:e}".partition("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:g}"


def check_target(path: Path) -> None:
    """Raise now what would keep :func:`write_hyperparameters` from writing after the search.

    Raises
    ------
    UsageError
        If the file exists and is not a hyperparameter file, or its folder does not exist.
    """
    if not path.parent.is_dir():
        raise UsageError(f"'{path}' cannot be written: there is no folder '{path.parent}'.", "Make it first.")
    _read(path)


def write_hyperparameters(path: Path, chosen: list[Chosen], title: str) -> None:
    """Put settings into a file; those of other backbones and phases are kept,
    earlier ones of the same backbone and phase are replaced.

    Parameters
    ----------
    path : Path
    chosen : list of Chosen
    title : str
        Of a new file; that of an existing one is kept.

    Raises
    ------
    UsageError
        If the file cannot be read as a hyperparameter file, or cannot be written.
    """
    document = _read(path)
    if "schema" not in document:
        document["schema"] = SCHEMA
    if "title" not in document:
        document["title"] = title
    source = _table(document, "source", path)
    backbones = _table(document, "backbone", path, super_table=True)
    for entry in chosen:
        facts = tomlkit.array()
        facts.extend(entry.source)
        source[f"{entry.backbone} {entry.phase}"] = facts.multiline(True)
        phases = _table(backbones, entry.backbone, path, super_table=True)
        phase = _table(phases, entry.phase, path)
        for name in [name for name in phase if name not in entry.settings]:
            del phase[name]  # of an earlier search: these values were never tried together
        for name in sorted(entry.settings, key=lambda name: (*_ORDER, name).index(name)):
            phase[name] = entry.settings[name]
    try:
        write_atomically(path, tomlkit.dumps(document).encode())
    except OSError as error:
        raise UsageError(
            f"'{path}' cannot be written: {error.strerror}.", "Choose another --write."
        ) from error


def _read(path: Path) -> tomlkit.TOMLDocument:
    """Return an existing file, or an empty document."""
    if not path.exists():
        return tomlkit.document()
    try:
        document = tomlkit.parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, TOMLKitError) as error:
        raise UsageError(
            f"'{path}' exists and cannot be read as TOML: {error}.", "Repair it, or choose another --write."
        ) from error
    if document.get("schema") != SCHEMA or "rows" in document:
        raise UsageError(
            f"'{path}' exists and is no hyperparameter file (schema = {SCHEMA} is missing, or it is a grid).",
            "Choose another --write.",
        )
    return document


def _table(parent: Any, name: str, path: Path, *, super_table: bool = False) -> Any:
    """Return a table of a table, made if it is not there."""
    if name not in parent:
        parent[name] = tomlkit.table(is_super_table=super_table)
    if not isinstance(parent[name], Mapping):
        raise UsageError(f"{path}: {name} is not a table.", f"Write [{name}].")
    return parent[name]
