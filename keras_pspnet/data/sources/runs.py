"""Decodes the run lengths of three tools.

Each function returns the part of a `Bitmap` that is not empty. COCO's runs go
down the columns, CVAT's and Label Studio's along the rows.
"""

from __future__ import annotations

import numpy as np

# Maximum number of digits. A digit has five bits, and a sixth bit marks that
# another follows; 2**35 is far more than any mask has pixels.
_MOST_DIGITS = 7

# A part of a bitmap `(H, W)`, its left and its top.
Part = tuple[np.ndarray, int, int]


def decode_coco(counts: str | list[int], size: tuple[int, int]) -> Part:
    """Decodes COCO's run lengths.

    Args:
        counts: Lengths of background and region in turn, as numbers or as
            compressed by pycocotools.
        size: Width and height.

    Returns:
        bool `(H, W)` of the bounding box of the region, its left and top.

    Raises:
        ValueError: If the lengths do not fit the size.
    """
    pixels = size[0] * size[1]
    # At most one run per pixel, each after an empty one.
    if len(counts) > 2 * _MOST_DIGITS * (pixels + 1):
        raise ValueError(f"{pixels} pixels must have fewer run lengths")
    lengths = _expand(counts) if isinstance(counts, str) else counts
    part, left, top = _alternate(lengths, size)
    return part.T, left, top


def decode_cvat(counts: str, size: tuple[int, int]) -> Part:
    """Decodes the run lengths of CVAT's `<mask>`.

    Args:
        counts: Lengths of background and region in turn, separated by
            commas.
        size: Width and height.

    Returns:
        bool `(H, W)` of the bounding box of the region, its left and top.

    Raises:
        ValueError: If the lengths do not fit the size.
    """
    lengths = np.array(counts.split(","), np.int64)
    part, top, left = _alternate(lengths, size[::-1])
    return part, left, top


def decode_label_studio(packed: bytes, size: tuple[int, int]) -> Part:
    """Decodes a brush of Label Studio.

    The bytes are a stream of bits: the number of values (32 bits), the bits
    per value minus 1 (5), and four widths minus 1 (4 each). Runs follow: a bit
    that tells whether a value is repeated, two bits that choose a width, the
    length minus 1 in that width, and the value or values. The values form an
    RGBA image, whose alpha is the region.

    Args:
        packed: The bytes.
        size: Width and height.

    Returns:
        uint8 `(H, W)` of the whole image, zero outside the region, and 0, 0.

    Raises:
        ValueError: If the stream ends early or has another size.
    """
    bits = format(int.from_bytes(packed), f"0{8 * len(packed)}b")
    place = 0

    def number(count: int) -> int:
        nonlocal place
        place += count
        if place > len(bits):
            raise ValueError("a brush must not end within its run lengths")
        return int(bits[place - count : place], 2)

    total, word = number(32), number(5) + 1
    widths = [number(4) + 1 for _ in range(4)]
    if total != size[0] * size[1] * 4 or word != 8:
        raise ValueError(
            f"a brush of {size[0]}x{size[1]} must have four values of 8 bits "
            f"a pixel, not {total} values of {word} bits in all"
        )
    values = np.empty(total, np.uint8)
    done = 0
    while done < total:
        is_repeated = number(1)
        length = number(widths[number(2)]) + 1
        if length > total - done:
            raise ValueError("the runs of a brush must end with its image")
        count = 1 if is_repeated else length
        run = number(count * word).to_bytes(count)
        values[done : done + length] = np.frombuffer(run, np.uint8)
        done += length
    return values.reshape(size[1], size[0], 4)[..., 3], 0, 0


def _alternate(lengths: object, shape: tuple[int, int]) -> Part:
    """Expands run lengths of False and True in turn.

    Args:
        lengths: The lengths.
        shape: Number and length of the lines along which the runs go.

    Returns:
        bool array of the bounding box of True, its first line, and its first
        position in the lines.
    """
    length = shape[1]
    pixels = shape[0] * length
    counts = np.asarray(lengths)
    if counts.ndim != 1 or counts.dtype.kind not in "iu":
        raise ValueError("run lengths must be a list of integers")
    # Check before adding, so that no sum overflows.
    if (counts < 0).any() or (counts > pixels).any():
        raise ValueError(f"run lengths must be within 0..{pixels}")
    total = int(counts.sum())
    if total != pixels:
        raise ValueError(
            f"run lengths must add up to the {pixels} pixels of the image, "
            f"not {total}"
        )
    ends = counts.cumsum()[: counts.size // 2 * 2].reshape(-1, 2)
    ends = ends[ends[:, 0] < ends[:, 1]]
    if not ends.size:
        return np.zeros((0, 0), bool), 0, 0
    (lines, places), (last_lines, last_places) = (
        np.divmod(each, length) for each in (ends[:, 0], ends[:, 1] - 1)
    )
    # A run over several lines may extend from edge to edge.
    low, high = 0, length
    if (lines == last_lines).all():
        low, high = int(places.min()), int(last_places.max()) + 1
    first, last = int(lines[0]), int(last_lines[-1])
    starts = (lines - first) * (high - low) + places - low
    turns = np.stack([starts, starts + ends[:, 1] - ends[:, 0]], axis=1)
    total = (last + 1 - first) * (high - low)
    runs = np.diff(turns.reshape(-1), prepend=0, append=total)
    part = np.repeat(np.arange(runs.size) % 2 == 1, runs)
    return part.reshape(-1, high - low), first, low


def _expand(text: str) -> np.ndarray:
    """Decompresses lengths: the lowest digit comes first, then differences."""
    codes = np.frombuffer(text.encode(), np.uint8).astype(np.int64) - 48
    if codes.size == 0 or codes.min() < 0 or codes.max() > 63:
        raise ValueError("compressed run lengths must be characters '0'..'o'")
    is_last = codes < 32
    ends = np.flatnonzero(is_last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    digits = ends - starts + 1
    if not is_last[-1] or digits.max() > _MOST_DIGITS:
        raise ValueError("compressed run lengths must end, and be no longer")
    position = np.arange(codes.size) - np.repeat(starts, digits)
    numbers = np.add.reduceat((codes & 31) << (5 * position), starts)
    # The highest bit of the last digit is the sign.
    numbers -= (codes[ends] >> 4) << (5 * digits)
    # From the fourth length on, each is a difference to the last but one.
    numbers[1::2] = numbers[1::2].cumsum()
    numbers[2::2] = numbers[2::2].cumsum()
    return numbers
