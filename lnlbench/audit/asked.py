"""What is audited: a data set, its noise and a backbone, with settings as ``run`` takes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lnlbench.errors import UsageError
from lnlbench.grids.grid import Grid
from lnlbench.grids.plan import plan
from lnlbench.grids.rows import Row
from lnlbench.grids.settings import AXES, Setting, resolve_key
from lnlbench.grids.toml import Origin
from lnlbench.spec import TrialSpec

SECTIONS = ("dataset_options", "backbone_options", "noise_options", "precision", "noise", "seeds")


def audit_spec(dataset: str, backbone: str, sets: Sequence[str] = ()) -> TrialSpec:
    """Return the specification that says which data, labels and features an audit looks at.

    It is that of a trial of linear probing, so that everything means what it means in a grid. Labels
    are taken as they are (noise ``real``) unless ``sets`` says otherwise.

    Parameters
    ----------
    dataset, backbone : str
        As in a grid.
    sets : sequence of str
        ``KEY=VALUE``: options of the data set, the backbone and the noise, and ``noise``, ``seeds`` and
        ``precision``.

    Raises
    ------
    UsageError, PluginError
        For unknown names, keys and values, for a key that means nothing here, and for several values.
    """
    for text in sets:
        key = text.partition("=")[0].strip()
        full = key if key in AXES else resolve_key(key)
        if full.partition(".")[0] not in SECTIONS:
            raise UsageError(
                f"--set {text}: an audit has no {full}.",
                f"It takes noise, seeds, precision, and options of {', '.join(SECTIONS[:3])}.",
            )
    here = Origin("lnlbench audit", in_file=False)
    grid = Grid(
        name="audit",
        title="",
        description="",
        path=Path("audit"),
        sha256="",
        datasets=(dataset,),
        backbones=(backbone,),
        noise=("real",),
        rows=(Row("lp", ("ce",), here),),
        seeds=(0,),
        settings={"lp.epochs": Setting(1, here)},
        origins=dict.fromkeys(("dataset", "backbone", "noise", "table", "figure"), here),
    )
    planned = plan(grid, sets=sets).planned
    if len(planned) > 1:
        raise UsageError(
            f"{len(planned)} audits are asked for at once.", "Give one noise and one seed, and audit each."
        )
    return planned[0].spec
