"""What kinds of phases put into a backbone: folded into its weights, and as files that peft reads."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save

from lnlbench.basics.files import write_atomically
from lnlbench.deploy.model_files import State
from lnlbench.models.backbone import Backbone
from lnlbench.models.phase_kind import PhaseKind
from lnlbench.plugins import registry
from lnlbench.spec import TrialSpec, split_reference

# In the folder of a model, with a folder for each network: the names are peft's.
FOLDER, CONFIGURATION, WEIGHTS = "adapters", "adapter_config.json", "adapter_model.safetensors"


def begun_kinds(spec: TrialSpec, phases: int) -> list[PhaseKind]:
    """Return the kinds of the first phases of a trial."""
    return [registry.phase_kinds().load(phase.kind)(phase) for phase in spec.phases[:phases]]


def fold(kinds: list[PhaseKind], state: State) -> tuple[State, list[int]]:
    """Return the state of a backbone without the modules that can be folded into it, and whose those were.

    Parameters
    ----------
    kinds : list of PhaseKind
        Of the phases that have prepared the backbone.
    state : dict of str to torch.Tensor

    Returns
    -------
    state : dict of str to torch.Tensor
    folded : list of int
        The phases, in order.
    """
    folded = []
    for number in reversed(range(len(kinds))):
        plain = kinds[number].fold(state)
        if plain is not None:
            state = {name: value.contiguous() for name, value in plain.items()}
            folded.append(number)
    return state, folded[::-1]


def write_adapter(
    folder: Path, spec: TrialSpec, kinds: list[PhaseKind], state: State, backbone: Backbone
) -> None:
    """Write what one kind added to a backbone that is otherwise its source's; else nothing.

    Parameters
    ----------
    folder : Path
    spec : TrialSpec
    kinds : list of PhaseKind
    state : dict of str to torch.Tensor
        Of the trained backbone.
    backbone : Backbone
        As its source gives it.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    scheme, reference = split_reference(spec.backbone.name)
    inside = registry.backbones().load(scheme)().library_module
    prefix = f"{inside}." if inside else ""
    own = {name.removeprefix(prefix): value for name, value in state.items()}
    added = [found for kind in kinds if (found := kind.adapter(own)) is not None]
    if len(added) != 1:
        return
    adapter = added[0]
    initial = {name.removeprefix(prefix): value for name, value in backbone.module.state_dict().items()}
    if adapter.base.keys() != initial.keys() or not all(
        torch.equal(value, initial[name].cpu()) for name, value in adapter.base.items()
    ):
        return  # an earlier phase has trained it: on the source's weights the adapter would be another model
    configuration = adapter.configuration | {"base_model_name_or_path": reference or spec.backbone.name}
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / WEIGHTS, save(adapter.weights, metadata={"format": "pt"}))
    write_atomically(folder / CONFIGURATION, json.dumps(configuration, indent=2).encode() + b"\n")
