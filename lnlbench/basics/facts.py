"""What a trial leaves behind, part by part: the keys of a record, with their types.

Every room that measures something returns one of these, :class:`lnlbench.records.record.Record`
puts them together, and the frame reads them, so that a type checker follows a number from where
it is counted to the table that prints it. On disk they are JSON: a number that is not finite is
null there. No key is required, because failed trials and records of earlier versions lack some.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class AccuracyFacts(TypedDict, total=False):
    """``metrics``: test accuracies in percent, and when they were reached (protocol, section 1)."""

    # At the epoch of highest validation accuracy, the first one on ties.
    best: float
    # After the last epoch.
    last: float
    # Highest over the epochs, which is selected on the test set.
    oracle: float
    # Counted from 0 over all phases.
    best_epoch: int
    oracle_epoch: int
    # At the first local minimum of the changes of training predictions; not there where they are not known.
    label_wave: float
    label_wave_epoch: int


class ClassFacts(TypedDict, total=False):
    """A selection by given label; a share of nothing is None."""

    size: list[int]
    # In percent, where the truth is known.
    purity: list[float | None]
    recall: list[float | None]


class SelectionFacts(TypedDict, total=False):
    """What a method publishes about its samples; see :func:`lnlbench.api.selection.measure_selection`."""

    # Samples taken as clean.
    size: int
    # Of the score: smallest value, quartiles, largest value.
    score: list[float] | None
    # Share of the selected whose given label is right, in percent. Not known for real noise, as all below.
    purity: float | None
    # Share of the rightly labelled that is selected, in percent.
    recall: float | None
    # ROC-AUC of the score.
    auc: float | None
    # Average precision of finding the wrong labels by a low score, and the share of them, in percent, that
    # is not among as many samples of lowest score as there are wrong labels.
    ap: float | None
    fnr: float | None
    per_class: ClassFacts
    # Of corrected labels: share that differs from the given ones (always known), and share that is
    # right, in percent.
    changed: float | None
    corrected: float | None


class ShiftFacts(TypedDict, total=False):
    """Predictions that change where fine-tuning starts; see :mod:`lnlbench.trials.measuring.mode_shift`."""

    # Images of the batch.
    samples: int
    # Share of the predictions that change from eval to train mode, and from images to weak views of
    # them, in percent.
    train_mode: float
    weak_views: float
    # Whether the network normalises by batches; if not, train mode is dropout and the like.
    batch_norm: bool


class ModelFacts(TypedDict, total=False):
    """``models``: checksums of the weights that were saved; see :mod:`lnlbench.deploy.model_files`."""

    best: str
    last: str
    # Why they could not be saved.
    refused: str


class VerdictFacts(TypedDict, total=False):
    """``verdicts``: the file with a row per training sample; see :mod:`lnlbench.records.beside.verdicts`."""

    sha256: str
    rows: int
    # See :func:`lnlbench.trials.judging.memorised`.
    memorised: float | None


class EpochFacts(TypedDict, total=False):
    """An entry of ``history``."""

    # Kind of the phase, and the epoch in it, counted from 0.
    phase: str
    epoch: int
    # Mean over the steps; None if no step was made.
    loss: float | None
    # Share of training predictions that are not those of the epoch before, in percent; None in the first
    # epoch, and where a method's networks see no sample as it is.
    prediction_changes: float | None
    # Accuracies in percent.
    validation: float
    test: float
    # Other metrics by split and name. On disk these and selections are beside the record.
    metrics: dict[str, dict[str, float | None]]
    train_s: float
    eval_s: float
    # Where the method published one.
    selection: SelectionFacts
    # Before the first epoch of a phase that trains the backbone, after one that kept it.
    shift: ShiftFacts


class TimeFacts(TypedDict, total=False):
    """``times``: seconds of wall-clock, the device synchronised before each reading."""

    setup_s: float
    # What extracting the features in use took, whenever that was.
    features_s: float
    # Whether another trial or run paid for (some of) it.
    features_shared: bool
    train_s: float
    eval_s: float
    wall_s: float


class PassCounts(TypedDict):
    """Samples passed through backbones and heads; ``forward`` is without gradient."""

    backbone_forward: int
    backbone_forward_grad: int
    backbone_backward: int
    head_forward: int
    head_forward_grad: int
    head_backward: int
    # By how many units the backward passes of the backbone were cheaper than two forward passes each;
    # see :meth:`lnlbench.models.phase_kind.PhaseKind.backward_units`.
    backbone_backward_saved: NotRequired[float]


class LedgerFacts(TypedDict, total=False):
    """``ledger``: passes by what they were for."""

    # What the method does in its epochs, selection included.
    training: PassCounts
    # The runner's measuring.
    evaluation: PassCounts
    # What the features in use stand for, whoever extracted them.
    features: PassCounts


class NoiseFacts(TypedDict, total=False):
    """``noise``: what the corruption did; see :class:`lnlbench.noise.realised.NoiseReport`."""

    realised_rate: float | None
    per_class: list[float]
    transitions: list[list[int]]
    entropy: float
    largest_class_share: float
    labels_sha256: str
    # What a noise file calls its noise, if it does.
    label: str


class DataFacts(TypedDict, total=False):
    """``data``: what was trained and measured on."""

    fingerprint: str
    classes: int
    # Sizes of the splits.
    train: int
    validation: int
    test: int
    # Whether the images are others than the data set's.
    standin: bool


class ExecutionFacts(TypedDict, total=False):
    """``execution``: how the trial was computed."""

    device: str
    # What was used, not what was asked for.
    precision: str
    layout: str
    # Whether float32 was computed in TF32 on a GPU, of `matmul` and `convolutions`; None on the CPU.
    tf32: dict[str, bool] | None
    # Whether only algorithms were used that give the same bits every time.
    deterministic: bool
    # Bytes of the device that tensors held at most; None on the CPU.
    peak_memory: int | None
    threads: int
    # Processes that decode images.
    workers: int
    feature_threads: list[int]
    # Of all networks, in the last phase, heads included.
    trained_parameters: int
    executor: str
    # Trials at the same time.
    jobs: int
    # That shared the trial, where they were several; threads and GPUs are of each.
    processes: int
    # That Ray gave to the trial, where it gave any: a fraction if several may share one.
    gpus: float
    shared_device: bool
    # With how many other trials it was trained together, itself included, where it was: times are then its
    # share of theirs.
    batched: int
    # One entry per checkpoint that was continued.
    continued: list[dict[str, Any]]
    # Why a checkpoint was not continued.
    discarded_checkpoint: str | None


class EnvironmentFacts(TypedDict, total=False):
    """``environment``: versions and hardware."""

    lnlbench: str
    # None outside a checkout.
    commit: str | None
    dirty: bool | None
    python: str
    platform: str
    cpu: str
    cores: int | None
    gpu: str | None
    # Of the GPU and its software: all None without one. The capability is that of CUDA, as in 9.0.
    capability: str | None
    driver: str | None
    cuda: str | None
    cudnn: str | None
    # Of the main dependencies, by name.
    versions: dict[str, str]


class CodeFacts(TypedDict, total=False):
    """``plugin``: where the method's code comes from, and hashes of it and of the backbone's weights."""

    origin: str
    fingerprint: str
    backbone: str | None
    # Of the kinds of phases, by name.
    kinds: dict[str, str]


class EmbeddingFacts(TypedDict, total=False):
    """``embedding``: maps of test features; see :func:`lnlbench.trials.measuring.embedding.embed`."""

    # Position in `classes` of each point, and the classes' names.
    labels: list[int]
    classes: list[str]
    # Points [n, 2] before and after training.
    before: list[list[float]]
    after: list[list[float]]
    settings: dict[str, Any]


class ErrorFacts(TypedDict, total=False):
    """``error``: why a trial failed."""

    type: str
    message: str
    hint: str | None
    traceback: str


# From this share of changed predictions on, in percent, train mode makes another network of a probed one.
LARGE_SHIFT = 25.0


def cost_units(forward: float, backward: float) -> float:
    """Return the cost of passes in units of one forward pass: a backward pass is two (protocol, section 6).

    Parameters
    ----------
    forward, backward : float
        Numbers of samples passed; a forward pass with gradient is a forward pass.
    """
    return forward + 2 * backward


def units_of(counts: PassCounts) -> int:
    """Return the cost of counted passes through backbones; heads cost next to nothing."""
    forward = counts["backbone_forward"] + counts["backbone_forward_grad"]
    saved = counts.get("backbone_backward_saved", 0.0)
    return round(cost_units(forward, counts["backbone_backward"]) - saved)
