"""The space of a search: the paper's, changed by --space, drawn from, and its edges."""

import pytest

from lnlbench.errors import UsageError
from lnlbench.search.space import check_phase, parse_space


def test_the_paper_searches_150_configurations():
    for phase in ("lp", "fft"):
        space = parse_space(phase)
        configurations = list(space.configurations())
        assert (space.size, len(configurations), len(set(configurations))) == (150, 150, 150)
        assert [configuration.number for configuration in configurations] == list(range(150))


def test_values_replace_those_of_the_paper_and_keys_are_added():
    space = parse_space("lp", ["lp.lr=0.1, 1,1.0", "momentum=0.5,0.9", "optimizer=adamw"])
    assert space.values["lr"] == (0.1, 1.0)
    assert space.values["momentum"] == (0.5, 0.9)
    assert space.size == 2 * 2 * 5 * 3
    assert space.searched == ("lr", "weight_decay", "batch_size", "momentum")


def test_a_larger_draw_contains_the_smaller_one_and_nothing_twice():
    space = parse_space("lp")
    small, large = space.sample(20, seed=3), space.sample(60, seed=3)
    assert large[:20] == small
    assert len(set(large)) == 60
    assert space.sample(20, seed=4) != small
    assert set(space.sample(150, seed=0)) == set(space.configurations())


def test_edges_are_those_of_ordered_values():
    space = parse_space("fft", ["lr=0.01,0.1,0.001", "batch_size=32,64"])
    assert [space.at_edge("lr", value) for value in (0.001, 0.01, 0.1)] == ["smallest", None, "largest"]
    assert space.at_edge("batch_size", 64) is None  # of two values, one is always at the edge
    assert space.at_edge("optimizer", "sgd") is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lp.lrr=0.1", "Did you mean 'lr'"),
        ("lr", "KEY=VALUE"),
        ("lr=", "KEY=VALUE"),
        ("lr=0.1,,0.2", "KEY=VALUE"),
        ("lr=fast", "lp.lr is the text"),
        ("lr=-0.1", "must be positive"),
        ("batch_size=1.5", "must be an integer"),
        ("optimizer=sdg", "Did you mean 'sgd'"),
        ("epochs=5,10", "budget"),
        ("cache=true,false", "how a trial is run"),
        ("batch_norm=update", "there is fft.batch_norm"),
        ("fft.lr=0.1", "--tuning fft"),
        ("methods.gce.q=0.5", "change others with --set"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(text, says):
    with pytest.raises(UsageError) as error:
        parse_space("lp", [text])
    assert says in str(error.value)
    assert str(error.value).startswith(f"--space {text}: ")


def test_a_key_has_one_list_of_values():
    with pytest.raises(UsageError, match="given twice"):
        parse_space("lp", ["lr=0.1", "lp.lr=0.2"])


def test_more_samples_than_configurations_are_refused():
    with pytest.raises(UsageError, match="only 150 configurations"):
        parse_space("lp").sample(151, seed=0)


def test_only_single_phases_are_searched():
    assert [check_phase(name) for name in ("lp", "fft")] == ["lp", "fft"]
    with pytest.raises(UsageError, match="lp-fft uses all"):
        check_phase("lp-fft")
    with pytest.raises(UsageError, match="Known: fft, lora, lp, partial, vpt, and sequences of them"):
        check_phase("full")
