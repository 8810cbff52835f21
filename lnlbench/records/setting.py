"""The setting of a trial: its spec without the seed, as text, so that what follows from it is computed once.

Trials that differ in their seed alone share this text. Plans, index and frame know trials as a setting and a
seed: of a hundred thousand trials there are far fewer settings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from lnlbench.spec import TrialSpec


def setting_of(spec: Mapping[str, Any]) -> str:
    """Return the setting of a spec.

    Parameters
    ----------
    spec : mapping
        As :meth:`lnlbench.spec.TrialSpec.to_dict` returns it.

    Returns
    -------
    str
        JSON, with null for the seed.
    """
    return json.dumps({**spec, "seed": None}, sort_keys=True)


def spec_of(setting: str, seed: int) -> TrialSpec:
    """Return the trial of a setting and a seed."""
    return replace(_first_of(setting), seed=seed)


def planned_spec(trial: Mapping[str, Any]) -> TrialSpec:
    """Return the trial of an entry of a plan."""
    return spec_of(trial["setting"], trial["seed"])


@lru_cache(maxsize=4096)
def _first_of(setting: str) -> TrialSpec:
    return TrialSpec.from_dict({**json.loads(setting), "seed": 0})
