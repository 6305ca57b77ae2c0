"""Files of clients: every engine tells what is wrong, or segments them."""

import io
import time

import numpy as np
import pytest
import tensorflow as tf
from engines import memory_within
from picture_files import bombs, flipped, malformed, odd
from PIL import Image, ImageOps

from keras_pspnet.data.images import read_image

STATUSES = {"OK", "EMPTY", "NOT_JPEG_OR_PNG", "TOO_LARGE", "DAMAGED"}
# Where most of the pixels' values come from: decoders agree, converters of
# CMYK and of palettes with alpha do not to the last bit.
LEAST_AGREEMENT = 0.99
QUICK, SLOW = 300, 10_000
# What is slow elsewhere is the way to the engine.
SLOW_ENGINES = ("C session", "Triton HTTP")
HANG_SECONDS = 5


def statuses(answer):
    """Checks that an answer is whole; returns the status of each file."""
    found = [status.decode() for status in answer["status"]]
    assert set(found) <= STATUSES
    for status, png, *size in zip(
        found,
        answer["mask_png_bytes"],
        answer["height"],
        answer["width"],
        strict=True,
    ):
        if status == "OK":
            mask = Image.open(io.BytesIO(png), formats=("PNG",))
            assert mask.mode == "L"
            assert np.asarray(mask).shape == tuple(size)
        else:
            assert png == b""
            assert size == [0, 0]
    return found


@pytest.mark.promise("R1")
@pytest.mark.parametrize("name", malformed())
def test_malformed_file_is_told(engine, name):
    data, status = malformed()[name]
    with memory_within(engine, 64):
        assert statuses(engine.segment(data)) == [status]


@pytest.mark.promise("R2")
def test_flipped_bytes_do_no_harm(engine, pytestconfig, record_property):
    # One after the other: the first that ends the engine is known.
    slow = pytestconfig.getoption("slow") and engine.name in SLOW_ENGINES
    count = SLOW if slow else QUICK
    found = []
    for number, data in enumerate(flipped(count)):
        began = time.monotonic()
        try:
            found += statuses(engine.segment(data))
        except Exception as error:
            raise AssertionError(f"file {number}: {data!r}") from error
        assert time.monotonic() - began < HANG_SECONDS, number
    record_property("cases", count)
    # Both ends are reached.
    assert found.count("OK") > count / 20
    assert found.count("DAMAGED") > count / 20


@pytest.mark.promise("R3")
@pytest.mark.parametrize("name", odd())
def test_odd_picture_is_segmented(engine, signatures, name):
    data = odd()[name]
    answer = engine.segment(data)
    assert statuses(answer) == ["OK"]
    mask = np.asarray(Image.open(io.BytesIO(answer["mask_png_bytes"][0])))
    # EXIF is honored.
    with Image.open(io.BytesIO(data)) as file:
        upright = ImageOps.exif_transpose(file)
    assert mask.shape == upright.size[::-1]
    pixels = read_image(data)
    images = tf.constant(pixels[None])
    want = signatures["predict_uint8"](images)["mask"][0].numpy()
    assert (mask == want).mean() >= LEAST_AGREEMENT


@pytest.mark.promise("R4")
@pytest.mark.parametrize("name", bombs())
def test_bomb_does_not_go_off(engine, name):
    data, allowed = bombs()[name]
    with memory_within(engine, 64):
        (status,) = statuses(engine.segment(data))
    assert status in allowed
