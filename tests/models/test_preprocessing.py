"""Preprocessing equals the models' own image processors, within PIL's rounding."""

import json

import pytest
import timm.data
import torch
import torchvision
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from photos import assert_within_rounding, photo
from PIL import Image

from lnlbench.errors import WeightsError
from lnlbench.models.preprocessing import Preprocessing, in_two_passes, resize
from lnlbench.models.sources.huggingface import read_preprocessing as read_hf
from lnlbench.models.sources.timm_source import read_preprocessing as read_timm
from lnlbench.models.sources.torchvision_source import read_preprocessing as read_torchvision
from lnlbench.spec import BackboneSpec

SPEC = BackboneSpec("hf:tiny")
HALF = Preprocessing(8, 8, "exact", "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


PROCESSORS = {
    "vit": transformers.ViTImageProcessor(),
    "mae": transformers.ViTImageProcessor(
        image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225], resample=3
    ),
    "clip": transformers.CLIPImageProcessor(),
    "convnext": transformers.ConvNextImageProcessor(size={"shortest_edge": 224}, crop_pct=0.875),
    "convnext-384": transformers.ConvNextImageProcessor(size={"shortest_edge": 384}),
    "deit": transformers.DeiTImageProcessor(),
}


@pytest.mark.parametrize("kind", PROCESSORS)
@pytest.mark.parametrize("shape", [(32, 32), (301, 407)])
def test_equals_transformers(kind, shape, tmp_path):
    processor = PROCESSORS[kind]
    processor.save_pretrained(tmp_path)
    preprocessing = read_hf(tmp_path, SPEC)
    image = photo(*shape)
    expected = processor(image, return_tensors="pt")["pixel_values"]
    assert_within_rounding(preprocessing(image[None]), expected, preprocessing.std)


@pytest.mark.parametrize(
    ("published", "expected"),
    [
        # The fields of the original repositories, which predate size dictionaries.
        (
            {"feature_extractor_type": "ViTFeatureExtractor", "size": 224, "resample": 2},
            (224, 224, "exact", "bilinear"),
        ),
        (
            {"feature_extractor_type": "CLIPFeatureExtractor", "size": 224, "crop_size": 224, "resample": 3},
            (224, 224, "shortest", "bicubic"),
        ),
        (
            {
                "feature_extractor_type": "ConvNextFeatureExtractor",
                "size": 224,
                "crop_pct": 0.875,
                "resample": 3,
            },
            (224, 256, "shortest", "bicubic"),
        ),
    ],
)
def test_reads_the_first_format_of_the_hub(published, expected, tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(published))
    p = read_hf(tmp_path, SPEC)
    assert (p.size, p.resize, p.mode, p.interpolation) == expected


def test_convnext_squashes_from_384_px(tmp_path):
    PROCESSORS["convnext-384"].save_pretrained(tmp_path)
    p = read_hf(tmp_path, SPEC)
    assert (p.size, p.resize, p.mode) == (384, 384, "exact")


def test_processor_without_a_square_result_is_refused(tmp_path):
    transformers.ViTImageProcessor(size={"height": 224, "width": 192}).save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match="not square"):
        read_hf(tmp_path, SPEC)


def test_processor_without_resize_is_refused(tmp_path):
    transformers.ViTImageProcessor(do_resize=False).save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match="do_resize"):
        read_hf(tmp_path, SPEC)


def test_missing_processor_is_an_error(tmp_path):
    with pytest.raises(WeightsError, match="preprocessor_config"):
        read_hf(tmp_path, SPEC)


@pytest.mark.parametrize("shape", [(32, 32), (301, 408)])
@pytest.mark.parametrize(
    ("interpolation", "crop_mode", "crop_pct"),
    [
        ("bicubic", "center", 0.875),
        ("bilinear", "center", 0.95),
        ("bicubic", "squash", 1.0),
        ("bicubic", None, 0.9),
    ],
)
def test_equals_timm(shape, interpolation, crop_mode, crop_pct):
    configuration = {
        "input_size": (3, 224, 224),
        "interpolation": interpolation,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "crop_pct": crop_pct,
        "crop_mode": crop_mode,
    }
    preprocessing = read_timm(configuration)
    image = photo(*shape)
    transform = timm.data.create_transform(**configuration, is_training=False)
    expected = transform(Image.fromarray(image.permute(1, 2, 0).numpy()))[None]
    assert_within_rounding(preprocessing(image[None]), expected, preprocessing.std)


def test_timm_model_that_is_not_square_is_refused():
    with pytest.raises(WeightsError, match="square"):
        read_timm({"input_size": (3, 224, 192), "crop_pct": 1.0})


@pytest.mark.parametrize("name", ["resnet50", "vit_b_16", "swin_t"])
def test_equals_torchvision(name):
    preset = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    preprocessing = read_torchvision(preset)
    image = photo(250, 333)
    expected = preset(Image.fromarray(image.permute(1, 2, 0).numpy()))[None]
    assert_within_rounding(preprocessing(image[None]), expected, preprocessing.std)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("target", [[36], [64], [20], [50, 41], [24, 90]])
@pytest.mark.parametrize("shape", [(32, 32), (50, 41), (41, 50)])
def test_two_passes_of_a_device_equal_the_one_of_a_cpu(interpolation, target, shape):
    noise = torch.randint(256, (8, 3, *shape), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    there, here = in_two_passes(noise, target, interpolation), resize(noise, target, interpolation)
    apart = (there.int() - here.int()).abs()
    assert there.shape == here.shape
    assert apart.max() <= 2
    assert (apart > 0).float().mean() < 0.1
    assert (apart > 1).float().mean() < 1e-3


def test_no_resize_is_exact_arithmetic():
    image = torch.arange(192, dtype=torch.uint8).reshape(1, 3, 8, 8)
    expected = (image.double() / 255 - 0.5) / 0.5
    torch.testing.assert_close(HALF(image).double(), expected, rtol=0, atol=1e-6)


def test_odd_margins_follow_the_library():
    # Margin 3: transformers starts at 1, torchvision at 2.
    image = torch.arange(11, dtype=torch.uint8).expand(1, 3, 11, 11).contiguous()
    unit = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "rescale": 1.0}
    for rounding, first in (("floor", 1), ("round", 2)):
        cropped = Preprocessing(8, 11, "exact", "bilinear", **unit, crop_rounding=rounding)(image)
        assert cropped[0, 0, 0].tolist() == list(range(first, first + 8))


def test_images_of_several_sizes_are_treated_one_by_one():
    preprocessing = Preprocessing(16, 18, "shortest", "bicubic", (0.5,) * 3, (0.5,) * 3)
    images = [photo(40, 60), photo(31, 20, seed=1)]
    batch = preprocessing(images)
    assert batch.shape == (2, 3, 16, 16)
    for image, row in zip(images, batch, strict=True):
        torch.testing.assert_close(preprocessing(image[None])[0], row)


def test_equal_images_in_a_list_equal_the_batch():
    images = torch.stack([photo(20, 20, seed) for seed in range(3)])
    assert torch.equal(HALF(images), HALF(list(images)))


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_layout_is_the_one_that_was_asked_for(channels_last):
    stored = torch.randint(256, (4, 12, 12, 3), dtype=torch.uint8).movedim(3, 1)  # as arrays of images are
    made = HALF(stored, channels_last=channels_last)
    assert made.is_contiguous(memory_format=torch.channels_last) is channels_last
    assert made.is_contiguous() is not channels_last


def test_channels_last_changes_layout_only():
    images = photo(20, 20)[None].repeat(2, 1, 1, 1)
    other = HALF(images, device="cpu", channels_last=True)
    assert other.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(other, HALF(images))


@given(size=st.integers(8, 512), native=st.sampled_from([(224, 256), (224, 224), (288, 303)]))
def test_other_sizes_keep_the_crop_share(size, native):
    base = Preprocessing(*native, "shortest", "bicubic", (0.5,) * 3, (0.5,) * 3)
    other = base.with_size(size)
    assert other.size == size
    assert abs(other.resize - size * native[1] / native[0]) <= 0.5
    assert base.with_size(None) is base


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40))
def test_result_is_always_square(height, width):
    preprocessing = Preprocessing(16, 19, "shortest", "bilinear", (0.5,) * 3, (0.5,) * 3)
    result = preprocessing(torch.zeros(1, 3, height, width, dtype=torch.uint8))
    assert result.shape == (1, 3, 16, 16)
    assert torch.equal(result, torch.full_like(result, -1.0))


def test_to_dict_is_json_and_tells_settings_apart():
    assert Preprocessing(**json.loads(json.dumps(HALF.to_dict()))).to_dict() == HALF.to_dict()
    assert HALF.with_size(16).to_dict() != HALF.to_dict()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("mode", "longest", "resize mode 'longest'"),
        ("interpolation", "nearest", "interpolation 'nearest'"),
        ("crop_rounding", "up", "crop rounding 'up'"),
        ("resize", 4, "crops 8 px"),
        ("mean", (0.5,), "3 channels"),
    ],
)
def test_unavailable_settings_are_errors(field, value, message):
    with pytest.raises(WeightsError, match=message):
        Preprocessing(**{**HALF.to_dict(), field: value})
