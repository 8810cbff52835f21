"""Animal-10N, Food-101N and MedMNIST: their layouts, and what is wrong in them."""

import numpy as np
import pytest
from manifest_files import png

from lnlbench.data.dataset import UNKNOWN, WRONG
from lnlbench.data.known.animal10n import Animal10N
from lnlbench.data.known.food101n import Food101N
from lnlbench.data.known.medmnist import MedMNIST
from lnlbench.errors import DataError
from lnlbench.spec import DatasetSpec

DISHES = ("apple_pie", "baby_back_ribs", "baklava")


def load(source, root, name=None, **options):
    return source().load(DatasetSpec(name or source.folder, **options), root)


# Animal-10N


@pytest.fixture
def animals(tmp_path):
    for part, per_class in (("training", 2), ("testing", 1)):
        folder = tmp_path / "animal10n" / part
        folder.mkdir(parents=True)
        for label in range(10):
            for number in range(per_class):
                (folder / f"{label}_{10 - number}.jpg").write_bytes(png(label, (64, 64)))
    return tmp_path


def test_labels_are_in_the_names_and_names_are_sorted(animals):
    data = load(Animal10N, animals)
    assert data.train.labels.tolist() == np.repeat(np.arange(10), 2).tolist()
    assert [data.train.images.path(i).name for i in (0, 1, 2)] == ["0_10.jpg", "0_9.jpg", "1_10.jpg"]
    assert data.train.clean is None
    assert len(data.test) == 10
    assert len(load(Animal10N, animals, train_per_class=1).train) == 10


@pytest.mark.parametrize("name", ["10_1.jpg", "x_1.jpg", "-1_1.jpg", "5.jpg", "٣_1.jpg", " 1_2.jpg"])
def test_names_without_a_class(animals, name):
    (animals / "animal10n" / "training" / name).write_bytes(png(0))
    with pytest.raises(DataError, match="does not begin with a class from 0 to 9"):
        load(Animal10N, animals)
    assert len(Animal10N().inspect(None, animals)) == 1
    (animals / "animal10n" / "training" / "notes.txt").write_text("left alone")


def test_what_is_missing_of_animals(tmp_path):
    assert "neither in" in Animal10N().missing(None, tmp_path)
    (tmp_path / "animal10n" / "training").mkdir(parents=True)
    assert "it has no testing" in Animal10N().missing(None, tmp_path)


# Food-101N


@pytest.fixture
def food(tmp_path):
    """Two images of each dish, the first verified as right, of the first dish the second as wrong."""
    top = tmp_path / "food101n"
    noisy, clean = top / "Food-101N_release", top / "food-101"
    for meta in (noisy / "meta", clean / "meta"):
        meta.mkdir(parents=True)
    keys = [f"{dish}/{number:032x}.jpg" for dish in DISHES for number in range(2)]
    for key in keys:
        path = noisy / "images" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(0))
    for number, dish in enumerate(DISHES):
        (clean / "images" / dish).mkdir(parents=True)
        (clean / "images" / dish / f"{number}.jpg").write_bytes(png(1))
    lists = {
        noisy / "meta" / "classes.txt": ["class_name", *DISHES],
        noisy / "meta" / "imagelist.tsv": ["class_name/key", *keys],
        noisy / "meta" / "verified_train.tsv": [
            "class_name/key\tverification_label",
            f"{keys[0]}\t1",
            f"{keys[1]}\t0",
        ],
        noisy / "meta" / "verified_val.tsv": ["class_name/key\tverification_label", f"{keys[4]}\t1"],
        clean / "meta" / "test.txt": [f"{dish}/{number}" for number, dish in enumerate(DISHES)],
    }
    for path, lines in lists.items():
        path.write_text("".join(f"{line}\n" for line in lines))
    return tmp_path


def add(root, name, *lines):
    with (root / "food101n" / name).open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


def test_verified_labels_are_the_truth(food):
    data = load(Food101N, food)
    assert data.classes == DISHES
    assert data.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert data.train.clean.tolist() == [0, WRONG, UNKNOWN, UNKNOWN, 2, UNKNOWN]
    assert data.test.labels.tolist() == [0, 1, 2]
    assert np.array_equal(data.train.base, data.train.labels)
    assert Food101N().inspect(None, food) == []


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        (
            "meta/verified_val.tsv",
            "apple_pie/" + "0" * 32 + ".jpg\t0",
            "val.tsv:3: .* was verified otherwise before",
        ),
        (
            "meta/verified_val.tsv",
            "apple_pie/" + "0" * 32 + ".jpg\t2",
            "the verification '2' is neither 0 nor 1",
        ),
        ("meta/imagelist.tsv", "apple_pie/" + "0" * 32 + ".jpg", "imagelist.tsv:8: .* is in line 2 already"),
        ("meta/imagelist.tsv", "pizza/1.jpg", "'pizza/1.jpg' is of no class"),
        ("meta/imagelist.tsv", "apple_pie/../../1.jpg", "leads out of"),
        ("meta/imagelist.tsv", "apple_pie/1.jpg", "1.jpg does not exist"),
    ],
)
def test_lists_that_are_wrong(food, name, line, message):
    add(food, f"Food-101N_release/{name}", line)
    with pytest.raises(DataError, match=message):
        load(Food101N, food)
    assert len(Food101N().inspect(None, food)) == 1


def test_the_one_image_that_the_published_lists_disagree_about_is_left_out(food):
    name = "Food-101N_release/meta/verified_train.tsv"
    add(food, name, "baklava/" + "a" * 32 + ".jpg\t1")
    assert load(Food101N, food).train.clean.tolist()[-1] == UNKNOWN
    add(food, name, *(f"baklava/{number}.jpg\t1" for number in range(10)))
    with pytest.raises(DataError, match=r"verified_train.tsv:4: 'baklava/aaa.* is no image of"):
        load(Food101N, food)


def test_a_stand_in_of_food_has_about_a_fifth_of_its_verified_labels_wrong(tmp_path):
    Food101N().make_standin(tmp_path, per_class=4, seed=0)
    data = load(Food101N, tmp_path)
    assert data.standin
    assert (len(data.classes), len(data.train), len(data.test)) == (101, 404, 202)
    known = data.train.clean != UNKNOWN
    assert known.sum() == 202
    wrong = (data.train.clean == WRONG)[known].mean()
    assert abs(wrong - 0.2) < 4 * (0.2 * 0.8 / 202) ** 0.5


# MedMNIST


def med(**changes):
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 12), ("val", 3), ("test", 6)):
        arrays[f"{part}_images"] = rng.integers(0, 256, (count, 28, 28, 3), dtype=np.uint8)
        arrays[f"{part}_labels"] = (np.arange(count) % 3).astype(np.uint8)[:, None]
    return arrays | changes


def test_medmnist_as_published(tmp_path):
    arrays = med()
    np.savez_compressed(tmp_path / "bloodmnist.npz", **arrays)
    data = load(MedMNIST, tmp_path, "medmnist:bloodmnist.npz")
    assert (data.name, data.classes) == ("medmnist:bloodmnist.npz", ("0", "1", "2"))
    assert data.validation.labels.tolist() == [0, 1, 2]
    batch = data.train.images.take(np.array([7, 2])).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(batch, arrays["train_images"][[7, 2]])
    np.savez(
        tmp_path / "grey.npz", **{name: a[..., 0] if "images" in name else a for name, a in arrays.items()}
    )
    assert load(MedMNIST, tmp_path, "medmnist:grey.npz").train.images.size == (28, 28)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_labels": np.zeros((12, 14), np.uint8)}, r"train_labels has shape \(12, 14\)"),
        ({"train_labels": np.zeros(12, np.uint8)}, r"has shape \(12,\)"),
        ({"train_images": np.zeros((12, 28, 28, 28), np.uint8)}, "train_images has type uint8 and shape"),
        ({"test_labels": np.full((6, 1), 3)}, "y_test has label 3, but there are 3 classes"),
        ({"val_images": np.zeros((3, 64, 64, 3), np.uint8)}, "the splits differ in shape"),
        ({"train_images": np.array([{}] * 12, dtype=object)}, "holds Python objects"),
    ],
)
def test_medmnist_that_is_wrong(tmp_path, changes, message):
    np.savez(tmp_path / "m.npz", **med(**changes))
    with pytest.raises(DataError, match=message):
        load(MedMNIST, tmp_path, "medmnist:m.npz")


def test_a_stand_in_of_medmnist(tmp_path):
    path = MedMNIST().make_standin(tmp_path, per_class=3, seed=0)
    data = load(MedMNIST, tmp_path, f"medmnist:{path.name}")
    assert data.standin
    assert (len(data.train), len(data.validation), len(data.test)) == (24, 8, 8)
    with pytest.raises(DataError, match="is there already"):
        MedMNIST().make_standin(tmp_path, per_class=3, seed=0)
    assert "medmnist.com" in MedMNIST().missing("no.npz", tmp_path)
