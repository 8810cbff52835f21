"""``imagefolder:PATH``."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from lnlbench.data.imagefolder import ImageFolder
from lnlbench.errors import DataError
from lnlbench.spec import DatasetSpec

RNG = np.random.default_rng(0)


def write(path, size=(6, 4), mode="RGB"):
    """Write random pixels, and return them as RGB of shape [H, W, 3]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(RNG.integers(0, 256, (*size, 3), dtype=np.uint8)).convert(mode)
    image.save(path)
    return np.asarray(image.convert("RGB"))


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "pets"
    for name in ("owl", "cat"):
        for number in range(3):
            write(root / "train" / name / f"{number}.png")
        write(root / "test" / name / "0.PNG")
    return root


def load(root, **options):
    return ImageFolder().load(DatasetSpec(f"imagefolder:{root}", **options), None)


def test_classes_and_files_are_sorted_and_pixels_exact(folder):
    pixels = write(folder / "train" / "cat" / "1.png")
    (folder / "train" / "cat" / "notes.txt").write_text("not an image")
    (folder / "train" / ".cache").mkdir()
    data = load(folder)
    assert data.classes == ("cat", "owl")
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert (data.family, data.name, data.validation) == ("custom", "imagefolder:pets", None)
    assert data.train.images.size == (6, 4)
    batch = data.train.images.take(np.array([1, 4]))
    assert batch.shape == (2, 3, 6, 4)
    assert np.array_equal(batch[0].permute(1, 2, 0).numpy(), pixels)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1"])
def test_every_8_bit_mode_becomes_rgb(folder, mode):
    pixels = write(folder / "train" / "cat" / "0.png", mode=mode)
    image = load(folder).train.images.take(np.array([0]))[0]
    assert np.array_equal(image.permute(1, 2, 0).numpy(), pixels)


def test_images_of_different_sizes_come_as_a_list(folder):
    write(folder / "train" / "cat" / "2.png", size=(9, 7))
    images = load(folder).train.images
    assert images.size is None
    assert [tuple(image.shape) for image in images.take(np.array([2, 0]))] == [(3, 9, 7), (3, 6, 4)]
    assert all(image.dtype == torch.uint8 for image in images.take(np.array([2, 0])))


def test_validation_and_subset(folder):
    write(folder / "val" / "owl" / "0.png")
    data = load(folder, train_per_class=2)
    assert data.validation.labels.tolist() == [1]
    assert data.train.labels.tolist() == [0, 0, 1, 1]


def test_fingerprint_moves_with_content_but_not_with_the_folder(folder, tmp_path):
    before = load(folder).fingerprint
    shutil.copytree(folder, tmp_path / "moved" / "animals")
    assert load(tmp_path / "moved" / "animals").fingerprint == before
    (folder / "train" / "cat" / "0.png").rename(folder / "train" / "cat" / "00.png")
    renamed = load(folder).fingerprint
    write(folder / "train" / "owl" / "2.png")
    assert len({before, renamed, load(folder).fingerprint}) == 3


def test_missing_says_what_to_arrange(folder, tmp_path):
    assert ImageFolder().missing(str(folder), None) is None
    assert "train/CLASS/*.png" in ImageFolder().missing(str(tmp_path / "absent"), None)
    with pytest.raises(DataError, match="is not a folder"):
        load(tmp_path / "absent")


def test_a_corrupt_image_is_named_at_load(folder):
    path = folder / "test" / "owl" / "0.PNG"
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"IDAT") + 6] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"owl/0\.PNG cannot be decoded"):
        load(folder)


def test_a_file_that_is_no_image_is_named(folder):
    (folder / "train" / "cat" / "9.jpg").write_text("hello")
    with pytest.raises(DataError, match=r"cat/9\.jpg cannot be decoded: no known image format"):
        load(folder)


def test_a_file_that_is_damaged_later_is_named_when_taken(folder):
    data = load(folder)
    path = folder / "train" / "cat" / "0.png"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"cat/0\.png cannot be decoded"):
        data.train.images.take(np.array([0]))


def test_a_file_that_changes_its_size_later_is_named(folder):
    data = load(folder)
    write(folder / "train" / "cat" / "0.png", size=(5, 5))
    with pytest.raises(DataError, match=r"cat/0\.png has changed"):
        data.train.images.take(np.array([1, 0]))


def test_more_than_8_bits_are_refused(folder):
    Image.fromarray(np.full((6, 4), 40_000, dtype=np.uint16)).save(folder / "train" / "cat" / "3.png")
    with pytest.raises(DataError, match=r"3\.png has more than 8 bits"):
        load(folder)


@pytest.mark.parametrize("limit", [20, 8])  # 24 pixels: Pillow warns above its limit, raises above twice that
def test_decompression_bombs_are_refused(folder, monkeypatch, limit):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(DataError, match="too large an image"):
        load(folder)


@pytest.mark.parametrize("level", ["file", "class"])
def test_links_out_of_the_folder_are_refused(folder, tmp_path, level):
    write(tmp_path / "secret" / "0.png")
    if level == "file":
        (folder / "train" / "cat" / "link.png").symlink_to(tmp_path / "secret" / "0.png")
    else:
        (folder / "train" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(DataError, match="is a link to"):
        load(folder)


def test_links_inside_the_folder_are_followed(folder):
    (folder / "train" / "cat" / "3.png").symlink_to(folder / "train" / "cat" / "0.png")
    images = load(folder).train.images
    assert torch.equal(images.take(np.array([0]))[0], images.take(np.array([3]))[0])


def test_a_test_class_without_training_images_is_refused(folder):
    write(folder / "test" / "dog" / "0.png")
    with pytest.raises(DataError, match="test/dog is a class"):
        load(folder)


def test_an_empty_class_folder_is_refused(folder):
    (folder / "train" / "dog").mkdir()
    with pytest.raises(DataError, match="train/dog holds no image"):
        load(folder)


def test_an_empty_test_folder_is_refused(folder):
    shutil.rmtree(folder / "test")
    (folder / "test").mkdir()
    with pytest.raises(DataError, match="test holds no image"):
        load(folder)


def test_one_class_is_refused(folder):
    shutil.rmtree(folder / "train" / "owl")
    with pytest.raises(DataError, match="1 class folders"):
        load(folder)


def test_true_classes_in_a_file_beside_the_folders(folder):
    before = load(folder)
    assert before.train.clean is None
    (folder / "clean.csv").write_text("clean,path,by\nowl,train/cat/1.png,me\ncat,train/owl/0.png,me\n")
    data = load(folder)
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.train.clean.tolist() == [-1, 1, -1, 0, -1, -1]
    assert data.fingerprint != before.fingerprint


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train/cat/9.png,cat", "clean.csv:2: 'train/cat/9.png' is no training image"),
        ("test/cat/0.PNG,cat", "is no training image"),
        ("../train/cat/1.png,cat", "is no training image"),
        ("train/cat/1.png,cow", "clean.csv:2: 'cow' is no class folder"),
        ("train/cat/1.png,", "'' is no class folder"),
        ("train/cat/1.png,cat\ntrain/cat/1.png,cat", "clean.csv:3: 'train/cat/1.png' is there twice"),
        ('"train', "cannot be read as csv"),
    ],
)
def test_a_file_of_true_classes_that_is_wrong(folder, line, message):
    (folder / "clean.csv").write_text(f"path,clean\n{line}\n")
    with pytest.raises(DataError, match=message):
        load(folder)
