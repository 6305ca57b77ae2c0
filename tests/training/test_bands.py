"""Tests of training and of results on other bands than RGB."""

import csv
import dataclasses
import json
import re

import numpy as np
import pytest
from band_files import PLACED, band_conv, band_tiff, tile, write_tiles
from command_line import replace_loading
from image_files import RGB as PICTURE
from image_files import encoded
from smoke_run import SMOKE

import keras_pspnet as kp
from keras_pspnet.callbacks import prediction_sheet
from keras_pspnet.cli.main import main
from keras_pspnet.data import band_statistics, check, image_georeference, load
from keras_pspnet.data.augment.augmentation import train_augmentation
from keras_pspnet.data.pipeline import training_dataset
from keras_pspnet.data.write import write_pairs
from keras_pspnet.labels import LabelSet
from keras_pspnet.training.run import train

LABELS = LabelSet("tiles", ("land", "water"), ((90, 60, 0), (0, 0, 200)))
MEASURED = {"mean": (2000.0,) * 4, "std": (1000.0,) * 4}


@pytest.fixture
def folder(tmp_path):
    for split in ("train", "val"):
        write_tiles(tmp_path / "data" / split)
    (tmp_path / "data/labels.txt").write_text("land\nwater\n")
    return tmp_path / "data"


def recipe(**changes):
    return dataclasses.replace(
        SMOKE,
        **{
            "labels": LABELS,
            "scenes": None,
            "bands": 4,
            "network": MEASURED,
            "crop": (16, 24),
            "batch_size": 2,
            "steps": 4,
            "steps_per_epoch": 2,
            "fixed_size": True,
            "class_weight": None,
            **changes,
        },
    )


def test_data_of_bands(folder) -> None:
    data = load(folder, "train", bands=4)
    image, mask = data[0]
    assert image.shape == (20, 30, 4) and image.dtype == np.uint16
    assert mask.shape == (20, 30)
    assert check(data) == []
    wrong = check(load(folder, "train", bands=5, strict=False))
    assert (
        len(wrong) == 3
        and "as many bands as the model's images, 5" in wrong[0].text
    )


def test_statistics_are_those_of_numpy(folder) -> None:
    data = load(folder, "train", bands=4)
    pixels = np.concatenate([image.reshape(-1, 4) for image, _ in data])
    mean, std = band_statistics(data)
    np.testing.assert_allclose(mean, pixels.mean(0, dtype="float64"), 1e-5)
    np.testing.assert_allclose(std, pixels.std(0, dtype="float64"), 1e-5)
    # A large mean takes no digits.
    for path in (folder / "train/images").iterdir():
        image = tile(1, "float32") + np.float32(1e6)
        path.write_bytes(band_tiff(image))
    mean, std = band_statistics(load(folder, "train", bands=1))
    assert std[0] == pytest.approx(image.std(dtype="float64"), rel=1e-5)


def test_statistics_need_values_that_differ(folder) -> None:
    for path in (folder / "train/images").iterdir():
        path.write_bytes(band_tiff(np.full((20, 30, 1), 7, "uint8")))
    with pytest.raises(ValueError, match="more than one value.* band 1 with 7"):
        band_statistics(load(folder, "train", bands=1))


# === Batches ===


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_crop_that_is_cut_out_is_a_copy(dtype) -> None:
    image, mask = tile(5, dtype), np.zeros((20, 30), np.uint8)
    crops = train_augmentation((20, 30), None, flip=False, mean=(0,) * 5)
    ((images, _),) = training_dataset([(image, mask)], crops, 1, 1)
    np.testing.assert_array_equal(images[0], image)


def test_padding_has_the_mean_of_each_band() -> None:
    image, mask = tile(4), np.zeros((20, 30), np.uint8)
    mean = (1.0, 2.0, 3.0, 4.0)
    crops = train_augmentation(
        (25, 30), None, False, mean=mean, blur_probability=1.0
    )
    ((images, masks),) = training_dataset([(image, mask)], crops, 1, 1)
    assert (images[0, 20:].numpy() == mean).all()
    assert (masks[0, 20:].numpy() == 255).all()


def test_colors_are_those_of_three_bands() -> None:
    with pytest.raises(ValueError, match="`photometric` must be False.*of 4 b"):
        train_augmentation((9, 9), photometric=True, mean=(0,) * 4)
    crops = train_augmentation((9, 9), mean=(0,) * 4)
    with pytest.raises(ValueError, match=r"must have 4 bands.*\(20, 30, 3\)"):
        crops(tile(3), np.zeros((20, 30), np.uint8), (0, 0))


# === Runs ===


@pytest.mark.filterwarnings("ignore:Even though the `tf.config")
def test_a_run_on_tiles(small, folder, tmp_path) -> None:
    run = recipe(flip=True, scales=(0.8, 1.2))
    scores = train(run, tmp_path / "run", folder, verbose=0)
    assert scores.images == 3
    model = kp.load_pretrained(tmp_path / "run/model")
    assert model.input_shape[-1] == 4 and model.mean == MEASURED["mean"]
    assert (tmp_path / "run/predictions.png").is_file()
    with open(tmp_path / "run/history.csv") as file:
        assert len(list(csv.DictReader(file))) == 2


def test_recipes_say_what_bands_they_take() -> None:
    plain = recipe(bands=3, network={})
    assert "bands" not in plain.identity()
    assert recipe().identity()["bands"] == "4"
    for changes, message in (
        ({"bands": 0}, "`bands` must be an integer of at least 1"),
        ({"bands": 5}, "have 5 numbers as 'mean'"),
        ({"network": {**MEASURED, "std": (1,)}}, "have 4 numbers as 'std'"),
        ({"scenes": (4, 4)}, "`bands` must be 3 if the recipe generates"),
        ({"photometric": True}, "`photometric` must be False"),
    ):
        with pytest.raises(ValueError, match=message):
            recipe(**changes)


def test_check_data_measures_what_a_run_needs(
    small, folder, tmp_path, monkeypatch, capsys
) -> None:
    open_recipe = recipe(network={})
    monkeypatch.setattr(
        "keras_pspnet.recipes.load_recipe", lambda _: open_recipe
    )
    output = tmp_path / "run"
    arguments = ["train", "tiles", "--data-dir", str(folder)]
    assert main([*arguments, "-o", str(output)]) == 2
    assert (
        "`mean` must hold a number for each of the 4" in capsys.readouterr().err
    )
    assert not output.exists()
    assert main([*arguments, "--check-data"]) == 0
    printed = capsys.readouterr().out
    found = re.search(r"For the recipe: network=(\{.*\})", printed)
    measured = eval(found[1])
    wanted = band_statistics(load(folder, "train", bands=4))
    assert measured == wanted._asdict()
    dataclasses.replace(open_recipe, network=measured).model()


# === Results ===


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"max_side": 16},
        {"window": 16, "flip": True},
        {"scales": (0.5, 1.0), "confidence": True},
    ],
)
def test_segment_shows_three_bands_and_keeps_the_place(how, tmp_path) -> None:
    file = band_tiff(tile(), PLACED)
    result = kp.segment(band_conv(), file, show_bands=(4, 1, 2), **how)
    assert result.mask.shape == (20, 30)
    assert result.image.shape == (20, 30, 3)
    assert result.georeference == image_georeference(file)
    result.save(tmp_path / "mask.tif")
    assert image_georeference(tmp_path / "mask.tif") == result.georeference
    assert kp.segment(band_conv(), tile()).georeference is None


@pytest.mark.parametrize("size", [(None, None), (16, 16)])
def test_files_and_arrays_give_the_same_mask(size) -> None:
    net, image = band_conv(size=size), tile()
    wanted = kp.segment(net, image).mask
    np.testing.assert_array_equal(
        kp.segment(net, band_tiff(image)).mask, wanted
    )
    predictor = kp.Predictor(net)
    assert predictor.bands == 4 and predictor.fill == (2000.0,) * 4
    np.testing.assert_array_equal(kp.segment(predictor, image).mask, wanted)
    with pytest.raises(ValueError, match=r"height, width, 4.*\(5, 7, 3\)"):
        kp.segment(net, PICTURE)
    with pytest.raises(ValueError, match=r"images of shape \(B, H, W, 4\)"):
        predictor(PICTURE[None])


def test_a_grey_model_takes_any_photograph() -> None:
    net = band_conv(1, mean=110.0, std=60.0)
    result = kp.segment(net, encoded(PICTURE))
    assert result.mask.shape == (5, 7)
    assert (result.image == result.image[..., :1]).all()


@pytest.mark.parametrize("protocol", ["plain", "mmseg", "semseg", "caffe"])
def test_scores_of_bands(folder, protocol) -> None:
    data = load(folder, "val", bands=4)
    net = band_conv()
    scores = kp.evaluate(net, data, protocol, window=64)
    assert scores.images == 3 and scores.pixels == 3 * 600
    with pytest.raises(ValueError, match=r"must hold images.*\(H, W, 4\)"):
        kp.evaluate(net, [(PICTURE, np.zeros((5, 7), np.uint8))])


def test_sheets_of_bands(folder) -> None:
    pairs = [*load(folder, "val", bands=4)]
    sheet = prediction_sheet(band_conv(), pairs)
    assert sheet.mode == "RGB"


def test_tiles_are_written_as_they_are(folder, tmp_path) -> None:
    data = load(folder, "val", bands=4)
    shown = list(write_pairs(data, tmp_path / "out"))
    assert {each.image.shape for each in shown} == {(20, 30, 3)}
    for name in ("0", "1", "2"):
        source = folder / f"val/images/{name}.tif"
        copy = tmp_path / f"out/images/{name}.tif"
        assert copy.read_bytes() == source.read_bytes()


def test_commands_on_tiles(folder, tmp_path, monkeypatch, capsys) -> None:
    net = band_conv()
    net.labels = LABELS
    replace_loading(monkeypatch, lambda *_, **__: net)
    monkeypatch.chdir(tmp_path)
    model = ["--model", "net"]
    images = folder / "val/images"
    assert main(["segment", str(images), "-o", "out", *model]) == 0
    masks = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert masks == ["0.tif", "1.tif", "2.tif"]
    one = str(images / "0.tif")
    for name in ("a.tif", "a.geojson", "a.png"):
        assert main(["segment", one, "-o", name, *model]) == 0
    place = image_georeference(images / "0.tif")
    assert image_georeference("a.tif") == place
    assert image_georeference("out/0.tif") == place
    assert json.loads((tmp_path / "a.geojson").read_text())["crs"]
    options = ["--confidence", "--show-bands", "4", "3", "2"]
    assert main(["segment", one, "-o", "maps/", *options, *model]) == 0
    assert (tmp_path / "maps/0.png").is_file()
    capsys.readouterr()
    data = ["--data", str(folder / "val")]
    assert main(["evaluate", *data, *model]) == 0
    assert "water" in capsys.readouterr().out
