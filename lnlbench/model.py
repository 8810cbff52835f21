"""The networks of a trial: how they are made, and what they start from."""

from __future__ import annotations

import torch
from torch import nn

from lnlbench.ledger import Ledger
from lnlbench.models.calibration import Execution
from lnlbench.models.network import Network
from lnlbench.seeding import derive_seed
from lnlbench.spec import BackboneSpec
from lnlbench.workspace import Workspace


class Model:
    """Makes the networks of a trial, and remembers them.

    Methods hold a reference to it, so it knows neither labels nor noise.

    Parameters
    ----------
    spec : BackboneSpec
    classes, seed : int
    precision : {"auto", "fp32", "bf16"}
    workspace : Workspace
    ledger : Ledger
    given_features : int or None
        Length of the feature vectors of a data set that has no images, and so needs no backbone.

    Attributes
    ----------
    networks : list of Network
        All that the method has asked for.
    backbone : Backbone or None
    execution : Execution
        Precision and layout; the default for a data set of features.
    feature_dim : int
    fingerprint : str
        Of the backbone; "" for a data set of features.
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
        given_features: int | None = None,
    ) -> None:
        self.spec = spec
        self.classes = classes
        self.seed = seed
        self.networks: list[Network] = []
        self._workspace = workspace
        self._ledger = ledger
        if given_features is not None:
            self.backbone = None
            self.execution = Execution()
            self.feature_dim, self.fingerprint = given_features, ""
        else:
            self.backbone = workspace.backbone(spec, seed)
            self.execution = workspace.execution(spec, seed, precision)
            self.feature_dim, self.fingerprint = self.backbone.feature_dim, self.backbone.fingerprint

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
            lambda: self._workspace.fresh_backbone(self.spec, start),
            ledger=self._ledger,
            device=self._workspace.device,
            execution=self.execution,
        )
        self.networks.append(network)
        return network
