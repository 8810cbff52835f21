"""Before a run: will batch normalisation make another network of a probed one where fine-tuning begins?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from lnlbench.basics.facts import LARGE_SHIFT
from lnlbench.console.health import HealthFinding, Level
from lnlbench.errors import UsageError
from lnlbench.plugins import registry
from lnlbench.spec import BackboneSpec, DatasetSpec, TrialSpec, has_images, split_reference

KNOWN = 1024  # images that class means and adapted statistics are taken of
COMPARED = 128  # of these, images whose predictions are compared: an ordinary batch
_REMEDY = (
    'Set batch_norm of the phase that fine-tunes to "frozen", as it is by default after probing; see '
    "docs/measurement.md."
)


def upscaled(specs: Iterable[TrialSpec]) -> list[str]:
    """Return sentences on trials that fine-tune by batch statistics of images that are scaled up."""
    found: dict[str, None] = {}
    for spec in specs:
        updating = [
            phase.kind
            for phase in spec.phases
            if phase.batch_norm == "update" and "batch_norm" in registry.phase_kinds().load(phase.kind).takes
        ]
        sides = _sides(spec.backbone, spec.dataset) if updating and has_images(spec) else None
        if sides is not None and sides[0] < sides[1]:
            name, images = spec.backbone.name, spec.dataset.name
            sentence = (
                f"{spec.backbone.label} normalises by batches, and {spec.dataset.label} has images of "
                f"{sides[0]} px that are scaled up to {sides[1]}: their statistics can be far from those of "
                f"pre-training ({updating[0]}.batch_norm is update). To measure it: "
                f"lnlbench doctor --backbone {name} --dataset {images} --image-size {sides[1]}"
            )
            found[sentence] = None
    return list(found)


def _sides(backbone: BackboneSpec, dataset: DatasetSpec) -> tuple[int, int] | None:
    """Return the sides of the images as stored and as fed to a network that normalises by batches."""
    network = registry.backbones().load(split_reference(backbone.name)[0])
    images = registry.datasets().load(split_reference(dataset.name)[0])
    stored = dataset.resize or images.image_side
    own = network.forward_gmacs[1] if network.forward_gmacs else None
    fed = backbone.image_size or own
    if not network.normalises_batches or backbone.weights == "none" or stored is None or fed is None:
        return None
    return stored, fed


def compare_modes(
    backbone: str, dataset: str, image_size: int | None, data: Path | None, cache: Path
) -> Iterator[HealthFinding]:
    """Measure on a batch how train mode and weak views change predictions by class means of features.

    Means stand for a probed head: nothing is trained. See :mod:`lnlbench.trials.measuring.mode_shift`.

    Raises
    ------
    LnlbenchError
        If data or weights are missing, or the data set holds features.
    """
    import torch

    from lnlbench.api.phase import EVALUATION_BATCH
    from lnlbench.models import batch_statistics
    from lnlbench.models.execution import Execution
    from lnlbench.trials.adaptation import chosen_images
    from lnlbench.trials.measuring.mode_shift import shift_by_class_means
    from lnlbench.trials.workspace import RunSettings, Workspace

    workspace = Workspace(RunSettings(data=data, cache=cache))
    examples = workspace.dataset(DatasetSpec(dataset))
    if examples.train.images is None:
        raise UsageError(f"'{dataset}' holds features.", "Name a data set of images.")
    loaded = workspace.backbone(BackboneSpec(backbone, image_size=image_size))
    where = f"{loaded.name} on {examples.name} at {loaded.preprocessing.size} px"
    if not batch_statistics.count(loaded.module):
        yield HealthFinding(Level.FINE, f"{where}: there is no batch normalisation")
        return
    rows = chosen_images(examples)[:KNOWN]
    labels = torch.from_numpy(examples.train.labels)[rows]
    inputs = workspace.image_inputs(examples, examples.train, rows, loaded, Execution())
    now = shift_by_class_means(loaded, inputs, labels, COMPARED)
    with torch.no_grad():
        passes = (loaded.module(images) for _, images in inputs.in_order(EVALUATION_BATCH))
        batch_statistics.estimate(loaded.module, passes)
    adapted = shift_by_class_means(loaded, inputs, labels, COMPARED)
    text = (
        f"{where}: batch statistics change {now['train_mode']:.0f} % of the predictions by class means "
        f'({now["samples"]} images), weak views {now["weak_views"]:.0f} %; with batch_norm = "adapt" '
        f"it is {adapted['train_mode']:.0f} % and {adapted['weak_views']:.0f} %"
    )
    if now["train_mode"] < LARGE_SHIFT:
        yield HealthFinding(Level.FINE, text)
    else:
        yield HealthFinding(Level.WARNING, f"{text}.", _REMEDY)
