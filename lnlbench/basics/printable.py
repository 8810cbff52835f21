"""Text from outside on its way to a terminal: control characters refused, or shown and not sent.

A terminal obeys escape sequences in whatever is printed, so a name or an error message from a file
could hide lines, change colours or type commands. ``check_characters`` refuses them where users
give names; ``printable`` shows them in everything that comes from files and plugins.
"""

from __future__ import annotations

import unicodedata

from lnlbench.errors import UsageError


def printable(text: str) -> str:
    r"""Return text in which every control and formatting character is written as ``\uXXXX``.

    Line ends and tabs stay. The form is that of JSON, so JSON text keeps its meaning.
    """
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(
        symbol if symbol in "\n\t" or not _is_control(symbol) else _shown(symbol) for symbol in text
    )


def check_characters(text: str, what: str, allowed: str = "") -> str:
    """Return ``text`` if it has no control characters and is valid Unicode.

    Parameters
    ----------
    text : str
    what : str
        What it is, for the message.
    allowed : str, default ""
        Control characters that may be in it.

    Raises
    ------
    UsageError
        Otherwise.
    """
    for symbol in text:
        category = unicodedata.category(symbol)
        if category == "Cc" and symbol not in allowed:
            raise UsageError(
                f"The control character {_shown(symbol)} is in {what}: '{_on_one_line(text)}'.",
                "Remove it.",
            )
        if category == "Cs":  # how Python shows bytes that are not UTF-8
            raise UsageError(
                f"There are bytes that are not UTF-8 in {what}: '{_on_one_line(text)}'.",
                "Rename the file, or write the text in UTF-8.",
            )
    return text


def shorten(text: str, length: int = 200) -> str:
    """Return text with its middle left out if it is longer than ``length``."""
    if len(text) <= length:
        return text
    return f"{text[: length * 2 // 3]} … {text[-length // 3 :]}"


def _on_one_line(text: str) -> str:
    return shorten("".join(_shown(symbol) if symbol in "\n\t" else symbol for symbol in printable(text)))


def _is_control(symbol: str) -> bool:
    # Control, formatting (which can reverse the direction of writing) and broken characters.
    return unicodedata.category(symbol) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _shown(symbol: str) -> str:
    units = symbol.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i] << 8 | units[i + 1]:04x}" for i in range(0, len(units), 2))
