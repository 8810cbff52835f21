"""CLIP's text side, on a small model in the hub's own format, against transformers' own."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny_models import SIZE, save

from lnlbench.errors import UsageError, WeightsError
from lnlbench.inputs.feature_cache import FeatureCache
from lnlbench.inputs.text_cache import class_texts
from lnlbench.models.sources.clip_text import TEXTS
from lnlbench.models.sources.huggingface import HuggingFace
from lnlbench.models.sources.paper_backbones import CLIPViTB, ViTB16
from lnlbench.plugins import registry
from lnlbench.spec import BackboneSpec

PROMPTS = (
    ("a photo of a cat.", "a blurry photo of the cat."),
    ("a photo of a guinea pig.", "A  Guinea PIG!"),
)


@pytest.fixture(autouse=True)
def _offline(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "clip"
    save("clip", folder, seed=3)
    return folder


@pytest.fixture
def clip(saved, tmp_path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(saved, tmp_path / "clip"))


def spec(folder: Path, **fields) -> BackboneSpec:
    return BackboneSpec(f"hf:{folder}", **fields)


def read(folder: Path, prompts=PROMPTS):
    return class_texts(HuggingFace().text(spec(folder)), prompts, FeatureCache(folder / "cache"))


def tokenised(folder: Path, texts: list[str]):
    tokenizer = transformers.CLIPTokenizerFast.from_pretrained(folder)
    return tokenizer(texts, padding=True, truncation=True, max_length=77, return_tensors="pt")


def test_logits_are_those_of_the_whole_model(saved):
    images = torch.randn(5, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    texts = [prompts[0] for prompts in PROMPTS]
    model = transformers.CLIPModel.from_pretrained(saved).eval()
    with torch.no_grad():
        expected = model(pixel_values=images, **tokenised(saved, texts)).logits_per_image
        features = HuggingFace().load(spec(saved), 0).module(images)
    found = read(saved, [[text] for text in texts])
    torch.testing.assert_close(found.logits(features, found.temperature), expected)
    assert found.temperature == pytest.approx(1.0 / model.logit_scale.exp().item(), rel=1e-6)
    # The temperature is the caller's: CLIP's own enters nothing.
    torch.testing.assert_close(found.logits(features, 1.0), expected * found.temperature)
    assert expected.std(1).min() > 0.01


def test_similarities_and_means_over_templates(saved):
    found = read(saved)
    model = transformers.CLIPModel.from_pretrained(saved).eval()
    features = torch.randn(4, 16, generator=torch.Generator().manual_seed(1))
    texts = [text for prompts in PROMPTS for text in prompts]
    with torch.no_grad():
        hidden = model.text_model(**tokenised(saved, texts)).pooler_output
        joint = model.text_projection(hidden).view(2, 2, 8).double()
        images = model.visual_projection(features).double()
    for image in range(4):
        for label in range(2):
            expected = [
                torch.cosine_similarity(images[image], joint[label, number], dim=0) for number in range(2)
            ]
            torch.testing.assert_close(
                found.similarities(features)[image, label], torch.stack(expected).float()
            )
            unit = [joint[label, number] / joint[label, number].norm() for number in range(2)]
            expected = torch.cosine_similarity(images[image], sum(unit), dim=0)
            torch.testing.assert_close(found.logits(features, 0.5)[image, label], 2 * expected.float())


def test_long_texts_are_cut_and_many_texts_go_in_pieces(saved):
    texts = [f"{number} {'long ' * (number % 30)}" for number in range(TEXTS + 3)]
    embedded = HuggingFace().text(spec(saved)).embed(texts)
    model = transformers.CLIPModel.from_pretrained(saved).eval()
    with torch.no_grad():
        hidden = model.text_model(**tokenised(saved, texts)).pooler_output
        torch.testing.assert_close(embedded, model.text_projection(hidden))


def test_embedded_texts_are_cached_by_model_and_texts(clip, monkeypatch):
    first = read(clip)
    assert len(list((clip / "cache" / "features").glob("*"))) > 0
    calls: list[int] = []
    side = HuggingFace().text(spec(clip))
    real = side.embed

    def counted(texts):
        calls.append(len(texts))
        return real(texts)

    object.__setattr__(side, "embed", counted)
    cache = FeatureCache(clip / "cache")
    assert torch.equal(class_texts(side, PROMPTS, cache).embeddings, first.embeddings)
    assert calls == []
    class_texts(side, PROMPTS[:1], cache)
    assert calls == [2]
    weights = load_file(clip / "model.safetensors")
    weights["text_model.final_layer_norm.bias"] += 1.0
    save_file(weights, clip / "model.safetensors", metadata={"format": "pt"})
    assert not torch.allclose(read(clip).embeddings, first.embeddings)


def test_the_features_are_those_of_the_vision_tower_alone(clip):
    """The key of cached features does not change with the text side."""
    before = HuggingFace().load(spec(clip), 0).fingerprint
    weights = load_file(clip / "model.safetensors")
    weights["text_projection.weight"] += 1.0
    save_file(weights, clip / "model.safetensors", metadata={"format": "pt"})
    assert HuggingFace().load(spec(clip), 0).fingerprint == before


def test_a_missing_tokeniser_is_named_before_anything_is_loaded(clip):
    assert HuggingFace().missing_text(spec(clip)) is None
    (clip / "tokenizer.json").unlink()
    assert "has no tokenizer.json" in HuggingFace().missing_text(spec(clip))
    assert HuggingFace().missing(None, spec(clip)) is None  # images alone need none
    with pytest.raises(WeightsError, match=r"tokenizer\.json"):
        HuggingFace().text(spec(clip))


def test_a_tokeniser_of_another_model_is_refused(clip):
    (clip / "tokenizer.json").write_text("{}")
    with pytest.raises(WeightsError, match="cannot be read"):
        HuggingFace().text(spec(clip))


def test_more_tokens_than_the_model_knows_are_refused(clip, saved):
    content = json.loads((saved / "tokenizer.json").read_text())
    content["model"]["vocab"]["more"] = 514
    (clip / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(WeightsError, match="515 tokens, and the model knows 514"):
        HuggingFace().text(spec(clip))


def test_a_vision_tower_alone_has_no_texts(clip):
    weights = load_file(clip / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("text_model")}
    save_file(kept, clip / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"lack .* tensors of the model, 'text_model"):
        HuggingFace().text(spec(clip))


def test_who_reads_no_texts_says_so_in_plans(saved, tmp_path):
    save("vit", tmp_path / "vit")
    source = HuggingFace()
    assert source.without_text(spec(saved)) is None
    assert source.without_text(BackboneSpec("hf:nobody/knows")) is None  # its files are not here
    assert "'vit' model" in source.without_text(spec(tmp_path / "vit"))
    assert "weights = none" in source.without_text(spec(saved, weights="none"))
    assert "pooling = mean" in source.without_text(spec(saved, options=(("pooling", "mean"),)))
    assert "vit_b16 reads no texts" in ViTB16().without_text(BackboneSpec("vit_b16"))
    assert CLIPViTB().without_text(BackboneSpec("clip_vit_b")) is None
    efficientnet = registry.backbones().load("efficientnet_lite0")()
    assert "reads no texts" in efficientnet.without_text(BackboneSpec("efficientnet_lite0"))
    with pytest.raises(UsageError, match="reads no texts"):
        efficientnet.text(BackboneSpec("efficientnet_lite0"))
    with pytest.raises(UsageError, match="'vit' model"):
        source.text(spec(tmp_path / "vit"))


NAMES = ("cat.", "guinea pig.")


def of_words(saved: Path, words: str) -> torch.Tensor:
    """What the tokens of some words are embedded as, ``[m, w]``."""
    model = transformers.CLIPModel.from_pretrained(saved)
    numbers = tokenised(saved, [words])["input_ids"][0, 1:-1]
    return model.text_model.embeddings.token_embedding(numbers).detach()


def test_texts_behind_vectors_of_words_are_texts_with_these_words(saved):
    side = HuggingFace().text(spec(saved))
    plain = side.embed([f"a b {name}" for name in NAMES]), side.embed([f"x y {name}" for name in NAMES])
    contexts = torch.stack([of_words(saved, "a b"), of_words(saved, "x y")])
    encoder = side.with_context(NAMES, 2)
    torch.testing.assert_close(encoder(contexts), torch.stack(plain))
    assert encoder.width == 8
    # It leaves nothing behind, and learns nothing itself.
    torch.testing.assert_close(side.embed([f"a b {name}" for name in NAMES]), plain[0])
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_gradients_reach_the_vectors(saved):
    encoder = copy.deepcopy(HuggingFace().text(spec(saved)).with_context(NAMES, 2)).double()
    contexts = torch.randn(1, 2, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.autograd.gradcheck(encoder, contexts.requires_grad_(), atol=1e-6)


def test_vectors_count_as_tokens(saved):
    side = HuggingFace().text(spec(saved))
    long = "a " * 100
    cut = side.with_context([long], 20)(of_words(saved, "b " * 20)[None])
    torch.testing.assert_close(cut[0], side.embed(["b " * 20 + long]))
    for number in (0, 75):
        with pytest.raises(UsageError, match="Take 1 to 74"):
            side.with_context(NAMES, number)
