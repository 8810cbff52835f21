"""Low-rank adaptation (LoRA), by the library peft."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lnlbench.errors import UsageError
from lnlbench.models.phase_kind import AddedWeights, PhaseKind
from lnlbench.spec import PhaseSpec, Skip, TrialSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

    from lnlbench.models.network import Network

# Query and value projections, as Hu et al. choose (section 4.2): in transformers, CLIP, and timm, where
# one layer makes query, key and value.
ATTENTION = ("query", "value", "q_proj", "v_proj", "qkv")


# Of a layer that has updates, in peft's naming.
_MARK = ".lora_A.default.weight"


class LowRank(PhaseKind):
    """Low-rank updates of the backbone's projections learn.

    A layer W x becomes W x + (alpha / rank) B A x; A is random and B is 0 at the start, so that the network
    starts as the pre-trained one, to the last bit. W stays as it is.

    Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022. Its layers and their
    initialisation are those of the library peft (the extra ``lnlbench[peft]``).
    """

    title = "LoRA"
    settings_of = "fft"

    @dataclass(frozen=True)
    class Options:
        """Rank, scale and dropout of the updates, and what they update.

        ``targets`` names layers by the ends of their names, joined by ``+`` (``query+value``); ``auto`` takes
        the query and value projections of a transformer, and of a network without attention its
        convolutions of 1 × 1 pixels and linear layers. Defaults: peft's examples for vision transformers.
        """

        rank: int = 16
        alpha: float = 16.0
        dropout: float = 0.1
        targets: str = "auto"

        def __post_init__(self) -> None:
            if self.rank < 1:
                raise UsageError(f"lora.rank is {self.rank}; it must be at least 1.")
            if not self.alpha > 0:
                raise UsageError(f"lora.alpha is {self.alpha:g}; it must be above 0.")
            if not 0 <= self.dropout < 1:
                raise UsageError(f"lora.dropout is {self.dropout:g}; it must lie in [0, 1).")

    @classmethod
    def supports(cls, spec: TrialSpec, phase: PhaseSpec) -> Skip | None:
        """Decline without peft, and backbones that nothing has trained before."""
        if importlib.util.find_spec("peft") is None:
            return Skip("needs the library peft: pip install 'lnlbench[peft]'")
        return Skip("the frozen weights would stay random") if spec.backbone.weights == "none" else None

    def backward_units(self) -> float:
        """Return 1: gradients of activations all the way back, and next to none of weights."""
        return 1.0

    def prepare(self, network: Network) -> None:
        """Put the updates into the backbone, and let them learn."""
        from peft import LoraConfig, inject_adapter_in_model

        backbone, options = network.build(), self.options
        configuration = LoraConfig(
            r=options.rank,
            lora_alpha=options.alpha,
            lora_dropout=options.dropout,
            target_modules=find_targets(backbone, options.targets),
        )
        inject_adapter_in_model(configuration, backbone)
        network.learn(*(one for name, one in backbone.named_parameters() if ".lora_" in name))

    def fold(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return W + (alpha / rank) B A under the names of W, and all else as it is."""
        base, scale = _without_updates(state), self.options.alpha / self.options.rank
        for layer in _updated(state):
            up, down = (state[f"{layer}.lora_{one}.default.weight"].flatten(1) for one in "BA")
            weight = base[f"{layer}.weight"]
            base[f"{layer}.weight"] = weight + (scale * up @ down).reshape(weight.shape)
        return base

    def adapter(self, state: Mapping[str, torch.Tensor]) -> AddedWeights | None:
        """Return the updates in peft's own format, for ``peft.PeftModel.from_pretrained``."""
        if not (layers := _updated(state)):
            return None
        configuration = {
            "peft_type": "LORA",
            "task_type": None,
            "r": self.options.rank,
            "lora_alpha": self.options.alpha,
            "lora_dropout": self.options.dropout,
            "target_modules": layers,
            "bias": "none",
            "inference_mode": True,
        }
        names = [name for name in state if ".lora_" in name]
        weights = {f"base_model.model.{name.replace('.default.', '.')}": state[name] for name in names}
        return AddedWeights(configuration, weights, _without_updates(state))


def _updated(state: Mapping[str, Any]) -> list[str]:
    """Return the layers that have updates."""
    return sorted(name.removesuffix(_MARK) for name in state if name.endswith(_MARK))


def _without_updates(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a state under the names that it had before the updates were put in."""
    return {name.replace(".base_layer.", "."): value for name, value in state.items() if ".lora_" not in name}


def find_targets(backbone: nn.Module, targets: str) -> list[str]:
    """Return the names of the layers to update, see :class:`LowRank`.

    Raises
    ------
    TrialError
        If the backbone has none.
    """
    from torch import nn

    from lnlbench.errors import TrialError

    layers = {
        name: module
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Linear)
        or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1)
    }
    wanted = ATTENTION if targets == "auto" else tuple(targets.split("+"))
    found = [name for name in layers if name.rpartition(".")[2] in wanted]
    if not found and targets == "auto":
        found = list(layers)
    if not found:
        known = sorted({name.rpartition(".")[2] for name in layers})
        raise TrialError(
            f"lora.targets is '{targets}', and {type(backbone).__name__} has no such layer.",
            f"Name some of its layers, such as {', '.join(known[:5])}.",
        )
    return found
