"""Prompts of classes: names in plain words, templates of data sets, and the mistakes of published lists."""

from __future__ import annotations

import pytest

from lnlbench.data.class_prompts import PHOTO, SMALL_IMAGES, class_prompts, plain_words
from lnlbench.data.known.animal10n import ANIMAL10N_CLASSES, Animal10N
from lnlbench.data.known.cifar import CIFAR100, CIFAR100_CLASSES
from lnlbench.data.known.webvision import WebVision
from lnlbench.errors import UsageError
from lnlbench.plugins import registry


def test_names_are_said_in_plain_words():
    assert plain_words("n01440764 tench") == "tench"
    assert plain_words("apple_pie") == "apple pie"
    assert plain_words("Down coat") == "Down coat"
    prompts = class_prompts(("guinea_pig", "cat"), ("a {}.", "the {}."), {"cat": "lion"})
    assert prompts == (("a guinea pig.", "the guinea pig."), ("a lion.", "the lion."))


def test_the_published_templates_of_small_images():
    assert len(SMALL_IMAGES) == len(set(SMALL_IMAGES)) == 18
    for template in ("a photo of a {}.", "a blurry photo of the {}.", "a photo of the big {}."):
        assert template in SMALL_IMAGES
    assert "a photo of a small aquarium fish." in class_prompts(CIFAR100_CLASSES, CIFAR100.templates, {})[1]


def test_classes_that_a_published_list_exchanges():
    prompts = class_prompts(ANIMAL10N_CLASSES, Animal10N.templates, Animal10N.text_names)
    assert [text for (text,) in prompts][4:6] == [
        "a photo of a jaguar, a type of animal.",
        "a photo of a cheetah, a type of animal.",
    ]
    assert len(set(prompts)) == 10


def test_different_classes_of_one_name():
    classes = ("n02012849 crane", "n03126707 crane", "n03710637 maillot", "n03710721 maillot")
    assert len(set(class_prompts(classes, PHOTO, WebVision.text_names))) == 4
    assert len(set(class_prompts(classes, PHOTO, {}))) == 2


def test_every_data_set_has_templates_with_one_place():
    known = registry.datasets()
    for entry in known.entries():
        source = known.load(entry.name)
        assert source.templates
        assert all(template.count("{}") == 1 for template in source.templates), entry.name


def test_numbers_are_no_names():
    with pytest.raises(UsageError, match="called by their numbers"):
        class_prompts(("0", "1"), PHOTO, {})
    assert class_prompts(("0",), ('the number "{}"',), {}) == (('the number "0"',),)


@pytest.mark.parametrize("template", ["a photo", "{} or {}"])
def test_a_template_has_one_place(template):
    with pytest.raises(UsageError, match="one place"):
        class_prompts(("cat",), (template,), {})
