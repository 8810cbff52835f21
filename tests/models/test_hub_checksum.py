"""Files of the hub's cache are compared with the checksums that they are named by."""

import hashlib

import pytest

from lnlbench.errors import WeightsError
from lnlbench.models.sources.hub import model_folder
from lnlbench.models.sources.hub_checksum import verify


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A repository in the hub's cache, as downloading leaves it."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    root = tmp_path / "models--owner--name"
    snapshot = root / "snapshots" / ("1" * 40)
    snapshot.mkdir(parents=True)
    (root / "blobs").mkdir()
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("1" * 40)
    contents = {
        "config.json": b'{"model_type": "vit"}',
        "preprocessor_config.json": b"{}",
        "model.safetensors": bytes(range(256)) * 100,
    }
    names = {
        "preprocessor_config.json": hashlib.sha1(b"blob 2\0{}").hexdigest(),
        "config.json": hashlib.sha1(b"blob 21\0" + contents["config.json"]).hexdigest(),
        "model.safetensors": hashlib.sha256(contents["model.safetensors"]).hexdigest(),
    }
    for name, content in contents.items():
        (root / "blobs" / names[name]).write_bytes(content)
        (snapshot / name).symlink_to(root / "blobs" / names[name])
    return snapshot


def test_intact_files_are_used(hub, tmp_path):
    found = model_folder("owner/name", None, configuration=True, weights=True)
    assert found.resolve() == hub.resolve()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize(
    "harm", [lambda old: old[:-3], lambda old: old[:9] + b"\x00" + old[10:], lambda old: b""]
)
def test_damaged_files_are_named_with_what_to_do(hub, name, harm):
    path = hub / name
    blob = path.resolve()
    blob.write_bytes(harm(blob.read_bytes()))
    with pytest.raises(WeightsError, match="does not match the hub's checksum") as raised:
        model_folder("owner/name", None, configuration=True, weights=True)
    assert name in raised.value.message
    assert str(blob) in raised.value.hint


def test_other_files_than_those_that_are_read_do_not_matter(hub):
    blob = (hub / "model.safetensors").resolve()
    blob.write_bytes(b"")
    verify(hub, ["config.json"])


def test_a_folder_of_ones_own_has_no_checksums(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    verify(tmp_path, ["*"])
