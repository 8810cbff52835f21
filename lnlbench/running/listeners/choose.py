"""Listeners as the command line names them."""

from __future__ import annotations

import importlib

from lnlbench.errors import UsageError, suggest
from lnlbench.running.listener import Listener

# Module and class by kind; a module imports its package, so it is imported when it is asked for.
KINDS = {
    "tensorboard": ("tensorboard_listener", "TensorBoard"),
    "mlflow": ("mlflow_listener", "MLflow"),
    "wandb": ("wandb_listener", "WandB"),
}


def make_listener(text: str) -> Listener:
    """Return the listener that ``KIND:WHERE`` means, as in ``tensorboard:logs``.

    Raises
    ------
    UsageError
        For another kind, without a place, or if its package is not installed.
    """
    kind, _, where = text.partition(":")
    if kind not in KINDS:
        raise UsageError(f"There is no listener '{kind}'.", suggest(kind, KINDS))
    if not where:
        raise UsageError(f"--listener {kind} does not say where to.", f"Write --listener {kind}:WHERE.")
    module, name = KINDS[kind]
    try:
        listener = getattr(importlib.import_module(f"lnlbench.running.listeners.{module}"), name)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"--listener {kind} needs the package '{error.name}', which is not installed.",
            f"Install it with: pip install lnlbench[{kind}].",
        ) from error
    try:
        made: Listener = listener(where)
    # Whatever the package raises for a place that it cannot use.
    except Exception as error:
        raise UsageError(
            f"--listener {text} cannot be used: {type(error).__name__}: {error}", "Name another place."
        ) from error
    return made
