"""The columns of the results frame, each declared once: name, type, where it comes from, meaning.

A fact of the record is named by its path (``metrics.best``), and its type is that of
:mod:`lnlbench.basics.facts`; the others are computed from the spec, the record or the plan.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, get_args, get_type_hints

from lnlbench.basics.facts import SelectionFacts, units_of
from lnlbench.plugins.registry import phase_kinds
from lnlbench.records.record import Record
from lnlbench.spec import RATED_NOISE, BackboneSpec, DatasetSpec, TrialSpec, has_images, split_reference

TEXT, NUMBER, COUNT, FLAG = "string", "float64", "Int64", "boolean"
_KINDS = {str: TEXT, float: NUMBER, int: COUNT, bool: FLAG}


class FrameColumn(NamedTuple):
    """A column of the frame.

    Attributes
    ----------
    name : str
    kind : {"string", "float64", "Int64", "boolean"}
        Type in pandas; everything can be missing but the first seven columns.
    origin : str
        What it is read from: ``plan``, ``spec``, ``record``, or the path of a fact in a record.
    meaning : str
        For the documentation, in Markdown.
    read : callable
        Takes the spec or the record; a column of the plan has none, as its rows come from there.
    """

    name: str
    kind: str
    origin: str
    meaning: str
    read: Callable[[Any], Any] | None = None


def _fact(path: str, meaning: str, name: str | None = None) -> FrameColumn:
    """Return the column of a fact of the record, of the type that the fact has."""
    hint: Any = Record
    for key in path.split("."):
        parts = [part for part in get_args(hint) if part is not type(None)]
        hint = get_type_hints(parts[0] if parts else hint)[key]
    kind = next(_KINDS[part] for part in (get_args(hint) or (hint,)) if part in _KINDS)
    keys = path.split(".")
    return FrameColumn(name or keys[-1], kind, path, meaning, partial(_walk, keys))


def _walk(keys: list[str], record: Record) -> Any:
    value: Any = getattr(record, keys[0])
    for key in keys[1:]:
        value = (value or {}).get(key)
    return value


def _of_plan(name: str, kind: str, meaning: str) -> FrameColumn:
    return FrameColumn(name, kind, "plan", meaning)


def _of_spec(name: str, kind: str, meaning: str, read: Callable[[TrialSpec], Any]) -> FrameColumn:
    return FrameColumn(name, kind, "spec", meaning, read)


def _of_record(name: str, kind: str, meaning: str, read: Callable[[Record], Any]) -> FrameColumn:
    return FrameColumn(name, kind, "record", meaning, read)


def _holds_features(spec: TrialSpec) -> bool:
    """Whether a data set brings its own representation, so that no backbone and no image size count."""
    # Plans of earlier versions name a backbone all the same.
    return not has_images(spec) or split_reference(spec.dataset.name)[0] == "features"


def _rate(spec: TrialSpec) -> float | None:
    # Nobody says the rate of real noise or of a file; that of no noise is known to be 0.
    return spec.noise.rate if spec.noise.type in (*RATED_NOISE, "none") else None


def _cached(spec: TrialSpec) -> bool | None:
    # A kind that is not installed here made the record elsewhere; whether it can cache is not known.
    kinds = {entry.name for entry in phase_kinds().entries()}
    caches = [
        phase.cache
        for phase in spec.phases
        if phase.kind in kinds and "cache" in phase_kinds().load(phase.kind).takes
    ]
    return all(caches) if caches else None


def _options(spec: DatasetSpec | BackboneSpec) -> dict[str, Any]:
    values = dataclasses.asdict(spec)
    return {name: value for name, value in values.items() if name not in ("name", "options")}


def _backbone_options(spec: TrialSpec) -> str:
    return json.dumps({} if _holds_features(spec) else _options(spec.backbone) | dict(spec.backbone.options))


def _setting(spec: TrialSpec) -> str:
    canonical = {name: value for name, value in spec.canonical().items() if name != "seed"}
    return hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).hexdigest()[:16]


def _cost_units(record: Record) -> int | None:
    training, features = record.ledger.get("training"), record.ledger.get("features")
    if training is None:
        return None
    return units_of(training) + (features["backbone_forward"] if features else 0)


def _features_forward(record: Record) -> int | None:
    features = record.ledger.get("features")
    if "training" not in record.ledger:
        return None
    return features["backbone_forward"] if features else 0


def _events(record: Record) -> str | None:
    return ", ".join(f"{name}={count}" for name, count in sorted(record.events.items())) or None


def _shift(record: Record) -> float | None:
    shifts = (entry.get("shift") for entry in record.history)
    changed = [shift["train_mode"] for shift in shifts if shift and shift["batch_norm"]]
    return max(changed, default=None)


def _weights(record: Record) -> str | None:
    # Weights drawn at random differ with the seed, and should.
    return None if record.spec.backbone.weights == "none" else record.plugin.get("backbone")


def _error(record: Record) -> str | None:
    return f"{record.error['type']}: {record.error['message']}" if record.error else None


COLUMNS: tuple[FrameColumn, ...] = (
    _of_plan("grid", TEXT, "empty for a record that is in no plan"),
    _of_plan("trial_id", TEXT, ""),
    _of_plan("status", TEXT, "`done`, `failed`, `skipped` or `pending`"),
    _of_spec("dataset", TEXT, "", lambda spec: spec.dataset.label),
    _of_spec("noise", TEXT, "its type", lambda spec: spec.noise.type),
    _of_spec("rate", NUMBER, "nominal; empty where nobody knows it (`real`, `file`)", _rate),
    _fact("noise.realised_rate", "share of labels that are wrong"),
    _of_spec(
        "backbone",
        TEXT,
        "empty for a data set of features",
        lambda spec: None if _holds_features(spec) else spec.backbone.label,
    ),
    _of_spec("tuning", TEXT, "", lambda spec: spec.tuning),
    _of_spec("method", TEXT, "", lambda spec: spec.method.name),
    _of_spec("seed", COUNT, "", lambda spec: spec.seed),
    _of_spec("epochs", COUNT, "over all phases", lambda spec: spec.epochs),
    _fact("metrics.best", "test accuracy at the epoch of highest validation accuracy, in percent"),
    _fact("metrics.last", "test accuracy after the last epoch, in percent"),
    _fact("metrics.oracle", "highest test accuracy, which is selected on the test set, in percent"),
    _fact("metrics.best_epoch", "counts from 0 over all phases"),
    _fact(
        "metrics.label_wave",
        "test accuracy at the epoch that [Label Wave](measurement.md#accuracies) chooses, in percent",
    ),
    _fact("metrics.label_wave_epoch", "counts from 0 over all phases"),
    _fact("times.setup_s", "seconds of preparation"),
    _fact("times.features_s", "seconds that extracting the features in use took, whenever that was"),
    _fact("times.features_shared", "whether another trial or run paid for it"),
    _fact("times.train_s", "seconds of training"),
    _fact("times.eval_s", "seconds of evaluation"),
    _fact("times.wall_s", "seconds of all"),
    _fact("ledger.training.backbone_forward", "samples passed in training, without gradient"),
    _fact("ledger.training.backbone_forward_grad", "with gradient"),
    _fact("ledger.training.backbone_backward", "backwards"),
    _fact("ledger.training.head_forward", "the same of the head"),
    _fact("ledger.training.head_forward_grad", ""),
    _fact("ledger.training.head_backward", ""),
    _of_record(
        "features_backbone_forward", COUNT, "samples passed for the features in use", _features_forward
    ),
    _of_record(
        "cost_units",
        COUNT,
        "all passes of training and features through backbones, a forward as 1 and a backward as 2",
        _cost_units,
    ),
    _of_plan("cost", NUMBER, "`cost_units` relative to CE with FFT on the same data, noise and backbone"),
    _of_plan("cost_reference", TEXT, "`measured`, or `computed` where CE with FFT was not run"),
    _fact(
        "selection.size",
        "samples taken as clean in the last published [selection](measurement.md#selection)",
        "selected",
    ),
    _fact("selection.purity", "share of them whose label is right, in percent; empty for real noise"),
    _fact("selection.recall", "share of the rightly labelled that is selected, in percent"),
    _fact("selection.auc", "ROC-AUC of the score"),
    _fact("selection.ap", "average precision of finding the wrong labels by a low score"),
    _fact(
        "selection.fnr",
        "share of the wrong labels that is missed when as many samples are flagged as there are, in percent",
    ),
    _fact("selection.corrected", "share of corrected labels that is right, in percent"),
    _fact(
        "verdicts.memorised",
        "share of the wrong training labels that the method predicts after the last epoch, in percent "
        "(what Liu et al., NeurIPS 2020, call memorised); only with `--verdicts`",
    ),
    _of_record(
        "events", TEXT, "degenerate cases that the method met and handled, with their counts", _events
    ),
    _of_record(
        "statistics_change",
        NUMBER,
        "share of a batch's predictions that change, in percent, where a probed network with batch "
        "normalisation goes from eval to train mode to be fine-tuned; empty elsewhere",
        _shift,
    ),
    _of_spec("cached", FLAG, "whether linear probing used cached features", _cached),
    _of_spec("validation_labels", TEXT, "`noisy` or `clean`", lambda spec: spec.dataset.validation_labels),
    _of_spec("preset", TEXT, "where the method's parameters started from", lambda spec: spec.method.preset),
    _of_spec(
        "noise_aware",
        FLAG,
        "whether that uses knowledge of the noise",
        lambda spec: spec.method.noise_aware,
    ),
    _fact("execution.trained_parameters", "that learn in the last phase, of all networks, heads included"),
    _fact("execution.precision", "what was used, not what was asked for"),
    _fact("execution.layout", "of images in memory"),
    _fact("execution.deterministic", "whether only algorithms were used that give the same bits every time"),
    _fact("execution.device", ""),
    _fact("environment.gpu", "its name"),
    _fact("execution.peak_memory", "bytes of the GPU that tensors held at most"),
    _fact("execution.threads", "of each process"),
    _fact("execution.processes", "that shared the trial; empty for one"),
    _fact(
        "execution.shared_device", "whether other trials ran beside it, so that its times are upper bounds"
    ),
    _fact("execution.batched", "how many trials were trained together, whose times it has a share of"),
    _fact("plugin.origin", "where the method's code comes from", "method_origin"),
    _fact("plugin.fingerprint", "hash of that code", "method_fingerprint"),
    _fact("data.fingerprint", "hash of the data", "data_fingerprint"),
    _fact("data.standin", "whether the data were a [stand-in](data-and-backbones.md#stand-ins)"),
    _of_record("backbone_fingerprint", TEXT, "hash of the weights it started from", _weights),
    _fact("environment.commit", "of the checkout, if there is one"),
    _fact("environment.dirty", "whether the checkout was changed"),
    _fact("environment.lnlbench", "of lnlbench", "version"),
    _of_plan("stale", TEXT, "what has changed since"),
    _of_plan("skip", TEXT, "why it is not run"),
    _of_record("error", TEXT, "type and message of a failure", _error),
    _of_spec("noise_label", TEXT, "type and rate together", lambda spec: spec.noise.label),
    _fact("noise.label", "what a noise file calls its noise; tables print it", "noise_title"),
    _of_spec(
        "params",
        TEXT,
        "all parameters of the method, as JSON",
        lambda spec: json.dumps(dict(spec.method.params)),
    ),
    _of_spec(
        "phases",
        TEXT,
        "all settings of the phases, a list, as JSON",
        lambda spec: json.dumps([{"kind": phase.kind, **phase.settings()} for phase in spec.phases]),
    ),
    _of_spec("dataset_options", TEXT, "as JSON", lambda spec: json.dumps(_options(spec.dataset))),
    _of_spec("noise_options", TEXT, "as JSON", lambda spec: json.dumps(dict(spec.noise.options))),
    _of_spec("backbone_options", TEXT, "as JSON", _backbone_options),
    _of_spec("setting", TEXT, "the same for trials that differ in their seed alone", _setting),
    _fact("data.train", "number of training samples", "train_samples"),
    _of_record("finished", TEXT, "when, in UTC", lambda record: record.finished or None),
)

# Names in order, with their types.
SCHEMA: dict[str, str] = {column.name: column.kind for column in COLUMNS}


def read_spec(spec: TrialSpec) -> dict[str, Any]:
    """Return the columns that say what a trial is."""
    return {column.name: column.read(spec) for column in COLUMNS if column.read and column.origin == "spec"}


def read_record(record: Record) -> dict[str, Any]:
    """Return the columns that say what a trial gave."""
    return {column.name: column.read(record) for column in COLUMNS if column.read and column.origin != "spec"}


def read_selection(selection: SelectionFacts | None) -> dict[str, Any]:
    """Return the columns of a selection, which an epoch has as well."""
    known: Mapping[str, Any] = selection or {}
    return {name: known.get(key) for name, key in _SELECTION.items()}


_SELECTION = {
    column.name: column.origin.removeprefix("selection.")
    for column in COLUMNS
    if column.origin.startswith("selection.")
}

_IDENTITY = ("trial_id", "dataset", "noise", "rate", "backbone", "tuning", "method", "seed")

# Of learning curves: which trial, then what an epoch gave.
CURVE_SCHEMA: dict[str, str] = {
    **{name: SCHEMA[name] for name in _IDENTITY},
    "phase": TEXT,
    "epoch": COUNT,
    **dict.fromkeys(("loss", "prediction_changes", "validation", "test", "train_s", "eval_s"), NUMBER),
    **{name: SCHEMA[name] for name in _SELECTION},
}
