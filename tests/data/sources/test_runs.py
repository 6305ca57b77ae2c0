"""Tests of run lengths, against other ways to write them."""

import itertools

import numpy as np
import pytest

from keras_pspnet.data.sources.runs import (
    decode_coco,
    decode_cvat,
    decode_label_studio,
)

RNG = np.random.default_rng(5)


def lengths(pixels: np.ndarray) -> list[int]:
    """Run lengths that begin with background."""
    runs = [(k, len(list(g))) for k, g in itertools.groupby(pixels.tolist())]
    return ([0] if runs[0][0] else []) + [length for _, length in runs]


def compressed(counts: list[int]) -> str:
    """COCO's text: differences to the last but one, in digits of 5 bits."""
    text = ""
    for k, count in enumerate(counts):
        rest = count - (counts[k - 2] if k > 2 else 0)
        while True:
            digit = rest & 31
            rest >>= 5
            done = rest == (-1 if digit & 16 else 0)
            text += chr(48 + digit + (0 if done else 32))
            if done:
                break
    return text


def brush(alpha: np.ndarray, repeat: bool) -> bytes:
    """Label Studio's bits, in runs that repeat a value or do not."""
    values = np.stack([alpha] * 4, axis=-1).reshape(-1).tolist()
    bits = f"{len(values):032b}{7:05b}"
    bits += "".join(f"{width - 1:04b}" for width in (3, 5, 9, 16))
    groups = [list(g) for _, g in itertools.groupby(values)]
    for run in groups if repeat else [values]:
        choice, width = (3, 16) if len(run) > 32 else (1, 5)
        bits += f"{int(repeat)}{choice:02b}{len(run) - 1:0{width}b}"
        bits += "".join(f"{v:08b}" for v in (run[:1] if repeat else run))
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8)


def whole(part, size: tuple[int, int]) -> np.ndarray:
    """Puts a part where it belongs."""
    inside, left, top = part
    mask = np.zeros(size[::-1], bool)
    height, width = inside.shape
    mask[top : top + height, left : left + width] = inside
    return mask


def blobs(size=(13, 17)) -> np.ndarray:
    return np.repeat(RNG.random((size[0], 5)) < 0.5, 4, axis=1)[:, : size[1]]


def test_coco_runs_down_the_columns() -> None:
    for _ in range(20):
        mask = blobs()
        counts = lengths(mask.T.reshape(-1))
        size = mask.shape[1], mask.shape[0]
        np.testing.assert_array_equal(
            whole(decode_coco(counts, size), size), mask
        )
        text = compressed(counts)
        np.testing.assert_array_equal(
            whole(decode_coco(text, size), size), mask
        )


def test_text_that_pycocotools_wrote() -> None:
    # mask.encode of this square, and of noise: its differences have signs.
    want = np.zeros((8, 10), bool)
    want[1:5, 2:6] = True
    found = decode_coco("a04400000o0", (10, 8))
    # No more is decoded than there is.
    assert found[0].shape == (4, 4)
    np.testing.assert_array_equal(whole(found, (10, 8)), want)
    text = "2130N60J10030N42KO0N00237MH20NO002"
    want = np.random.default_rng(0).random((8, 10)) < 0.5
    np.testing.assert_array_equal(
        whole(decode_coco(text, (10, 8)), (10, 8)), want
    )


def test_cvat_runs_along_the_rows() -> None:
    mask = blobs()
    text = ", ".join(map(str, lengths(mask.reshape(-1))))
    size = mask.shape[1], mask.shape[0]
    np.testing.assert_array_equal(whole(decode_cvat(text, size), size), mask)


@pytest.mark.parametrize("repeat", [True, False])
def test_brushes_of_label_studio(repeat) -> None:
    mask = blobs()
    packed = brush(mask * np.uint8(255), repeat)
    size = mask.shape[1], mask.shape[0]
    found = whole(decode_label_studio(packed, size), size)
    np.testing.assert_array_equal(found, mask)


@pytest.mark.parametrize(
    ("counts", "shape"),
    [
        ([80], (0, 0)),
        ([0, 80], (8, 10)),
        # Two pixels of one column; the end of one and the start of the next.
        ([10, 1, 2, 1, 66], (4, 1)),
        ([7, 2, 71], (8, 2)),
        ([0, 5, 0, 3, 72], (8, 1)),
        ([79, 1, 0], (1, 1)),
    ],
)
def test_no_more_is_decoded_than_there_is(counts, shape) -> None:
    want = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    found = decode_coco(counts, (10, 8))
    assert found[0].shape == shape
    np.testing.assert_array_equal(whole(found, (10, 8)), want.reshape(10, 8).T)


# === Errors ===


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([3, 3], "add up to the 80 pixels of the image, not 6"),
        ([100], r"within 0\.\.80"),
        ([10**18] * 8, r"within 0\.\.80"),
        ([-1, 81], r"within 0\.\.80"),
        ([0.5, 79.5], "a list of integers"),
        ([[80]], "a list of integers"),
        ([10**30], "a list of integers"),
        ("", "characters '0'..'o'"),
        ("a b", "characters '0'..'o'"),
        ("\u00e9", "characters '0'..'o'"),
        ("oooo", "must end"),
        ("o" * 50 + "0", "no longer"),
        ("o" * 6 + "0", r"within 0\.\.80"),
    ],
)
def test_coco_lengths_that_do_not_fit(counts, message) -> None:
    with pytest.raises(ValueError, match=message):
        decode_coco(counts, (10, 8))


@pytest.mark.parametrize(
    ("counts", "message"),
    [("3,3", "add up"), ("a", "invalid literal"), ("", "invalid literal")],
)
def test_cvat_lengths_that_do_not_fit(counts, message) -> None:
    with pytest.raises(ValueError, match=message):
        decode_cvat(counts, (10, 8))


def test_brushes_that_do_not_fit() -> None:
    packed = brush(np.full((8, 10), 255, np.uint8), repeat=False)
    with pytest.raises(ValueError, match="10x9 must have four values"):
        decode_label_studio(packed, (10, 9))
    for end in (0, 3, 8, len(packed) - 1):
        with pytest.raises(ValueError, match="must not end within"):
            decode_label_studio(packed[:end], (10, 8))
    long = brush(np.full((8, 11), 255, np.uint8), repeat=True)
    forged = (10 * 8 * 4).to_bytes(4) + long[4:]
    with pytest.raises(ValueError, match="must end with its image"):
        decode_label_studio(forged, (10, 8))


def test_long_texts_are_not_decoded() -> None:
    for counts in "0" * 2_000, [0] * 2_000:
        with pytest.raises(ValueError, match="80 pixels must have fewer run"):
            decode_coco(counts, (10, 8))
