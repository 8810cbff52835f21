"""What a text model is told of classes: their names in plain words, and the sentences that hold them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from lnlbench.errors import UsageError

# All from Radford et al. (2021): data/prompts.md of github.com/openai/CLIP, but for clothes.
PHOTO = ("a photo of a {}.",)
SMALL_IMAGES = tuple(
    f"a {photo} of {article} {size}{{}}."
    for article in ("a", "the")
    for photo, size in (
        ("photo", ""),
        ("blurry photo", ""),
        ("black and white photo", ""),
        ("low contrast photo", ""),
        ("high contrast photo", ""),
        ("bad photo", ""),
        ("good photo", ""),
        ("photo", "small "),
        ("photo", "big "),
    )
)
FOOD = ("a photo of {}, a type of food.",)
NUMBER = ('a photo of the number: "{}".',)
# Feng et al. (2024), in the code of CLIPCleaner, as the end of their prompts.
ANIMAL = ("a photo of a {}, a type of animal.",)
CLOTHES = ("a photo of a {}, a type of clothes.",)

_SYNSET = re.compile(r"n\d{8} ")


def plain_words(name: str) -> str:
    """Return a class's name as a sentence would have it: without WordNet's number and underscores."""
    return _SYNSET.sub("", name).replace("_", " ").strip()


def are_only_numbered(classes: Sequence[str], templates: Sequence[str]) -> bool:
    """Whether classes have numbers for names, and no template says what is numbered."""
    return tuple(templates) == PHOTO and all(plain_words(name).isdecimal() for name in classes)


def class_prompts(
    classes: Sequence[str], templates: Sequence[str], names: Mapping[str, str]
) -> tuple[tuple[str, ...], ...]:
    """Return the prompts of each class: the templates with its name.

    Parameters
    ----------
    classes : sequence of str
        C names, as the data set has them.
    templates : sequence of str
        K sentences with ``{}`` for the name.
    names : mapping of str to str
        What to call a class in them, where that is not :func:`plain_words`.

    Returns
    -------
    tuple of C tuples of K str

    Raises
    ------
    UsageError
        If a template has no place for a name, or classes have numbers for names and no template says so.
    """
    for template in templates:
        if template.count("{}") != 1:
            raise UsageError(
                f"The template '{template}' does not have one place for the name of a class.",
                "Write {} where the name belongs, as in 'a photo of a {}.'.",
            )
    if are_only_numbered(classes, templates):
        raise UsageError(
            f"The {len(classes)} classes are called by their numbers, which tell a text model nothing.",
            "Use a data set whose classes have names: imagefolder:, or csv: with names as labels.",
        )
    called = [names.get(name, plain_words(name)) for name in classes]
    return tuple(tuple(template.replace("{}", name) for template in templates) for name in called)
