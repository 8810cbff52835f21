"""Hyperparameter files: what each backbone is trained with, so that a grid need not say it.

A grid names one with ``hyperparameters = "paper_table8"``. ``lnlbench tune`` writes such files, so
a search on a new backbone takes the place of the paper's Table 8 with one ``--set``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lnlbench.errors import UsageError, suggest
from lnlbench.grids.settings import Setting, Settings, check_value, phase_settings
from lnlbench.grids.toml import TomlFile
from lnlbench.grids.tuning import registered_kinds
from lnlbench.spec import portable_reference

SCHEMA = 1

# A budget and how features are stored are the experiment's business, not the backbone's.
_NOT_TUNED = ("epochs", "cache", "views")


def tuned_keys(phase: str) -> tuple[str, ...]:
    """Return the names that a file may set for a kind of phase: ``lr``, ``optimizer`` …"""
    return tuple(name for name in phase_settings(phase) if name not in _NOT_TUNED)


@dataclass(frozen=True)
class Hyperparameters:
    """What a hyperparameter file says.

    Attributes
    ----------
    name, title : str
        The name is the file's, without ``.toml``.
    path : Path
    sha256 : str
        Of the file's content.
    source : mapping
        Where the values come from, in the file's own words.
    backbones : mapping of str to Settings
        By label of the backbone: settings such as ``lp.lr``, each with its line in the file.
    """

    name: str
    title: str
    path: Path
    sha256: str
    backbones: Mapping[str, Settings]
    source: Mapping[str, Any] = field(default_factory=dict)

    def settings_for(self, backbone: str) -> Settings:
        """Return the settings of a backbone, by its name in a grid; empty if the file has none."""
        return self.backbones.get(portable_reference(backbone), {})


def read_hyperparameters(path: Path) -> Hyperparameters:
    """Read a hyperparameter file.

    Parameters
    ----------
    path : Path
        For each backbone, a table for each kind of phase that was tuned::

            schema = 1
            title = "Searched on our data"
            [source]
            metric = "validation accuracy"
            [backbone.vit_b16.lp]
            optimizer = "sgd"
            lr = 1e-2
            [backbone."timm:resnet50".fft]
            lr = 1e-3

    Raises
    ------
    GridError
        If the file cannot be read, or a key or a value in it is wrong; the message starts with
        ``file:line``.
    """
    file = TomlFile(path)
    file.known_keys(file.document, ("schema", "title", "source", "backbone"))
    file.check_schema(SCHEMA)
    backbones: dict[str, Settings] = {}
    for name in file.table("backbone"):
        with file.at(f"backbone.{name}").locating():
            label = portable_reference(name)
            if label in backbones:
                raise UsageError(f"'{name}' is another backbone of the label '{label}'.", "Rename one.")
        backbones[label] = _settings(file, name)
    if not backbones:
        with file.at("backbone").locating():
            raise UsageError("The file has no backbone.", "Add [backbone.NAME.lp], say, with an lr.")
    return Hyperparameters(
        name=path.stem,
        title=file.text("title", path.stem),
        path=path,
        sha256=file.sha256,
        backbones=backbones,
        source=file.table("source"),
    )


def _settings(file: TomlFile, backbone: str) -> Settings:
    """Read the tables of one backbone."""
    prefix = f"backbone.{backbone}."
    phases = file.table(backbone, file.table("backbone"), "backbone.")
    file.known_keys(phases, registered_kinds(), prefix)
    settings: dict[str, Setting] = {}
    for phase in phases:
        for name, value in file.table(phase, phases, prefix).items():
            origin = file.at(f"{prefix}{phase}.{name}")
            with origin.locating():
                if name in _NOT_TUNED:
                    raise UsageError(f"'{name}' is set by grids, not by hyperparameter files.", "Remove it.")
                known = tuned_keys(phase)
                if name not in known:
                    raise UsageError(f"Unknown key '{name}'.", suggest(name, known))
                settings[f"{phase}.{name}"] = Setting(check_value(f"{phase}.{name}", value), origin)
    if not settings:
        with file.at(f"backbone.{backbone}").locating():
            raise UsageError(f"Backbone '{backbone}' has no settings.", "Give it an lr, say, or remove it.")
    return settings
