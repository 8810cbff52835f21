"""Checkpoints: the state of a trial after an epoch, in a file that holds no code.

A state is made of dicts, lists, tuples, numbers, texts, None, tensors and arrays. PyTorch writes it,
behind a checksum, and reads it in the mode that builds these and runs nothing that is in the file.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lnlbench.basics.files import Damaged, write_atomically
from lnlbench.errors import PluginError, StoreError, TrialError
from lnlbench.processes.team import Team

FORMAT = 3
SUFFIX = ".ckpt"

_FAMILY = b"lnlbench checkpoint"
# What a file begins with, latest first. Format 2 held every tensor; it is read.
_MAGICS = tuple(b"%s %d\n" % (_FAMILY, number) for number in (FORMAT, 2))


class Checkpoints:
    """A folder with at most one checkpoint per trial.

    Parameters
    ----------
    folder : Path or None
        Made when the first checkpoint is saved; None keeps none.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def path(self, trial_id: str) -> Path:
        """Return where a trial's checkpoint is, or would be."""
        assert self.folder is not None
        return self.folder / f"{trial_id}{SUFFIX}"

    def save(self, trial_id: str, identity: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """Replace a trial's checkpoint, atomically.

        Parameters
        ----------
        trial_id : str
        identity : mapping
            JSON value: what the state holds for, compared by :meth:`load`.
        state : mapping

        Raises
        ------
        StoreError
            If it cannot be written; the one before is then unchanged.
        PluginError
            If the state holds something that cannot be stored.
        """
        if self.folder is None:
            return
        content = encode({"trial_id": trial_id, "identity": dict(identity), "state": dict(state)})
        path = self.path(trial_id)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Written after every epoch, so the disk is not waited for: what a power failure leaves
            # is noticed by its checksum, and costs this trial only.
            write_atomically(path, content, durable=False)
        except OSError as error:
            raise StoreError(
                f"The checkpoint '{path}' could not be saved: {error}.",
                "Make room or allow writing there, then run the same command again.",
            ) from error

    def load(
        self, trial_id: str, identity: Mapping[str, Any], device: torch.device | str = "cpu"
    ) -> tuple[dict[str, Any] | None, str | None]:
        """Return a trial's last state, if it can be continued, and else why not.

        Parameters
        ----------
        trial_id : str
        identity : mapping
            See :meth:`save`.
        device : torch.device or str
            Where tensors go that were not on the CPU.

        Returns
        -------
        state : dict or None
        refusal : str or None
            Why there is a checkpoint that is of no use: it is that of other code, other data or
            another device, or damaged; see :meth:`damaged` for how those are found before.
        """
        if self.folder is None or not self.path(trial_id).exists():
            return None, None
        content = read(self.path(trial_id), device)
        if isinstance(content, Damaged):
            return None, content.reason
        changed = _differences(content["identity"], identity)
        if changed:
            return None, f"other {', '.join(changed)}"
        return content["state"], None

    def remove(self, trial_id: str) -> None:
        """Remove a trial's checkpoint, if there is one."""
        if self.folder is not None:
            with suppress(FileNotFoundError):
                self.path(trial_id).unlink()

    def saved(self) -> list[str]:
        """Return the trials that have a checkpoint."""
        if self.folder is None or not self.folder.is_dir():
            return []
        return sorted(path.stem for path in self.folder.glob(f"*{SUFFIX}"))

    def damaged(self) -> list[Damaged]:
        """Return the checkpoints that cannot be read, with the reason."""
        found = (read(self.path(trial_id)) for trial_id in self.saved())
        return [item for item in found if isinstance(item, Damaged)]


def read(path: Path, device: torch.device | str = "cpu") -> dict[str, Any] | Damaged:
    """Return the content of a checkpoint file, or what is wrong with it."""
    try:
        content = path.read_bytes()
    except OSError as error:
        return Damaged(path, f"it cannot be read ({error.strerror})")
    try:
        value = decode(content, device)
    except ValueError as error:
        return Damaged(path, str(error))
    if not isinstance(value, dict) or {"trial_id", "identity", "state"} - value.keys():
        return Damaged(path, "it is not the checkpoint of a trial")
    if value["trial_id"] != path.stem:
        return Damaged(path, f"it is the checkpoint of another trial, {value['trial_id']}")
    return value


def _differences(saved: Mapping[str, Any], present: Mapping[str, Any]) -> list[str]:
    """Name what is not the same in two identities."""
    # Through JSON, as the stored one went: tuples are lists there.
    present = json.loads(json.dumps(present))
    return [name for name in sorted({*saved, *present}) if saved.get(name) != present.get(name)]


def encode(value: Any) -> bytes:
    """Return a nested value as bytes, with a checksum.

    Raises
    ------
    PluginError
        If there is something in it that is not data.
    """
    body = io.BytesIO()
    torch.save(_data(value, ""), body)
    content = body.getbuffer()
    return _MAGICS[0] + _checksum(_MAGICS[0], content) + content


def decode(content: bytes, device: torch.device | str = "cpu") -> Any:
    """Return the value that :func:`encode` wrote.

    Parameters
    ----------
    content : bytes
    device : torch.device or str
        Where tensors go that were not on the CPU. Default: to the CPU.

    Raises
    ------
    ValueError
        If the content is not intact, with the reason.
    """
    if not content:
        raise ValueError("it is empty")
    magic = next((one for one in _MAGICS if content.startswith(one)), None)
    if magic is None:
        known = content.startswith(_FAMILY)
        raise ValueError("it has another format" if known else "it was not written by lnlbench")
    head = len(magic) + 65
    body = memoryview(content)[head:]
    if _checksum(magic, body) != content[len(magic) : head]:
        raise ValueError("its content does not match its checksum")

    def place(storage: Any, location: str) -> Any:
        return storage if location == "cpu" else storage.to(device=torch.device(device))

    try:
        with torch.serialization.safe_globals([as_array]):
            # Runs nothing: a pickle that names a function other than those of tensors is refused.
            return torch.load(io.BytesIO(body), map_location=place, weights_only=True)
    except Exception as error:  # whatever it is, it was not we who wrote this
        raise ValueError(f"it is not a checkpoint ({type(error).__name__})") from error


def _checksum(magic: bytes, body: memoryview) -> bytes:
    # With the format: one changed bit shall not make a file one of the format before.
    digest = hashlib.sha256(b"" if magic.endswith(b" 2\n") else magic)
    digest.update(body)
    return digest.hexdigest().encode() + b"\n"


class _Array:
    """Writes an array as a tensor, and reads it as an array again."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.tensor = torch.from_numpy(np.ascontiguousarray(array)).reshape(array.shape)

    def __reduce__(self) -> tuple[Any, tuple[torch.Tensor]]:
        return as_array, (self.tensor,)


def as_array(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    """Return a tensor as an array: the one function that a checkpoint may call."""
    array: np.ndarray[Any, Any] = tensor.numpy()
    return array


def _data(value: Any, where: str) -> Any:
    """Return a value made of what :func:`torch.load` reads without running code."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, torch.Tensor):
        value = value.detach()
        # With a part of a tensor, PyTorch writes the whole.
        return value if value.untyped_storage().nbytes() == value.nbytes else value.clone()
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return _Array(value)
    if isinstance(value, Mapping):
        return {_data(key, where): _data(item, f"{where}.{key}".lstrip(".")) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_data(item, f"{where}[{number}]") for number, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    raise PluginError(
        f"A checkpoint cannot hold {where}, a {type(value).__name__}.",
        "state_dict() returns tensors, arrays, numbers, texts, None, and dicts, lists and tuples of them.",
    )


def agreed(
    team: Team, identity: Mapping[str, Any], saved: dict[str, Any] | None, discarded: str | None
) -> tuple[dict[str, Any] | None, str | None]:
    """Return a checkpoint, and why there is none, if all processes of a trial have read the same.

    Parameters
    ----------
    team : Team
        Those that share the trial; each of them calls this.
    identity : mapping
        What the checkpoint must agree with, see :attr:`lnlbench.trials.trial.Trial.identity`.
    saved, discarded
        As :meth:`Checkpoints.load` returned them to this process.

    Raises
    ------
    TrialError
        If they do not have the same code, data and weights.
    """
    here = None if saved is None else (saved["phase"], saved["epoch"])
    every = team.heard((json.loads(json.dumps(identity)), here))
    for other, _ in every:
        if differing := _differences(every[0][0], other):
            raise TrialError(
                f"The processes of the trial have not the same {' and '.join(differing)}.",
                "Every node needs the same code, data and weights.",
            )
    if any(found != here for _, found in every):
        return None, discarded or "not every process of the trial can read it"
    return saved, discarded
