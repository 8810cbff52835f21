"""Maps of test features by t-SNE, before training and after it (the paper's Figure 2).

The images, and the map of the pre-trained features, depend on the data set and the backbone
alone, so that trials of different methods and noise can be set beside each other.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import numpy.typing as npt
import torch

from lnlbench.api.phase import EVALUATION_BATCH
from lnlbench.basics.facts import EmbeddingFacts
from lnlbench.basics.seeding import derive_seed, numpy_stream
from lnlbench.data.source import Dataset
from lnlbench.errors import TrialError, UsageError
from lnlbench.inputs.network_inputs import Inputs
from lnlbench.models.backbone import Backbone
from lnlbench.models.calibration import Execution
from lnlbench.models.ledger import Ledger
from lnlbench.models.network import Network
from lnlbench.spec import EmbeddingSpec

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False, slots=True)
class Sample:
    """The test images that are mapped.

    Attributes
    ----------
    rows : torch.Tensor, int64 ``[n]``
        Rows of the test split.
    labels : list of int
        True classes, numbered as in ``classes``.
    classes : list of str
        Names of the classes that are shown.
    seed : int
        Of t-SNE.
    """

    rows: torch.Tensor
    labels: list[int]
    classes: list[str]
    seed: int


def choose_sample(spec: EmbeddingSpec, dataset: Dataset) -> Sample:
    """Choose the test images: equally many of each class, the first ones in official order.

    Where fewer classes are asked for than there are, they are drawn at random; the draw depends
    on the data set alone.

    Raises
    ------
    UsageError
        If the data set cannot be mapped as asked.
    """
    if dataset.test.images is None:
        raise UsageError(
            f"'{dataset.name}' holds features, and an embedding needs images.",
            "Leave embedding.samples out.",
        )
    number = len(dataset.classes) if spec.classes is None else spec.classes
    if number > len(dataset.classes):
        raise UsageError(
            f"embedding.classes is {number}, and '{dataset.name}' has {len(dataset.classes)} classes.",
            "Lower it, or leave it out for all of them.",
        )
    if spec.samples < number:
        raise UsageError(
            f"embedding.samples is {spec.samples}, which is less than one for each of {number} classes.",
            "Raise it, or show fewer with embedding.classes.",
        )
    draw = numpy_stream("embedding classes", dataset.name, number)
    chosen = np.sort(draw.permutation(len(dataset.classes))[:number])
    position = {int(label): index for index, label in enumerate(chosen)}
    labels = dataset.test.labels
    rows = np.concatenate([np.flatnonzero(labels == label)[: spec.samples // number] for label in chosen])
    if len(rows) <= spec.perplexity:
        raise UsageError(
            f"The embedding has {len(rows)} test images, and a perplexity of {spec.perplexity:g}, "
            "which must be smaller.",
            "Lower embedding.perplexity, or use more test images.",
        )
    return Sample(
        rows=torch.from_numpy(rows),
        labels=[position[int(label)] for label in labels[rows]],
        classes=[dataset.classes[label] for label in chosen],
        seed=derive_seed("t-SNE", dataset.name) % 2**32,
    )


def embed(
    spec: EmbeddingSpec,
    sample: Sample,
    inputs: Inputs,
    *,
    backbone: Backbone,
    network: Network,
    execution: Execution,
    device: torch.device,
    ledger: Ledger,
) -> EmbeddingFacts:
    """Map the features of a sample before any training and after all of it.

    Parameters
    ----------
    spec : EmbeddingSpec
    sample : Sample
    inputs : Inputs
        The sample's images, preprocessed, in its order.
    backbone : Backbone
        In its initial state, which stays as it is.
    network : Network
        As trained.
    execution : Execution
    device : torch.device
    ledger : Ledger
        Both passes over the sample are counted as evaluation.

    Returns
    -------
    dict
        A JSON value: ``labels`` (one per image), ``classes`` (their names), ``before`` and
        ``after`` (one ``[x, y]`` per image), ``settings``.

    Raises
    ------
    TrialError
        If features are not finite.
    """
    start = execution.prepare(copy.deepcopy(backbone.module).to(device)).eval()

    def pristine(images: torch.Tensor) -> torch.Tensor:
        with execution.autocast(device):
            features: torch.Tensor = start(images)
        return features

    with ledger.bucket("evaluation"):
        network.eval()
        after = _extract(network.features, inputs)
        ledger.add("evaluation", "backbone_forward", len(inputs))
        before = _extract(pristine, inputs)
    points = _map(before, spec.perplexity, sample.seed)
    moved = points if np.array_equal(before, after) else _map(after, spec.perplexity, sample.seed)
    return {
        "labels": sample.labels,
        "classes": sample.classes,
        "before": np.round(points.astype(np.float64), 3).tolist(),
        "after": np.round(moved.astype(np.float64), 3).tolist(),
        "settings": {
            "samples": len(sample.labels),
            "perplexity": spec.perplexity,
            "seed": sample.seed,
            "made_by": f"scikit-learn {version('scikit-learn')}",
        },
    }


@torch.no_grad()
def _extract(features_of: Callable[[torch.Tensor], torch.Tensor], inputs: Inputs) -> Floats:
    """Features of all samples, float32 ``[n, d]``."""
    parts = [features_of(images).float().cpu() for _, images in inputs.in_order(EVALUATION_BATCH)]
    features: Floats = torch.cat(parts).numpy()
    if not np.isfinite(features).all():
        raise TrialError("The features to embed are not finite.", "Lower the learning rate (fft.lr).")
    return features


def _map(features: Floats, perplexity: float, seed: int) -> Floats:
    """Map features to the plane, float32 ``[n, 2]``; features that are all the same to one point."""
    # Imported here: workers that embed nothing need not wait for scikit-learn.
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if not np.ptp(features, axis=0).any():
        return np.zeros((len(features), 2), dtype=np.float32)
    # One thread, because the order of a parallel sum would decide about the last digits, and
    # t-SNE makes other maps of them.
    with threadpool_limits(limits=1):
        points: Floats = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(features)
    return points
