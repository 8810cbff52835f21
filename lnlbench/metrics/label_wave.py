"""Label Wave: an epoch chosen by how training predictions change, without validation labels.

Source: Yuan, Feng & Liu, Early Stopping Against Label Noise Without Validation Data, ICLR 2024.
"""

from __future__ import annotations

from collections.abc import Sequence

from lnlbench.basics.facts import EpochFacts

# Epochs of the moving average.
WINDOW = 3


def label_wave(history: Sequence[EpochFacts]) -> int | None:
    """Return the epoch at the first local minimum of the smoothed changes, the last one if there is none.

    The share of training predictions that differ from those of the epoch before falls while a network learns
    what samples have in common, and rises when it begins to fit wrong labels. It is averaged over the last
    :data:`WINDOW` epochs, or as many as there are; the minimum is the first epoch after which the average
    rises. Epochs of the last phase only: another phase changes predictions for reasons of its own.

    Parameters
    ----------
    history : sequence of EpochFacts
        Of all phases.

    Returns
    -------
    int or None
        Counted from 0 over all phases; None where some epoch has no training predictions.
    """
    start = next(at for at in range(len(history) - 1, -1, -1) if history[at]["epoch"] == 0)
    changes = [entry.get("prediction_changes") for entry in history[start + 1 :]]
    known = [change for change in changes if change is not None]
    if len(known) < len(changes):
        return None
    lengths = [min(WINDOW, end) for end in range(1, len(known) + 1)]
    smooth = [sum(known[end - n : end]) / n for end, n in enumerate(lengths, start=1)]
    rises = (at for at in range(len(smooth) - 1) if smooth[at + 1] > smooth[at])
    # The change of epoch 1 is the first there is.
    return start + 1 + next(rises, len(smooth) - 1)
