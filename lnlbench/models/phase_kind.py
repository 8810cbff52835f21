"""What learns in a phase: the interface of a kind of phase, for ours and for plugins'.

A tuning mode is a sequence of kinds, joined by ``-``: in ``lp-fft`` the head learns first, then
everything. An entry point of the group ``lnlbench.phase_kinds`` names a subclass of
:class:`PhaseKind`; the rest of lnlbench asks it, and knows no kind by name.

Neither this module nor one that defines a kind of ours imports torch at its top: reading a grid
asks kinds for their settings.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, get_args, get_type_hints

from lnlbench.errors import PluginError
from lnlbench.spec import PhaseSpec, Skip, TrialSpec, freeze_options

if TYPE_CHECKING:
    import torch

    from lnlbench.models.network import Network

# Fields of PhaseSpec that mean something to some kinds only, which name them in `takes`.
_TAKEN = ("cache", "views", "batch_norm")
_NEVER_SET = ("kind", "options", "at_default")
_PLAIN = (int, float, bool, str, types.NoneType)


@dataclass(frozen=True)
class NoOptions:
    """For kinds without options of their own."""


@dataclass(frozen=True)
class AddedWeights:
    """What a kind has added to a backbone, in the format of the library that made it.

    Attributes
    ----------
    configuration : dict
        A JSON value, in peft's terms.
    weights : dict of str to torch.Tensor
        Under peft's names.
    base : dict of str to torch.Tensor
        All else of the backbone, under the names that it had without.
    """

    configuration: dict[str, Any]
    weights: dict[str, torch.Tensor]
    base: dict[str, torch.Tensor]


class PhaseKind:
    """A kind of phase: which parameters learn.

    Class attributes
    ----------------
    title : str
        What tables write. Default: the registered name.
    keeps_features : bool
        The backbone stays as it is, so features that it made once hold for the whole phase, nothing goes
        backward through it, and a data set of features will do. Default False.
    takes : tuple of str
        Which of the fields ``cache``, ``views`` and ``batch_norm`` of :class:`lnlbench.spec.PhaseSpec` a
        phase of this kind can be set; the first two need ``keeps_features``. Default none.
    augmentation : {"none", "weak"}
        What a grid that does not say trains on. Default ``weak``.
    counts_backward : bool
        What a backward pass costs depends on the network, so a trial counts it on its own before the phase,
        and :meth:`backward_units` is for plans alone. Default False.
    settings_of : str
        Another kind, whose settings (epochs, learning rate, …) hold for a phase of this one where a grid
        gives none of its own; "" for a kind whose epochs must be given. Default "".
    Options : frozen dataclass
        Options of its own, each an ``int``, ``float``, ``bool`` or ``str`` (or None) with a default.
        Grids set them as ``KIND.NAME``. Check values in its ``__post_init__`` by raising ``UsageError``.

    Attributes
    ----------
    phase : PhaseSpec
    options
        An instance of ``Options``.
    """

    title: ClassVar[str] = ""
    keeps_features: ClassVar[bool] = False
    takes: ClassVar[tuple[str, ...]] = ()
    augmentation: ClassVar[str] = "weak"
    counts_backward: ClassVar[bool] = False
    settings_of: ClassVar[str] = ""
    Options: ClassVar[type[Any]] = NoOptions

    def __init__(self, phase: PhaseSpec) -> None:
        self.phase = phase
        self.options = self.Options(**dict(phase.options))

    @classmethod
    def supports(cls, spec: TrialSpec, phase: PhaseSpec) -> Skip | None:
        """Say at plan time why a trial cannot have this phase, or None. Must not look at ``spec.noise``."""
        return None

    def backward_units(self) -> float:
        """Return what a backward pass of one image costs, where a forward pass costs 1.

        Default 2: one for the gradient of activations and one for that of weights. The ledger's costs and
        the estimate of a dry run rest on it.
        """
        return 2.0

    def prepare(self, network: Network) -> None:
        """Get a network of the trial ready: say what learns, or put modules of the kind's own in.

        Called for every network of the method when the phase starts, before ``Method.begin_phase``, with
        torch's global generator seeded for it. ``network.build()`` is the network's own copy of the
        backbone, which may be changed; :meth:`lnlbench.models.network.Network.freeze` and ``learn`` say
        what of it learns. When a trial is continued, the phases that are over prepare the new network too,
        in their order, and then the saved state is loaded into it.

        Raises
        ------
        TrialError
            If this backbone has not what the kind looks for.
        """
        raise PluginError(f"{type(self).__name__} does not define prepare().", "See lnlbench.api.PhaseKind.")

    def fold(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor] | None:
        """Return a backbone's state with the modules of :meth:`prepare` folded into what was there before.

        Models are saved so, and made without the kind when they are loaded. Default None: the modules
        cannot be folded, or there are none; the kind prepares the loaded network.

        Parameters
        ----------
        state : mapping of str to torch.Tensor
            Of a backbone that was prepared.
        """
        return None

    def adapter(self, state: Mapping[str, torch.Tensor]) -> AddedWeights | None:
        """Return what was added to a backbone, for files beside a saved model. Default None."""
        return None

    # How settings are declared and read; not for overriding

    @classmethod
    def settings(cls) -> dict[str, Any]:
        """Return what can be set for a phase of this kind: names and their types.

        Raises
        ------
        PluginError
            If the class declares something that cannot be.
        """
        common = get_type_hints(PhaseSpec)
        left_out = (*_NEVER_SET, *(name for name in _TAKEN if name not in cls.takes))
        known = {name: annotation for name, annotation in common.items() if name not in left_out}
        if unknown := [name for name in cls.takes if name not in _TAKEN]:
            raise PluginError(f"{cls.__name__}.takes has {unknown[0]!r}.", f"It takes some of {_TAKEN}.")
        if not cls.keeps_features and {"cache", "views"}.intersection(cls.takes):
            raise PluginError(
                f"{cls.__name__} takes a cache, but does not keep the features that it would hold.",
                "Set keeps_features = True if the backbone stays as it is.",
            )
        for name, annotation in get_type_hints(cls.Options).items():
            allowed = get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
            if name in common or not set(allowed) <= set(_PLAIN):
                raise PluginError(
                    f"{cls.__name__}.Options.{name} cannot be an option.",
                    "Its type is int, float, bool or str, or one of these or None; its name is none of "
                    f"{', '.join(common)}.",
                )
            known[name] = annotation
        return known

    @classmethod
    def resolve(cls, name: str, values: Mapping[str, Any]) -> PhaseSpec:
        """Return a phase of this kind, registered as ``name``, from the settings that are given.

        Raises
        ------
        UsageError
            If a value is out of range.
        """
        own = {item.name for item in dataclasses.fields(cls.Options)}
        try:
            default = cls.Options()
        except TypeError as error:
            raise PluginError(f"{cls.__name__}.Options: {error}.", "Give every option a default.") from error
        options = dataclasses.asdict(
            dataclasses.replace(default, **{key: value for key, value in values.items() if key in own})
        )
        fields = {key: value for key, value in values.items() if key not in own}
        return PhaseSpec(
            name,
            **({"augmentation": cls.augmentation} | fields),
            options=freeze_options(options),
            at_default=tuple(sorted(key for key in own if options[key] == getattr(default, key))),
        )

    @classmethod
    def is_cached(cls, phase: PhaseSpec) -> bool:
        """Whether a phase of this kind trains on features that were extracted once."""
        return "cache" in cls.takes and phase.cache
