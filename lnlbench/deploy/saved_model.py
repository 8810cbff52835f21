"""A saved model as a torch module, with its preprocessing and the names of its classes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from lnlbench.data.decode import decode
from lnlbench.deploy.adapters import begun_kinds
from lnlbench.deploy.model_files import Manifest, State, find_model, read_model
from lnlbench.errors import UsageError, WeightsError
from lnlbench.models.execution import Execution
from lnlbench.models.ledger import Ledger
from lnlbench.models.network import Network
from lnlbench.models.preprocessing import Preprocessing
from lnlbench.plugins import registry
from lnlbench.spec import TrialSpec, split_reference

if TYPE_CHECKING:
    from PIL import Image


class Classifier(nn.Module):
    """A backbone and a linear head, and nothing of what a trial puts around them."""

    def __init__(self, backbone: nn.Module | None, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return logits ``[B, C]`` of images ``[B, 3, S, S]`` or of features ``[B, d]``."""
        features = inputs if self.backbone is None or inputs.ndim == 2 else self.backbone(inputs)
        logits: torch.Tensor = self.head(features)
        return logits


class SavedModel(nn.Module):
    """A trained model: one or several classifiers whose logits are added up or averaged.

    Attributes
    ----------
    networks : nn.ModuleList of Classifier
    classes : tuple of str
        Names, in the order of the logits.
    preprocessing : Preprocessing or None
        From uint8 images ``[B, 3, H, W]`` to inputs; None for a model of features.
    manifest : dict
        Where it comes from, see :class:`lnlbench.deploy.model_files.Manifest`.
    """

    def __init__(self, networks: list[Classifier], manifest: Manifest) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.classes = tuple(manifest["classes"])
        self.manifest = manifest
        known = manifest["preprocessing"]
        # What files are brought down to first, as in training.
        self.side: int | None = manifest["spec"]["dataset"].get("resize")
        self.preprocessing: Preprocessing | None = None
        if known is not None:
            fixed: dict[str, Any] = known | {name: tuple(known[name]) for name in ("mean", "std")}
            self.preprocessing = Preprocessing(**fixed)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return logits ``[B, C]`` of preprocessed images ``[B, 3, S, S]``, or of features ``[B, d]``."""
        logits = torch.stack([network(inputs) for network in self.networks])
        return logits.sum(0) if self.manifest["combine"] == "sum" else logits.mean(0)

    def transform(self, image: Image.Image | str | Path) -> torch.Tensor:
        """Return an image, given as PIL's or by its file, as input ``[3, S, S]``.

        Raises
        ------
        UsageError
            If this is a model of features.
        DataError
            If a file cannot be decoded.
        """
        if self.preprocessing is None:
            raise UsageError("This model takes features, and no images.", "Give it tensors [B, d].")
        pixels = (
            decode(Path(image), self.side)
            if isinstance(image, (str, Path))
            else np.array(image.convert("RGB"))
        )
        return self.preprocessing([torch.from_numpy(pixels).permute(2, 0, 1)])[0]


def load_model(path: str | Path, epoch: str | None = None) -> SavedModel:
    """Load a model that a trial saved; see :func:`lnlbench.load_model`.

    Raises
    ------
    UsageError
        If there is no model, or there are several.
    WeightsError
        If it is damaged or of another format, or if what it was made from is not installed here.
    """
    folder = find_model(path, epoch)
    manifest, state = read_model(folder)
    try:
        return _assemble(manifest, state)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        # Intact, so made by another version of lnlbench, or of the library that has the backbone.
        lines = str(error).splitlines() or [type(error).__name__]
        raise WeightsError(
            f"The model in '{folder}' does not fit what is installed here ({lines[0]}).",
            f"It was made by lnlbench {manifest['lnlbench']} with the versions that its record names.",
        ) from error


def _assemble(manifest: Manifest, state: State) -> SavedModel:
    spec = TrialSpec.from_dict(manifest["spec"])
    networks = [_network(spec, manifest, state, number) for number in range(manifest["networks"])]
    return SavedModel(networks, manifest).eval()


def _network(spec: TrialSpec, manifest: Manifest, state: State, number: int) -> Classifier:
    head = nn.Linear(manifest["feature_dim"], len(manifest["classes"]))
    head.load_state_dict(_part(state, f"{number}.head."))
    if not manifest["backbones"]:
        return Classifier(None, head)
    source = registry.backbones().load(split_reference(spec.backbone.name)[0])()
    # The weights are in the file: of the source, the architecture is wanted alone.
    empty = dataclasses.replace(spec.backbone, weights="none")

    def make() -> nn.Module:
        return source.load(empty, 0).module

    network = Network(head, make, ledger=_NoLedger(), device=torch.device("cpu"), execution=Execution())
    backbone = network.build()
    for at, kind in enumerate(begun_kinds(spec, manifest["phases"])):
        if at not in manifest.get("folded", ()):
            kind.prepare(network)
    backbone = network.build()
    backbone.load_state_dict(_part(state, f"{manifest['backbones'][number]}.backbone."))
    return Classifier(backbone, head).requires_grad_(True)


def _part(state: State, prefix: str) -> State:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


class _NoLedger(Ledger):
    """Counts nothing, and so leaves no hooks in a module that others use."""

    def watch(self, module: nn.Module, part: str) -> None:
        pass
