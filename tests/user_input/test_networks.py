"""What users hand to PSPNet, freeze, save and load."""

import json

import keras
import numpy as np
import pytest
from user_input import Case, each, run

import keras_pspnet as kp
from keras_pspnet.data.augment.augmentation import train_augmentation
from keras_pspnet.data.pipeline import training_dataset

pytestmark = [pytest.mark.long, pytest.mark.user_input]

RNG = np.random.default_rng(0)
LARGE = RNG.integers(0, 256, (4, 33, 33, 3)).astype("uint8")
LARGE_MASKS = RNG.integers(0, 2, (4, 33, 33)).astype("uint8")


# === The network ===


def built(**kwargs):
    return lambda: kp.PSPNet(
        kwargs.pop("num_classes", 3), "resnet18", width=1 / 16, **kwargs
    )


def config_is(**wanted):
    def check(model):
        config = model.get_config()
        got = {name: config[name] for name in wanted}
        assert got == wanted
        json.dumps(config)

    return check


def names_are(*names):
    def check(model):
        assert model.labels.names == names
        assert len(set(model.labels.colors)) == len(names)

    return check


INT = np.int64

NETWORK = [
    Case(
        "one class",
        "PSPNet",
        built(num_classes=1),
        error=r"`num_classes` must be at least 2: binary.* is num_classes=2",
    ),
    Case(
        "NumPy integers",
        "PSPNet",
        built(
            num_classes=INT(3),
            input_shape=(INT(33), None, INT(3)),
            bin_sizes=np.array([1, 2]),
        ),
        value=config_is(
            num_classes=3, input_shape=(33, None, 3), bin_sizes=(1, 2)
        ),
    ),
    Case(
        "sizes that are no integers",
        "PSPNet",
        built(input_shape=(33.5, None, 3)),
        error=r"`input_shape` must be \(height, width, \w+\).*33.5",
    ),
    Case(
        "a head without channels",
        "PSPNet",
        built(head_channels=0),
        error="`head_channels` must be a positive integer.*head_channels=0",
    ),
    Case(
        "names as labels",
        "PSPNet",
        built(labels=["cat", "dog", "ground"]),
        value=names_are("cat", "dog", "ground"),
    ),
    Case(
        "two names for three classes",
        "PSPNet",
        built(labels=["cat", "dog"]),
        error="`labels` must name as many classes.*2 names, num_classes=3",
    ),
]


@each(NETWORK)
def test_network(case):
    run(case)


def test_channels_first_in_keras_json():
    wanted = built()()
    keras.backend.set_image_data_format("channels_first")
    try:
        model = built()()
        model.set_weights(wanted.get_weights())
        got = model(LARGE)
    finally:
        keras.backend.set_image_data_format("channels_last")
    expected = wanted(LARGE)
    for name, logits in expected.items():
        np.testing.assert_allclose(got[name], logits, rtol=1e-5, atol=1e-5)


# === Freezing and saving ===


def network(freeze_names=(), **kwargs):
    model = built(num_classes=2, bin_sizes=(1, 2), **kwargs)()
    for name in freeze_names:
        layer = next(
            each
            for each in [model.backbone, *model.backbone.layers]
            if each.name == name
        )
        layer.trainable = False
    return model


def step(model):
    model.fit(LARGE, LARGE_MASKS, batch_size=2, shuffle=False, verbose=0)


def test_layers_unfrozen_after_compile_are_trained():
    model = network(["resnet18"])
    model.compile(run_eagerly=True)
    model.backbone.trainable = True
    before = [np.array(each) for each in model.backbone.trainable_variables]
    step(model)
    after = model.backbone.trainable_variables
    assert all(
        (np.array(now) != was).any()
        for now, was in zip(after, before, strict=True)
    )


@pytest.mark.parametrize(
    "frozen",
    [
        pytest.param(["resnet18"], marks=pytest.mark.slow),
        ["stem1_conv", "stage5_block2_2_bn"],
    ],
)
def test_frozen_layers_and_the_optimizer_come_back(tmp_path, frozen):
    model = network(frozen, dropout=0.0)
    model.compile(total_steps=8, run_eagerly=True)
    step(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.global_step == 2
    got, wanted = loaded.trainable_variables, model.trainable_variables
    assert [each.path for each in got] == [each.path for each in wanted]
    for one, other in zip(
        loaded.optimizer.variables, model.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(one, other)
    step(model)
    loaded.run_eagerly = True
    step(loaded)
    for one, other in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    kp.save_pretrained(model, tmp_path / "folder")
    folder = kp.load_pretrained(tmp_path / "folder")
    assert [each.name for each in folder.backbone.layers if not each.trainable]
    assert (
        folder.get_config()["trainable_layers"]
        == (model.get_config()["trainable_layers"])
    )


def test_weights_of_another_optimizer_are_refused(tmp_path):
    model, other = network(["resnet18"]), network()
    for one in (model, other):
        one.compile(total_steps=8, run_eagerly=True)
    step(model)
    model.save_weights(tmp_path / "a.weights.h5")
    with pytest.raises(ValueError, match="same layers are frozen.*83 var"):
        other.load_weights(tmp_path / "a.weights.h5")
    same = network(["resnet18"])
    same.compile(total_steps=8)
    same.load_weights(tmp_path / "a.weights.h5")
    assert int(same.optimizer.iterations) == same.global_step == 2


@pytest.mark.parametrize("name", ["model.h5", "model.hdf5"])
def test_hdf5_is_refused_when_saving(tmp_path, name):
    with pytest.raises(ValueError, match=r"must end in \.keras.*save_weights"):
        network().save(tmp_path / name)
    assert not (tmp_path / name).exists()


def test_every_epoch_has_new_crops():
    crops = train_augmentation((9, 9))
    pairs = list(zip(LARGE, LARGE_MASKS, strict=True))
    batches = training_dataset(pairs, crops, 2, total_steps=2)
    first, second = (
        np.concatenate([images for images, _ in batches.as_numpy_iterator()])
        for _ in range(2)
    )
    assert (first != second).any()
    whole = training_dataset(pairs, crops, 2, total_steps=4)
    wanted = [images for images, _ in whole.as_numpy_iterator()]
    np.testing.assert_array_equal(
        np.concatenate([first, second]), np.concatenate(wanted)
    )
