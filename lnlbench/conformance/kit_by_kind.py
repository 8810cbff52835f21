"""Check backbones, data sets and metrics, and a plugin of whatever kind."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from lnlbench.conformance.backbone_rules import BACKBONE_RULES, SOURCE_RULES, BackboneSubject
from lnlbench.conformance.dataset_rules import DATASET_RULES, DATASET_SOURCE_RULES, DatasetSubject
from lnlbench.conformance.findings import DECLARATION, Finding, Outcome, Report
from lnlbench.conformance.kit import check_method
from lnlbench.conformance.metric_rules import METRIC_RULES, METRIC_SOURCE_RULES, MetricSubject
from lnlbench.conformance.rules import Rule, describe
from lnlbench.data.source import DatasetSource
from lnlbench.errors import DataError, LnlbenchError, PluginError, WeightsError
from lnlbench.models.backbone import BackboneSource
from lnlbench.plugins import registry
from lnlbench.plugins.find import BACKBONES, DATASETS, METHODS, METRICS, Plugin
from lnlbench.spec import BackboneSpec, DatasetSpec, split_reference

T = TypeVar("T")
Progress = Callable[[Finding], None] | None

STANDIN = "stand-in"
PER_CLASS = 2  # training images of each class in the stand-in that is made


def check_plugin(reference: str, *, data: Path | None = None, progress: Progress = None) -> Report:
    """Run all checks on a method, a backbone, a data set or a metric.

    Parameters
    ----------
    reference : str
        See :func:`lnlbench.plugins.registry.find_plugin`.
    data : Path, optional
        Data folder, for data sets that lie in it.
    progress : callable, optional
        Called with each finding as it is made.

    Raises
    ------
    PluginError
        If there is no such plugin, or it cannot be loaded, or there are no rules for its kind.
    WeightsError, DataError
        If nothing can be checked for want of weights or data.
    """
    group = registry.find_plugin(reference).group
    if group == METHODS:
        return check_method(reference, progress=progress)
    if group == BACKBONES:
        return check_backbone(reference, progress=progress)
    if group == DATASETS:
        return check_dataset(reference, data=data, progress=progress)
    if group == METRICS:
        return check_metric(reference, progress=progress)
    raise PluginError(
        f"{reference} is neither a method, nor a backbone, nor a data set, nor a metric.",
        "There are rules for these only.",
    )


def check_backbone(reference: str, *, progress: Progress = None) -> Report:
    """Run all checks on a backbone, with random and with pre-trained weights where it has both.

    Parameters
    ----------
    reference : str
        Name, ``scheme:model``, or ``FILE.py[:Class]``.
    progress : callable, optional

    Raises
    ------
    PluginError
        If there is no such backbone, or it cannot be loaded.
    WeightsError
        If nothing can be checked on this machine; it says what is missing.
    """
    entry, name = _entry(reference)
    source = registry.backbones().load(entry.name)()
    return _report(name, entry, "backbone", _examine_backbone(source, name), progress)


def check_dataset(reference: str, *, data: Path | None = None, progress: Progress = None) -> Report:
    """Run all checks on a data set, and on its stand-in if it makes one.

    Parameters
    ----------
    reference : str
        Name, ``scheme:path``, or ``FILE.py[:Class]``.
    data : Path, optional
        The data folder.
    progress : callable, optional

    Raises
    ------
    PluginError
        If there is no such data set, or its class cannot be loaded.
    DataError
        If the data are not there, and there is no stand-in to check in their place.
    """
    entry, name = _entry(reference)
    source = registry.datasets().load(entry.name)()
    return _report(name, entry, "data set", _examine_dataset(source, name, data), progress)


def check_metric(reference: str, *, progress: Progress = None) -> Report:
    """Run all checks on a metric.

    Parameters
    ----------
    reference : str
        Name, or ``FILE.py[:Class]``.
    progress : callable, optional

    Raises
    ------
    PluginError
        If there is no such metric, or it cannot be loaded.
    """
    entry, name = _entry(reference)
    known = registry.metrics()
    subject = MetricSubject(entry.name, known.load(entry.name)(), known.describe(entry.name))
    return _report(name, entry, "metric", _examine_metric(subject), progress)


def _entry(reference: str) -> tuple[Plugin, str]:
    """Return a plugin, and the name by which a grid would ask for what is meant."""
    entry = registry.find_plugin(reference)
    return entry, reference if split_reference(reference)[0] == entry.name else entry.name


def _report(name: str, entry: Plugin, kind: str, findings: Iterable[Finding], progress: Progress) -> Report:
    started, made = time.perf_counter(), []
    for finding in findings:
        made.append(finding)
        if progress is not None:
            progress(finding)
    return Report(name, entry.origin, tuple(made), time.perf_counter() - started, kind)


def _examine_backbone(source: BackboneSource, name: str) -> Iterator[Finding]:
    yield from (rule.judge(source, DECLARATION) for rule in SOURCE_RULES)
    missing: list[str] = []
    for weights in ("none", "pretrained"):
        spec = BackboneSpec(name, weights=weights)
        try:
            absent = source.missing(split_reference(name)[1], spec)
        except LnlbenchError as error:
            absent = str(error)  # it has no such weights
        except Exception as error:  # noqa: BLE001  (a plugin may raise anything at all)
            yield _first(BACKBONE_RULES, weights, Outcome.FAILED, f"missing(): {describe(error)}")
            continue
        if absent is not None:
            missing.append(absent)
            yield _first(BACKBONE_RULES, weights, Outcome.NOT_APPLICABLE, absent)
            continue
        yield from _judge(BACKBONE_RULES, BackboneSubject(source, spec), weights)
    if len(missing) == 2:
        raise WeightsError(f"Backbone '{name}' cannot be checked here. {missing[-1]}")


def _examine_dataset(source: DatasetSource, name: str, root: Path | None) -> Iterator[Finding]:
    yield from (rule.judge(source, DECLARATION) for rule in DATASET_SOURCE_RULES)
    makes_standin = type(source).make_standin is not DatasetSource.make_standin
    missing = source.missing(split_reference(name)[1], root)
    spec = DatasetSpec(name)
    classes = None
    if missing is None:
        subject = DatasetSubject(source, spec, root)
        findings = list(_judge(DATASET_RULES, subject, "data"))
        yield from findings
        if findings[0].outcome is Outcome.PASSED:
            classes = len(subject.dataset.classes)
    elif makes_standin:
        yield _first(DATASET_RULES, "data", Outcome.NOT_APPLICABLE, missing)
    else:
        raise DataError(f"Data set '{name}' cannot be checked here. {missing}")
    if makes_standin:
        with tempfile.TemporaryDirectory(prefix="lnlbench-check-") as folder:
            try:
                source.make_standin(Path(folder), PER_CLASS, 0)
            except Exception as error:  # noqa: BLE001  (as above)
                yield _first(DATASET_RULES, STANDIN, Outcome.FAILED, f"make_standin(): {describe(error)}")
                return
            yield from _judge(
                DATASET_RULES, DatasetSubject(source, spec, Path(folder), True, classes), STANDIN
            )


def _examine_metric(subject: MetricSubject) -> Iterator[Finding]:
    yield from (rule.judge(subject, DECLARATION) for rule in METRIC_SOURCE_RULES)
    yield from _judge(METRIC_RULES, subject, "split")


def _judge(rules: list[Rule[T]], subject: T, mode: str) -> Iterator[Finding]:
    for number, rule in enumerate(rules):
        finding = rule.judge(subject, mode)
        yield finding
        if number == 0 and finding.outcome is Outcome.FAILED:
            return  # the others look at what was loaded


def _first(rules: list[Rule[T]], mode: str, outcome: Outcome, reason: str) -> Finding:
    return Finding(mode, rules[0].name, rules[0].sentence, outcome, reason)
