"""The interface of a method: its verbs, in the order in which they are called."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias

import torch

from lnlbench.api.heads import Heads
from lnlbench.api.method_state import collect, restore
from lnlbench.api.phase import Batch, Phase
from lnlbench.basics.facts import cost_units
from lnlbench.errors import PluginError, UsageError, suggest
from lnlbench.models.network import Network
from lnlbench.models.text.class_texts import ClassTexts
from lnlbench.spec import MethodSpec, Skip, TrialSpec, freeze_options, split_reference


@dataclass(frozen=True, slots=True)
class Preset:
    """A named set of parameter values.

    Attributes
    ----------
    values : dict
        Parameters that differ from the defaults.
    source : str
        Where the values come from.
    noise_aware : bool
        The values depend on the noise, which no method knows in practice. Records and tables
        flag it.
    """

    values: Mapping[str, Any]
    source: str
    noise_aware: bool = False


@dataclass(frozen=True, slots=True)
class Views:
    """How many augmented views of each sample one step of a method looks at."""

    weak: int = 0
    strong: int = 0


@dataclass(frozen=True, slots=True)
class Passes:
    """Expected passes through backbones, in multiples of the number of training samples.

    Attributes
    ----------
    forward : float
        Without gradient.
    trained : float
        Forward with gradient, and backward if the backbone learns.
    """

    forward: float = 0.0
    trained: float = 0.0

    def __add__(self, other: Passes) -> Passes:
        """Return the passes of both."""
        return Passes(self.forward + other.forward, self.trained + other.trained)

    def times(self, epochs: float) -> Passes:
        """Return the passes of several epochs."""
        return Passes(self.forward * epochs, self.trained * epochs)

    @property
    def units(self) -> float:
        """Cost if the backbone learns: a forward pass 1, a backward pass 2."""
        return cost_units(self.forward + self.trained, backward=self.trained)


@dataclass(frozen=True, slots=True)
class Task:
    """What a method is told about its problem before training.

    Attributes
    ----------
    labels : torch.Tensor, int64 ``[N]``
        Given labels, possibly wrong, on the CPU. The true ones, the noise type and its rate
        are not to be had.
    class_names : tuple of str
        One for each class, in the order of the labels.
    device : torch.device
    """

    labels: torch.Tensor
    class_names: tuple[str, ...]
    device: torch.device
    _make_network: Callable[[int], Network]
    _embed: Callable[[tuple[str, ...]], ClassTexts] | None = None

    @property
    def classes(self) -> int:
        """Number of classes, C."""
        return len(self.class_names)

    @property
    def samples(self) -> int:
        """Number of training samples, N."""
        return len(self.labels)

    def network(self, number: int = 0) -> Network:
        """Return a network; each ``number`` has head weights of its own.

        Networks made here are counted by the ledger, frozen or not as the phase says, in
        train mode in :meth:`Method.epoch` and in eval mode in :meth:`Method.predict`.
        """
        return self._make_network(number)

    def texts(self, templates: tuple[str, ...] = ()) -> ClassTexts:
        """Return the texts of the classes, embedded by the backbone's text side, on the device.

        Only for methods that say so in :meth:`Method.reads_texts`.

        Parameters
        ----------
        templates : tuple of str
            Sentences with ``{}`` for the name of a class. Default the data set's own.

        Raises
        ------
        UsageError
            If the backbone reads no texts, or a template has no place for a name.
        """
        if self._embed is None:
            raise UsageError("Nothing here reads texts.", "Choose CLIP as the backbone: clip_vit_b, say.")
        return self._embed(templates)


@dataclass(frozen=True)
class NoParams:
    """For methods without parameters."""


class DataclassInstance(Protocol):
    """Any instance of a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


class Method:
    """A method of learning with noisy labels.

    Class attributes
    ----------------
    Params : frozen dataclass
        Parameters with their defaults. Check values in its ``__post_init__`` with
        :func:`one_of` or by raising :class:`UsageError`.
    views : Views
        Augmented views that a step asks for; linear probing extracts as many in advance. A class
        attribute, or a property where they depend on ``self.params``.
    title : str
        Name in tables and figures. Default "": the registered name.
    paper, licence, homepage : str
        What to cite, and under what to use it; ``lnlbench list`` shows them. These and the title are
        read from the source, so write them as literals.
    presets : dict of Preset
        Named settings, chosen with ``--set methods.NAME.preset=…``.
    dataset_defaults : dict
        Per data set, parameters that differ from the defaults: the noise-agnostic
        setting of that data set.
    predicting_networks : int
        How many backbones :meth:`predict` passes an input through. Default 1.
    distributed : bool
        Several processes may share a trial's passes through the backbone (``--processes-per-trial``): every
        step is one of :meth:`Phase.step`, images reach a backbone only through networks of
        :meth:`Task.network`, called on whole batches, and random numbers come from the phase. Not inherited:
        a subclass says it again. Default False.
    unsaved : tuple of str
        Attributes that checkpoints leave out, because :meth:`setup` or :meth:`begin_phase` makes
        them anew. Default none.

    Attributes
    ----------
    params
        An instance of ``Params``.
    network : Network
        Made by the default :meth:`setup`.
    """

    Params: ClassVar[type[Any]] = NoParams
    title: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    licence: ClassVar[str] = ""
    homepage: ClassVar[str] = ""
    presets: ClassVar[Mapping[str, Preset]] = {}
    dataset_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    predicting_networks: ClassVar[int] = 1
    distributed: ClassVar[bool] = False
    unsaved: ClassVar[tuple[str, ...]] = ()
    # So that a method can name the type without an import, which would count as a change of its code.
    Heads: TypeAlias = Heads

    network: Network
    optimizer: torch.optim.Optimizer

    def __init__(self, params: Any) -> None:
        self.params = params

    @property
    def views(self) -> Views:
        """Augmented views that a step asks for: none. Override it by a class attribute or a property."""
        return Views()

    # Before training

    @classmethod
    def supports(cls, spec: TrialSpec) -> Skip | None:
        """Say why a trial cannot be run, or None. Must not look at ``spec.noise``."""
        return None

    @classmethod
    def reads_texts(cls, spec: TrialSpec) -> bool:
        """Whether a trial asks for :meth:`Task.texts`; plans skip it where the backbone reads none.

        Default False. May look at ``spec.method``.
        """
        return False

    @classmethod
    def expected_passes(cls, spec: TrialSpec, share: float) -> tuple[Passes, ...]:
        """Return what training is expected to cost, phase by phase, for the estimate of a dry run.

        Default: every sample is trained on once an epoch. What is counted in a trial comes from
        the ledger and does not depend on this.

        Parameters
        ----------
        spec : TrialSpec
        share : float
            Share ρ of the samples that a method which selects is assumed to select.
        """
        return tuple(Passes(trained=phase.epochs) for phase in spec.phases)

    def setup(self, task: Task) -> None:
        """Make networks and state. Called once per trial."""
        self.network = task.network()

    def begin_phase(self, phase: Phase) -> None:
        """Get ready for a phase. Networks are already frozen, or not, as it says."""
        self.optimizer = phase.optimizer(self.network)

    # Training and evaluation, in turn

    def epoch(self, phase: Phase) -> None:
        """Train for one epoch. Default: one pass over all samples with :meth:`loss`."""
        views = self.views
        for batch in phase.batches(weak=views.weak, strong=views.strong):
            phase.step(self.optimizer, self.loss(batch))

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the scalar training loss of a batch."""
        raise PluginError(
            f"{type(self).__name__} defines neither loss() nor epoch().",
            "A method needs one of the two; see lnlbench.api.",
        )

    def predict(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return logits ``[B, C]`` for evaluation; called without gradient, in eval mode."""
        return self.network(inputs)  # type: ignore[no-any-return]

    # Several trials at once, for linear probing; optional

    @staticmethod
    def head_losses(heads: Heads, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the losses of K trials of this method on one batch, each that of :meth:`loss`, ``[K]``.

        A method that defines it lets its linear probing be trained together with other trials' that see the
        same batches; see :mod:`lnlbench.trials.batched`. All of :meth:`setup`, :meth:`begin_phase`,
        :meth:`epoch`, :meth:`loss`, :meth:`predict` and ``views`` must be what it stands for: where a
        subclass replaces one of them and not this, its trials are trained one by one. It must give what
        :meth:`loss` gives, and is no part of the fingerprint of the method's code.

        Parameters
        ----------
        heads : Heads
            Parameters and state of the K trials.
        logits : torch.Tensor, ``[K, B, C]``
            Of ``batch.inputs``, by each trial's head. What is returned is differentiated by them.
        batch : Batch
            The one that all of them see.
        """
        raise PluginError("This method has no head_losses().", "Its trials are trained one by one.")

    # State, for checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Return all that training has changed: by default every attribute but ``params`` and ``unsaved``.

        See :mod:`lnlbench.api.method_state` for what becomes of which attribute.

        Raises
        ------
        PluginError
            If an attribute cannot be saved, with its name.
        """
        attributes = {
            name: value
            for name, value in vars(self).items()
            if name != "params" and name not in self.unsaved and not isinstance(value, (Task, Phase))
        }
        return {"attributes": collect(attributes, type(self).__name__)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`; called after :meth:`begin_phase`."""
        vars(self).update(restore(vars(self), state["attributes"], type(self).__name__))

    # How parameters are resolved; not for overriding

    @classmethod
    def resolve(
        cls, name: str, dataset: str, given: Mapping[str, Any], preset: str | None = None
    ) -> MethodSpec:
        """Resolve all parameters: defaults, then the data set's, the preset's, the given ones.

        Parameters
        ----------
        name : str
            Registered name of the method.
        dataset : str
            Name of the data set, for ``dataset_defaults``.
        given : dict
            Values from a grid or the command line.
        preset : str, optional
            Name of a preset.

        Raises
        ------
        PluginError
            For an unknown parameter or preset, or a value of the wrong type.
        """
        known = {item.name: item for item in dataclasses.fields(cls.Params)}
        values: dict[str, Any] = dict(cls.dataset_defaults.get(split_reference(dataset)[0], {}))
        noise_aware = False
        if preset not in (None, "default"):
            if preset not in cls.presets:
                raise PluginError(
                    f"Method '{name}' has no preset '{preset}'.", suggest(str(preset), cls.presets)
                )
            values |= cls.presets[preset].values
            noise_aware = cls.presets[preset].noise_aware
        for key, value in given.items():
            if key not in known:
                raise PluginError(f"Method '{name}' has no parameter '{key}'.", suggest(key, known))
            values[key] = _checked(name, known[key], value)
        try:
            params = cls.Params(**values)
        except TypeError as error:
            raise PluginError(f"Parameters of method '{name}' cannot be set: {error}.") from error
        return MethodSpec(
            name=name,
            params=freeze_options({key: getattr(params, key) for key in known}),
            preset=preset or "default",
            noise_aware=noise_aware,
        )

    @classmethod
    def create(cls, spec: MethodSpec) -> Method:
        """Make the method from its resolved parameters."""
        return cls(cls.Params(**dict(spec.params)))


def _checked(method: str, item: dataclasses.Field[Any], value: Any) -> Any:
    """Return ``value`` if it has the type of the parameter's default, else raise."""
    default = item.default
    if default is dataclasses.MISSING or default is None or value is None:
        return value
    kind = type(default)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, kind) and isinstance(value, bool) == isinstance(default, bool):
        return value
    raise PluginError(
        f"Parameter '{item.name}' of method '{method}' is {value!r}, a {type(value).__name__}.",
        f"It must be a {kind.__name__}; the default is {default!r}.",
    )
