"""Asymmetric maps, and settings that are refused before any work."""

import numpy as np
import pytest

from lnlbench.data.known.cifar import (
    CIFAR10,
    CIFAR100,
    CIFAR100_CLASSES,
    CIFAR100_SUPERCLASSES,
    superclass_map,
)
from lnlbench.data.known.digits import Digits
from lnlbench.errors import NoiseError
from lnlbench.noise import check, corrupt
from lnlbench.noise.maps import NO_MAPS, block_map, next_map, resolve_map
from lnlbench.noise.noise_options import resolve
from lnlbench.spec import NoiseSpec

COVERS = ("noise:asymmetric",)


# The coarse label of each fine label, as in the official files (20 superclasses in alphabetical order).
COARSE_TEXT = (
    "4 1 14 8 0 6 7 7 18 3 3 14 9 18 7 11 3 9 7 11 6 11 5 10 7 6 13 15 3 15 0 11 1 10 12 14 16 9 11 5 "
    "5 19 8 8 15 13 14 17 18 10 16 4 17 4 2 0 17 4 18 17 10 3 2 12 12 16 12 1 9 19 2 10 0 1 16 12 9 13 15 13 "
    "16 19 2 4 6 19 5 5 8 19 18 1 2 15 6 0 17 8 14 13"
)
COARSE = [int(number) for number in COARSE_TEXT.split()]


def members_of(superclass):
    return [fine for fine, coarse in enumerate(COARSE) if coarse == superclass]


def test_superclasses_are_the_official_ones():
    groups = [{CIFAR100_CLASSES[i] for i in members_of(number)} for number in range(20)]
    assert groups == [set(members) for members in CIFAR100_SUPERCLASSES.values()]


def test_superclass_map_cycles_through_each_superclass_in_order():
    target = superclass_map()
    assert sorted(target) == list(range(100))
    for number in range(20):
        members = members_of(number)
        assert [target[i] for i in members] == np.roll(members, -1).tolist()


def test_block_map_shares_only_six_superclass_pairs():
    target = block_map(100)
    assert target[:6] == [1, 2, 3, 4, 0, 6]
    assert sum(COARSE[old] == COARSE[new] for old, new in enumerate(target)) == 6


def test_next_map_is_circular():
    assert next_map(4) == [1, 2, 3, 0]


@pytest.mark.parametrize(
    ("source", "classes", "name"),
    [(CIFAR10, 10, "cifar10"), (CIFAR100, 100, "superclass"), (Digits, 10, "next")],
)
def test_default_map_by_data_set(source, classes, name):
    assert resolve(NoiseSpec("asymmetric", 0.4), source.maps, classes) == {"map": name, "count": "exact"}


def test_settings_are_complete_and_defaults_are_the_protocols():
    assert resolve(NoiseSpec("instance", 0.4), NO_MAPS, 10) == {
        "W": "shared",
        "input": "uint8",
        "std": 0.1,
    }
    assert resolve(NoiseSpec("symmetric", 0.4), "cifar10", 10) == {"variant": "inclusive"}


def test_a_data_set_brings_its_own_maps():
    own = {"mine": (0, 0, 1), "other": (2, 1, 0)}
    assert resolve(NoiseSpec("asymmetric", 0.4), own, 3)["map"] == "mine"
    assert resolve_map("other", own, 3).tolist() == [2, 1, 0]
    with pytest.raises(
        NoiseError, match=r"no asymmetric map 'superclass' .* Choose one of mine, other, next,"
    ):
        resolve_map("superclass", own, 3)


def test_user_maps():
    assert resolve_map([1, 0, 2], NO_MAPS, 3).tolist() == [1, 0, 2]
    assert resolve_map(((0, 2), (2, 1)), "custom", 3).tolist() == [2, 1, 1]
    assert resolve_map({0: 2}, "custom", 3).tolist() == [2, 1, 2]


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("symmetric", {"variants": "exclusive"}, "no option 'variants'. Did you mean 'variant'"),
        ("symmetric", {"variant": "both"}, "Choose one of inclusive, exclusive"),
        ("none", {"map": "next"}, "no option 'map'"),
        ("asymmetric", {"count": "all"}, "Choose one of exact, independent"),
        ("asymmetric", {"map": "superclass"}, "no asymmetric map 'superclass'.* Choose one of next, block5"),
        ("asymmetric", {"map": (1, 0)}, "2 targets for 10 classes"),
        ("asymmetric", {"map": ((0, 10),)}, "names class 10, but classes are 0 to 9"),
        ("asymmetric", {"map": ((-1, 1),)}, "names class -1"),
        ("asymmetric", {"map": ((0, 1), (0, 2))}, "names a class twice"),
        ("asymmetric", {"map": tuple(range(10))}, "changes no class"),
        ("asymmetric", {"map": {"cat": 1}}, "is not an asymmetric map"),
        ("asymmetric", {"map": ((0, 1.5),)}, "is not an asymmetric map"),
        ("asymmetric", {"map": 3}, "is not an asymmetric map"),
        ("instance", {"W": "none"}, "Choose one of shared, per_class"),
        ("instance", {"input": "float"}, "Choose one of uint8, standardised"),
        ("instance", {"std": -0.1}, "Option std"),
        ("instance", {"std": "wide"}, "Option std"),
        ("file", {}, "needs a path"),
        ("file", {"path": "absent.npz"}, "absent.npz does not exist"),
    ],
)
def test_check_refuses(kind, options, message):
    rate = 0.4 if kind in ("symmetric", "asymmetric", "instance") else 0.0
    with pytest.raises(NoiseError, match=message):
        check(NoiseSpec(kind, rate, tuple(options.items())), np.arange(10), 10)


def test_one_class_cannot_be_corrupted():
    with pytest.raises(NoiseError, match="at least two classes"):
        check(NoiseSpec("symmetric", 0.4), np.zeros(10, dtype=int), 1)


@pytest.mark.parametrize("kind", ["symmetric", "asymmetric", "instance"])
def test_check_passes_what_is_possible(kind):
    check(NoiseSpec(kind, 0.4), np.arange(100), 100, maps=CIFAR100.maps)


def test_corrupt_refuses_the_same():
    with pytest.raises(NoiseError, match="no option 'q'"):
        corrupt(NoiseSpec("symmetric", 0.4, (("q", 1),)), np.arange(2), 2, dataset="d", seed=0)
