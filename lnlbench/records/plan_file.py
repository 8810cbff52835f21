"""Plans as files hold them: every setting once, and trials that refer to it by its number.

A plan of a hundred thousand trials with each of them written out takes eighty megabytes, and reading it
longer than all else that ``lnlbench status`` does. Earlier versions wrote plans so; these are read as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lnlbench.records.entry import setting_of, spec_of
from lnlbench.spec import TrialSpec

SETTINGS, PLANNED = "settings", "planned"


def pack(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return a plan as it is written.

    Parameters
    ----------
    plan : mapping
        As :meth:`lnlbench.grids.plan.Plan.to_dict` returns it.

    Returns
    -------
    dict
        The plan with ``settings``, a list of specs without seeds, and ``planned`` instead of ``trials``: the
        same, where ``setting`` is a number in that list, counted from 0. The name is another one so that
        versions which know only ``trials`` do not take it for a plan.
    """
    numbers: dict[str, int] = {}
    planned = [
        {**trial, "setting": numbers.setdefault(trial["setting"], len(numbers))} for trial in plan["trials"]
    ]
    rest = {name: value for name, value in plan.items() if name != "trials"}
    return {**rest, SETTINGS: [json.loads(setting) for setting in numbers], PLANNED: planned}


def unpack(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return a plan from what :func:`pack` or an earlier version made of it.

    Raises
    ------
    ValueError
        If it is something else.
    """
    try:
        plan = {"grid": stored["grid"], **stored}
        if "trials" in plan:
            return {**plan, "trials": [_shortened(trial) for trial in plan["trials"]]}
        settings = [setting_of(spec) for spec in plan.pop(SETTINGS)]
        plan["trials"] = [{**trial, "setting": settings[trial["setting"]]} for trial in plan.pop(PLANNED)]
        return plan
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError("it is not a plan") from error


def planned_spec(trial: Mapping[str, Any]) -> TrialSpec:
    """Return the spec of one of a plan's ``trials``."""
    return spec_of(trial["setting"], trial["seed"])


def _shortened(trial: Mapping[str, Any]) -> dict[str, Any]:
    """Return a trial of an earlier version, which has a whole spec."""
    short = {name: value for name, value in trial.items() if name != "spec"}
    return {**short, "setting": setting_of(trial["spec"]), "seed": trial["spec"]["seed"]}
