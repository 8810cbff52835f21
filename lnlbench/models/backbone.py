"""What a backbone is, and the interface of the sources that backbones come from.

A source is the target of an entry point in the group ``lnlbench.backbones``. A plugin
subclasses :class:`BackboneSource` and implements :meth:`~BackboneSource.missing` and
:meth:`~BackboneSource.load`.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, ClassVar

import torch
from torch import nn

from lnlbench.basics.seeding import derive_seed
from lnlbench.errors import UsageError, WeightsError, did_you_mean, suggest
from lnlbench.models.preprocessing import Preprocessing
from lnlbench.models.text.text_side import TextSide
from lnlbench.spec import BackboneSpec, Scalar, split_reference


@dataclass
class Backbone:
    """A network without its head, ready to use.

    Attributes
    ----------
    name : str
        Name as tables print it.
    module : nn.Module
        Maps normalised images, float [B, 3, S, S], to pooled features [B, feature_dim].
    feature_dim : int
    preprocessing : Preprocessing
        From uint8 images to the module's input.
    fingerprint : str
        SHA-256, in hexadecimal, of the architecture and the content of the weights; does
        not depend on where they are stored. See :func:`fingerprint`.
    """

    name: str
    module: nn.Module
    feature_dim: int
    preprocessing: Preprocessing
    fingerprint: str


class BackboneSource(ABC):
    """Where backbones come from: one embedded model, or a library of models.

    Attributes
    ----------
    summary : str
        One line. Default: the first line of the class's docstring, which
        ``lnlbench list backbones`` shows.
    takes_reference : bool
        The name is followed by what to load, as in ``timm:resnet50``.
    takes_revision : bool
        ``BackboneSpec.revision`` means something here.
    pretrained : bool
        There are pre-trained weights; without, ``weights = "none"`` has to be set.
    option_defaults : mapping of str to value
        Options of :class:`~lnlbench.spec.BackboneSpec` that the source reads.
    title : str
        How tables write its name. Default: as it is.
    paper, licence, homepage : str
        What to cite, and under what to use it; ``lnlbench list`` shows them.
    forward_gmacs : (float, int) or None
        Multiply-accumulate operations of one forward pass, in thousands of millions, and the image
        side in pixels that they belong to: matrix products and convolutions, as
        ``torch.utils.flop_counter`` counts them. Plans estimate GPU hours from it.
    library_module : str
        Where the library's own model is in the backbone, as ``get_submodule`` takes it: what the library's
        other tools load (adapters, say) has the names of that. Default "": it is the backbone.
    normalises_batches : bool
        Its networks have batch normalisation; plans warn of images that are scaled up. Default False, also
        where it depends on the model.
    """

    summary: ClassVar[str]
    takes_reference: ClassVar[bool] = False
    takes_revision: ClassVar[bool] = False
    pretrained: ClassVar[bool] = True
    option_defaults: ClassVar[Mapping[str, Scalar]] = {}
    # Literals, since they are read from the source: see lnlbench.plugins.describe.
    title: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    licence: ClassVar[str] = ""
    homepage: ClassVar[str] = ""
    forward_gmacs: ClassVar[tuple[float, int] | None] = None
    library_module: ClassVar[str] = ""
    normalises_batches: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "summary" not in vars(cls):
            cls.summary = (cls.__doc__ or "").partition("\n")[0]

    @abstractmethod
    def missing(self, reference: str | None, spec: BackboneSpec) -> str | None:
        """Say what is not on this machine and what to do about it, or None if nothing is.

        Cheap: looks at local files and caches, never at the network.

        Raises
        ------
        UsageError
            If no such model exists.
        """

    @abstractmethod
    def load(self, spec: BackboneSpec, seed: int) -> Backbone:
        """Return the backbone, on the CPU, in float32.

        Must leave the global random state as it was: see :func:`initialisation`.

        Parameters
        ----------
        spec : BackboneSpec
        seed : int
            With ``weights="none"`` the initial weights depend on it, and on nothing else.

        Raises
        ------
        WeightsError
            If weights are missing, unreadable or of an unsafe format.
        UsageError
            If the model or an option does not exist.
        """

    # Texts: a source whose models read none leaves these as they are.

    def without_text(self, spec: BackboneSpec) -> str | None:
        """Say why a model reads no texts, for plans; None if it does, or if its files are not here yet."""
        return f"backbone {spec.label} reads no texts"

    def missing_text(self, spec: BackboneSpec) -> str | None:
        """As :meth:`missing`, of what texts need besides."""
        return None

    def text(self, spec: BackboneSpec) -> TextSide:
        """Return the text side of the model whose features :meth:`load` gives.

        Raises
        ------
        UsageError
            If it has none.
        WeightsError
            If weights or tokeniser are missing or unreadable.
        """
        raise UsageError(
            f"{str(self.without_text(spec)).capitalize()}.",
            "Choose CLIP: clip_vit_b, or hf: with its folder.",
        )

    def reference(self, spec: BackboneSpec) -> str:
        """Return what follows the colon in the spec's name."""
        scheme, reference = split_reference(spec.name)
        if not reference:
            raise UsageError(f"Backbone '{spec.name}' does not say which model.", f"Write {scheme}:NAME.")
        return reference

    def options(self, spec: BackboneSpec) -> dict[str, Any]:
        """Return the spec's options over :attr:`option_defaults`.

        Raises
        ------
        UsageError
            If the spec asks for what this source does not have: an option, a revision,
            pre-trained weights, or a choice among several models.
        """
        scheme, reference = split_reference(spec.name)
        if reference is not None and not self.takes_reference:
            raise UsageError(
                f"Backbone '{scheme}' is one model, but '{spec.name}' is asked for.", f"Write {scheme}."
            )
        if spec.weights == "pretrained" and not self.pretrained:
            raise UsageError(
                f"Backbone '{spec.name}' has no pre-trained weights; it is trained from scratch.",
                'Set backbone_options.weights = "none".',
            )
        if spec.revision is not None and not self.takes_revision:
            raise UsageError(
                f"Backbone '{spec.name}' has no revisions, but revision = '{spec.revision}' is set.",
                "Leave it out: revisions belong to weights of the Hugging Face hub.",
            )
        for name, _ in spec.options:
            if name not in self.option_defaults:
                raise UsageError(
                    f"Backbone '{spec.name}' has no option '{name}'.", suggest(name, self.option_defaults)
                )
        return {**self.option_defaults, **dict(spec.options)}


@contextmanager
def initialisation(seed: int) -> Iterator[None]:
    """Draw initial weights from ``seed`` alone and restore the CPU's random state afterwards."""
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would seed every accelerator as well.
        torch.default_generator.manual_seed(derive_seed("backbone", seed))
        yield


def fingerprint(architecture: str, module: nn.Module) -> str:
    """Return the SHA-256 of an architecture's name and a module's parameters and buffers.

    Parameters
    ----------
    architecture : str
        Everything but weights and preprocessing that the features depend on.
    module : nn.Module
    """
    digest = hashlib.sha256(architecture.encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def finish(
    spec: BackboneSpec, architecture: str, module: nn.Module, preprocessing: Preprocessing
) -> Backbone:
    """Try the module on its input size, measure its feature dimension, and return the backbone.

    Parameters
    ----------
    spec : BackboneSpec
    architecture : str
        See :func:`fingerprint`.
    module : nn.Module
    preprocessing : Preprocessing
        Already of the spec's image size.

    Raises
    ------
    WeightsError
        If the module rejects images of that size, or does not return [B, D].
    """
    size = preprocessing.size
    module.eval()
    try:
        with torch.inference_mode():
            features = module(torch.zeros(2, 3, size, size))
    except (RuntimeError, ValueError, AssertionError, ZeroDivisionError) as error:
        # What architectures raise for inputs that they are not built for.
        raise WeightsError(
            f"Backbone '{spec.label}' does not take images of {size} px ({error}).",
            "Set another image_size, or leave it out for the model's own.",
        ) from error
    if not isinstance(features, torch.Tensor) or features.ndim != 2:
        raise WeightsError(
            f"Backbone '{spec.label}' does not return one feature vector per image.",
            "Choose an image classification model.",
        )
    return Backbone(spec.label, module, features.shape[1], preprocessing, fingerprint(architecture, module))


def unknown_model(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Return the error for a model that a library of hundreds does not have."""
    close = get_close_matches(name, sorted(known), n=3, cutoff=0.5)
    return UsageError(f"{kind} has no model '{name}'.", did_you_mean(close) if close else None)
