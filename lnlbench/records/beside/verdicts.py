"""Verdicts: what a trial says of every training sample, as a Parquet file beside its record."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lnlbench.basics.facts import VerdictFacts
from lnlbench.basics.files import write_atomically
from lnlbench.errors import StoreError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    import pyarrow as pa

# Of an output folder.
FOLDER = "verdicts"
SPLITS = ("train", "validation")

_CLASSES = b"lnlbench.classes"
_COLUMNS = (*("sample", "file", "split", "given", "predicted", "probability", "margin", "score", "selected"),)


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What a trained method says of N training samples, in stored order.

    Attributes
    ----------
    classes : tuple of str
    held_out : ndarray of bool, ``[N]``
        Whether a sample was held out for validation.
    given, predicted : ndarray of int64, ``[N]``
        The label as given, possibly wrong, and the class of the largest logit of the un-augmented sample
        after the last epoch.
    probability : ndarray of float, ``[N]``
        Of the given label.
    margin : ndarray of float, ``[N]``
        Probability of the given label minus the largest of the other classes, in [−1, 1].
    score : ndarray of float, ``[N]``, or None
        The method's last clean score, in [0, 1], 1 = surely right; not a number where there is none.
    selected : ndarray of bool, ``[N]``, or None
        Whether the method's last selection takes the sample as clean; meaningless where held out.
    files : sequence of str, or None
        Paths of the samples.
    """

    classes: tuple[str, ...]
    held_out: npt.NDArray[np.bool_]
    given: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    probability: npt.NDArray[np.floating[Any]]
    margin: npt.NDArray[np.floating[Any]]
    score: npt.NDArray[np.floating[Any]] | None = None
    selected: npt.NDArray[np.bool_] | None = None
    files: Sequence[str] | None = None


def encode_verdicts(verdicts: Verdicts) -> bytes:
    """Return verdicts as the content of a Parquet file."""
    import numpy as np  # here and not above: a look at records' states needs none
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows, out = len(verdicts.given), verdicts.held_out

    def coded(codes: npt.NDArray[Any], names: Sequence[str]) -> pa.Array:
        return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(list(names)))

    def known(values: npt.NDArray[Any] | None, kind: pa.DataType) -> pa.Array:
        if values is None:
            return pa.nulls(rows, kind)
        return pa.array(values, kind, mask=out | np.isnan(values.astype(np.float32)))

    arrays = (
        pa.array(np.arange(rows, dtype=np.int32)),
        pa.nulls(rows, pa.string()) if verdicts.files is None else pa.array(list(verdicts.files)),
        coded(out, SPLITS),
        coded(verdicts.given, verdicts.classes),
        coded(verdicts.predicted, verdicts.classes),
        pa.array(verdicts.probability.astype(np.float32)),
        pa.array(verdicts.margin.astype(np.float32)),
        known(None if verdicts.score is None else verdicts.score.astype(np.float32), pa.float32()),
        known(verdicts.selected, pa.bool_()),
    )
    table = pa.table(dict(zip(_COLUMNS, arrays, strict=True)))
    metadata = {**(table.schema.metadata or {}), _CLASSES: json.dumps(verdicts.classes).encode()}
    content = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), content, compression="zstd", compression_level=9)
    return content.getvalue()


def facts_of(content: bytes) -> VerdictFacts:
    """Return what a record says of its file of verdicts."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = pq.read_metadata(pa.BufferReader(content)).num_rows
    return {"sha256": hashlib.sha256(content).hexdigest(), "rows": rows}


def path_of(out: str | Path, trial_id: str) -> Path:
    """Return where the verdicts of a trial are, if it has some."""
    return Path(out) / FOLDER / f"{trial_id}.parquet"


def write_table(out: Path, trial_id: str, content: bytes | None) -> None:
    """Write the verdicts of a trial, or remove those of an earlier attempt where it has none.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    path = path_of(out, trial_id)
    if content is None:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, content)


def read_verdicts(path: str | Path, sha256: str | None = None) -> pd.DataFrame:
    """Return the verdicts of a trial.

    Parameters
    ----------
    path : str or Path
        See :func:`path_of`.
    sha256 : str, optional
        Of the file, as the trial's record has it.

    Returns
    -------
    pandas.DataFrame
        One row per sample of the training split, in stored order, with ``sample``, ``file``, ``split``,
        ``given``, ``predicted``, ``probability``, ``margin``, ``score`` and ``selected``, see
        :class:`Verdicts`. ``given`` and ``predicted`` are categories in the order of the classes.

    Raises
    ------
    StoreError
        If the file is not there, is damaged, is not that of the record, or holds no verdicts.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    again = "Make them with lnlbench run --verdicts --retry all."
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StoreError(f"There are no verdicts in '{path}' ({error.strerror}).", again) from error
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise StoreError(f"The verdicts in '{path}' are not those that the record was made with.", again)
    try:
        table = pq.read_table(pa.BufferReader(content))
        classes = json.loads((table.schema.metadata or {})[_CLASSES])
        frame: pd.DataFrame = table.select(list(_COLUMNS)).to_pandas()
        for name, names in (("given", classes), ("predicted", classes), ("split", SPLITS)):
            frame[name] = pd.Categorical(frame[name].astype(object), categories=list(names))
    except (pa.ArrowException, KeyError, ValueError, TypeError) as error:
        raise StoreError(f"'{path}' holds no verdicts ({type(error).__name__}).", again) from error
    frame["selected"] = frame["selected"].astype("boolean")
    return frame
