"""Tests of networks for other bands than RGB."""

import keras
import numpy as np
import pytest
import safetensors.numpy
from band_files import band_model

import keras_pspnet as kp
from keras_pspnet.convert import adapt_first_kernel
from keras_pspnet.models import PSPNet
from keras_pspnet.models.named_backbone import IMAGENET_MEAN, IMAGENET_STD

SMALL = {"backbone": "resnet18", "width": 1 / 16}


def kernel(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(3, 3, 3, 5)).astype("float32")


@pytest.mark.parametrize("bands", [1, 2, 8])
def test_any_number_of_bands(bands) -> None:
    net = PSPNet(
        2,
        input_shape=(None, None, bands),
        mean=range(bands),
        std=range(1, bands + 1),
        **SMALL,
    )
    images = np.random.default_rng(0).uniform(0, 9, (2, 17, 25, bands))
    assert net(images.astype("float32"))["main"].shape == (2, 17, 25, 2)
    again = PSPNet.from_config(net.get_config())
    assert again.input_shape == (None, None, None, bands)
    assert again.mean == tuple(range(bands)) and len(again.std) == bands


def test_defaults_are_those_of_imagenet() -> None:
    net = PSPNet(2, **SMALL)
    assert (net.mean, net.std) == (IMAGENET_MEAN, IMAGENET_STD)
    gray = PSPNet(2, input_shape=(None, None, 1), **SMALL)
    assert gray.mean == pytest.approx((np.mean(IMAGENET_MEAN),))
    assert gray.std == pytest.approx((np.mean(IMAGENET_STD),))


@pytest.mark.parametrize(
    ("shape", "given", "message"),
    [
        (4, {}, "`mean` must hold a number for each of the 4 bands.*measures"),
        (4, {"mean": (1,) * 4}, "`std` must hold a number for each of the 4"),
        (4, {"mean": (1,) * 3}, r"`mean` must hold.*the 4 bands.*=\(1, 1, 1\)"),
        (3, {"mean": (1,)}, r"`mean` must hold.*the 3 bands.*=\(1,\)"),
        (1, {"std": (1, 2)}, "`std` must hold.*the 1 bands"),
        (0, {}, r"`input_shape` must be \(height, width, bands\)"),
        (None, {}, r"`input_shape` must be \(height, width, bands\)"),
    ],
)
def test_statistics_fit_the_bands(shape, given, message) -> None:
    with pytest.raises(ValueError, match=message):
        PSPNet(2, input_shape=(None, None, shape), **SMALL, **given)


def test_saved_models_keep_their_bands(tmp_path) -> None:
    net = band_model(5)
    images = np.random.default_rng(0).uniform(0, 4000, (1, 17, 17, 5))
    wanted = net.predict_on_batch(images)["main"]
    net.save(tmp_path / "net.keras")
    net.save_to_preset(tmp_path / "net")
    for again in (
        keras.models.load_model(tmp_path / "net.keras"),
        kp.load_pretrained(tmp_path / "net", aux=True),
    ):
        assert again.input_shape[-1] == 5
        got = again.predict_on_batch(images)["main"]
        np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert "5 bands" in (tmp_path / "net/README.md").read_text()


# === Weights for RGB ===


@pytest.mark.parametrize("bands", [1, 2, 4, 5, 7, 13])
def test_first_kernel_is_repeated_as_in_timm(bands) -> None:
    """What timm's `adapt_input_conv` computes, in float64."""
    exact = kernel().astype("float64")
    if bands == 1:
        wanted = exact.sum(axis=2, keepdims=True)
    else:
        copies = np.concatenate([exact] * -(-bands // 3), axis=2)
        wanted = copies[:, :, :bands] * 3 / bands
    got = adapt_first_kernel(kernel(), bands)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-7)


def resnet_file(path):
    """Weights of a ResNet of timm's, with the names that it has."""
    net = PSPNet(2, "resnet18", stem="7x7", width=1 / 16)
    rows = {}
    for weight in net.backbone.weights:
        name, variable = weight.path.split("/")
        value = np.array(weight.value)
        if name == "stem1_conv":
            rows["conv1.weight"] = value.transpose(3, 2, 0, 1)
            continue
        if name == "stem1_bn":
            layer = "bn1"
        else:
            stage, block, part, kind = name.split("_")
            layer = f"layer{int(stage[-1]) - 1}.{int(block[5:]) - 1}"
            ends = {"conv": "conv", "bn": "bn"}
            layer += (
                f".downsample.{int(kind == 'bn')}"
                if part == "shortcut"
                else f".{ends[kind]}{part}"
            )
        end = {
            "kernel": "weight",
            "gamma": "weight",
            "beta": "bias",
            "moving_mean": "running_mean",
            "moving_variance": "running_var",
        }[variable]
        if variable == "kernel":
            value = value.transpose(3, 2, 0, 1)
        rows[f"{layer}.{end}"] = np.ascontiguousarray(value)
    rows["conv1.weight"] = np.ascontiguousarray(rows["conv1.weight"])
    safetensors.numpy.save_file(rows, path)
    return net.backbone


@pytest.mark.parametrize("bands", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_backbone_weights_for_other_bands(tmp_path, bands) -> None:
    source = resnet_file(tmp_path / "resnet.safetensors")
    net = PSPNet(
        2,
        "resnet18",
        (None, None, bands),
        stem="7x7",
        width=1 / 16,
        mean=(0,) * bands,
        std=(1,) * bands,
        backbone_weights=tmp_path / "resnet.safetensors",
    )
    for got, wanted in zip(net.backbone.weights, source.weights, strict=True):
        wanted = np.array(wanted.value)
        if got.path == "stem1_conv/kernel":
            wanted = adapt_first_kernel(wanted, bands)
        np.testing.assert_array_equal(got.value, wanted)


def test_pretrained_weights_for_grey_images(tmp_path) -> None:
    net = PSPNet(2, mean=(90, 100, 110), std=(50,) * 3, **SMALL)
    net.save_to_preset(tmp_path)
    gray = kp.load_pretrained(tmp_path, input_shape=(None, None, 1))
    assert (gray.mean, gray.std) == ((100,), (50,))
    images = np.random.default_rng(0).uniform(0, 255, (1, 17, 17, 1))
    # Of three equal channels, with the mean of the means in each.
    same = kp.load_pretrained(tmp_path, mean=(100,) * 3)
    want = same.predict_on_batch(np.repeat(images, 3, axis=-1))
    got = gray.predict_on_batch(images)
    inner = slice(4, -4)
    np.testing.assert_allclose(got[:, inner], want[:, inner], atol=1e-4)


def test_pretrained_weights_for_other_bands(tmp_path) -> None:
    PSPNet(2, **SMALL).save_to_preset(tmp_path)
    shape = (None, None, 4)
    with pytest.raises(ValueError, match="`mean` must hold.*the 4 bands"):
        kp.load_pretrained(tmp_path, input_shape=shape)
    given = {"mean": (9, 8, 7, 6), "std": (1, 2, 3, 4)}
    net = kp.load_pretrained(tmp_path, input_shape=shape, **given)
    assert net.mean == (9, 8, 7, 6) and net.std == (1, 2, 3, 4)
    four = tmp_path / "four"
    net.save_to_preset(four)
    with pytest.raises(ValueError, match=r"kernel has shape \(3, 3, 4, "):
        kp.load_pretrained(
            four, input_shape=(None, None, 2), mean=(1, 1), std=(1, 1)
        )


# === Training ===


def arrays(bands=4, scale=4000.0):
    rng = np.random.default_rng(0)
    images = rng.uniform(0, scale, (4, 17, 17, bands)).astype("float32")
    return images, (images[..., -1] > scale / 2).astype("uint8")


def test_fit_takes_the_bands_of_the_model() -> None:
    net = band_model()
    net.compile(run_eagerly=True)
    images, masks = arrays()
    net.fit(images, masks, batch_size=2, verbose=0)
    assert np.isfinite(net.evaluate(images, masks, verbose=0)[0])
    with pytest.raises(ValueError, match=r"images of shape \(N, H, W, 4\)"):
        net.fit(images[..., :3], masks)


@pytest.mark.parametrize(
    "as_data", [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_small_values_are_right_where_the_mean_is_small(as_data) -> None:
    """Reflectances are within 0..1, elevations about a mean of hundreds."""
    import tensorflow as tf

    images, masks = arrays(scale=1.0)
    x, y = images, masks
    if as_data:
        x, y = tf.data.Dataset.from_tensor_slices((x, y)).batch(2), None
    net = band_model(mean=(0.5,) * 4, std=(0.25,) * 4, bin_sizes=(1,))
    net.compile(run_eagerly=True)
    net.fit(x, y, verbose=0)
    net = band_model(bin_sizes=(1,))
    net.compile(run_eagerly=True)
    with pytest.warns(kp.DataWarning, match=r"units of the model's mean.*2000"):
        net.fit(x, y, verbose=0)
