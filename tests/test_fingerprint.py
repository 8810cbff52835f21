"""Which changes of a source file are changes of its code."""

import ast
import subprocess
import sys

import pytest

from lnlbench.fingerprint import source_fingerprint

SOURCE = '''
"""A module."""
from lnlbench.api import Method

class Mine(Method):
    """A method."""

    scale: float = 2.0  # why not

    def loss(self, batch):
        """Return the loss."""
        return batch.inputs.mean() * self.scale

    def nothing(self, *, given, other=None):
        return {**given, "x": None}
'''


def fingerprint_of(tmp_path, text, name="mine.py"):
    path = tmp_path / name
    path.write_text(text)
    return source_fingerprint(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  # why not", "  # because"),
        ('"""A module."""', '"""The same module, explained."""'),
        ('    """A method."""\n', ""),
        ('        """Return the loss."""\n', ""),
        ("\n\n    def", "\n    def"),
        ('"x"', "'x'"),
        ("2.0", "2.00"),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(tmp_path, old, new):
    assert old in SOURCE
    assert fingerprint_of(tmp_path, SOURCE.replace(old, new)) == fingerprint_of(tmp_path, SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("2.0", "3.0"),
        ("2.0", "2"),
        ("mean", "sum"),
        ("None}", "False}"),
        ("other=None", "other"),
        ("*, given", "given"),
        ("(Method)", "(object)"),
        ('"x"', '"y"'),
        ("**given, ", ""),
        ("return batch", "batch"),
    ],
)
def test_everything_that_is_executed_counts(tmp_path, old, new):
    assert old in SOURCE
    assert fingerprint_of(tmp_path, SOURCE.replace(old, new)) != fingerprint_of(tmp_path, SOURCE)


def test_the_name_of_the_file_does_not_count(tmp_path):
    assert fingerprint_of(tmp_path, SOURCE, "other.py") == fingerprint_of(tmp_path, SOURCE)


def test_a_string_that_is_no_docstring_counts(tmp_path):
    one, two = (f'def f():\n    x = 1\n    yield "{text}"\n' for text in ("one", "two"))
    assert fingerprint_of(tmp_path, one) != fingerprint_of(tmp_path, two)


def test_it_is_the_same_in_every_process(tmp_path):
    here = fingerprint_of(tmp_path, SOURCE)
    code = "import sys, pathlib, lnlbench.fingerprint as f\n"
    code += "print(f.source_fingerprint(pathlib.Path(sys.argv[1])))"
    command = [sys.executable, "-c", code, str(tmp_path / "mine.py")]
    there = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert there.strip() == here


@pytest.mark.parametrize("content", [b"class Mine(:", b"\x7fELF\x00\x01", b"\xff\xfe = 1"])
def test_what_is_no_python_source_is_hashed_as_it_is(tmp_path, content):
    path = tmp_path / "mine.so"
    path.write_bytes(content)
    with pytest.raises((SyntaxError, ValueError)):
        ast.parse(content)
    before = source_fingerprint(path)
    path.write_bytes(content + b" ")
    assert source_fingerprint(path) != before
