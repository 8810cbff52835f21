"""Control characters: refused in names, shown and not sent in what is printed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lnlbench.basics.printable import check_characters, printable, shorten
from lnlbench.errors import UsageError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ± naïve 日本\n\tindented", "plain ± naïve 日本\n\tindented"),
        ("\x1b[31mred", "\\u001b[31mred"),
        ("a\rb\x00\x7f\x9b", "a\\u000db\\u0000\\u007f\\u009b"),
        ("abc\u202etxt.exe", "abc\\u202etxt.exe"),  # reverses what follows
        ("\udce9", "\\udce9"),  # a byte that was not UTF-8
        ("\U000e0041", "\\udb40\\udc41"),  # a tag, which is invisible
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_json_keeps_its_meaning(text: str) -> None:
    assert json.loads(printable(json.dumps([text], ensure_ascii=False))) == [text]


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    obeyed = {chr(code) for code in (*range(32), *range(127, 160))} - {"\n", "\t"}
    reordering = set("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    assert not set(printable(text)) & (obeyed | reordering)


def test_check_characters() -> None:
    assert check_characters("naïve name", "it") == "naïve name"
    assert check_characters("a\nb", "it", allowed="\n") == "a\nb"
    with pytest.raises(UsageError, match=r"\\u000a is in it: 'a\\u000ab'"):
        check_characters("a\nb", "it")
    with pytest.raises(UsageError, match="bytes that are not UTF-8 in it"):
        check_characters("\udce9", "it")


def test_shorten_keeps_both_ends() -> None:
    assert shorten("short") == "short"
    text = shorten("a" * 500 + "z" * 500)
    assert len(text) < 210
    assert text.startswith("aaa")
    assert text.endswith("zzz")
