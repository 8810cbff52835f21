"""Clothing1M and WebVision in their real layouts, on small stand-ins."""

import shutil

import numpy as np
import pytest

from lnlbench.data.known.clothing1m import CLOTHING1M_CLASSES, Clothing1M
from lnlbench.data.known.webvision import WebVision, WebVisionMini
from lnlbench.errors import DataError
from lnlbench.spec import DatasetSpec


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A data folder with a stand-in for Clothing1M and one for WebVision mini."""
    root = tmp_path_factory.mktemp("data")
    Clothing1M().make_standin(root, per_class=2, seed=0)
    WebVisionMini().make_standin(root, per_class=2, seed=0)
    return root


@pytest.fixture
def root(made, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(made, tmp_path / "data")


def clothing(root, **options):
    return Clothing1M().load(DatasetSpec("clothing1m", **options), root)


def mini(root):
    return WebVisionMini().load(DatasetSpec("webvision_mini"), root)


def image(root, part="noisy_train", line=0):
    """The file of one line of a list of Clothing1M."""
    keys = (root / "clothing1m" / "annotations" / f"{part}_key_list.txt").read_text().split()
    return root / "clothing1m" / keys[line]


# what is read


def test_clothing1m_has_splits_of_its_own(made):
    data = clothing(made)
    assert data.classes == CLOTHING1M_CLASSES
    assert (data.name, data.family, data.kind) == ("clothing1m", "clothing1m", "images")
    # The 14 clean training images of the stand-in are not among them.
    assert [len(data.train), len(data.validation), len(data.test)] == [28, 14, 14]
    assert np.bincount(data.train.labels).tolist() == [2] * 14


def test_labels_belong_to_the_images_of_the_key_lists(made):
    data = clothing(made)
    lists = made / "clothing1m" / "annotations"
    for split, keys, pairs in (
        (data.train, "noisy_train_key_list.txt", "noisy_label_kv.txt"),
        (data.validation, "clean_val_key_list.txt", "clean_label_kv.txt"),
        (data.test, "clean_test_key_list.txt", "clean_label_kv.txt"),
    ):
        labels = dict(line.split() for line in (lists / pairs).read_text().splitlines())
        names = (lists / keys).read_text().split()
        assert split.labels.tolist() == [int(labels[name]) for name in names]
        assert [split.images.path(i) for i in range(len(names))] == [made / "clothing1m" / n for n in names]


def test_clothing1m_lists_may_be_at_the_top(root):
    before = clothing(root).fingerprint
    for path in (root / "clothing1m" / "annotations").iterdir():
        path.rename(root / "clothing1m" / path.name)
    assert clothing(root).fingerprint == before


def test_the_data_folder_may_be_that_of_the_data_set_itself(made):
    assert clothing(made / "clothing1m").fingerprint == clothing(made).fingerprint


def test_mini_is_the_first_50_classes_of_google(root):
    info = root / "webvision" / "info"
    with (info / "train_filelist_google.txt").open("a") as file:
        file.write("google/q9999/absent.jpg 50\n")  # a class that mini leaves out
    with (info / "val_filelist.txt").open("a") as file:
        file.write("val99999999.jpg 50\n")
    data = mini(root)
    assert (data.name, data.family, data.validation) == ("webvision_mini", "webvision", None)
    assert (len(data.classes), data.classes[7]) == (50, "n00000007 number 7")
    assert [len(data.train), len(data.test)] == [100, 50]
    assert data.train.images.path(0).parts[-3] == "google"
    assert data.test.images.path(0).parts[-2] == "val_images_256"


def test_webvision_joins_google_and_flickr(tmp_path):
    from lnlbench.data.known import webvision

    source = WebVision()
    webvision_folder = webvision_with_two_images_a_class(tmp_path, webvision.CLASSES)
    data = source.load(DatasetSpec("webvision"), tmp_path)
    assert (len(data.classes), len(data.train), len(data.test)) == (1000, 2000, 1000)
    engines = [data.train.images.path(i).relative_to(webvision_folder).parts[0] for i in (0, 999, 1000, 1999)]
    assert engines == ["google", "google", "flickr", "flickr"]
    assert data.classes[999] == "999"  # without a list of names


def webvision_with_two_images_a_class(root, classes):
    """Write lists for all of WebVision's classes, and files that are never decoded."""
    folder = root / "webvision"
    for name in ("google", "flickr", "val_images_256", "info"):
        (folder / name).mkdir(parents=True)
    for engine in ("google", "flickr"):
        lines = [f"{engine}/{number}.jpg {number}\n" for number in range(classes)]
        (folder / "info" / f"train_filelist_{engine}.txt").write_text("".join(lines))
    (folder / "info" / "val_filelist.txt").write_text("".join(f"{i}.jpg {i}\n" for i in range(classes)))
    for name in ("google", "flickr", "val_images_256"):
        for number in range(classes):
            (folder / name / f"{number}.jpg").write_bytes(b"x")
    return folder


def test_images_are_decoded_when_they_are_taken(made):
    images = clothing(made).train.images
    assert images.size is None
    taken = images.take(np.array([3, 0]))
    assert [item.shape[0] for item in taken] == [3, 3]
    assert len({item.shape for item in taken}) == 2


def test_subsets_keep_the_first_of_each_class(made):
    data = clothing(made, train_per_class=1)
    everything = clothing(made)
    assert len(data.train) == 14
    first = [int(np.flatnonzero(everything.train.labels == label)[0]) for label in data.train.labels]
    assert [data.train.images.path(i) for i in range(14)] == [everything.train.images.path(i) for i in first]


# the fingerprint


def test_the_fingerprint_covers_paths_labels_and_sizes_but_not_pixels(root, tmp_path):
    before = clothing(root).fingerprint
    shutil.move(root / "clothing1m", tmp_path / "moved" / "clothing1m")
    assert clothing(tmp_path / "moved").fingerprint == before
    path = image(tmp_path / "moved")
    raw = path.read_bytes()
    path.write_bytes(bytes(len(raw)))  # a million images are not read to load them
    assert clothing(tmp_path / "moved").fingerprint == before
    path.write_bytes(raw + b"\0")
    longer = clothing(tmp_path / "moved").fingerprint
    path.write_bytes(raw)
    pairs = tmp_path / "moved" / "clothing1m" / "annotations" / "noisy_label_kv.txt"
    first, rest = pairs.read_text().split("\n", 1)
    key, label = first.split()
    pairs.write_text(f"{key} {(int(label) + 1) % 14}\n{rest}")
    relabelled = clothing(tmp_path / "moved").fingerprint
    resized = clothing(tmp_path / "moved", resize=32).fingerprint
    assert len({before, longer, relabelled, resized}) == 4


# what is wrong


def test_missing_says_where_it_looked_and_what_to_do(tmp_path):
    for source in (Clothing1M(), WebVision(), WebVisionMini()):
        assert "LNLBENCH_DATA" in source.missing(None, None)
        message = source.missing(None, tmp_path)
        assert f"neither in {tmp_path / source.folder} nor in {tmp_path}" in message
        assert "make-standin" in message
        with pytest.raises(DataError, match="neither in"):
            source.load(DatasetSpec("x"), tmp_path)


def test_a_missing_list_is_named(root):
    (root / "clothing1m" / "annotations" / "clean_val_key_list.txt").unlink()
    assert "incomplete: it has no clean_val_key_list.txt" in Clothing1M().missing(None, root)


def test_a_listed_image_that_is_missing_is_an_error_at_load(root):
    image(root).unlink()
    image(root, line=1).write_bytes(b"")
    with pytest.raises(DataError, match=r"does not exist \(and 1 more listed images\)"):
        clothing(root)
    assert len(Clothing1M().inspect(None, root)) == 2


def test_a_key_without_a_label_is_an_error(root):
    with (root / "clothing1m" / "annotations" / "clean_test_key_list.txt").open("a") as file:
        file.write("images/0/00/unheard.jpg\n")
    with pytest.raises(DataError, match=r"'images/0/00/unheard\.jpg' has no label in clean_label_kv\.txt"):
        clothing(root)


def test_a_class_without_training_images_is_an_error(root):
    path = root / "webvision" / "info" / "train_filelist_google.txt"
    path.write_text("".join(line for line in path.open() if not line.endswith(" 31\n")))
    with pytest.raises(DataError, match="no image of class 31"):
        mini(root)


def test_a_corrupt_image_is_named_when_it_is_taken(root):
    path = image(root)
    path.write_bytes(path.read_bytes()[:200])
    images = clothing(root).train.images
    with pytest.raises(DataError, match=f"{path.name} cannot be decoded"):
        images.take(np.array([1, 0]))


@pytest.mark.parametrize("level", ["file", "folder"])
def test_links_out_of_the_folder_are_refused(root, tmp_path, level):
    path = image(root)
    target = path if level == "file" else path.parent
    moved = tmp_path / "elsewhere" / target.name
    moved.parent.mkdir()
    shutil.move(target, moved)
    target.symlink_to(moved)
    with pytest.raises(DataError, match=r"is a link to .*, outside of"):
        clothing(root)


def test_links_inside_the_folder_are_followed(root):
    path = image(root)
    before = clothing(root).fingerprint
    shutil.move(path, root / "clothing1m" / "kept.jpg")
    path.symlink_to(root / "clothing1m" / "kept.jpg")
    assert clothing(root).fingerprint == before


def test_an_image_in_two_splits_is_found_by_inspection(root):
    lists = root / "clothing1m" / "annotations"
    first = (lists / "clean_val_key_list.txt").read_text().split()[0]
    with (lists / "clean_test_key_list.txt").open("a") as file:
        file.write(f"{first}\n")
    assert Clothing1M().inspect(None, root) == [f"{first} is in the validation split and in the test split"]


def test_inspection_finds_nothing_wrong_with_what_is_right(made):
    assert Clothing1M().inspect(None, made) == []
    assert WebVisionMini().inspect(None, made) == []
