"""The networks of a trial: how they are made, and what they start from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from lnlbench.api.training_predictions import TrainingPredictions
from lnlbench.basics.seeding import derive_seed
from lnlbench.data.source import Dataset
from lnlbench.inputs.feature_cache import CachedFeatures
from lnlbench.models.backbone import Backbone
from lnlbench.models.execution import Execution
from lnlbench.models.ledger import Ledger
from lnlbench.models.network import Network
from lnlbench.processes.spread import Spread
from lnlbench.spec import BackboneSpec
from lnlbench.trials.adaptation import adapted
from lnlbench.trials.workspace import Workspace


class Model:
    """Makes the networks of a trial, and remembers them.

    Methods hold a reference to it, so it knows neither labels nor noise.

    Parameters
    ----------
    spec : BackboneSpec
    classes, seed : int
    precision : {"auto", "fp32", "tf32", "bf16", "fp16"}
    workspace : Workspace
    ledger : Ledger
    predictions : TrainingPredictions, optional
        Watches the networks.
    given_features : int or None
        Length of the feature vectors of a data set that has no images, and so needs no backbone.
    adapt_to : Dataset or None
        Whose training images the running statistics of batch normalisation are estimated on.

    Attributes
    ----------
    networks : list of Network
        All that the method has asked for.
    backbone : Backbone or None
    initial : Backbone or None
        The same before any adaptation: what the fingerprint is of.
    execution : Execution
        Precision and layout; the default for a data set of features.
    feature_dim : int
    fingerprint : str
        Of the backbone, as it was before any adaptation; "" for a data set of features.
    statistics : CachedFeatures or None
        What was estimated, if anything was.
    """

    def __init__(
        self,
        spec: BackboneSpec,
        *,
        classes: int,
        seed: int,
        precision: str,
        workspace: Workspace,
        ledger: Ledger,
        predictions: TrainingPredictions | None = None,
        given_features: int | None = None,
        adapt_to: Dataset | None = None,
    ) -> None:
        self.spec = spec
        self.classes = classes
        self.seed = seed
        self.networks: list[Network] = []
        self._workspace = workspace
        self._ledger = ledger
        self._adapt_to = adapt_to
        self.statistics: CachedFeatures | None = None
        self.backbone: Backbone | None = None
        self.initial: Backbone | None = None
        self._predictions = predictions
        self._spread = None if workspace.team.alone else Spread(workspace.team)
        if given_features is not None:
            self.execution = Execution(deterministic=workspace.setting.deterministic)
            self.feature_dim, self.fingerprint = given_features, ""
        else:
            initial = workspace.backbone(spec, seed)
            # The first process's: those on other machines may have measured another one as faster.
            self.execution = workspace.team.told(workspace.execution(spec, seed, precision))
            self.feature_dim, self.fingerprint = initial.feature_dim, initial.fingerprint
            self.backbone = self.initial = initial
            if adapt_to is not None:
                self.backbone, self.statistics = adapted(initial, adapt_to, workspace, self.execution)

    @property
    def trained_parameters(self) -> int:
        """How many parameters learn now, in all networks; a backbone that was never built has none."""
        every = (one for network in self.networks for one in network.parameters())
        return sum(one.numel() for one in every if one.requires_grad)

    def network(self, number: int) -> Network:
        """Return a new network whose initial weights depend on (seed, backbone, classes, number)."""
        seed = derive_seed("head", self.seed, self.spec.label, self.classes, number)
        with torch.random.fork_rng(devices=[]):  # the layer's own initialisation is drawn over
            head = nn.Linear(self.feature_dim, self.classes)
        generator = torch.Generator().manual_seed(seed)
        bound = self.feature_dim**-0.5  # PyTorch's default for a linear layer
        with torch.no_grad():
            for parameter in (head.weight, head.bias):
                parameter.uniform_(-bound, bound, generator=generator)
        # Networks trained from scratch differ in their backbones as well.
        start = self.seed if number == 0 else derive_seed("backbone", self.seed, number)
        network = Network(
            head,
            lambda: self._fresh_backbone(start),
            ledger=self._ledger,
            device=self._workspace.device,
            execution=self.execution,
            spread=self._spread,
        )
        if self._predictions is not None:
            self._predictions.watch(network)
        self.networks.append(network)
        return network

    def _fresh_backbone(self, start: int) -> nn.Module:
        """Return a module for one network to own, in the state that all of its phases start from."""
        if self._adapt_to is None:
            return self._workspace.fresh_backbone(self.spec, start)
        initial = self._workspace.backbone(self.spec, start)
        return adapted(initial, self._adapt_to, self._workspace, self.execution)[0].module


# Stands in a state for a tensor that has the bits of one of the initial backbone.
_INITIAL = "@initial"


class InitialWeights:
    """The tensors that a backbone starts from: states name them, and do not hold them again.

    Whatever has the bits of one of them is meant, whichever kind of phase or method left it alone, and
    wherever it stands: in a network, in a weight average, in the best epoch's copy. The backbone's
    source has it, and the backbone's fingerprint says that it is still the same.

    Parameters
    ----------
    backbone : Backbone or None
        As it was loaded. None names nothing.
    """

    def __init__(self, backbone: Backbone | None) -> None:
        state = {} if backbone is None else backbone.module.state_dict()
        self._tensors = {name: value for name, value in state.items() if value.numel()}
        self._alike: dict[Any, list[str]] = defaultdict(list)

    def named(self, value: Any) -> Any:
        """Return a nested value with names in place of the tensors that are still the initial ones."""
        if not self._alike:
            for name, tensor in self._tensors.items():
                self._alike[_traits(tensor)].append(name)
        return _replaced(value, self._name)

    def filled(self, value: Any, device: torch.device) -> Any:
        """Return a nested value with tensors in place of the names that :meth:`named` put there.

        Parameters
        ----------
        value
        device : torch.device
            Of tensors that were not on the CPU.
        """

        def fill(item: Any) -> Any:
            if not isinstance(item, Mapping) or item.keys() != {_INITIAL}:
                return None
            name, strides, on_cpu = item[_INITIAL]
            initial = self._tensors[name]
            where = torch.device("cpu") if on_cpu else device
            made = torch.empty_strided(initial.shape, strides, dtype=initial.dtype, device=where)
            return made.copy_(initial)

        return _replaced(value, fill)

    def _name(self, item: Any) -> dict[str, Any] | None:
        if not isinstance(item, torch.Tensor) or not item.numel() or not self._tensors:
            return None
        channels_last = item.ndim == 4 and item.is_contiguous(memory_format=torch.channels_last)
        if not (channels_last or item.is_contiguous()):
            return None
        for name in self._alike.get(_traits(item), ()):
            if torch.equal(_bits(item), _bits(self._tensors[name])):
                return {_INITIAL: [name, list(item.stride()), item.device.type == "cpu"]}
        return None


def _replaced(value: Any, replace: Callable[[Any], Any]) -> Any:
    """Return a nested value with what ``replace`` returns instead of its items, where that is not None."""
    found = replace(value)
    if found is not None:
        return found
    if isinstance(value, Mapping):
        return {key: _replaced(item, replace) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_replaced(item, replace) for item in value)
    return value


def _traits(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Return what tells most tensors apart at no cost: type, shape, and the values of three places."""
    places = [
        tuple(at(size) for size in tensor.shape) for at in (lambda _: 0, lambda n: n // 2, lambda n: n - 1)
    ]
    return tensor.dtype, tuple(tensor.shape), *torch.stack([tensor[place] for place in places]).tolist()


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    # As bytes: as numbers, 0 and -0 are the same.
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
