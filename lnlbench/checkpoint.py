"""Checkpoints: the state of a trial after an epoch, in a file that holds no code.

A state is made of dicts, lists, tuples, numbers, texts, None, tensors and arrays. Its tensors
are stored as safetensors, and its structure as JSON beside them, so that reading a file never
runs anything that is in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from lnlbench.errors import PluginError, StoreError
from lnlbench.files import Damaged, write_atomically

FORMAT = 1
SUFFIX = ".ckpt"

_MAGIC = b"lnlbench checkpoint\n"
_STRUCTURE = "structure"
# Keys that mark what JSON has no form for; a dict that has one of them as its own is written as
# pairs, so that it cannot be mistaken.
_TENSOR, _ARRAY, _TUPLE, _PAIRS, _FLOAT = "@tensor", "@array", "@tuple", "@pairs", "@float"
_MARKS = frozenset((_TENSOR, _ARRAY, _TUPLE, _PAIRS, _FLOAT))


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

    def load(self, trial_id: str, identity: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str | None]:
        """Return a trial's last state, if it can be continued, and else why not.

        Returns
        -------
        state : dict or None
        refusal : str or None
            Why there is a checkpoint that is of no use: it is that of other code, other data or
            another device, or damaged; see :meth:`damaged` for how those are found before.
        """
        if self.folder is None or not self.path(trial_id).exists():
            return None, None
        content = read(self.path(trial_id))
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


def read(path: Path) -> dict[str, Any] | Damaged:
    """Return the content of a checkpoint file, or what is wrong with it."""
    try:
        content = path.read_bytes()
    except OSError as error:
        return Damaged(path, f"it cannot be read ({error.strerror})")
    try:
        value = decode(content)
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
    tensors: dict[str, torch.Tensor] = {}
    structure = json.dumps(_pack(value, tensors, ""), separators=(",", ":"), allow_nan=False)
    body = save(tensors, {"format": str(FORMAT), _STRUCTURE: structure})
    return _MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def decode(content: bytes) -> Any:
    """Return the value that :func:`encode` wrote; tensors are on the CPU.

    Raises
    ------
    ValueError
        If the content is not intact, with the reason.
    """
    head = len(_MAGIC) + 65
    if not content:
        raise ValueError("it is empty")
    if not content.startswith(_MAGIC):
        raise ValueError("it was not written by lnlbench")
    body = content[head:]
    if hashlib.sha256(body).hexdigest().encode() + b"\n" != content[len(_MAGIC) : head]:
        raise ValueError("its content does not match its checksum")
    length = int.from_bytes(body[:8], "little")
    try:
        metadata = json.loads(body[8 : 8 + length])["__metadata__"]
        if metadata["format"] != str(FORMAT):
            raise ValueError(f"it has format {metadata['format']}; this version reads {FORMAT}")
        return _unpack(json.loads(metadata[_STRUCTURE]), load(body))
    except (KeyError, TypeError, SafetensorError) as error:
        raise ValueError(f"it is not a checkpoint ({error!r})") from error


def _pack(value: Any, tensors: dict[str, torch.Tensor], where: str) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return {_FLOAT: value.hex()}  # exact, and the only form of NaN and infinity
    if isinstance(value, (torch.Tensor, np.ndarray)):
        name = str(len(tensors))
        if isinstance(value, torch.Tensor):
            # A copy of its own: safetensors refuses tensors that share memory.
            tensors[name] = value.detach().cpu().contiguous().clone()
            return {_TENSOR: name}
        tensors[name] = torch.from_numpy(np.ascontiguousarray(value)).reshape(value.shape).clone()
        return {_ARRAY: name}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value) and _MARKS.isdisjoint(value):
            return {key: _pack(item, tensors, f"{where}.{key}".lstrip(".")) for key, item in value.items()}
        return {
            _PAIRS: [
                [_pack(key, tensors, where), _pack(item, tensors, f"{where}.{key}".lstrip("."))]
                for key, item in value.items()
            ]
        }
    if isinstance(value, (list, tuple)):
        items = [_pack(item, tensors, f"{where}[{number}]") for number, item in enumerate(value)]
        return items if isinstance(value, list) else {_TUPLE: items}
    raise PluginError(
        f"A checkpoint cannot hold {where}, a {type(value).__name__}.",
        "state_dict() returns tensors, arrays, numbers, texts, None, and dicts, lists and tuples of them.",
    )


def _unpack(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((mark, content),) = value.items()
        if mark == _FLOAT:
            return float.fromhex(content)
        if mark == _TENSOR:
            return tensors[content]
        if mark == _ARRAY:
            return tensors[content].numpy()
        if mark == _TUPLE:
            return tuple(_unpack(item, tensors) for item in content)
        if mark == _PAIRS:
            return {_unpack(key, tensors): _unpack(item, tensors) for key, item in content}
    return {key: _unpack(item, tensors) for key, item in value.items()}
