"""Lists of image files: what is read, and that every mistake names its file and line."""

import pytest

from lnlbench.data.lists import read_keys, read_listing
from lnlbench.errors import DataError


def write(folder, content):
    path = folder / "list.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_listing_keeps_the_order_of_its_lines(tmp_path):
    listing = read_listing(write(tmp_path, "b/x.jpg 2\n\na/y z.jpg\t0\r\nc..d.jpg 1"), 3)
    assert listing.names == ["b/x.jpg", "a/y z.jpg", "c..d.jpg"]
    assert listing.labels.tolist() == [2, 0, 1]


def test_the_first_classes_can_be_kept(tmp_path):
    listing = read_listing(write(tmp_path, "a 0\nb 2\nc 1\n"), 3, keep=2)
    assert (listing.names, listing.labels.tolist()) == (["a", "c"], [0, 1])


def test_a_byte_order_mark_is_no_part_of_a_path(tmp_path):
    assert read_keys(write(tmp_path, b"\xef\xbb\xbfa.jpg\n")) == ["a.jpg"]


def test_a_line_repeated_word_for_word_counts_once(tmp_path):
    assert read_listing(write(tmp_path, "a 0\nb 1\na 0\n"), 2).names == ["a", "b"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("b.jpg 2", "the label '2' is not a class from 0 to 1"),
        ("b.jpg -1", "the label '-1' is not a class"),
        ("b.jpg 1.5", "the label '1.5' is not a class"),
        ("b.jpg ²", "the label '²' is not a class"),
        ("b.jpg", "not a path and a label"),
        ("../b.jpg 0", "leads out of the data set's folder"),
        ("c/../../b.jpg 0", "leads out of the data set's folder"),
        ("/etc/passwd 0", "not one below the data set's folder"),
        ("c\\b.jpg 0", "not one below the data set's folder"),
        ("b\x1b[31m.jpg 0", "control characters"),
        ("a.jpg 1", "'a.jpg' had the label 0 before, and now has 1"),
    ],
)
def test_a_mistake_in_a_listing_names_its_line(tmp_path, line, reason):
    path = write(tmp_path, f"a.jpg 0\n\n{line}\n")
    with pytest.raises(DataError) as caught:
        read_listing(path, 2)
    assert caught.value.message.startswith(f"{path}:3: ")
    assert reason in caught.value.message


def test_all_mistakes_can_be_collected_and_the_good_lines_kept(tmp_path):
    found = []
    listing = read_listing(write(tmp_path, "a 0\nb 9\nc 1\n../d 0\n"), 2, found.append)
    assert listing.names == ["a", "c"]
    assert [problem.message.partition(" ")[0].rpartition("list.txt")[2] for problem in found] == [
        ":2:",
        ":4:",
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [("a\nb\na\n", r"list\.txt:3: 'a' is in line 1 already"), ("a\n../b\n", r"list\.txt:2: .* leads out")],
)
def test_a_mistake_in_a_list_of_keys_names_its_line(tmp_path, content, reason):
    with pytest.raises(DataError, match=reason):
        read_keys(write(tmp_path, content))


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_keys(tmp_path / "absent.txt")
    with pytest.raises(DataError, match="not a text file"):
        read_keys(write(tmp_path, b"\xff\xfe\x00"))
    with pytest.raises(DataError, match="cannot be read"):
        read_keys(tmp_path)
