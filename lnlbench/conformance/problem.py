"""The problem that methods are checked on: a few of the digits, mildly noisy, at 32 pixels.

Real images, the embedded backbone with its real weights, and the core's own trials: only the
size is chosen so that a method is checked in seconds.
"""

from __future__ import annotations

import dataclasses

from lnlbench.data.features import View
from lnlbench.data.source import Split
from lnlbench.noise import NoiseReport
from lnlbench.problem import Problem, prepare_problem
from lnlbench.spec import BackboneSpec, DatasetSpec, MethodSpec, NoiseSpec, PhaseSpec, TrialSpec
from lnlbench.tuning import phases_for
from lnlbench.workspace import Workspace

DATASET = DatasetSpec("digits", train_per_class=3, test_per_class=3, validation_fraction=0.1)
NOISE = NoiseSpec("symmetric", 0.2)
BACKBONE = BackboneSpec("efficientnet_lite0", image_size=32)
# Long enough for a method that warms up first to reach what comes after, and to be
# interrupted there.
LP = PhaseSpec("lp", epochs=6, batch_size=16, lr=0.02)
FFT = PhaseSpec("fft", epochs=2, batch_size=16, lr=0.005)

# To learn something takes more samples; on cached features these cost next to nothing.
LEARNING_DATASET = dataclasses.replace(DATASET, train_per_class=20, test_per_class=20)
LEARNING = PhaseSpec("lp", epochs=15, batch_size=32, lr=0.05)


def trial_spec(method: MethodSpec, tuning: str) -> TrialSpec:
    """Return the trial of a method in a tuning mode."""
    return TrialSpec(
        DATASET, NOISE, BACKBONE, tuning, method, seed=0, phases=phases_for(tuning, LP, FFT), precision="fp32"
    )


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
    return dataclasses.replace(spec, dataset=named), dataclasses.replace(problem, dataset=held)
