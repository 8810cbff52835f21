"""The networks that a method predicts with, as they are at an epoch: taken in a trial, written at its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from lnlbench.api import Method
from lnlbench.basics.facts import EpochFacts
from lnlbench.deploy.adapters import FOLDER, begun_kinds, fold, write_adapter
from lnlbench.deploy.model_files import State, write_model
from lnlbench.models.backbone import Backbone
from lnlbench.models.network import Network
from lnlbench.spec import TrialSpec


class UnsavableError(Exception):
    """What a method predicts cannot be told by its networks alone."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of predicting networks after an epoch.

    Attributes
    ----------
    epoch : int
        Over all phases, from 0.
    phases : int
        How many had begun.
    states : list of dict
        For each network its ``head``, and its ``backbone``: None where that is still the initial one.
    combine : {"sum", "mean"}
        What the prediction is of the networks' logits.
    """

    epoch: int
    phases: int
    states: list[dict[str, State | None]]
    combine: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as a value for checkpoints; ``Snapshot(**value)`` is the snapshot again."""
        return {name: getattr(self, name) for name in ("epoch", "phases", "states", "combine")}


@torch.no_grad()
def predicting_networks(method: Method, inputs: torch.Tensor) -> tuple[list[Network], str]:
    """Return the networks that a method predicts with, and how it combines their logits.

    Parameters
    ----------
    method : Method
        With networks in eval mode.
    inputs : torch.Tensor
        Some samples to try it on.

    Raises
    ------
    UnsavableError
        If its prediction is neither the sum nor the mean of what its networks say of the samples.
    """
    calls: list[tuple[Network, torch.Tensor]] = []
    others = 0

    def look(module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        nonlocal others
        if isinstance(module, Network):
            if given and given[0] is inputs:
                calls.append((module, output))
            else:
                others += 1

    handle = register_module_forward_hook(look)
    try:
        logits = method.predict(inputs)
    finally:
        handle.remove()
    networks = [network for network, _ in calls]
    if networks and not others and len({*map(id, networks)}) == len(networks):
        total = torch.stack([output for _, output in calls]).sum(0)
        for combine, expected in (("sum", total), ("mean", total / len(networks))):
            if expected.shape == logits.shape and torch.allclose(expected, logits, rtol=1e-5, atol=1e-5):
                return networks, combine
    raise UnsavableError(
        f"{type(method).__name__}.predict() is neither the sum nor the mean of its networks' logits"
    )


def take(method: Method, inputs: torch.Tensor, epoch: int, phases: int) -> tuple[Snapshot, list[Network]]:
    """Return a snapshot on the CPU, and the networks that it is of.

    Raises
    ------
    UnsavableError
        See :func:`predicting_networks`.
    """
    networks, combine = predicting_networks(method, inputs)
    states: list[dict[str, State | None]] = []
    for network in networks:
        if type(network.head) is not nn.Linear:
            raise UnsavableError(f"{type(method).__name__} has a head of another kind than nn.Linear")
        backbone = None if network.backbone is None else _copy(network.backbone)
        states.append({"head": _copy(network.head), "backbone": backbone})
    return Snapshot(epoch, phases, states, combine), networks


def write_snapshot(
    folder: Path,
    snapshot: Snapshot,
    networks: list[Network],
    *,
    which: str,
    spec: TrialSpec,
    classes: tuple[str, ...],
    backbone: Backbone | None,
    entry: EpochFacts,
) -> str:
    """Write a snapshot as a model, and return the checksum of its weights.

    Parameters
    ----------
    folder : Path
    snapshot : Snapshot
    networks : list of Network
        Those that it is of: they make the backbones that have not been trained.
    which : {"best", "last"}
    spec : TrialSpec
    classes : tuple of str
    backbone : Backbone or None
        As its source gives it.
    entry : EpochFacts
        Of the snapshot's epoch.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    state: State = {}
    whole: list[State] = []
    owners: list[int] = []
    kinds = begun_kinds(spec, snapshot.phases)
    folded: list[int] = []
    for number, (part, network) in enumerate(zip(snapshot.states, networks, strict=True)):
        state |= {f"{number}.head.{name}": tensor for name, tensor in (part["head"] or {}).items()}
        if backbone is None:
            continue
        trained = part["backbone"] or _copy(network.initial_backbone())
        write_adapter(folder / FOLDER / str(number), spec, kinds, trained, backbone)
        mine, folded = fold(kinds, trained)
        owner = next((at for at, other in enumerate(whole) if _same(mine, other)), number)
        if owner == number:
            state |= {f"{number}.backbone.{name}": tensor for name, tensor in mine.items()}
        whole.append(mine)
        owners.append(owner)
    manifest = {
        "trial_id": spec.trial_id,
        "spec": spec.to_dict(),
        "which": which,
        "epoch": snapshot.epoch,
        "validation": entry["validation"],
        "test": entry["test"],
        "phases": snapshot.phases,
        "folded": folded,
        "classes": list(classes),
        "preprocessing": None if backbone is None else backbone.preprocessing.to_dict(),
        "feature_dim": networks[0].feature_dim,
        "backbones": owners,
        "networks": len(networks),
        "combine": snapshot.combine,
    }
    return write_model(folder, manifest, state)


def _copy(module: nn.Module) -> State:
    """Return the tensors of a module's state as independent, contiguous tensors on the CPU."""
    found: Mapping[str, Any] = module.state_dict()
    tensors = {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}


def _same(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
