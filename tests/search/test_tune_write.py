"""Hyperparameter files: what a search writes, and what it leaves alone."""

import tomllib

import pytest

from lnlbench.errors import UsageError
from lnlbench.search.write import Chosen, check_target, show, write_hyperparameters

LP = Chosen("efficientnet_lite0", "lp", {"lr": 1e-5, "batch_size": 32, "optimizer": "sgd"}, ("one", "two"))


def read(path):
    return tomllib.loads(path.read_text(encoding="utf-8"))


def test_a_new_file_has_the_format_that_grids_read(tmp_path):
    path = tmp_path / "mine.toml"
    write_hyperparameters(path, [LP], "A title")
    assert read(path) == {
        "schema": 1,
        "title": "A title",
        "source": {"efficientnet_lite0 lp": ["one", "two"]},
        "backbone": {"efficientnet_lite0": {"lp": {"optimizer": "sgd", "lr": 1e-5, "batch_size": 32}}},
    }
    assert '[backbone.efficientnet_lite0.lp]\noptimizer = "sgd"\nlr = 1e-05' in path.read_text()


def test_searches_add_up(tmp_path):
    path = tmp_path / "mine.toml"
    write_hyperparameters(path, [LP], "A title")
    other = Chosen("timm:resnet50.a1_in1k", "fft", {"lr": 0.1}, ('says "so" \\',))
    write_hyperparameters(path, [other], "Another")
    write_hyperparameters(path, [Chosen("efficientnet_lite0", "fft", {"lr": 0.5}, ("x",))], "Another")
    found = read(path)
    assert found["title"] == "A title"
    assert found["backbone"] == {
        "efficientnet_lite0": {"lp": dict(LP.settings), "fft": {"lr": 0.5}},
        "timm:resnet50.a1_in1k": {"fft": {"lr": 0.1}},
    }
    assert found["source"]["timm:resnet50.a1_in1k fft"] == ['says "so" \\']


def test_a_later_search_replaces_an_earlier_one_whole(tmp_path):
    path = tmp_path / "mine.toml"
    write_hyperparameters(path, [Chosen("b", "lp", {"lr": 0.1, "momentum": 0.5}, ("old",))], "")
    write_hyperparameters(path, [Chosen("b", "lp", {"lr": 0.2}, ("new",))], "")
    assert read(path)["backbone"]["b"]["lp"] == {"lr": 0.2}  # never with a momentum it was not tried with
    assert read(path)["source"] == {"b lp": ["new"]}


def test_what_a_person_wrote_stays(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        "# Ours.\nschema = 1\n\n[source]\npaper = 'x'  # really\n\n"
        "[backbone.vit_b16.lp]\nlr = 1e-2 # by hand\n[backbone.vit_b16.fft]\nlr = 3\n"
    )
    write_hyperparameters(path, [Chosen("vit_b16", "fft", {"lr": 0.5}, ("x",)), LP], "t")
    text = path.read_text()
    assert text.startswith("# Ours.\n")
    assert "# really" in text
    assert "lr = 1e-2 # by hand" in text
    assert read(path)["source"]["paper"] == "x"
    assert read(path)["backbone"]["vit_b16"] == {"lp": {"lr": 0.01}, "fft": {"lr": 0.5}}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("schema = ", "cannot be read as TOML"),
        ("title = 'no schema'", "no hyperparameter file"),
        ("schema = 2", "no hyperparameter file"),
        ("schema = 1\n[[rows]]\ntuning = 'lp'", "no hyperparameter file"),
        ("schema = 1\nbackbone = 3", "backbone is not a table"),
    ],
)
def test_other_files_are_refused_and_left_alone(tmp_path, content, says):
    path = tmp_path / "other.toml"
    path.write_text(content)
    with pytest.raises(UsageError, match=says):
        write_hyperparameters(path, [LP], "t")
    assert path.read_text() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_target_without_a_folder_is_refused_before_the_search(tmp_path):
    check_target(tmp_path / "new.toml")
    with pytest.raises(UsageError, match="there is no folder"):
        check_target(tmp_path / "nowhere" / "new.toml")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1, "0.1"), (0.001, "1e-3"), (3e-5, "3e-5"), (0.0, "0"), (128, "128"), ("sgd", "sgd"), (True, "true")],
)
def test_values_are_shown_as_people_write_them(value, text):
    assert show(value) == text
