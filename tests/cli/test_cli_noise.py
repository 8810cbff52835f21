"""``lnlbench noise``: files made, imported, shown and verified, with numbers as trials have them."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from lnlbench.cli import main
from lnlbench.errors import ExitCode
from lnlbench.noise import corrupt, raw_inputs, read_noise_file, write_noise_file
from lnlbench.plugins import registry
from lnlbench.spec import DatasetSpec, NoiseSpec


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LNLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LNLBENCH_DATA", raising=False)

    def run(*arguments, code=ExitCode.OK):
        assert main(["noise", *arguments]) == code
        return capsys.readouterr()

    return run


def digits(**kwargs):
    return registry.datasets().load("digits")().load(DatasetSpec("digits", **kwargs), None)


@pytest.mark.parametrize("noise", ["symmetric-0.4", "asymmetric-0.3", "instance-0.2"])
def test_what_is_made_is_what_a_trial_would_draw(call, noise):
    call("make", noise, "--dataset=digits", "--seed=3", "--train-per-class=20", "--output=n.npz")
    data = digits(train_per_class=20)
    expected = corrupt(
        NoiseSpec.parse(noise),
        data.train.labels,
        10,
        dataset="digits",
        seed=3,
        inputs=raw_inputs(data.train),
    )
    found = read_noise_file(Path("n.npz"))
    assert np.array_equal(found.labels, expected.labels)
    assert (found.seed, found.dataset) == (3, "digits")
    out = call("verify", "n.npz", "--dataset=digits", "--train-per-class=20").out
    assert "Made again from its settings and seed, it is the same." in out


def test_options_of_the_generator_and_a_label(call):
    call(
        *("make", "symmetric-0.4", "--dataset=digits", "--set=variant=exclusive"),
        *("--label=even noise", "--output=n.npz"),
    )
    found = read_noise_file(Path("n.npz"))
    assert (found.settings, found.label) == ({"variant": "exclusive"}, "even noise")
    samples = len(found.labels)
    wrong = int((found.labels != found.clean).sum())
    assert wrong == -(-4 * samples // 10)
    out = call("show", "n.npz", "--limit=2").out
    assert f"even noise: {samples:,} samples, 10 classes" in out
    assert f"wrong    {wrong:,} ({wrong / samples:.2%})" in out
    assert "and 8 more classes" in out


def test_show_as_json_has_the_numbers_of_the_report(call):
    out = call("show", "asymmetric-0.4", "--dataset=digits", "--format=json").out
    shown = json.loads(out)
    counts = np.array(shown["transitions"])
    assert counts.sum() == len(digits().train)
    off = counts - np.diag(counts.diagonal())
    assert shown["realised_rate"] == pytest.approx(off.sum() / counts.sum())
    assert all(given == (true + 1) % 10 for true, given in np.argwhere(off))
    assert shown["classes"] == list(map(str, range(10)))


def test_a_picture(call):
    call("show", "symmetric-0.4", "--dataset=digits", "--picture=n.png")
    assert Path("n.png").read_bytes().startswith(b"\x89PNG")
    assert (
        "cannot be written as 'bmp'"
        in call("show", "symmetric-0.4", "--dataset=digits", "--picture=n.bmp", code=ExitCode.USAGE).err
    )


def test_imports_by_ending(call):
    labels = digits().train.labels
    noisy = corrupt(NoiseSpec("symmetric", 0.2), labels, 10, dataset="d", seed=0).labels
    Path("theirs.json").write_text(json.dumps(noisy.tolist()))
    out = call("import", "theirs.json", "--dataset=digits", "--output=n.npz").out
    assert f"{np.mean(noisy != labels):.2%} of {len(labels):,} labels are wrong" in out
    assert np.array_equal(read_noise_file(Path("n.npz")).labels, noisy)
    Path("theirs.json").rename("theirs")
    assert (
        "Say it with --from"
        in call("import", "theirs", "--dataset=digits", "--output=n.npz", code=ExitCode.USAGE).err
    )


def test_verify_says_what_does_not_fit_and_what_is_drawn_otherwise(call):
    call("make", "symmetric-0.4", "--dataset=digits", "--output=n.npz")
    found = read_noise_file(Path("n.npz"))
    out = call("verify", "n.npz", "--dataset=digits", "--train-per-class=5").out
    assert "50 of its labels are of these samples" in out
    other = found.labels.copy()
    other[:2] = (other[:2] + 1) % 10
    write_noise_file(Path("o.npz"), dataclasses.replace(found, labels=other))
    assert "2 labels are others" in call("verify", "o.npz", "--dataset=digits", code=ExitCode.INCOMPLETE).err
    content = bytearray(Path("n.npz").read_bytes())
    content[200] ^= 1
    Path("n.npz").write_bytes(content)
    assert "Error" in call("verify", "n.npz", code=ExitCode.USAGE).err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("make", "symmetric-0.4", "--output=n.npz"), "Name one with --dataset"),
        (("make", "real", "--dataset=digits", "--output=n.npz"), "Of real noise nobody knows"),
        (("make", "human-worse", "--dataset=digits", "--output=n.npz"), "Nobody published human labels"),
        (("make", "symmetric-0.4", "--dataset=digits", "--set=variant", "--output=n.npz"), "OPTION=VALUE"),
        (("make", "symmetric-0.4", "--dataset=digits", "--set=v=1", "--output=n.npz"), "no option 'v'"),
        (("show", "absent.npz"), "does not exist"),
        (("make", "symmetric-0.4", "--dataset=digits", "--output=no/n.npz"), "cannot be written"),
    ],
)
def test_mistakes_are_said(call, arguments, message):
    assert message in call(*arguments, code=ExitCode.USAGE).err
