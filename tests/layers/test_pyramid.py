"""Tests of the pyramid module, input normalisation and resizing."""

from typing import Any

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
from keras import ops
from support import (
    CHANNELS,
    OUT,
    assert_close,
    make_pyramid,
    make_shortcut,
    operations,
    oracle_pyramid,
    random_map,
    randomize,
)

from keras_pspnet.layers.pyramid import (
    InputNormalization,
    PyramidConv,
    PyramidPoolingModule,
    Resize,
    check_choice,
)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("reduce", [True, False])
@pytest.mark.parametrize("pooling", ["average", "max"])
def test_module_is_the_papers(
    pooling: str, reduce: bool, align_corners: bool
) -> None:
    pyramid = make_pyramid(
        pooling=pooling, reduce=reduce, align_corners=align_corners
    )
    unknown = tf.function(
        lambda x: pyramid(x, training=False),
        input_signature=[tf.TensorSpec((None, None, None, CHANNELS))],
    )
    for size in ((13, 9), (12, 18), (2, 5), (1, 1)):
        x = random_map(*size)
        want = oracle_pyramid(pyramid, x, training=False)
        assert_close(pyramid(x, training=False), want, 5e-6)
        assert_close(unknown(x), want, 5e-6)
        # The statistics that this moves were read above.
        want = oracle_pyramid(pyramid, x, training=True)
        assert_close(pyramid(x, training=True), want, 2e-5)


def test_known_and_unknown_sizes_give_the_same_numbers() -> None:
    # Known: average_pool and image.resize. Unknown: matrices.
    pyramid = make_pyramid()
    x = random_map(60, 60)
    known = tf.function(lambda x: pyramid(x))
    unknown = tf.function(
        lambda x: pyramid(x),
        input_signature=[tf.TensorSpec((None, None, None, CHANNELS))],
    )
    assert "AvgPool" in {op.type for op in operations(known, x)}
    assert "AvgPool" not in {op.type for op in operations(unknown, x)}
    assert_close(unknown(x), known(x), 1e-5)


@pytest.mark.parametrize("filters, added", [(None, 2), (3, 3)])
def test_map_channels_are_a_quarter_unless_given(
    filters: int | None, added: int
) -> None:
    pyramid = make_pyramid(filters=filters)
    assert pyramid.map_channels(CHANNELS) == added
    assert [tuple(conv.kernel.shape) for conv in pyramid.convs] == (
        [(1, 1, CHANNELS, added)] * 4
    )
    assert pyramid(random_map(5, 7)).shape == (3, 5, 7, CHANNELS + 4 * added)


def test_a_pyramid_is_built_once() -> None:
    pyramid = make_pyramid()
    count = len(pyramid.weights)
    want = pyramid(random_map(5, 7))
    pyramid.build((None, None, None, CHANNELS))
    assert (len(pyramid.convs), len(pyramid.norms)) == (4, 4)
    assert len(pyramid.weights) == count
    np.testing.assert_array_equal(pyramid(random_map(5, 7)), want)


def test_biases_stand_in_place_of_normalisation() -> None:
    plain, biased = make_pyramid(), make_pyramid(use_bias=True)
    assert biased.norms == []
    assert [len(conv.weights) for conv in biased.convs] == [2] * 4
    for conv, old, norm in zip(
        biased.convs, plain.convs, plain.norms, strict=True
    ):
        scale = norm.gamma / ops.sqrt(norm.moving_variance + norm.epsilon)
        conv.kernel.assign(old.kernel * scale)
        conv.bias.assign(norm.beta - norm.moving_mean * scale)
    x = random_map(5, 7)
    assert_close(biased(x), plain(x), 1e-5)


def test_the_shortcut_adds_its_bias() -> None:
    plain, biased = make_shortcut(), make_shortcut(use_bias=True)
    kernel, *others = plain.get_weights()
    biased.set_weights([kernel, np.arange(OUT), *others])
    for x in (random_map(5, 7), random_map(12, 18)):
        assert_close(biased(x), plain(x) + np.arange(OUT), 1e-5)


def test_few_channels_still_make_a_map() -> None:
    pyramid = PyramidPoolingModule()
    assert pyramid(random_map(4, 4, channels=2)).shape == (3, 4, 4, 6)


def test_no_bins_give_the_input_back() -> None:
    x = random_map(5, 7)
    pyramid = make_pyramid(bin_sizes=())
    assert pyramid.variables == []
    np.testing.assert_array_equal(pyramid(x), x)


def test_shapes_that_are_known_stay_known() -> None:
    for height, width in ((13, 9), (None, 9), (None, None)):
        x = keras.Input((height, width, CHANNELS))
        pyramid = PyramidPoolingModule(filters=3)
        assert pyramid(x).shape == (None, height, width, CHANNELS + 12)
        out = PyramidConv(OUT, PyramidPoolingModule())(x)
        assert out.shape == (None, height, width, OUT)


def test_normalization() -> None:
    layer = InputNormalization((10.0, 20.0, 30.0), (1.0, 2.0, 4.0))
    image = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3))
    want = (image - [10.0, 20.0, 30.0]) / [1.0, 2.0, 4.0]
    graph = tf.function(lambda x: layer(x))
    for dtype in ("uint8", "float32", "int32", "float64"):
        for result in (layer(image.astype(dtype)), graph(image.astype(dtype))):
            assert result.dtype == tf.float32
            assert_close(result, want, 1e-6)


def test_normalization_keeps_every_level_of_a_picture() -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    levels = np.arange(256, dtype="uint8").reshape(1, 16, 16, 1)
    layer = InputNormalization((123.675,) * 3, (58.395,) * 3)
    result = layer(np.repeat(levels, 3, axis=-1))
    assert len(np.unique(result)) == 256


@pytest.mark.parametrize("align_corners", [False, True])
def test_resize_takes_its_size_from_another_map(align_corners: bool) -> None:
    layer = Resize(align_corners)
    x, like = random_map(8, 6), random_map(61, 45, channels=1)
    want = reference.bilinear(x, (61, 45), align_corners)
    assert_close(layer([x, like]), want, 1e-5)
    unknown = tf.function(
        lambda x, like: layer([x, like]),
        input_signature=[
            tf.TensorSpec((None, None, None, CHANNELS)),
            tf.TensorSpec((None, None, None, 1)),
        ],
    )
    assert_close(unknown(x, like), want, 1e-5)
    shapes = [(None, 8, 6, 5), (None, 61, None, 3)]
    assert layer.compute_output_shape(shapes) == (None, 61, None, 5)


def test_half_precision_normalises_without_overflow() -> None:
    # 300 squared is above the largest float16.
    pyramid = make_pyramid("mixed_float16")
    result = pyramid(300 + 100 * random_map(7, 5), training=True)
    assert np.isfinite(ops.cast(result, "float32")).all()


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_pictures_and_logits_stay_float32(policy: str) -> None:
    keras.config.set_dtype_policy(policy)
    x = ops.cast(random_map(4, 4), policy.removeprefix("mixed_"))
    assert Resize()([x, random_map(9, 9)]).dtype == tf.float32
    image = np.zeros((1, 4, 4, 3), "uint8")
    assert InputNormalization((0,) * 3, (1,) * 3)(image).dtype == tf.float32
    keras.config.set_dtype_policy("float64")
    assert Resize().compute_dtype == "float64"


def small_model(size: int | None) -> keras.Model:
    image = keras.Input((size, size, 3))
    x = InputNormalization((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))(image)
    x = PyramidPoolingModule((1, 3), filters=2, align_corners=True)(x)
    pyramid = PyramidPoolingModule((2, 5), pooling="max", reduce=False)
    x = PyramidConv(OUT, pyramid, kernel_initializer="zeros")(x)
    return keras.Model(image, Resize(True)([x, image]))


@pytest.mark.parametrize("size", [13, None])
def test_saved_model_needs_no_custom_objects(
    size: int | None, tmp_path
) -> None:
    model = small_model(size)
    randomize(model)
    image = np.random.default_rng(0).uniform(0, 255, (2, 13, 13, 3))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(image), model(image))
    assert [variable.path for variable in loaded.variables] == [
        variable.path for variable in model.variables
    ]
    # Weights fit whatever size the model was built for.
    model.save_weights(tmp_path / "model.weights.h5")
    again = small_model(None)
    again.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_allclose(again(image), model(image), rtol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        PyramidPoolingModule(
            (1, 5),
            filters=7,
            pooling="max",
            reduce=False,
            align_corners=True,
            use_bias=True,
        ),
        PyramidConv(
            3,
            PyramidPoolingModule((2,), filters=4),
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.5),
            use_bias=True,
            dtype="mixed_bfloat16",
        ),
        InputNormalization((1, 2, 3), (4, 5, 6)),
        Resize(align_corners=True, dtype="float64"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_config_round_trip(layer: keras.layers.Layer) -> None:
    serialized = keras.saving.serialize_keras_object(layer)
    again = keras.saving.deserialize_keras_object(serialized)
    assert type(again) is type(layer)
    assert keras.saving.serialize_keras_object(again) == serialized


@pytest.mark.parametrize(
    "kwargs, message",
    [
        (
            {"pooling": "mean"},
            "`pooling` must be one of 'average', 'max'.*mean",
        ),
        ({"filters": 0}, "`filters` must be a positive integer or None.*=0"),
        ({"filters": 2.0}, "`filters` must be a positive integer or None.*2.0"),
        ({"filters": True}, "`filters` must be a positive integer or None"),
        ({"bin_sizes": 3}, "`bin_sizes` must be a sequence of distinct.*=3"),
        ({"bin_sizes": (1, 0)}, "`bin_sizes` must be a sequence of distinct"),
        ({"bin_sizes": (2, 2)}, "`bin_sizes` must be a sequence of distinct"),
        ({"bin_sizes": (1.5,)}, "`bin_sizes` must be a sequence of distinct"),
        ({"bin_sizes": "12"}, "`bin_sizes` must be a sequence.*='12'"),
    ],
)
def test_module_refuses(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PyramidPoolingModule(**kwargs)


def test_unknown_channels_are_refused() -> None:
    x = keras.Input((5, 5, None))
    message = " must get inputs with a known number of channels"
    with pytest.raises(ValueError, match="`PyramidPoolingModule`" + message):
        PyramidPoolingModule()(x)
    with pytest.raises(ValueError, match="`PyramidConv`" + message):
        PyramidConv(3, PyramidPoolingModule())(x)


@pytest.mark.parametrize(
    "mean, std, message",
    [
        ((1, 2), (1, 1, 1), r"`mean` must hold three numbers.*=\(1, 2\)"),
        (5, (1, 1, 1), "`mean` must hold three numbers.*=5"),
        ("abc", (1, 1, 1), "`mean` must hold three numbers.*='abc'"),
        ((1, 2, 3), (1, 1), "`std` must hold three positive numbers"),
        ((1, 2, 3), (1, 1, 0), "`std` must hold three positive numbers"),
        ((1, 2, 3), None, "`std` must hold three positive numbers.*=None"),
        ((1, 2, 3), (1, float("nan"), 1), "`std` must hold three positive"),
    ],
)
def test_normalization_refuses(mean: Any, std: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InputNormalization(mean, std)


def test_choice_lists_what_there_is() -> None:
    check_choice("colour", "red", ("red", "blue"))
    message = "`colour` must be one of 'red', 'blue'. Received: colour='green'"
    with pytest.raises(ValueError, match=message):
        check_choice("colour", "green", ("red", "blue"))
