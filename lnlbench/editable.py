"""Entry points that were edited after an editable install.

An editable install picks up edited code, but not edited entry points: those were copied into
the installation's metadata. A method that was added to setup.cfg is then "unknown", and
nothing says why; ``lnlbench doctor`` does, from here.
"""

from __future__ import annotations

import configparser
import json
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lnlbench.entries import GROUPS


@dataclass(frozen=True, slots=True)
class Drift:
    """Difference between a source tree's entry points and the installed ones.

    Attributes
    ----------
    distribution : str
    source : Path
        The ``setup.cfg`` that was edited.
    added, removed : tuple of str
        ``group: name = target`` found only in the source, or only in the installation.
    """

    distribution: str
    source: Path
    added: tuple[str, ...]
    removed: tuple[str, ...]


def stale_entry_points() -> list[Drift]:
    """Compare each editable distribution's ``setup.cfg`` with what is installed."""
    drifts: list[Drift] = []
    seen: set[str] = set()
    for distribution in metadata.distributions():
        source = _editable_source(distribution)
        name = distribution.metadata["Name"]
        if source is None or name in seen:
            continue
        seen.add(name)
        declared = _declared(source)
        installed = {
            f"{point.group}: {point.name} = {point.value}"
            for point in distribution.entry_points
            if point.group in GROUPS
        }
        if declared is not None and installed != declared:
            drifts.append(
                Drift(name, source, tuple(sorted(declared - installed)), tuple(sorted(installed - declared)))
            )
    return drifts


def _editable_source(distribution: metadata.Distribution) -> Path | None:
    text = distribution.read_text("direct_url.json")
    if text is None:
        return None
    direct = json.loads(text)
    if not direct.get("dir_info", {}).get("editable", False):
        return None
    source = Path(unquote(urlsplit(direct["url"]).path), "setup.cfg")
    return source if source.is_file() else None


def _declared(source: Path) -> set[str] | None:
    config = configparser.ConfigParser(interpolation=None)
    config.read(source, encoding="utf-8")
    section = "options.entry_points"
    if not config.has_section(section):
        return None  # declared elsewhere (pyproject.toml), or not at all
    lines = {
        (group, line)
        for group in GROUPS
        for line in config.get(section, group, fallback="").splitlines()
        if "=" in line
    }
    return {f"{group}: {' = '.join(part.strip() for part in line.split('=', 1))}" for group, line in lines}
