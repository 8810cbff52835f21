"""The record of a trial whose epochs have all been run: what it measured, on what, and what made it."""

from __future__ import annotations

from typing import Any

import torch

from lnlbench.basics.clocks import Clocks, now
from lnlbench.basics.environment import describe_environment
from lnlbench.basics.facts import (
    DataFacts,
    EmbeddingFacts,
    ExecutionFacts,
    ModelFacts,
    TimeFacts,
    VerdictFacts,
)
from lnlbench.basics.process_settings import is_deterministic, tf32_flags
from lnlbench.records.beside.verdicts import encode_verdicts, facts_of
from lnlbench.records.record import Record, Status
from lnlbench.trials.judging import judge, memorised
from lnlbench.trials.measuring.accuracy import at_epochs, summarise
from lnlbench.trials.measuring.embedding import embed
from lnlbench.trials.problem import Problem
from lnlbench.trials.trial import Trial


def record_of(trial: Trial) -> Record:
    """Return the record of a trial.

    What it asks for after its last epoch is made here: maps of features, verdicts, saved models.
    """
    embedding = _embed(trial)
    table, verdicts = _judge(trial)
    selections = [entry["selection"] for entry in trial.history if "selection" in entry]
    chosen = summarise(trial.history)
    return Record(
        trial.spec,
        Status.DONE,
        metrics=chosen,
        history=trial.history,
        measured=at_epochs(trial.history, chosen),
        times=_times(trial.clocks, trial.extractions),
        ledger=trial.ledger.to_dict(),
        selection=selections[-1] if selections else None,
        noise=trial.problem.noise.to_dict(),
        events=trial.events,
        data=_data(trial.problem),
        execution=_execution(trial),
        environment=describe_environment(),
        plugin={**trial.code, "backbone": trial.model.fingerprint, "kinds": trial.kind_code},
        embedding=embedding,
        verdicts=verdicts,
        verdict_table=table,
        models=_save_models(trial),
        started=trial.started,
        finished=now(),
    )


def _embed(trial: Trial) -> EmbeddingFacts | None:
    """Return the maps of test features, where the spec asks for them."""
    backbone, sample = trial.model.backbone, trial.embedding_sample
    if trial.spec.embedding is None or sample is None or backbone is None:
        return None
    dataset, execution = trial.problem.dataset, trial.model.execution
    with trial.clocks("embedding"):
        return embed(
            trial.spec.embedding,
            sample,
            trial.workspace.image_inputs(dataset, dataset.test, sample.rows, backbone, execution),
            backbone=backbone,
            network=trial.model.networks[0],
            execution=execution,
            device=trial.workspace.device,
            ledger=trial.ledger,
        )


def _judge(trial: Trial) -> tuple[bytes | None, VerdictFacts | None]:
    """Return the verdicts on the training samples, where they are asked for, and their facts."""
    if not trial.workspace.setting.verdicts:
        return None, None
    with trial.clocks("verdicts"), trial.ledger.bucket("evaluation"):
        verdicts = judge(trial.method, trial.splits, trial.problem, trial.published)
    table = encode_verdicts(verdicts)
    return table, {**facts_of(table), "memorised": memorised(verdicts, trial.problem)}


def _save_models(trial: Trial) -> ModelFacts | None:
    if trial.kept_models.folder is None or not trial.team.first:
        return None
    with trial.clocks("models"):
        return trial.kept_models.write(trial.problem.dataset.classes, trial.model.initial, trial.history)


def _times(clocks: Clocks, extractions: list[dict[str, Any]]) -> TimeFacts:
    return {
        "setup_s": clocks.read("setup"),
        "features_s": sum(entry["seconds"] for entry in extractions),
        "features_shared": not all(entry["fresh"] for entry in extractions),
        "train_s": clocks.read("train"),
        "eval_s": clocks.read("evaluation"),
        "wall_s": sum(clocks.seconds.values()),
    }


def _data(problem: Problem) -> DataFacts:
    return {
        "fingerprint": problem.dataset.fingerprint,
        "classes": problem.classes,
        "train": len(problem.train_labels),
        "validation": len(problem.validation_labels),
        "test": len(problem.test_labels),
        "standin": problem.dataset.standin,
    }


def _execution(trial: Trial) -> ExecutionFacts:
    """Return what a trial ran on, what its process was set to, and what of the device was used."""
    device, setting, execution = trial.workspace.device, trial.workspace.setting, trial.model.execution
    on_gpu = device.type == "cuda"
    return {
        "device": str(device),
        "precision": execution.precision,
        "layout": execution.layout,
        "tf32": tf32_flags() if on_gpu else None,
        "deterministic": is_deterministic(),
        "peak_memory": torch.cuda.max_memory_allocated(device) if on_gpu else None,
        "threads": setting.threads,
        "workers": setting.workers,
        "feature_threads": sorted({entry["threads"] for entry in trial.extractions}),
        "trained_parameters": trial.model.trained_parameters,
        "executor": setting.executor,
        "jobs": setting.jobs,
        **({} if trial.team.alone else {"processes": trial.team.size}),
        **({} if setting.gpus is None else {"gpus": setting.gpus}),
        "shared_device": setting.jobs > 1,
        **({"batched": trial.batched} if trial.batched else {}),
        "continued": trial.continued,
        "discarded_checkpoint": trial.discarded,
    }
