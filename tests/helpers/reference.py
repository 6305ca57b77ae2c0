"""References for every operation in NumPy float64, from the definitions.

They loop over pixels and bins where a formula would repeat the package's.
Feature maps are channels last, (B, H, W, C); kernels are (kh, kw, C, F).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

RESNET_BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}


def bin_edges(size: int, bins: int) -> list[tuple[int, int]]:
    """Returns start and end of each adaptive bin, in exact integers."""
    return [(i * size // bins, -(-(i + 1) * size // bins)) for i in range(bins)]


def _adaptive_pool(x: np.ndarray, bins: int, reduce: Callable) -> np.ndarray:
    x = np.asarray(x, "float64")
    out = np.zeros((x.shape[0], bins, bins, x.shape[3]))
    for i, (top, bottom) in enumerate(bin_edges(x.shape[1], bins)):
        for j, (left, right) in enumerate(bin_edges(x.shape[2], bins)):
            cell = x[:, top:bottom, left:right]
            out[:, i, j] = reduce(cell, axis=(1, 2))
    return out


def adaptive_average_pool(x: np.ndarray, bins: int) -> np.ndarray:
    return _adaptive_pool(x, bins, np.mean)


def adaptive_max_pool(x: np.ndarray, bins: int) -> np.ndarray:
    return _adaptive_pool(x, bins, np.max)


def source_position(
    index: int, in_size: int, out_size: int, align_corners: bool
) -> tuple[int, int, float]:
    """Returns the two samples around an output sample, and the fraction."""
    if align_corners:
        position = 0.0
        if out_size > 1:
            position = index * (in_size - 1) / (out_size - 1)
    else:
        position = max((index + 0.5) * in_size / out_size - 0.5, 0.0)
    low = min(math.floor(position), in_size - 1)
    return low, min(low + 1, in_size - 1), position - low


def bilinear(
    x: np.ndarray, size: tuple[int, int], align_corners: bool = False
) -> np.ndarray:
    """PyTorch's `F.interpolate(mode="bilinear")`, by gathering four pixels."""
    x = np.asarray(x, "float64")
    out = np.zeros((x.shape[0], *size, x.shape[3]))
    for i in range(size[0]):
        top, bottom, down = source_position(
            i, x.shape[1], size[0], align_corners
        )
        for j in range(size[1]):
            left, right, along = source_position(
                j, x.shape[2], size[1], align_corners
            )
            above = (1 - along) * x[:, top, left] + along * x[:, top, right]
            below = (1 - along) * x[:, bottom, left] + along * x[
                :, bottom, right
            ]
            out[:, i, j] = (1 - down) * above + down * below
    return out


def conv2d(
    x: np.ndarray,
    kernel: np.ndarray,
    stride: int = 1,
    dilation: int = 1,
    padding: int = 0,
) -> np.ndarray:
    """Cross-correlation with zeros on all four sides, as PyTorch pads."""
    x = np.pad(
        np.asarray(x, "float64"),
        ((0, 0), (padding, padding), (padding, padding), (0, 0)),
    )
    kernel = np.asarray(kernel, "float64")
    rows = (x.shape[1] - dilation * (kernel.shape[0] - 1) - 1) // stride + 1
    columns = (x.shape[2] - dilation * (kernel.shape[1] - 1) - 1) // stride + 1
    out = np.zeros((x.shape[0], rows, columns, kernel.shape[3]))
    for i in range(kernel.shape[0]):
        for j in range(kernel.shape[1]):
            top, left = i * dilation, j * dilation
            window = x[
                :,
                top : top + (rows - 1) * stride + 1 : stride,
                left : left + (columns - 1) * stride + 1 : stride,
            ]
            out += window @ kernel[i, j]
    return out


def max_pool(
    x: np.ndarray, window: int, stride: int, padding: int
) -> np.ndarray:
    """Maximum over windows; pixels outside the map never win."""
    x = np.pad(
        np.asarray(x, "float64"),
        ((0, 0), (padding, padding), (padding, padding), (0, 0)),
        constant_values=-np.inf,
    )
    rows = (x.shape[1] - window) // stride + 1
    columns = (x.shape[2] - window) // stride + 1
    out = np.zeros((x.shape[0], rows, columns, x.shape[3]))
    for i in range(rows):
        for j in range(columns):
            top, left = i * stride, j * stride
            cell = x[:, top : top + window, left : left + window]
            out[:, i, j] = cell.max(axis=(1, 2))
    return out


def average_pool(x: np.ndarray, window: int) -> np.ndarray:
    """Means of adjacent windows; the last ones may hold fewer pixels."""
    rows, columns = (-(-side // window) for side in x.shape[1:3])
    out = np.zeros((x.shape[0], rows, columns, x.shape[3]))
    for i in range(rows):
        for j in range(columns):
            top, left = i * window, j * window
            cell = x[:, top : top + window, left : left + window]
            out[:, i, j] = cell.mean(axis=(1, 2))
    return out


def batch_norm(
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    mean: np.ndarray | None = None,
    variance: np.ndarray | None = None,
    epsilon: float = 1e-5,
) -> np.ndarray:
    """Normalizes by given statistics, or else by those of the batch."""
    x = np.asarray(x, "float64")
    if mean is None:
        mean, variance = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
    return gamma * (x - mean) / np.sqrt(variance + epsilon) + beta


def pyramid_pooling(
    x: np.ndarray,
    bin_sizes: Sequence[int],
    reductions: Sequence[dict[str, np.ndarray]] | None,
    pooling: str = "average",
    align_corners: bool = False,
) -> np.ndarray:
    """The paper's module: pool, reduce, upsample, concatenate.

    Args:
        x: Features.
        bin_sizes: Cells along each side of each map.
        reductions: For each map `kernel` (C, F), `gamma`, `beta` and, unless
            the batch's own statistics apply, `mean` and `variance`. None
            leaves out the 1x1 convolutions.
        pooling: "average" or "max".
        align_corners: As in `bilinear`.
    """
    pool = {"average": adaptive_average_pool, "max": adaptive_max_pool}
    parts = [np.asarray(x, "float64")]
    for index, bins in enumerate(bin_sizes):
        cells = pool[pooling](x, bins)
        if reductions is not None:
            reduction = dict(reductions[index])
            cells = cells @ np.asarray(reduction.pop("kernel"), "float64")
            cells = np.maximum(batch_norm(cells, **reduction), 0)
        parts.append(bilinear(cells, x.shape[1:3], align_corners))
    return np.concatenate(parts, axis=-1)


class ResNet:
    """A dilated ResNet, layer by layer, from the papers' tables."""

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        self.weights = weights
        self.prefix = ""

    def find(self, name: str) -> np.ndarray:
        (found,) = (
            value
            for path, value in self.weights.items()
            if path.endswith(f"{self.prefix}{name}")
        )
        return found

    def conv_bn(
        self, x: np.ndarray, name: str, stride: int = 1, dilation: int = 1
    ) -> np.ndarray:
        kernel = self.find(f"{name}_conv/kernel")
        padding = dilation * (len(kernel) // 2)
        x = conv2d(x, kernel, stride, dilation, padding)
        return batch_norm(
            x,
            *(
                self.find(f"{name}_bn/{part}")
                for part in ("gamma", "beta", "moving_mean", "moving_variance")
            ),
        )

    def block(
        self,
        x: np.ndarray,
        stride: int,
        dilation: int,
        basic: bool,
        stride_on: str,
        shortcut: str,
    ) -> np.ndarray:
        if basic:
            y = np.maximum(self.conv_bn(x, "_1", stride, dilation), 0)
            y = self.conv_bn(y, "_2")
        else:
            first, second = (1, stride) if stride_on == "3x3" else (stride, 1)
            y = np.maximum(self.conv_bn(x, "_1", first), 0)
            y = np.maximum(self.conv_bn(y, "_2", second, dilation), 0)
            y = self.conv_bn(y, "_3")
        if y.shape != x.shape:
            if shortcut == "average_pool" and stride > 1:
                x, stride = average_pool(x, stride), 1
            x = self.conv_bn(x, "_shortcut", stride)
        return np.maximum(x + y, 0)

    def __call__(
        self,
        x: np.ndarray,
        depth: int,
        first_dilations: tuple[int, int],
        stem: str = "deep",
        stride_on: str = "3x3",
        shortcut: str = "conv",
    ) -> list[np.ndarray]:
        """Runs at stride 8; `first_dilations` are those of stages 4 and 5."""
        for index in range(1 if stem == "7x7" else 3):
            x = self.conv_bn(x, f"stem{index + 1}", 2 if index == 0 else 1)
            x = np.maximum(x, 0)
        x = max_pool(x, 3, 2, 1)
        outputs = []
        firsts = (1, 1, *first_dilations)
        for stage, blocks, stride, first, dilation in zip(
            (2, 3, 4, 5),
            RESNET_BLOCKS[depth],
            (1, 2, 1, 1),
            firsts,
            (1, 1, 2, 4),
            strict=True,
        ):
            for index in range(blocks):
                self.prefix = f"stage{stage}_block{index + 1}"
                x = self.block(
                    x,
                    stride if index == 0 else 1,
                    first if index == 0 else dilation,
                    depth < 50,
                    stride_on,
                    shortcut,
                )
            outputs.append(x)
        return outputs[-2:]


def cross_entropy(
    logits: np.ndarray, masks: np.ndarray, ignore: int = 255
) -> tuple[float, int]:
    """Sum of -log softmax over the valid pixels, and their number."""
    logits = np.asarray(logits, "float64").reshape(-1, logits.shape[-1])
    total, count = 0.0, 0
    for row, label in zip(logits, np.asarray(masks).reshape(-1), strict=True):
        if label == ignore:
            continue
        shifted = row - row.max()
        total += math.log(np.exp(shifted).sum()) - shifted[label]
        count += 1
    return total, count


def confusion_matrix(
    masks: np.ndarray,
    predictions: np.ndarray,
    num_classes: int,
    ignore: int = 255,
) -> np.ndarray:
    """Pixel counts, int64, rows are true classes."""
    counts = np.zeros((num_classes, num_classes), "int64")
    for label, prediction in zip(
        np.asarray(masks).reshape(-1),
        np.asarray(predictions).reshape(-1),
        strict=True,
    ):
        if label != ignore:
            counts[label, prediction] += 1
    return counts


def mean_iou(confusion: np.ndarray) -> float:
    """Mean IoU of classes in ground truth or prediction; 0 without any."""
    scores = []
    for k in range(len(confusion)):
        both = confusion[k, k]
        union = confusion[k, :].sum() + confusion[:, k].sum() - both
        if union:
            scores.append(both / union)
    return float(np.mean(scores)) if scores else 0.0


def pixel_accuracy(confusion: np.ndarray) -> float:
    total = confusion.sum()
    return float(np.trace(confusion) / total) if total else 0.0


def softmax(scores: np.ndarray) -> np.ndarray:
    """Probabilities of the classes on the last axis."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def opencv_fixed_point(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """OpenCV's bilinear resizing of uint8 (H, W, C): weights of 1/2048."""

    def taps(index: int, axis: int) -> tuple[int, int, int, int]:
        n_in, n_out = image.shape[axis], size[axis]
        position = np.float32((index + 0.5) * (1 / (n_out / n_in)) - 0.5)
        low = math.floor(position)
        share = position - np.float32(low)
        first, second = (min(max(i, 0), n_in - 1) for i in (low, low + 1))
        weights = (round(float(each) * 2048) for each in (1 - share, share))
        return first, second, *weights

    values = image.astype("int64")
    lines = np.zeros((len(image), size[1], image.shape[2]), "int64")
    for j in range(size[1]):
        first, second, near, far = taps(j, 1)
        lines[:, j] = (values[:, first] * near + values[:, second] * far) >> 4
    out = np.zeros((*size, image.shape[2]), "uint8")
    for i in range(size[0]):
        first, second, near, far = taps(i, 0)
        total = (lines[first] * near >> 16) + (lines[second] * far >> 16)
        out[i] = (total + 2) >> 2
    return out


def matlab_bilinear(scores: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """MATLAB's `imresize(scores, size, 'bilinear')` of floats (H, W, C).

    A triangle as wide as two samples of the smaller size, over an image
    mirrored at its borders.
    """
    out = scores.astype("float64")
    for axis in (0, 1):
        lines = np.moveaxis(out, axis, 0)
        count = len(lines)
        step = count / size[axis]
        reach = max(step, 1)
        resized = []
        for index in range(size[axis]):
            center = (index + 0.5) * step
            total, weights = 0, 0
            for sample in range(
                math.floor(center - reach) - 1, math.ceil(center + reach) + 1
            ):
                weight = max(1 - abs(sample + 0.5 - center) / reach, 0)
                inside = sample % (2 * count)
                inside = min(inside, 2 * count - 1 - inside)
                total = total + weight * lines[inside]
                weights += weight
            resized.append(total / weights)
        out = np.moveaxis(np.array(resized), 0, axis)
    return out
