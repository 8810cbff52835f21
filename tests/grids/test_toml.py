"""TOML from anywhere: bounds of size, depth and numbers, and the lines of statements."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lnlbench.errors import GridError
from lnlbench.grids.toml import (
    MAX_BYTES,
    MAX_DEPTH,
    RefusedTomlError,
    TomlFile,
    key_lines,
    parse_toml,
    statements,
)


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 100_000,
        "x = " + "{a = " * 100_000,
        "x" + ".a" * 100_000 + " = 1",
        "[" + "a." * 100_000 + "b]",
        'x."a"' + '."a"' * 100_000 + " = 1",
    ],
)
def test_absurd_nesting_is_refused_by_its_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "deep.toml"
    path.write_text(f"y = 1\n{text}\n")
    with pytest.raises(GridError) as caught:
        TomlFile(path)
    assert str(caught.value).startswith(f"{path}:2: Tables or arrays are nested more than {MAX_DEPTH} times")


def test_nesting_through_dotted_keys_in_inline_tables_is_refused() -> None:
    dotted = ".".join("a" * (MAX_DEPTH - 2))
    with pytest.raises(RefusedTomlError, match="nested more than"):
        parse_toml(f"x = {{ {dotted} = {{ {dotted} = 1 }} }}")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a = 1\n\nb = " + "9" * 5000, 3, "a number beyond 64 bits"),
        ("a = 1\nb = [\n  9223372036854775808]", 2, "a number beyond 64 bits"),
        ('a = 1\nb = "\\u001b[31m"', 2, r"\\u001b is in a text"),
        ('"a\\nb" = 1', 1, r"\\u000a is in a key"),
    ],
)
def test_what_no_file_holds_is_refused_by_its_line(
    tmp_path: Path, text: str, line: int, message: str
) -> None:
    path = tmp_path / "odd.toml"
    path.write_text(text)
    with pytest.raises(GridError, match=message) as caught:
        TomlFile(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")


def test_only_files_of_reasonable_size_are_read(tmp_path: Path) -> None:
    large = tmp_path / "large.toml"
    large.write_text("#" * (MAX_BYTES + 1))
    with pytest.raises(GridError, match="larger than 1 MiB"):
        TomlFile(large)
    pipe = tmp_path / "pipe.toml"
    os.mkfifo(pipe)  # opening it would wait for a writer for ever
    for path in (pipe, tmp_path, Path("/dev/zero")):
        with pytest.raises(GridError, match="not a file"):
            TomlFile(path)


TRICKY = '''\
a = "[ # \\" {"  # a comment with ] and "
b = """
[ not a table
""quoted"" and \\""" more
"""""
c = \'\'\'
# ' '' [
\'\'\'
d = [ # [
  "]", # "
  ["x",
   """]
"""],
]
e = { "k" = [1, 2], f = \'{\' }

[g] # ]
h.i = 1

[[j]]
k = 2
[j.l]
m = 3
'''


def test_lines_where_brackets_and_quotes_stand_in_texts_and_comments() -> None:
    parse_toml(TRICKY)
    lines = key_lines(TRICKY)
    source = TRICKY.splitlines()
    for key, line in lines.items():
        name = key.rpartition(".")[2].removesuffix("[0]")
        assert name in source[line - 1], key
    assert set("abcd") | {"e", "e.k", "e.f", "g", "g.h", "g.h.i", "j[0]", "j[0].k"} <= lines.keys()
    assert lines["j[0].l.m"] == len(source)


VALUES = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(str),
    st.text(st.characters(min_codepoint=32, max_codepoint=126)).map(lambda text: repr_toml(text)),
    st.lists(st.sampled_from(['"]"', "'['", "1", '"""\n]\n"""'])).map(
        lambda items: f"[\n{', '.join(items)}]"
    ),
)


def repr_toml(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(st.lists(VALUES, max_size=8))
def test_statements_are_those_that_were_written(values: list[str]) -> None:
    written = [f"k{number} = {value}" for number, value in enumerate(values)]
    found = list(statements("\n# comment [\n".join(written)))
    assert [text.strip() for _, text in found] == written
    for _, text in found:
        assert len(tomllib.loads(text)) == 1


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        document = parse_toml(text)
    except (tomllib.TOMLDecodeError, RefusedTomlError):
        return
    assert document == tomllib.loads(text)
