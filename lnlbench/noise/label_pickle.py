"""Arrays of labels out of pickles that come from anywhere, without unpickling: nothing is called or imported.

CIFAR-10N's and CIFAR-100N's labels are published as ``.pt`` files: a zip archive, stored, with a pickle of a
dictionary of numpy arrays and lists of integers. ``torch.load`` refuses them unless it may run what they
contain. Here the pickle is never given to :mod:`pickle`: its opcodes are read one by one, and the few that
such a dictionary needs are carried out on plain values; with any other one the file is refused.
"""

from __future__ import annotations

import pickletools
import re
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lnlbench.basics.printable import shorten
from lnlbench.data.source import Labels
from lnlbench.errors import NoiseError

# The published files have 2.4 and 1 MB, and 100,000 steps.
MAX_BYTES = 2**25
MAX_STEPS = 2**20

# What a dictionary of arrays names, as numpy 1 and 2 write it. They are names here, and stay names.
_RECONSTRUCT = ("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct")
_ARRAY, _DTYPE, _ENCODE = "numpy ndarray", "numpy dtype", "_codecs encode"
_NAMES = frozenset((*_RECONSTRUCT, _ARRAY, _DTYPE, _ENCODE))

_PUSHED = frozenset(("BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1"))
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_INTEGER = re.compile(r"[iu][1248]")


@dataclass(eq=False)
class _Name:
    """A thing that the pickle names, and that is not looked up."""

    text: str


@dataclass(eq=False)
class _Described:
    """What the pickle says of an array (or of its type): arguments, then a state."""

    name: str
    arguments: tuple[Any, ...]
    state: tuple[Any, ...] = ()


class _Mark:
    """Where the items of a tuple, list or dictionary begin on the stack."""


@dataclass
class _Reader:
    """A stack machine for the opcodes of such a dictionary; anything else is a ValueError."""

    content: bytes
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    unpacked: int = 0

    def run(self) -> Any:
        position = 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of texts that are damaged, and refused
            for step, (code, argument, place) in enumerate(pickletools.genops(self.content)):
                if step >= MAX_STEPS:
                    raise ValueError(f"it takes more than {MAX_STEPS:,} steps")
                self._step(code.name, argument)
                position = place or 0
        if position + 1 != len(self.content):
            raise ValueError(f"there are {len(self.content) - position - 1} bytes behind its end")
        if len(self.stack) != 1:
            raise ValueError("it leaves more or less than one value")
        return self.stack[0]

    def _step(self, code: str, argument: Any) -> None:
        if code in ("PROTO", "FRAME", "STOP"):
            return
        if code in _PUSHED:
            self.stack.append(argument)
        elif code in _CONSTANTS:
            self.stack.append(_CONSTANTS[code])
        elif code == "EMPTY_DICT":
            self.stack.append({})
        elif code == "EMPTY_LIST":
            self.stack.append([])
        elif code == "MARK":
            self.stack.append(_Mark())
        elif code == "GLOBAL":
            if argument not in _NAMES:
                raise ValueError(f"it names {shorten(argument)!r}, which could run anything")
            self.stack.append(_Name(argument))
        elif code in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif code == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif code in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        else:
            self._combine(code)

    def _combine(self, code: str) -> None:
        """Carry out an opcode that takes values off the stack."""
        if code in _TUPLES:
            self.stack.append(tuple(self._pop() for _ in range(_TUPLES[code]))[::-1])
        elif code == "TUPLE":
            self.stack.append(tuple(self._items()))
        elif code in ("APPEND", "APPENDS"):
            items = self._items() if code == "APPENDS" else [self._pop()]
            self._top(list).extend(items)
        elif code in ("SETITEM", "SETITEMS"):
            items = self._items() if code == "SETITEMS" else [self._pop(), self._pop()][::-1]
            if len(items) % 2 or not all(isinstance(name, str) for name in items[::2]):
                raise ValueError("a key of its dictionary is no text")
            self._top(dict).update(zip(items[::2], items[1::2], strict=True))
        elif code == "REDUCE":
            arguments, function = self._pop(), self._pop()
            self.stack.append(self._call(function, arguments))
        elif code == "BUILD":
            state = self._pop()
            described = self._top(_Described)
            if not isinstance(state, tuple) or described.state:
                raise ValueError("an array has two states, or one that is none")
            described.state = state
        else:
            raise ValueError(f"it has the opcode {code}, which no dictionary of arrays needs")

    def _call(self, function: Any, arguments: Any) -> Any:
        """What a call stands for: bytes for a text that is encoded, else a description."""
        if not isinstance(function, _Name) or not isinstance(arguments, tuple):
            raise ValueError("it calls what is no name")
        if function.text == _ENCODE:
            text, *encoding = arguments
            if not isinstance(text, str) or encoding != ["latin1"]:
                raise ValueError("it encodes what is no text in Latin-1")
            self.unpacked += len(text)
            if self.unpacked > MAX_BYTES:
                raise ValueError(f"it would unpack to more than {MAX_BYTES:,} bytes")
            return text.encode("latin-1")
        return _Described(function.text, arguments)

    def _pop(self) -> Any:
        if isinstance(self.stack[-1], _Mark):
            raise ValueError("a value is missing")
        return self.stack.pop()

    def _top(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise ValueError(f"there is no {kind.__name__.strip('_').lower()} where one should be")
        return self.stack[-1]

    def _items(self) -> list[Any]:
        items = []
        while not isinstance(self.stack[-1], _Mark):
            items.append(self.stack.pop())
        self.stack.pop()
        return items[::-1]


def read_label_pickle(path: Path, names: Sequence[str]) -> dict[str, Labels]:
    """Read named arrays of labels of a ``.pt`` file.

    Parameters
    ----------
    path : Path
        A zip archive as ``torch.save`` writes it, with one ``data.pkl`` and no tensors.
    names : sequence of str
        Keys of its dictionary. Other values are not looked at.

    Returns
    -------
    dict of str to int64 array of shape [N]

    Raises
    ------
    NoiseError
        If the file is missing or damaged, holds anything but arrays and lists of integers in a
        dictionary, or lacks a name. Nothing in it is executed.
    """
    try:
        found = _Reader(_pickle_in(path)).run()
    except NoiseError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, RecursionError) as problem:
        reason = str(problem) if isinstance(problem, ValueError) else "it is damaged"
        raise NoiseError(
            f"{path} is no file of labels: {shorten(reason)}.",
            "Nothing in it was executed. Get the file from its authors again.",
        ) from problem
    if not isinstance(found, dict):
        raise NoiseError(f"{path} is no dictionary of arrays.", "Get the file from its authors again.")
    absent = [name for name in names if name not in found]
    if absent:
        holds = shorten(", ".join(map(str, found))) or "nothing"
        raise NoiseError(f"{path} has no {', '.join(absent)}; it holds {holds}.", "Check which file it is.")
    return {name: _labels(found[name], f"{path}: {name}") for name in names}


def _pickle_in(path: Path) -> bytes:
    """Return the one pickle of an archive, whose checksum is right."""
    if path.exists() and not path.is_file():
        raise NoiseError(f"{path} is not a file.", "Check the path.")
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            pickles = [item for item in members if item.filename.rpartition("/")[2] == "data.pkl"]
            tensors = [item.filename for item in members if "/data/" in item.filename]
            if len(pickles) != 1 or tensors:
                what = f"{len(pickles)} files data.pkl" if len(pickles) != 1 else "tensors"
                raise NoiseError(f"{path} holds {what}.", "Label files hold one, of numpy arrays.")
            (member,) = pickles
            if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
                raise NoiseError(f"{path} is compressed or encrypted, as torch.save writes none.")
            if member.file_size > min(MAX_BYTES, path.stat().st_size):
                raise NoiseError(f"{path} declares {member.file_size:,} bytes, as no file of labels has.")
            return archive.read(member)
    except FileNotFoundError:
        raise NoiseError(f"{path} does not exist.", "Check the path.") from None
    except (zipfile.BadZipFile, NotImplementedError, OSError, EOFError, RuntimeError) as problem:
        raise NoiseError(
            f"{path} cannot be read as a zip archive: {problem}.", "Get the file from its authors again."
        ) from problem


def _labels(value: Any, where: str) -> Labels:
    if isinstance(value, list):
        if not all(type(item) is int and 0 <= item < 2**31 for item in value) or not value:
            raise NoiseError(f"{where} is a list of something else than labels.", "Check which file it is.")
        return np.array(value, dtype=np.int64)
    if not isinstance(value, _Described) or value.name not in _RECONSTRUCT:
        raise NoiseError(f"{where} is no array.", "Check which file it is.")
    kind, shape, raw = _array_state(value.state, where)
    if len(shape) != 1 or not shape[0]:
        raise NoiseError(f"{where} has the shape {shorten(str(shape))}.", "Labels have the shape [N].")
    if shape[0] * kind.itemsize != len(raw):
        raise NoiseError(f"{where} has {shape[0]} labels in {len(raw)} bytes.", "Get the file again.")
    labels = np.frombuffer(raw, kind)
    if int(labels.min()) < 0 or int(labels.max()) >= 2**31:
        raise NoiseError(
            f"{where} has labels from {labels.min()} to {labels.max()}.", "Labels are 0 … C − 1."
        )
    return labels.astype(np.int64)


def _array_state(state: tuple[Any, ...], where: str) -> tuple[np.dtype[Any], tuple[int, ...], bytes]:
    """Return type, shape and bytes of an array of integers, from the state that numpy writes."""
    broken = NoiseError(f"{where} is not described as numpy describes arrays.", "Get the file again.")
    if len(state) != 5:
        raise broken
    _, shape, kind, _, raw = state
    if not isinstance(shape, tuple) or not all(type(side) is int and side >= 0 for side in shape):
        raise broken
    if not isinstance(kind, _Described) or kind.name != _DTYPE or not kind.arguments:
        raise broken
    code, order = kind.arguments[0], kind.state[1] if len(kind.state) > 1 else None
    if not isinstance(code, str):
        raise broken
    if not _INTEGER.fullmatch(code):
        what = "Python objects, which can run code" if code.startswith("O") else shorten(code)
        raise NoiseError(f"{where} is an array of {what}, not of integers.", "Check which file it is.")
    if order not in ("<", ">", "|") or not isinstance(raw, bytes):
        raise broken
    return np.dtype(f"{order}{code}"), shape, raw
