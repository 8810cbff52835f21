"""The best and the last model of a trial, kept while it runs and written when it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lnlbench.api import Method
from lnlbench.basics.facts import EpochFacts, ModelFacts
from lnlbench.deploy.snapshots import Snapshot, UnsavableError, take, write_snapshot
from lnlbench.errors import StoreError
from lnlbench.inputs.network_inputs import Inputs
from lnlbench.models.backbone import Backbone
from lnlbench.models.ledger import Ledger
from lnlbench.models.network import Network
from lnlbench.spec import TrialSpec

# Samples on which it is seen which networks predict.
TRIED = 8


class ModelKeeper:
    """Keeps a copy of the networks of the best epoch, on the CPU.

    Parameters
    ----------
    spec : TrialSpec
    folder : Path or None
        Where models go; None keeps none.
    """

    def __init__(self, spec: TrialSpec, folder: Path | None) -> None:
        self.folder = folder
        self._spec = spec
        self._best: Snapshot | None = None
        self._last: Snapshot | None = None
        self._networks: list[Network] = []
        self._refused = ""

    def look(
        self, method: Method, inputs: Inputs, history: Sequence[EpochFacts], phase: int, ledger: Ledger
    ) -> None:
        """Take the networks after an epoch if it is the best so far, or the last of the trial.

        Parameters
        ----------
        method : Method
            With networks in eval mode.
        inputs : Inputs
            Of the validation split.
        history : sequence of EpochFacts
            Up to this epoch.
        phase : int
        ledger : Ledger
            Does not count the look.
        """
        accuracies = [entry["validation"] for entry in history]
        epoch, last = len(history) - 1, len(history) == self._spec.epochs
        best = accuracies.index(max(accuracies)) == epoch
        if self._refused or not (best or last):
            return
        counts: dict[str, Any] = {**ledger.to_dict()}
        try:
            sample = inputs.plain(torch.arange(min(TRIED, len(inputs))))
            snapshot, self._networks = take(method, sample, epoch, phase + 1)
        except UnsavableError as reason:
            self._refused = str(reason)
            return
        finally:
            ledger.load(counts)
        self._best = snapshot if best else self._best
        self._last = snapshot if last else None

    def state(self) -> dict[str, Any] | None:
        """Return what a checkpoint needs."""
        return None if self._best is None else self._best.to_dict()

    def load(self, state: Mapping[str, Any] | None) -> None:
        """Continue from :meth:`state`."""
        self._best = None if state is None else Snapshot(**state)

    def write(
        self, classes: tuple[str, ...], backbone: Backbone | None, history: Sequence[EpochFacts]
    ) -> ModelFacts:
        """Write the models that there are, and return their checksums.

        Raises
        ------
        StoreError
            If they cannot be written.
        """
        assert self.folder is not None
        if self._refused:
            return {"refused": self._refused}
        found: ModelFacts = {}
        for which, snapshot in (("best", self._best), ("last", self._last)):
            if snapshot is None:  # of a trial that was continued without the option before
                continue
            folder = self.folder / self._spec.trial_id / which
            try:
                digest = write_snapshot(
                    folder,
                    snapshot,
                    self._networks,
                    which=which,
                    spec=self._spec,
                    classes=classes,
                    backbone=backbone,
                    entry=history[snapshot.epoch],
                )
            except OSError as error:
                raise StoreError(
                    f"The model of trial {self._spec.trial_id} could not be saved to '{folder}': {error}.",
                    "Make room or allow writing there, then run the same command again.",
                ) from error
            if which == "best":
                found["best"] = digest
            else:
                found["last"] = digest
        return found
