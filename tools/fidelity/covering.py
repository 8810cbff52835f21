"""Which tests cover what, read from the test files without importing them.

A test file says what it covers by a constant at module level::

    COVERS = ("dividemix", "noise:symmetric", "components")

It stands for all tests of the file, except that a test which mentions some of them covers only
those: in its name (``test_dividemix_at_a_given_share``), as a class or function (``DivideMix``, in
its parameters too), or as a string.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

from lnlbench.errors import UsageError


class CoveringTest(NamedTuple):
    """A test function: its file, as seen from the folder of tests, and its name."""

    file: str
    name: str

    @property
    def sentence(self) -> str:
        """The name as a sentence, without full stop."""
        words = self.name.removeprefix("test_").replace("_", " ")
        return words[0].upper() + words[1:]


def covering_tests(folder: Path) -> dict[str, list[CoveringTest]]:
    """Return the tests in a folder by what they cover, in the order of files and lines.

    Raises
    ------
    UsageError
        If a ``COVERS`` is not a tuple of strings.
    """
    tests: dict[str, list[CoveringTest]] = {}
    for path in sorted(folder.rglob("test_*.py")):
        tree = ast.parse(path.read_bytes(), path.name)
        covers = _covers(tree, path)
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                test = CoveringTest(path.relative_to(folder).as_posix(), node.name)
                for subject in _mentioned(node, covers) or covers:
                    tests.setdefault(subject, []).append(test)
    return tests


def _covers(tree: ast.Module, path: Path) -> tuple[str, ...]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and [ast.unparse(name) for name in node.targets] == ["COVERS"]:
            try:
                value = ast.literal_eval(node.value)
            except ValueError:
                value = None
            if isinstance(value, tuple) and all(isinstance(item, str) for item in value):
                return value
            raise UsageError(
                f"{path}:{node.lineno}: COVERS is {ast.unparse(node.value)}.",
                'Write a tuple of names: COVERS = ("gce", "noise:symmetric").',
            )
    return ()


def _mentioned(test: ast.FunctionDef, covers: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of ``covers`` that a test mentions; the name "elr_plus" does not mention "elr"."""
    nodes = list(ast.walk(test))
    words = {node.id.lower() for node in nodes if isinstance(node, ast.Name)}
    words |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    name = f"_{test.name}_"
    found = set()
    for subject in sorted(covers, key=len, reverse=True):
        word = subject.rpartition(":")[2]
        if f"_{word}_" in name or word in words or word.replace("_", "") in words:
            found.add(subject)
        name = name.replace(f"_{word}_", "__")
    return tuple(subject for subject in covers if subject in found)
