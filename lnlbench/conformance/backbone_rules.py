"""Checks of a backbone: what it says of itself, and what it does with images, for each choice of weights."""

from __future__ import annotations

import copy
import dataclasses
import re
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from lnlbench.conformance.rules import NotApplicable, Rule, Verdict, rule
from lnlbench.errors import UsageError, WeightsError
from lnlbench.models.backbone import Backbone, BackboneSource
from lnlbench.models.calibration import Execution
from lnlbench.models.ledger import Ledger
from lnlbench.models.network import Network
from lnlbench.spec import BackboneSpec, Scalar

CHECKPOINTING = "gradient_checkpointing"

# Kernels differ between batch sizes in the order of their sums; a feature that depends on its
# companions (a batch statistic) is off by far more.
TOLERANCE = 1e-3

# Share of the numbers in its parameters: models of libraries have a token or a pooler that nothing uses.
REACHED = 0.9


@dataclass
class BackboneSubject:
    """A backbone with one choice of weights, loaded when a rule first asks for it.

    Attributes
    ----------
    source : BackboneSource
    spec : BackboneSpec
    """

    source: BackboneSource
    spec: BackboneSpec

    def load(self, seed: int = 0, **changes: object) -> Backbone:
        """Load it anew, with some fields of the spec changed."""
        return self.source.load(dataclasses.replace(self.spec, **changes), seed)  # type: ignore[arg-type]

    @cached_property
    def backbone(self) -> Backbone:
        """The backbone that all rules look at; none changes it."""
        return self.load()

    @cached_property
    def inputs(self) -> torch.Tensor:
        """Four different images, preprocessed, [4, 3, S, S]."""
        side = self.backbone.preprocessing.size
        return self.backbone.preprocessing(_noise(4, side, side))

    def features(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the features of a batch, in eval mode."""
        with torch.no_grad():
            features: torch.Tensor = self.backbone.module.eval()(inputs)
        return features.detach()


def _noise(count: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)


SOURCE_RULES: list[Rule[BackboneSource]] = []
BACKBONE_RULES: list[Rule[BackboneSubject]] = []


@rule("documented", SOURCE_RULES)
def has_summary(source: BackboneSource) -> Verdict:
    """The class has a docstring or a summary; lists show its first line."""
    return None if source.summary.strip() else f"class {type(source).__name__} has neither"


@rule("loads", BACKBONE_RULES)
def backbone_loads(subject: BackboneSubject) -> Verdict:
    """It loads on the CPU, in float32, and leaves torch's global random generator as it was."""
    before = torch.get_rng_state()
    backbone = subject.backbone
    if not torch.equal(before, torch.get_rng_state()):
        return "the global random state has changed: build the module inside initialisation(seed)"
    if not isinstance(backbone, Backbone):
        return f"load() returns {type(backbone).__name__}, not a Backbone: return finish(…)"
    for name, tensor in backbone.module.state_dict().items():
        if tensor.device.type != "cpu":
            return f"{name} is on {tensor.device}"
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            return f"{name} is {tensor.dtype}"
    return None


@rule("features", BACKBONE_RULES)
def features_are_as_declared(subject: BackboneSubject) -> Verdict:
    """Features are finite float32 of shape [B, feature_dim], and not the same for all images."""
    features = subject.features(subject.inputs)
    expected = (len(subject.inputs), subject.backbone.feature_dim)
    if tuple(features.shape) != expected:
        return f"features have shape {tuple(features.shape)}; feature_dim promises {expected}"
    if features.dtype != torch.float32:
        return f"features are {features.dtype}"
    side = subject.backbone.preprocessing.size
    flat = torch.stack([torch.full((3, side, side), value, dtype=torch.uint8) for value in (0, 255)])
    extremes = subject.features(subject.backbone.preprocessing(flat))
    for values, what in ((features, "noise"), (extremes, "black and white")):
        if not torch.isfinite(values).all():
            return f"features of {what} are not finite"
    if bool((features == features[0]).all()):
        return "four different images have the same features"
    return None


@rule("preprocessing", BACKBONE_RULES)
def preprocessing_is_as_declared(subject: BackboneSubject) -> Verdict:
    """Images of any size become finite float32 [B, 3, S, S], with zero between black and white."""
    preprocessing = subject.backbone.preprocessing
    side = preprocessing.size
    for height, width in ((8, 8), (side + 9, side), (side, 2 * side + 1)):
        inputs = preprocessing(_noise(2, height, width))
        if tuple(inputs.shape) != (2, 3, side, side) or inputs.dtype != torch.float32:
            return f"images of {height} × {width} become {inputs.dtype} of shape {tuple(inputs.shape)}"
        if not torch.isfinite(inputs).all():
            return f"images of {height} × {width} become numbers that are not finite"
    black, white = (
        preprocessing(torch.full((1, 3, side, side), value, dtype=torch.uint8)).mean((0, 2, 3))
        for value in (0, 255)
    )
    if not bool(((black <= 0) & (white >= 0) & (black < white)).all()):
        return (
            f"black becomes {_list(black)} and white {_list(white)}: "
            f"mean and std belong to pixels multiplied by rescale ({preprocessing.rescale:g})"
        )
    return None


def _list(values: torch.Tensor) -> str:
    return ", ".join(f"{value:.3g}" for value in values.tolist())


@rule("image_size", BACKBONE_RULES)
def image_size_is_obeyed(subject: BackboneSubject) -> Verdict:
    """Another image_size is what the network then gets, or is refused with a WeightsError or UsageError."""
    own = subject.backbone.preprocessing.size
    other = 2 * own if own <= 64 else own - 32
    try:
        found = subject.load(image_size=other)
    except (WeightsError, UsageError) as error:
        return NotApplicable(str(error))
    size = found.preprocessing.size
    return None if size == other else f"image_size = {other} gives {size} px: use preprocessing.with_size(…)"


@rule("deterministic", BACKBONE_RULES)
def eval_is_deterministic(subject: BackboneSubject) -> Verdict:
    """In eval mode the same images have the same features bit for bit, and a pass changes nothing in it."""
    before = _state(subject.backbone.module)
    first, second = (subject.features(subject.inputs) for _ in range(2))
    if not torch.equal(first, second):
        return f"features differ by up to {float((first - second).abs().max()):.2g} between two passes"
    changed = _changed(before, _state(subject.backbone.module))
    return f"a pass in eval mode changes {changed}" if changed else None


@rule("companions", BACKBONE_RULES)
def features_are_independent(subject: BackboneSubject) -> Verdict:
    """The features of an image depend neither on the size of its batch nor on the other images in it."""
    together = subject.features(subject.inputs)
    alone = torch.cat([subject.features(image[None]) for image in subject.inputs])
    others = torch.cat([subject.inputs[:1], subject.inputs[1:].flip(0) * 0.5])
    scale = float(together.abs().max()) or 1.0
    for features, reference, where in (
        (alone, together, "alone and in a batch"),
        (subject.features(others)[:1], together[:1], "among other images"),
    ):
        difference = float((features - reference).abs().max())
        if difference > TOLERANCE * scale:
            return f"features differ by {difference:.2g} {where} (the largest feature is {scale:.2g})"
    return None


@rule("gradients", BACKBONE_RULES)
def gradients_reach(subject: BackboneSubject) -> Verdict:
    """In training mode, finite gradients reach its parameters (nine in ten of their numbers)."""
    module = copy.deepcopy(subject.backbone.module)
    gradients = _gradients(module, subject.inputs)
    sizes = {name: parameter.numel() for name, parameter in module.named_parameters()}
    if not sizes:
        return "it has no parameters"
    broken = [name for name, gradient in gradients.items() if not torch.isfinite(gradient).all()]
    if broken:
        return f"the gradient of {broken[0]} is not finite"
    if not any(bool(gradient.any()) for gradient in gradients.values()):
        return "all gradients are 0"
    without = [name for name in sizes if name not in gradients]
    share = 1 - sum(sizes[name] for name in without) / sum(sizes.values())
    return None if share >= REACHED else f"they reach {share:.0%}, and not {', '.join(without[:5])}"


def _gradients(module: nn.Module, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the gradients of a random sum of the features, in training mode."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # dropout
        module.train().requires_grad_(True)
        features = module(inputs)
        features.backward(torch.randn(features.shape, generator=torch.Generator().manual_seed(0)))
    return {
        name: parameter.grad for name, parameter in module.named_parameters() if parameter.grad is not None
    }


@rule("frozen", BACKBONE_RULES)
def frozen_stays(subject: BackboneSubject) -> Verdict:
    """A frozen backbone is bit-equal after a step of linear probing, running statistics included."""
    module = copy.deepcopy(subject.backbone.module)
    head = nn.Linear(subject.backbone.feature_dim, 3)
    network = Network(
        head, lambda: module, ledger=Ledger(), device=torch.device("cpu"), execution=Execution()
    )
    network.freeze(True)
    network.train()
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1.0)
    before = _state(module)
    network(subject.inputs).square().sum().backward()
    optimizer.step()
    changed = _changed(before, _state(module))
    return f"it changes {changed}" if changed else None


def _state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def _changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> str:
    return ", ".join(name for name in before if not torch.equal(before[name], after[name]))


@rule("fingerprint", BACKBONE_RULES)
def fingerprint_tells(subject: BackboneSubject) -> Verdict:
    """Its fingerprint is that of its weights: the same when it is loaded again, another for others.

    With ``weights = "none"`` weights follow the seed; pre-trained ones do not.
    """
    first, again, other = subject.backbone, subject.load(), subject.load(seed=1)
    if not re.fullmatch("[0-9a-f]{64}", first.fingerprint):
        return f"'{first.fingerprint}' is no SHA-256 in hexadecimal: return finish(…)"
    if _changed(_state(first.module), _state(again.module)):
        return "loading it twice with one seed gives different weights"
    if first.fingerprint != again.fingerprint:
        return "loading it twice gives two fingerprints"
    if subject.spec.weights == "none":
        if not _changed(_state(first.module), _state(other.module)):
            return "another seed gives the same weights: build the module inside initialisation(seed)"
        return None if first.fingerprint != other.fingerprint else "other weights have the same fingerprint"
    if _changed(_state(first.module), _state(other.module)) or first.fingerprint != other.fingerprint:
        return "pre-trained weights depend on the seed"
    reference = subject.spec.name.partition(":")[2] or None
    untrained = dataclasses.replace(subject.spec, weights="none")
    if subject.source.missing(reference, untrained) is not None:
        return None
    if subject.source.load(untrained, 0).fingerprint == first.fingerprint:
        return "weights = none has the same fingerprint as the pre-trained weights"
    return None


@rule("checkpointing", BACKBONE_RULES)
def checkpointing_changes_nothing(subject: BackboneSubject) -> Verdict:
    """With gradient_checkpointing, weights, gradients and running statistics are the same."""
    if CHECKPOINTING not in subject.source.option_defaults:
        return NotApplicable("it does not offer it")
    options: tuple[tuple[str, Scalar], ...] = ((CHECKPOINTING, True),)
    plain, saving = copy.deepcopy(subject.backbone.module), subject.load(options=options).module
    if _state(plain).keys() != _state(saving).keys() or _changed(_state(plain), _state(saving)):
        return "its weights have other names or values"
    gradients = [_gradients(module, subject.inputs) for module in (plain, saving)]
    states = [_state(module) for module in (plain, saving)]
    for (expected, found), what in ((gradients, "gradient"), (states, "state")):
        for name, tensor in expected.items():
            if name not in found or not torch.allclose(
                tensor, found[name], rtol=1e-3, atol=1e-4 * (1 + float(tensor.abs().max()))
            ):
                return f"after a step, the {what} of {name} is another"
    return None


@rule("options", BACKBONE_RULES)
def misspelt_options_are_refused(subject: BackboneSubject) -> Verdict:
    """An option that it does not have is a UsageError: a misspelt one must not go unnoticed."""
    try:
        subject.load(options=(("no_such_option", 1),))
    except UsageError:
        return None
    return "no_such_option = 1 is accepted: call self.options(spec) in load()"
