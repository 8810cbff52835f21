"""A saved model: a folder with a manifest and the weights, which check themselves and hold no code.

::

    models/<trial_id>/best/manifest.json       what the weights belong to, with their checksum and its own
                           model.safetensors
                           adapters/0/…        what was added to the first network, in peft's format
                      last/…
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from lnlbench._version import __version__
from lnlbench.basics.files import Damaged, read_checked, write_atomically, write_checked
from lnlbench.errors import UsageError, WeightsError

# Raised when earlier versions could not read a model rightly. Since 2 updates may be folded.
FORMAT = 2

MANIFEST, WEIGHTS = "manifest.json", "model.safetensors"
# Which epoch of a trial: that of highest validation accuracy, or the last one.
EPOCHS = ("best", "last")
# Of an output folder.
FOLDER = "models"

State = dict[str, torch.Tensor]


class _Later(TypedDict, total=False):
    # Of format 2: the phases whose modules are folded into the weights.
    folded: list[int]


class Manifest(_Later):
    """What a model's weights belong to."""

    format: int
    lnlbench: str
    trial_id: str
    # Of the trial, see :class:`lnlbench.spec.TrialSpec`.
    spec: dict[str, Any]
    # "best" or "last", and the epoch over all phases, from 0, with its accuracies in percent.
    which: str
    epoch: int
    validation: float
    test: float
    # How many phases had begun: their kinds may have put modules into the networks.
    phases: int
    classes: list[str]
    # See :class:`lnlbench.models.preprocessing.Preprocessing`; None for a data set of features.
    preprocessing: dict[str, Any] | None
    feature_dim: int
    # For each network, which network's backbone in the file is its own; empty without backbones.
    backbones: list[int]
    networks: int
    # "sum" or "mean" of the networks' logits.
    combine: str
    weights_sha256: str


def write_model(folder: Path, manifest: Mapping[str, Any], state: State) -> str:
    """Write a model, and return the checksum of its weights.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    content = save(state)
    digest = hashlib.sha256(content).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / WEIGHTS, content)
    whole = {"format": FORMAT, "lnlbench": __version__, **manifest, "weights_sha256": digest}
    write_checked(folder / MANIFEST, whole)
    return digest


def read_model(folder: Path) -> tuple[Manifest, State]:
    """Return the manifest and the weights of a model.

    Raises
    ------
    WeightsError
        If they are missing, damaged, do not belong together, or are of another format.
    """
    again = "Save it again: lnlbench run --save-models --retry all."
    found = read_checked(folder / MANIFEST)
    if isinstance(found, Damaged):
        raise WeightsError(f"'{folder / MANIFEST}' is no manifest of a model: {found.reason}.", again)
    if found.get("format") not in range(1, FORMAT + 1):
        raise WeightsError(
            f"The model in '{folder}' has format {found.get('format')}, made by lnlbench "
            f"{found.get('lnlbench', '(unknown)')}; lnlbench {__version__} reads formats 1 to {FORMAT}.",
            "Use the version that made it.",
        )
    missing = sorted(Manifest.__required_keys__ - found.keys())
    if missing:
        raise WeightsError(f"The manifest in '{folder}' has no {', '.join(missing)}.", again)
    try:
        content = (folder / WEIGHTS).read_bytes()
    except OSError as error:
        raise WeightsError(f"'{folder / WEIGHTS}' cannot be read ({error.strerror}).", again) from error
    if hashlib.sha256(content).hexdigest() != found["weights_sha256"]:
        raise WeightsError(
            f"The weights in '{folder / WEIGHTS}' are not those of its manifest: their sum is another.", again
        )
    try:
        state = load(content)
    except SafetensorError as error:
        raise WeightsError(f"'{folder / WEIGHTS}' is no safetensors file ({error}).", again) from error
    manifest: Any = found
    return manifest, state


def find_model(path: str | Path, epoch: str | None = None) -> Path:
    """Return the folder of a model.

    Parameters
    ----------
    path : str or Path
        That folder, or its manifest; the folder of a trial's models; or an output folder with models of
        one trial.
    epoch : {"best", "last"}, optional
        Where ``path`` does not say it. Default "best".

    Raises
    ------
    UsageError
        If there is none, or several.
    """
    path = Path(path)
    if path.name == MANIFEST or (path / MANIFEST).is_file():
        return path.parent if path.name == MANIFEST else path
    if epoch is not None and epoch not in EPOCHS:
        raise UsageError(f"There is no epoch '{epoch}' of a model.", f"Use {' or '.join(EPOCHS)}.")
    which = epoch or EPOCHS[0]
    if (path / which / MANIFEST).is_file():
        return path / which
    found = sorted(manifest.parent for manifest in (path / FOLDER).glob(f"*/{which}/{MANIFEST}"))
    if not found:
        raise UsageError(
            f"There is no model in '{path}'.", "Save models with: lnlbench run --save-models, then name one."
        )
    if len(found) > 1:
        listing = ", ".join(str(folder) for folder in found[:5])
        raise UsageError(f"'{path}' holds models of {len(found)} trials.", f"Name one: {listing} …")
    return found[0]
