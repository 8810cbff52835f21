"""The problem that methods are checked on: a few of the digits, mildly noisy, at 32 pixels.

Real images, the embedded backbone with its real weights, and the core's own trials: only the
size is chosen so that a method is checked in seconds.
The backbone reads no texts, and is lent some for methods that need them.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import torch
from torch.nn import functional

from lnlbench.data.source import Split
from lnlbench.grids.tuning import TUNING_MODES, kinds_of, phase_kind
from lnlbench.inputs.feature_cache import View
from lnlbench.models.text.context_encoder import ContextEncoder
from lnlbench.models.text.text_side import TextSide
from lnlbench.noise import NoiseReport
from lnlbench.spec import (
    NO_BACKBONE,
    BackboneSpec,
    DatasetSpec,
    MethodSpec,
    NoiseSpec,
    PhaseSpec,
    Skip,
    TrialSpec,
)
from lnlbench.trials.problem import Problem, prepare_problem
from lnlbench.trials.workspace import Workspace

DATASET = DatasetSpec("digits", train_per_class=3, test_per_class=3, validation_fraction=0.1)
NOISE = NoiseSpec("symmetric", 0.2)
BACKBONE = BackboneSpec("efficientnet_lite0", image_size=32)
# Long enough for a method that warms up first to reach what comes after, and to be
# interrupted there.
BUDGETS = {
    "lp": PhaseSpec("lp", epochs=6, batch_size=16, lr=0.02),
    "fft": PhaseSpec("fft", epochs=2, batch_size=16, lr=0.005),
    "partial": phase_kind("partial").resolve("partial", {"epochs": 2, "batch_size": 16, "lr": 0.005}),
    "lora": phase_kind("lora").resolve("lora", {"epochs": 2, "batch_size": 16, "lr": 0.005, "rank": 4}),
}
# The protocol's modes first, and some in which a part of the backbone learns.
CHECKED_MODES = (*TUNING_MODES, "partial", "lora", "lp-lora")

# To learn something takes more samples; on cached features these cost next to nothing.
LEARNING_DATASET = dataclasses.replace(DATASET, train_per_class=20, test_per_class=20)
LEARNING = PhaseSpec("lp", epochs=15, batch_size=32, lr=0.05)


def trial_spec(method: MethodSpec, tuning: str) -> TrialSpec:
    """Return the trial of a method in a tuning mode."""
    phases = tuple(BUDGETS[kind] for kind in kinds_of(tuning))
    return TrialSpec(DATASET, NOISE, BACKBONE, tuning, method, seed=0, phases=phases, precision="fp32")


def kind_declines(spec: TrialSpec) -> Skip | None:
    """Say why this machine or backbone cannot have a phase of a trial: without peft no low rank, say."""
    answers = (phase_kind(phase.kind).supports(spec, phase) for phase in spec.phases)
    return next((answer for answer in answers if answer is not None), None)


def learning_spec(spec: TrialSpec) -> TrialSpec:
    """Return the linear probing of a trial, on more samples and for longer."""
    return dataclasses.replace(spec, dataset=LEARNING_DATASET, phases=(LEARNING,))


def with_other_truth(problem: Problem) -> Problem:
    """Return a problem that differs in what a method must not know, and in nothing else.

    Inputs, given labels and evaluation are the same, but all the given labels are wrong.
    """
    classes = problem.classes
    dataset = problem.dataset
    truth = (problem.train_labels.numpy() + 1) % classes
    labels = dataset.train.labels.copy()
    labels[problem.train_rows.numpy()] = truth
    return dataclasses.replace(
        problem,
        dataset=dataclasses.replace(dataset, train=dataclasses.replace(dataset.train, labels=labels)),
        true_labels=truth,
        noise=NoiseReport.of(truth, problem.train_labels.numpy(), classes),
    )


def as_features(spec: TrialSpec, workspace: Workspace) -> tuple[TrialSpec, Problem]:
    """Return a linear-probing trial on the features of the images, as ``features:`` data sets hold them."""
    problem = prepare_problem(spec, workspace)
    dataset = problem.dataset
    backbone = workspace.backbone(spec.backbone)
    execution = workspace.execution(spec.backbone, spec.seed, spec.precision)

    def extracted(part: str, split: Split) -> Split:
        features = workspace.features(dataset, part, backbone, View("plain"), execution).array
        return Split(images=None, features=features, labels=split.labels)

    held = dataclasses.replace(
        dataset,
        name="features:digits.npz",
        train=extracted("train", dataset.train),
        test=extracted("test", dataset.test),
    )
    named = dataclasses.replace(spec.dataset, name="features:digits.npz")
    bare = dataclasses.replace(spec, dataset=named, backbone=BackboneSpec(NO_BACKBONE))
    return bare, dataclasses.replace(problem, dataset=held)


class ShiftedTexts(ContextEncoder):
    """Texts that a context moves by the mean of its vectors.

    Parameters
    ----------
    embeddings : torch.Tensor, ``[n, p]``
    """

    def __init__(self, embeddings: torch.Tensor) -> None:
        super().__init__()
        self.width = embeddings.shape[1]
        self.register_buffer("embeddings", embeddings)

    def forward(self, contexts: torch.Tensor) -> torch.Tensor:
        """Return the texts behind each of S contexts, ``[S, m, p]``: embeddings ``[S, n, p]``."""
        return self.get_buffer("embeddings") + contexts.mean(1, keepdim=True)


def lend_texts(workspace: Workspace) -> None:
    """Give the kit's backbone a text side: the text of a digit is what its images are like.

    That is the mean feature of some of them, less the mean of all. It comes from true labels of images; a
    trial's noise does not go into it.
    """
    dataset, backbone = workspace.dataset(LEARNING_DATASET), workspace.backbone(BACKBONE)
    execution = workspace.execution(BACKBONE, 0, "fp32")
    features = workspace.features(dataset, "train", backbone, View("plain"), execution).array
    features = functional.normalize(features, dim=1)
    labels = torch.from_numpy(dataset.train.labels)
    means = torch.stack([features[labels == digit].mean(0) for digit in range(len(dataset.classes))])

    def embed(texts: Sequence[str]) -> torch.Tensor:
        digits = [int(re.findall(r"\d", text)[-1]) for text in texts]
        return means[digits] - means.mean(0)

    side = TextSide(
        embed,
        torch.eye(backbone.feature_dim),
        0.01,
        "texts of the kit",
        with_context=lambda texts, _: ShiftedTexts(embed(texts)),
    )
    workspace.lend_text_side(BACKBONE, side)
